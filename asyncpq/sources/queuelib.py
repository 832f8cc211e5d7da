"""queuelib's FIFO queues: a directory of chunks that knows its size only when it was closed, or a table.

    info.json    {"chunksize": 100000, "size": 7, "tail": [chunk, count, offset], "head": [chunk, count]}
    q00000       record record ...          a record: its length, 4 bytes, the high one first; then its bytes

    queue (id, item)                        of FifoSQLiteQueue

Items are bytes, unless a serializer is given.  Items are what info.json counts, as for queuelib itself.  It is written
at a close only: what a process that was killed has put behind them comes as one Entry with *bad*.

Source of the layout: what queuelib 1.10.0 creates.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncpq.directory import refuse_other_openers
from asyncpq.errors import CorruptQueue, WrongSerializer
from asyncpq.layout import LIMIT, Position, chunk_name, distance, listing
from asyncpq.looking import Looking
from asyncpq.recovery.opening import full_names
from asyncpq.serializers import pickle
from asyncpq.sources.blobs import Reading, fits, fitting
from asyncpq.sources.protocol import About, Entry
from asyncpq.sources.records import BATCH, BLOCK, NOTHING, SHOWN, protocol_of
from asyncpq.sources.rows import Table
from asyncpq.sources.tables import Candidate, TableSource, Words, as_it_is, serializer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

    from asyncpq.sources.database import ReadOnly
    from asyncpq.sources.options import Options

__all__ = ["INFO", "QueuelibSource", "found"]

INFO: Final = "info.json"
INFO_MAX: Final = 1024 * 1024  # bytes; it holds six numbers
LENGTH: Final = struct.Struct(">L")


def found(tables: dict[str, list[str]]) -> list[Candidate]:
    """Return the queue of FifoSQLiteQueue among *tables*, whose columns are given."""
    return [Candidate("queue", "queue", _open)] if tables.get("queue") == ["id", "item"] else []


def _open(path: Path, database: ReadOnly, options: Options) -> TableSource:
    table = Table(name="queue", number="id", data="item")
    serializer = serializer_of(database, table, options.serializer) if options.serializer else None
    reading = Reading(serializer, options.unpickle, options.encoding)
    return TableSource(path, database, table, reading, as_it_is, Words("queuelib", "queuelib's FifoSQLiteQueue", {}))


@dataclass(frozen=True, slots=True)
class Ends:
    """What info.json says."""

    chunksize: int
    tail: Position
    head: tuple[int, int]


class QueuelibSource:
    """See Source.

    Raises:
        CorruptQueue: info.json does not say what it should.
        QueueLocked: with *lock*, another process has it open.
        WrongSerializer: the first item is not of the serializer given.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self._path, self._files = path, Looking()
        self._reading = Reading(options.serializer, options.unpickle, options.encoding)
        self._load, self._sound = self._reading.loader(), self._reading.sound()
        self._dirfd = self._files.open_dir(str(path))
        try:
            with full_names(path):
                self._numbers = listing(self._files.list_dir(self._dirfd)).numbers
                self._ends = self._parsed(self._info())
                if options.lock:
                    ends = {self._ends.tail.chunk, self._ends.head[0]} & set(self._numbers)
                    refuse_other_openers(self._files, self._dirfd, path, [chunk_name(n) for n in sorted(ends)])
                self.about = self._about()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory; once more does nothing."""
        dirfd, self._dirfd = self._dirfd, -1
        if dirfd >= 0:
            self._files.close(dirfd)

    def loads(self, blob: bytes) -> Any:
        """See Source."""
        return self._load(blob)

    def where(self, entry: Entry) -> str:
        """See Source."""
        return f"{chunk_name(entry.at[0])} at byte {entry.at[2]}"

    # -- info.json --------------------------------------------------------------------------------------

    def _info(self) -> bytes:
        fd = self._files.open_read(self._dirfd, INFO)
        try:
            return self._files.pread(fd, INFO_MAX, 0)
        finally:
            self._files.close(fd)

    def _parsed(self, data: bytes) -> Ends:
        try:
            said = json.loads(data)
            chunksize, tail, head = said["chunksize"], said["tail"], said["head"]
            good = all(type(n) is int and 0 <= n < LIMIT for n in (chunksize, *tail, *head))
            if not good or chunksize < 1 or len(tail) != 3 or len(head) != 2:
                raise ValueError("it does not hold positions")
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise CorruptQueue(self._path, f"{INFO} of queuelib cannot be read: {error}") from None
        return Ends(chunksize, Position(*tail), (head[0], head[1]))

    def _about(self) -> About:
        ends, sizes = self._ends, [self._size(number) for number in self._numbers]
        first = next(self.batches(), [])[:1]
        blob = first[0].blob if first else b""
        if first and self._reading.serializer and not fits(self._reading.serializer, blob):
            fit = fitting(blob)
            raise WrongSerializer(self._path, self._reading.serializer.NAME, fit[0] if len(fit) == 1 else None)
        there = [number for number in self._numbers if ends.tail.chunk <= number <= ends.head[0]]
        whole = len(there) == ends.head[0] - ends.tail.chunk + 1
        return About(
            path=self._path,
            kind="queuelib",
            what="queuelib's FifoDiskQueue",
            serializer=self._reading.serializer,
            protocol=protocol_of(blob) if self._reading.serializer is pickle else None,
            items=max(0, distance(ends.chunksize, ends.tail, Position(*ends.head, 0))) if whole else None,
            bytes_on_disk=sum(sizes) + len(self._info()),
            details={
                "chunksize": ends.chunksize,
                "tail": tuple(ends.tail),
                "head": ends.head,
                "chunks": len(self._numbers),
            },
        )

    def _size(self, number: int) -> int:
        fd = self._files.open_read(self._dirfd, chunk_name(number))
        try:
            return self._files.size(fd)
        finally:
            self._files.close(fd)

    # -- the items --------------------------------------------------------------------------------------

    def batches(self, after: tuple[int, ...] | None = None) -> Iterator[list[Entry]]:
        """See Source."""
        tail, head = self._ends.tail, Position(*self._ends.head, 0)
        at = tail if after is None else max(tail, Position(*after))
        with full_names(self._path):
            for number in [number for number in self._numbers if at.chunk <= number <= head.chunk]:
                if number > at.chunk:
                    yield [Entry(at, b"", f"{chunk_name(at.chunk)} is not there, nor what follows up to {number}")]
                    at = Position(number, 0, 0)
                for batch in self._chunk(at, head):
                    if left := batch[1:] if batch[0].at == after else batch:
                        yield left
                at = Position(number + 1, 0, 0)
        if at.chunk <= head.chunk and at[:2] < head[:2]:
            yield [Entry(at, b"", f"{chunk_name(at.chunk)} is not there, nor what follows")]

    def _chunk(self, at: Position, head: Position) -> Iterator[list[Entry]]:
        fd = self._files.open_read(self._dirfd, chunk_name(at.chunk))
        try:
            most = head.count if at.chunk == head.chunk else self._ends.chunksize
            yield from _Walk(self._files, fd, at, most, self._sound).batches()
        finally:
            self._files.close(fd)


class _Walk:
    """The records of one chunk, from *at* up to the one of number *most*."""

    def __init__(self, files: Looking, fd: int, at: Position, most: int, sound: Callable[[bytes], str | None]) -> None:
        self._files, self._fd, self._sound = files, fd, sound
        self._at, self._most, self._size = at, most, files.size(fd)

    def batches(self) -> Iterator[list[Entry]]:
        """Yield them; bytes that are no record, or that nobody counts, are the last Entry."""
        want = BLOCK
        while self._at.count < self._most:
            start = self._at.offset
            data = self._files.pread(self._fd, min(want, self._size - start), start)
            batch = self._split(data)
            if batch:
                yield batch
                want = BLOCK
            elif start + len(data) < self._size and (needed := self._needed(data)) <= self._size - start:
                want = needed
            else:
                yield [self._bad(f"{self._most - self._at.count} records should be here, and the first is not whole")]
                return
        if self._at.offset < self._size:
            yield [self._bad("bytes behind the last item that is counted: queuelib was not closed")]

    def _split(self, data: bytes) -> list[Entry]:
        chunk, count, offset = self._at
        pos, most, batch = 0, min(self._most, count + BATCH), list[Entry]()
        while count < most and pos + LENGTH.size <= len(data):
            end = pos + LENGTH.size + LENGTH.unpack_from(data, pos)[0]
            if end > len(data):
                break
            blob = data[pos + LENGTH.size : end]
            batch.append(Entry(Position(chunk, count, offset + pos), blob, self._sound(blob), NOTHING))
            pos, count = end, count + 1
        self._at = Position(chunk, count, offset + pos)
        return batch

    def _needed(self, data: bytes) -> int:
        """Return how many bytes the record that *data* begins with has; its length is believed up to the file's."""
        return LENGTH.size + int(LENGTH.unpack_from(data)[0]) if len(data) >= LENGTH.size else LENGTH.size

    def _bad(self, why: str) -> Entry:
        length = self._size - self._at.offset
        return Entry(
            self._at, self._files.pread(self._fd, min(length, SHOWN), self._at.offset), why, {"length": length}
        )
