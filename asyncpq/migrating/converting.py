"""Blobs of the source into records of the target.  Pure but for what a serializer of the user's own does.

copy       the same serializer: a frame around the blob, nothing is decoded
convert    blob -> item -> record -> item: the last two are compared, for a whole batch at once
           where a batch does not come back the same, its items are looked at one by one
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from asyncpq import serializers
from asyncpq.migrating.bombs import TooBig
from asyncpq.migrating.values import OTHER, TOO_DEEP, reduced, same
from asyncpq.serializers import Custom, Damaged
from asyncpq.sources.blobs import frame_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.serializers import Serializer

__all__ = ["Converted", "Converter", "Converting", "Copying", "Form", "framing"]

NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Form:
    """How the target writes items: *encode* makes a record, which *loads* may refuse to read."""

    name: str
    encode: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]

    @classmethod
    def of(cls, serializer: Serializer, *, in_database: bool) -> Form:
        """Return that of *serializer*; in a database, dumps and loads of a module that has them come first."""
        module: Any = serializer.module if isinstance(serializer, Custom) else None
        if in_database and callable(getattr(module, "dumps", None)):
            return cls(serializer.NAME, module.dumps, module.loads)
        # What is made is read again here: msgpack and cbor2 need not do that, too, nor distrust what they made.
        encode = getattr(serializer, "pack", serializer.encode)
        return cls(serializer.NAME, encode, getattr(serializer, "unpack", serializer.loads))


@dataclass(frozen=True, slots=True)
class Converted:
    """One item's record, and what it lost; or *why* there is none, since the blob cannot be read."""

    record: bytes
    kinds: frozenset[str] = NOTHING
    why: str | None = None


class Converter(Protocol):
    """Makes records of blobs."""

    lossless: bool  # nothing that can be read is ever lost

    def records(self, blobs: list[bytes], *, check: bool) -> list[bytes] | None:
        """Return the records of *blobs*; None where they have to be looked at one by one.

        Args:
            blobs: of the source.
            check: compare what comes back; False where that was done before.
        """

    def one(self, blob: bytes) -> Converted:
        """Return the record of *blob*, whatever is lost."""


def framing(serializer: Serializer) -> Callable[[list[bytes]], list[bytes]]:
    """Return the function that makes records of blobs of the same *serializer*."""
    before, behind = frame_of(serializer)
    if before:
        return lambda blobs: [len(blob).to_bytes(before, "little") + blob for blob in blobs]
    return (lambda blobs: [blob + b"\n" for blob in blobs]) if behind else (lambda blobs: blobs)


class Copying:
    """The same serializer: bytes stay bytes."""

    lossless = True

    def __init__(self, serializer: Serializer) -> None:
        self._frame = framing(serializer)

    def records(self, blobs: list[bytes], *, check: bool) -> list[bytes]:
        """See Converter."""
        return self._frame(blobs)

    def one(self, blob: bytes) -> Converted:
        """See Converter."""
        return Converted(self._frame([blob])[0])


class Converting:
    """Another serializer.

    Args:
        loads: of the source.
        target: the form that is wanted.
        plain: *loads* makes no bytearray, nor anything else that gives its bytes to whoever asks ...
        markers: ... but of blobs that have one of these in them.
        lossless: the target carries whatever *loads* makes.
    """

    def __init__(
        self, loads: Callable[[bytes], Any], target: Form, *, plain: bool, markers: tuple[bytes, ...], lossless: bool
    ) -> None:
        self._loads, self._target, self.lossless = loads, target, lossless
        self._plain, self._markers = plain, markers

    def records(self, blobs: list[bytes], *, check: bool) -> list[bytes] | None:
        """See Converter."""
        load, encode = self._loads, self._target.encode
        try:
            values = [load(blob) for blob in blobs]
            records = [encode(value) for value in values]
        except MemoryError:
            raise
        except Exception:  # whatever a serializer says of one of them: `one` finds out
            return None
        return records if not check or self._come_back(blobs, values, records) else None

    def _come_back(self, blobs: list[bytes], values: list[Any], records: list[bytes]) -> bool:
        load = self._target.loads
        try:
            back = [load(record) for record in records]
        except MemoryError:
            raise
        except Exception:
            return False
        return same(values, back, plain=self._plain) and all(
            same(values[at], back[at], plain=False) for at in self._marked(blobs)
        )

    def _marked(self, blobs: list[bytes]) -> list[int]:
        """Return which of *blobs* have a marker."""
        data = b"".join(blobs)
        markers = [marker for marker in self._markers if marker in data]
        return [at for at, blob in enumerate(blobs) if any(marker in blob for marker in markers)] if markers else []

    def one(self, blob: bytes) -> Converted:
        """See Converter."""
        try:
            value = self._loads(blob)
        except Damaged as damaged:
            return Converted(b"", NOTHING, damaged.why)
        except TooBig:
            return Converted(b"", frozenset((TOO_DEEP,)))
        if (record := self._carried(value)) is not None:
            return Converted(record)
        if self._target.name not in serializers.NAMES:
            return Converted(self._accepted(value), frozenset((OTHER,)))
        return self._reduced(value)

    def _reduced(self, value: Any) -> Converted:
        try:
            less = reduced(value, self._target.name, lambda part: self._carried(part) is not None)
        except Exception:  # what pickling an object raises, to put it in order
            return Converted(b"", frozenset((OTHER,)))
        record = self._carried(less.value)
        return Converted(record or b"", less.kinds if record is not None else less.kinds | {OTHER})

    def _carried(self, value: Any) -> bytes | None:
        """Return the record that *value* comes back from the same; None: there is none."""
        try:
            record = self._target.encode(value)
            back = self._target.loads(record)
        except MemoryError:
            raise
        except Exception:  # whatever its library says
            return None
        return record if same(value, back, plain=False) else None

    def _accepted(self, value: Any) -> bytes:
        """Return what a serializer of the user's own makes of *value*; empty where it makes nothing of it."""
        try:
            record = self._target.encode(value)
            self._target.loads(record)
        except MemoryError:
            raise
        except Exception:
            return b""
        return record
