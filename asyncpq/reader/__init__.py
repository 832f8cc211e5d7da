"""A look into a directory that leaves no trace: no lock, no byte, no time of access.

    look       info, the sizes of the chunks, info again     -> View: what the directory says, checked
    records    tail ... end of the chunk, next chunk, ... head, in blocks of READ_AHEAD

Beside a live writer two things move.  The slot is overwritten while it is read: a view counts only when the
mark's CRC fits, or when two reads of info agree.  Chunks go when they are consumed: the iteration reads info
again and goes on at the new tail, so an item comes at most once, and in order.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncpq import layout, serializers
from asyncpq.errors import CorruptQueue, CorruptRecord, QueueClosed, StorageError, WrongSerializer
from asyncpq.layout import Mark, Position
from asyncpq.reader._look import Directory, Found, View, judge, not_open, place
from asyncpq.serializers import Damaged, Torn, plain_loads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType
    from typing import Self

    from aiofiles.threadpool.binary import AsyncFileIO

    from asyncpq.serializers import Serializer

__all__ = ["QueueReader", "Record"]

READ_AHEAD: Final = 256 * 1024  # bytes taken from a chunk at a time; more only for a record that is longer
LOOKS: Final = 100  # tries to find a directory whose info and files belong together
FAIRNESS: Final = 64  # records between two yields to the event loop

# Of a serializer: what the record at an offset of a buffer holds, and the offset behind it.
Read = Callable[[bytes, int], tuple[Any, int]]
AsyncRead = Callable[[bytes, int], Coroutine[Any, Any, tuple[Any, int]]]


class Record(NamedTuple):
    """An item, where its record begins, and how many bytes the record has."""

    position: Position
    length: int
    item: Any

    @property
    def end(self) -> Position:
        """The position behind it, in the same chunk."""
        chunk, count, offset = self.position
        return Position(chunk, count + 1, offset + self.length)


class QueueReader:
    """The items of a queue's directory and what its info says, read without taking it over.

    It takes no lock and changes nothing, so it may stand beside the process that has the queue open, and may
    read a directory that this process may only read.

    Where info carries no mark, because the queue was closed or persist-queue wrote it, *head* and *size*
    include the whole records that follow in the files: opening the queue adopts them.  Where there is a mark,
    a writer may be alive and what follows may be a put in progress; under `always` it was never acknowledged:
    the reader stops at the head that info names.

    The attributes are from the last look: `open`, `refresh`, and each start of an iteration.

    Args:
        path: the directory.
        serializer: a name or a module, as for AsyncQueue; None: what the directory was written with.
        unpickle: really unpickle, which runs what the pickles say.  Without it plain data is built from them,
            and what needs a class is shown as `asyncpq.serializers.Opaque`.
    """

    def __init__(self, path: str | os.PathLike[str], *, serializer: Any = None, unpickle: bool = False) -> None:
        self.path = Path(path)
        self._given: Serializer | None = None if serializer is None else serializers.get(serializer)
        self._unpickle = unpickle
        self._directory = Directory(self.path)
        self._last: View | None = None
        self._acked: dict[Position, int] = {}  # out of order: left out, and not counted

    @property
    def serializer(self) -> str:
        """The name of the serializer."""
        return str(self._view.serializer.NAME)

    @property
    def chunksize(self) -> int | None:
        """Records in a chunk (0 or less: it never rolls over); None where there is no info yet."""
        return self._view.info.chunksize if self._view.info else None

    @property
    def size(self) -> int:
        """The number of items from tail to head that are not acknowledged."""
        view = self._view
        return max(0, layout.distance(view.chunksize, view.tail, view.head) - len(self._acked))

    @property
    def tail(self) -> Position:
        """Where the next item is read: chunk, records before it in that chunk, byte offset."""
        return self._view.tail

    @property
    def head(self) -> Position:
        """Where the next record goes: as *tail*."""
        return self._view.head

    @property
    def closed(self) -> bool:
        """Whether info has exactly the length of its record, as after a close."""
        return self._view.closed

    @property
    def mark(self) -> Mark | None:
        """What was durable, from the slot of an open or killed queue: policy (its code), head, tail; else None."""
        return self._view.mark

    @property
    def chunks(self) -> list[int]:
        """The numbers of the chunk files, sorted."""
        return list(self._view.sizes)

    @property
    def bytes_on_disk(self) -> int:
        """Bytes of info and of all chunks."""
        return self._view.info_length + sum(self._view.sizes.values())

    @property
    def _view(self) -> View:
        if self._last is None:
            raise QueueClosed(not_open(self.path))
        return self._last

    async def open(self) -> None:
        """Look into the directory; on return the attributes are there.

        Raises:
            NotAQueue: no directory, or neither info nor a chunk in it.
            WrongSerializer: written with another serializer.
            CorruptQueue: the queue would not open, or info counts items that the files do not hold.
            OSError: it cannot be read.

        Cancellation: the directory is given back.
        """
        opening = asyncio.ensure_future(asyncio.to_thread(self._directory.open))
        try:
            await asyncio.shield(opening)
            await self.refresh()
        except BaseException:
            if opening.done():
                await self.close()
            else:  # the thread goes on
                opening.add_done_callback(self._unwanted)
            raise

    def _unwanted(self, opening: asyncio.Future[None]) -> None:
        """Close what was opened after all."""
        if not opening.cancelled() and opening.exception() is None:
            self._directory.close()

    async def refresh(self) -> None:
        """Look again; on return the attributes are of this moment.

        Raises:
            QueueClosed: the reader is not open.
            Else as `open`.

        Cancellation: the attributes stay those of the last look.
        """
        view = await self._look()
        self._acked = await asyncio.to_thread(self._directory.acked, view)
        self._last = view

    async def close(self) -> None:
        """Give the directory back; an iteration that is under way ends with QueueClosed at its next chunk.

        Raises nothing when the reader is closed, or was never opened.

        Cancellation: it is given back all the same.
        """
        self._last = None
        await asyncio.shield(asyncio.to_thread(self._directory.close))

    async def __aenter__(self) -> Self:
        """Open the reader."""
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the reader."""
        await self.close()

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        """Yield the items from the tail to the head of this moment; see records()."""
        async with aclosing(self.records()) as records:
            async for record in records:
                yield record.item

    async def records(self) -> AsyncGenerator[Record, None]:
        """Yield a Record for each item from the tail to the head, as they are when the iteration starts.

        A Record has the item's *position*, as *tail*; the *length* of the record, in bytes; and the *item*.

        Any number of iterations may run, one after the other or at once.  Items that a live writer consumes
        meanwhile may be left out; none comes twice.

        Raises:
            CorruptRecord: a record cannot be read; path and offset say which.
            CorruptQueue: a chunk is gone that was not consumed.
            QueueClosed: the reader was closed.

        Cancellation: the file at hand is closed; nothing is changed.
        """
        await self.refresh()
        view, acked = self._view, self._acked
        position, end = view.tail, view.head
        while place(position) < place(end):
            try:
                async with aclosing(self._items(view, position)) as items:
                    async for record in items:
                        position = record.end
                        if record.position not in acked:
                            yield record
                position = self._next_chunk(view, position)
            except (CorruptRecord, FileNotFoundError) as error:
                position = await self._moved_meanwhile(position, error) or end

    def _items(self, view: View, start: Position) -> AsyncGenerator[Record, None]:
        """The records of the chunk that *start* lies in, up to the head of *view*."""
        plain = view.serializer is serializers.pickle and not self._unpickle
        read = _reading(view.serializer, plain_loads if plain else view.serializer.decode)
        if start.chunk == view.head.chunk:
            return self._chunk(start, read, stop=view.head.offset)
        return self._chunk(start, read, most=view.chunksize)

    async def _chunk(
        self, start: Position, read: AsyncRead, *, stop: int | None = None, most: int = 0
    ) -> AsyncGenerator[Record, None]:
        """Yield the records of a chunk from *start* to byte *stop* (None: its end), or to the *most*-th."""
        name = layout.chunk_name(start.chunk)
        async with self._directory.file(name) as file:
            size = await file.seek(0, os.SEEK_END)
            await file.seek(start.offset)
            window = _Window(file, self.path / name, start.offset, size if stop is None else stop)
            position = start
            while window.offset < window.stop and not 0 < most <= position.count:
                if position.count % FAIRNESS == 0:
                    await asyncio.sleep(0)
                item, length = await window.take(read)
                record = Record(position, length, item)
                position = record.end
                yield record

    def _next_chunk(self, view: View, position: Position) -> Position:
        """The start of the chunk behind *position*, which is where the records of its chunk end."""
        chunk, count, offset = position
        if chunk == view.head.chunk:
            return view.head
        if count < view.chunksize:
            why = f"the chunk ends after {count} of its {view.chunksize} records"
            raise CorruptRecord(self.path / layout.chunk_name(chunk), offset, why)
        return Position(chunk + 1, 0, 0)

    async def _moved_meanwhile(self, position: Position, error: Exception) -> Position | None:
        """Where to go on after *error*: at the new tail, where a writer has moved it past *position*.

        None where nothing lies behind *position* any more: the queue was cleared, or its writer cut off what
        the reader had counted as adopted.  Else *error* stands.
        """
        self._last = view = await self._look()
        if place(view.tail) > place(position):
            return view.tail
        if place(view.head) <= place(position):
            return None
        if isinstance(error, FileNotFoundError):
            name = layout.chunk_name(position.chunk)
            raise CorruptQueue(self.path, f"info counts items in {name}, which is not there") from error
        raise error

    async def _look(self) -> View:
        """What the directory says, from a moment when its parts belonged together."""
        before: Found | None = None
        for _ in range(LOOKS):
            found = await asyncio.to_thread(self._directory.look)
            try:
                view = await asyncio.to_thread(judge, self.path, self._given, found)
            except StorageError:
                if before and found.info == before.info:  # no writer at work: it is what it looks like
                    raise
            else:
                if view.mark:
                    return view
                if found.settled:
                    return replace(view, head=await self._adopted(view))
            before = found
        raise CorruptQueue(self.path, f"info and the chunks did not fit each other in {LOOKS} looks")

    async def _adopted(self, view: View) -> Position:
        """The position behind the whole records that follow head, as opening would adopt them."""
        head = view.head
        if view.info is None and view.sizes[0]:
            await self._refuse_other_serializer(view.serializer)
        while head.offset < view.sizes.get(head.chunk, 0):
            start, head = head, await self._behind_whole(view, head)
            if head.chunk == start.chunk:
                break
        return head

    async def _behind_whole(self, view: View, start: Position) -> Position:
        """The position behind the whole records of one chunk from *start* on."""
        end, check = start, view.serializer.check
        read = _reading(view.serializer, lambda buffer, at: (None, check(buffer, at)))
        with suppress(CorruptRecord, FileNotFoundError):
            walk = self._chunk(start, read, most=view.chunksize)
            async with aclosing(walk) as records:
                async for record in records:
                    end = layout.following(record.position, record.length, view.chunksize)
        return end

    async def _refuse_other_serializer(self, serializer: Serializer) -> None:
        """Raise WrongSerializer when another serializer wrote the first record of a queue without info."""
        async with self._directory.file(layout.chunk_name(0)) as file:
            data = await file.read(READ_AHEAD)
        if not data.strip(b"\0"):
            return
        try:
            await asyncio.to_thread(serializer.check, data, 0)
        except (Torn, Damaged) as outcome:
            found = serializers.detect_record(data)
            if found or isinstance(outcome, Damaged):
                raise WrongSerializer(self.path, serializer.NAME, found) from None


