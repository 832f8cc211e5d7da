"""Items as blobs: cut out of their records, looked at, and turned into values.

    serializer        a blob                    its item
    pickle            the pickle                plain data; with unpickle=True what the pickle makes
    json, orjson      the line, no newline      the value
    msgpack, cbor2    the body, no length       the value
    of one's own      what its dump writes      what its load returns
    None              the item itself           bytes

Pure but for what a serializer of the user's own does, and what a pickle does with unpickle=True.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncpq import serializers
from asyncpq.serializers import Damaged, TooComplex, Torn, plain_loads, quick_end, quick_loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.serializers import Serializer

__all__ = ["Reading", "fits", "fitting", "frame_of"]

LENGTH: Final = 4  # bytes before a body of msgpack and cbor2
LINES: Final = ("json", "orjson")
BODIES: Final = ("msgpack", "cbor2")


def frame_of(serializer: Serializer) -> tuple[int, int]:
    """Return the bytes that a record has before its blob, and behind it."""
    if isinstance(serializer, serializers.Custom):
        return 0, 0
    return LENGTH * (serializer.NAME in BODIES), int(serializer.NAME in LINES)


@dataclass(frozen=True, slots=True)
class Reading:
    """How the blobs of one source are read.

    Args:
        serializer: what wrote them; None: they are bytes.
        unpickle: run what pickles say.
        encoding: of Python 2's byte strings in pickles: a codec, or "bytes".
        framed: whether the blobs of a serializer of the user's own are of its `dump`; else of `dumps`, if it has one.
    """

    serializer: Serializer | None
    unpickle: bool = False
    encoding: str = "latin-1"
    framed: bool = False

    def loader(self) -> Callable[[bytes], Any]:
        """Return the function that makes an item of a blob, or raises Damaged."""
        serializer = self.serializer
        if serializer is None:
            return bytes
        if serializer is serializers.pickle:
            return self._unpickled if self.unpickle else self._plain
        own: Any = getattr(serializer.module, "loads", None) if isinstance(serializer, serializers.Custom) else None
        if callable(own) and not self.framed:
            return _by(own)
        before, behind = frame_of(serializer)
        if before:
            return _whole(lambda blob: serializer.loads(len(blob).to_bytes(LENGTH, "little") + blob))
        return _whole((lambda blob: serializer.loads(blob + b"\n")) if behind else serializer.loads)

    def _plain(self, blob: bytes) -> Any:
        try:
            return plain_loads(blob, 0, encoding=self.encoding)[0]
        except Torn:
            raise Damaged("the pickle is not whole") from None

    def _looked_at(self, blob: bytes) -> None:
        if quick_end(blob, 0, self.encoding) is None:
            self._plain(blob)

    def _unpickled(self, blob: bytes) -> Any:
        quick = quick_loads(blob, 0, self.encoding)
        if quick:
            return quick[0]  # plain data: what the unpickler would make of it
        try:
            if quick_end(blob, 0, self.encoding) is None:
                serializers.pickle.check(blob, 0)  # damage can ask for memory without end
            return pickle.loads(blob, encoding=self.encoding)
        except Torn:
            raise Damaged("the pickle is not whole") from None
        except Damaged:
            raise
        except MemoryError:
            raise
        except Exception as error:
            raise Damaged(f"unpickling it fails: {type(error).__name__}: {error}") from error

    def sound(self) -> Callable[[bytes], str | None]:
        """Return the function that says why a blob cannot be read; None: it can, as far as nothing is run."""
        look = self.loader() if self.serializer is not serializers.pickle else self._looked_at

        def why(blob: bytes) -> str | None:
            try:
                look(blob)
            except TooComplex:
                return None
            except Damaged as damaged:
                return damaged.why
            return None

        return why


def _whole(loads: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def load(blob: bytes) -> Any:
        try:
            return loads(blob)
        except Torn:
            raise Damaged("it is not whole") from None

    return load


def _by(loads: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def load(blob: bytes) -> Any:
        try:
            return loads(blob)
        except MemoryError:
            raise
        except Exception as error:
            raise Damaged(f"its serializer refuses it: {error!r}") from error

    return load


def fitting(blob: bytes) -> list[str]:
    """Return the names of the serializers that *blob* can be of, as far as can be told without running anything."""
    return [name for name in ("pickle", "json", "msgpack", "cbor2") if _fits(name, blob)]


def fits(serializer: Serializer, blob: bytes) -> bool:
    """Return whether *blob* may be of *serializer*, as far as can be told without running anything."""
    return isinstance(serializer, serializers.Custom) or _fits(serializer.NAME, blob)


def _fits(name: str, blob: bytes) -> bool:
    try:
        serializer = serializers.get(name)
        before, behind = frame_of(serializer)
        record = (len(blob).to_bytes(LENGTH, "little") if before else b"") + blob + b"\n" * behind
        return serializer.check(record, 0) == len(record)
    except (ImportError, Torn, Damaged):
        return False
