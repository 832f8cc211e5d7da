"""Items as the column `data`: what a serializer of persist-queue's `dumps` writes, without what frames a record.

    pickle, own `dumps`   the pickle itself
    json, orjson          the line without its newline
    msgpack, cbor2        the body without its length
    dump and load only    what dump writes

Pure but for what a serializer of the user's own does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from asyncpq import serializers
from asyncpq.serializers import Custom, Damaged, Torn

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.serializers import Serializer

LENGTH: Final = 4  # bytes before a body of msgpack and cbor2
_LINES: Final = ("json", "orjson")
_BODIES: Final = ("msgpack", "cbor2")


class Blobs(Protocol):
    """Turns items into what the table stores, and back."""

    def dumps(self, item: Any, /) -> bytes:
        """Return the blob of *item*; raises what the serializer raises."""

    def loads(self, blob: Any, /) -> Any:
        """Return the item of *blob*.

        Raises:
            Damaged: it is not one.
        """


def blobs(serializer: Serializer) -> Blobs:
    """Return the blobs of *serializer*.

    Raises:
        ValueError: it has coroutine functions, which the thread of a database cannot wait for.
    """
    if serializer.is_async:
        raise ValueError(f"serializer {serializer.NAME!r} has coroutine functions; a SQLite queue needs plain ones")
    if isinstance(serializer, Custom) and callable(getattr(serializer.module, "dumps", None)):
        return _Own(serializer.module)
    if serializer.NAME in _LINES:
        return _Records(serializer, lambda record: record[:-1], lambda blob: blob + b"\n")
    if serializer.NAME in _BODIES:
        return _Records(serializer, lambda record: record[LENGTH:], _with_length)
    return _Records(serializer, None, None)


def fitting(blob: bytes) -> list[str]:
    """Return the names of the serializers that *blob* can be of."""
    return [name for name in ("pickle", "json", "msgpack", "cbor2") if _fits(name, blob)]


def fits(serializer: Serializer, blob: bytes) -> bool:
    """Return whether *blob* may be of *serializer*, as far as can be told without running anything."""
    return True if isinstance(serializer, Custom) else _fits(serializer.NAME, blob)


def _fits(name: str, blob: bytes) -> bool:
    try:
        serializer = serializers.get(name)
        record = blob + b"\n" if name in _LINES else _with_length(blob) if name in _BODIES else blob
        return serializer.check(record, 0) == len(record)
    except (ImportError, Torn, Damaged):
        return False


def _with_length(blob: bytes) -> bytes:
    return len(blob).to_bytes(LENGTH, "little") + blob


class _Records:
    """Blobs that are records of a serializer without their frame."""

    def __init__(
        self,
        serializer: Serializer,
        strip: Callable[[bytes], bytes] | None,
        frame: Callable[[bytes], bytes] | None,
    ) -> None:
        self._loads, self._strip, self._frame = serializer.loads, strip, frame
        self.dumps: Callable[[Any], bytes] = serializer.encode if strip is None else self._stripped
        self._encode = serializer.encode

    def _stripped(self, item: Any) -> bytes:
        assert self._strip is not None
        return self._strip(self._encode(item))

    def loads(self, blob: Any) -> Any:
        """Return the item of *blob*; Damaged where the record would be."""
        data = _as_bytes(blob)
        try:
            return self._loads(data if self._frame is None else self._frame(data))
        except Torn:
            raise Damaged("it is not whole") from None


class _Own:
    """Blobs of a user's dumps and loads."""

    def __init__(self, module: Any) -> None:
        self.dumps: Callable[[Any], bytes] = module.dumps
        self._loads = module.loads

    def loads(self, blob: Any) -> Any:
        """Return the item of *blob*; Damaged where loads raises."""
        try:
            return self._loads(blob)
        except MemoryError:
            raise
        except Exception as error:
            raise Damaged(f"its serializer refuses it: {error!r}") from error


def _as_bytes(blob: Any) -> bytes:
    if isinstance(blob, bytes):
        return blob
    if isinstance(blob, str):
        return blob.encode("utf-8", "surrogatepass")
    raise Damaged(f"data is of type {type(blob).__name__}, not a blob")