class _Window:
    """The bytes of a chunk around the record at hand: one block, or what holds the record."""

    def __init__(self, file: AsyncFileIO, path: Path, offset: int, stop: int) -> None:
        self._file, self._path = file, path
        self._buffer, self._at = b"", 0
        self.offset = offset  # of the record at hand, in the chunk
        self.stop = stop  # nothing behind it is read

    async def take(self, read: AsyncRead) -> tuple[Any, int]:
        """What *read* makes of the record at hand, and its length; the next one is at hand then."""
        while True:
            try:
                item, end = await read(self._buffer, self._at)
            except Torn:
                if not await self._more():
                    raise CorruptRecord(self._path, self.offset, "the record is cut off") from None
            except Damaged as damaged:
                raise CorruptRecord(self._path, self.offset, damaged.why) from damaged
            else:
                length = end - self._at
                self._at, self.offset = end, self.offset + length
                return item, length

    async def _more(self) -> bool:
        """Read on: as much again as there is, so that a long record is not decoded too often."""
        rest = self._buffer[self._at :]
        left = self.stop - self.offset - len(rest)
        data = await self._file.read(min(max(READ_AHEAD, len(rest)), left))
        self._buffer, self._at = rest + data, 0
        return bool(data)


def _reading(serializer: Serializer, read: Read) -> AsyncRead:
    """*read* to be awaited; in a thread where the serializer waits, as it runs a loop of its own then."""

    async def at_once(buffer: bytes, start: int) -> tuple[Any, int]:
        return read(buffer, start)

    async def in_thread(buffer: bytes, start: int) -> tuple[Any, int]:
        return await asyncio.to_thread(read, buffer, start)

    return in_thread if serializer.is_async else at_once
