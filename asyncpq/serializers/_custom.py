"""A user's own module with dump and load, under the interface of ours.

    dump(value, fp)    fp is a file in memory
    load(fp)           fp stands at the record's first byte; the record ends where load() leaves it

Both may be coroutine functions: then the methods of fp may be awaited (and need not be).
"""

import asyncio
import inspect
import io
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, TypeVar, cast

from asyncpq.serializers._info import as_info
from asyncpq.serializers._outcomes import Damaged, Torn, refused
from asyncpq.serializers._protocol import Serializer

__all__ = ["Custom", "self_delimiting"]

PADDING: Final = bytes(64)  # what a load that stops by itself leaves alone

_T = TypeVar("_T")


class Custom:
    """A serializer made of an object's dump and load; AttributeError if it has none.

    skip() has no other way than to load, and there is no way to find a record behind damage.  With coroutine
    functions encode(), loads(), decode() and skip() run a loop of their own, so they belong in a worker
    thread; on a loop they work as long as dump and load wait for nothing but their file.
    """

    def __init__(self, module: object) -> None:
        dump, load = getattr(module, "dump", None), getattr(module, "load", None)
        if not callable(dump) or not callable(load):
            raise AttributeError(f"serializer needs 'dump' and 'load'; {module!r} has not")
        self.module = module
        self.NAME = str(getattr(module, "__name__", type(module).__name__))
        self.dump: Callable[..., Any] = dump
        self.load: Callable[..., Any] = load
        self._dump_waits, self._load_waits = _waits(dump), _waits(load)
        self.is_async = self._dump_waits or self._load_waits

    def __repr__(self) -> str:
        return f"<serializer {self.NAME}>"

    def encode(self, value: Any) -> bytes:
        """What dump() writes; raises what it raises."""
        if self._dump_waits:
            return _driven(self.aencode(value))
        file = _File()
        self.dump(value, file)
        return file.getvalue()

    async def aencode(self, value: Any) -> bytes:
        """As `encode`, on the loop."""
        if not self._dump_waits:
            return self.encode(value)
        file = _AwaitableFile(b"", 0)
        await self.dump(value, file)
        return file.inner.getvalue()

    def loads(self, record: bytes) -> Any:
        """The value of exactly one record; Damaged if load() raises or leaves bytes."""
        return _only(record, *self._load(record, 0))

    async def aloads(self, record: bytes) -> Any:
        """As `loads`, on the loop."""
        return _only(record, *await self._aload(record, 0))

    def decode(self, buffer: bytes, start: int) -> tuple[Any, int]:
        """The value that load() gives at *start*, and where it stops.

        Where it stops at the end of the buffer it is asked again with zeros behind: what is complete stops
        at the same place, and a torn record that load() is content with, such as half a number in a line,
        does not.
        """
        value, end = self._load(buffer, start)
        if end == len(buffer):
            padded = buffer[start:] + PADDING
            try:
                stopped = start + self._load(padded, 0)[1]
            except (Torn, Damaged):
                raise Torn from None
            if stopped != end:
                raise Torn
        return value, end

    def skip(self, buffer: bytes, start: int) -> int:
        """The offset behind the record at *start*, by loading it."""
        return self.decode(buffer, start)[1]

    def check(self, buffer: bytes, start: int) -> int:
        """The same as skip()."""
        return self.decode(buffer, start)[1]

    def resync(self, buffer: bytes, start: int) -> int | None:
        """None: nothing is known of what a record looks like."""
        return None

    def info_loads(self, data: bytes) -> dict[str, Any]:
        """The first record of an info, by load(); to be tried only where the user named this serializer."""
        return as_info(self.decode(data, 0)[0])

    def _load(self, buffer: bytes, start: int) -> tuple[Any, int]:
        if self._load_waits:
            return _driven(self._aload(buffer, start))
        file = _File(buffer)
        file.seek(start)
        try:
            value = self.load(file)
        except MemoryError:
            raise
        except Exception as error:
            raise _outcome(error, file, buffer) from error
        return value, _end(file, buffer, start)

    async def _aload(self, buffer: bytes, start: int) -> tuple[Any, int]:
        if not self._load_waits:
            return self._load(buffer, start)
        file = _AwaitableFile(buffer, start)
        try:
            value = await self.load(file)
        except MemoryError:
            raise
        except Exception as error:
            raise _outcome(error, file.inner, buffer) from error
        return value, _end(file.inner, buffer, start)


def self_delimiting(serializer: Serializer, sample_record: bytes) -> bool:
    """Whether a load of *sample_record* stops at its end by itself, with zeros or another record behind it.

    Where it does not (a load that reads all there is), records that lie back to back cannot be told apart,
    and a queue would lose items: to be asked before one is opened.
    """
    for behind in (PADDING, sample_record):
        try:
            if serializer.skip(sample_record + behind, 0) != len(sample_record):
                return False
        except (Torn, Damaged):
            return False
    return True


def _waits(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _driven(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run *coroutine* to its end: with a loop of its own, or on a loop that runs here as far as it does not wait."""
    if asyncio._get_running_loop() is None:
        return asyncio.run(coroutine)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(_T, done.value)
    coroutine.close()
    raise RuntimeError("the serializer waits for something; on the loop only aencode() and aloads() can")


def _only(record: bytes, value: Any, end: int) -> Any:
    if end != len(record):
        raise Damaged(f"load stopped at byte {end} of a record of {len(record)}")
    return value


def _outcome(error: Exception, file: io.BytesIO, buffer: bytes) -> Torn | Damaged:
    """A load that failed at the end of the bytes may want more of them."""
    at_end = not file.closed and file.tell() >= len(buffer)
    return Torn(str(error)) if at_end else refused(error)


def _end(file: io.BytesIO, buffer: bytes, start: int) -> int:
    """Where load() stopped, if that can be the end of a record."""
    end = start if file.closed else file.tell()
    if end > len(buffer) or start == len(buffer):
        raise Torn
    if end <= start:
        raise Damaged("load read nothing")
    return end


class _File(io.BytesIO):
    """A file in memory that can be peeked into, as the chunk files of persist-queue can."""

    __slots__ = ()

    def peek(self, size: int = 0, /) -> bytes:
        """The next bytes, without moving."""
        here = self.tell()
        data = self.read(size if size > 0 else io.DEFAULT_BUFFER_SIZE)
        self.seek(here)
        return data


class _Bytes(bytes):
    """Bytes that may be awaited; waiting gives them at once."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, bytes]:
        yield from ()
        return bytes(self)


class _Int(int):
    """A number that may be awaited."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, int]:
        yield from ()
        return int(self)


class _AwaitableFile:
    """A file in memory whose methods work with `await` and without."""

    __slots__ = ("inner",)

    def __init__(self, data: bytes, start: int) -> None:
        self.inner = _File(data)
        self.inner.seek(start)

    def read(self, size: int | None = -1, /) -> _Bytes:
        """See io.BytesIO."""
        return _Bytes(self.inner.read(size))

    def readline(self, size: int | None = -1, /) -> _Bytes:
        """See io.BytesIO."""
        return _Bytes(self.inner.readline(size))

    def peek(self, size: int = 0, /) -> _Bytes:
        """See io.BufferedReader."""
        return _Bytes(self.inner.peek(size))

    def readinto(self, target: Any, /) -> _Int:
        """See io.BytesIO."""
        return _Int(self.inner.readinto(target))

    def write(self, data: Any, /) -> _Int:
        """See io.BytesIO."""
        return _Int(self.inner.write(data))

    def tell(self) -> _Int:
        """See io.BytesIO."""
        return _Int(self.inner.tell())

    def seek(self, offset: int, whence: int = 0, /) -> _Int:
        """See io.BytesIO."""
        return _Int(self.inner.seek(offset, whence))

    def flush(self) -> _Int:
        """Nothing to do."""
        return _Int(0)
