"""How far a chunk consists of whole records.  Reads only, a block at a time.

    q00003    record record record ???????????? record 000000000000
              ^start               ^                   ^the rest: zeros
                                   damaged, with a whole record behind it

Where a damaged place ends is the same for opening, skip, check and repair:

    json, orjson     behind its newline           } if a whole record, or the end, lies there
    msgpack, cbor2   where its length says        }
    pickle           where its frame says         }
    else             where the next whole record begins

What is read is what the disk has, as far as the system tells: after a failed sync the cache can hold more.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from asyncpq.layout import Position, chunk_name
from asyncpq.recovery.ends import LINES, stated_end
from asyncpq.serializers import Custom, Damaged, Torn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asyncpq.files import Files
    from asyncpq.serializers import Serializer

BLOCK: Final = 1024 * 1024  # bytes read at a time; doubled until the record at hand fits
UNBUILT: Final = "the value of the record cannot be built"  # though its shape is right
LOOK_MAX: Final = 64 * 1024 * 1024  # bytes behind a damaged place that are searched for a whole record


class Rest(Enum):
    """What the bytes behind the last whole record of a chunk are."""

    NOTHING = auto()  # there are none
    ZEROS = auto()
    TORN = auto()  # a record that never ended: nothing whole lies behind
    KEEP = auto()  # anything else: something whole lies behind, or nothing can be told


@dataclass(frozen=True, slots=True)
class Scan:
    """What a chunk holds from some position on."""

    end: Position  # behind the last whole record; chunksize records do not make it roll over
    size: int = 0  # bytes of the file
    past: int = 0  # whole records that end behind what was known
    damaged: int = 0  # places that are no record and have whole ones behind; each counts as one


class Chunk:
    """One open chunk file."""

    def __init__(self, files: Files, fd: int, serializer: Serializer, *, holes: bool = True) -> None:
        """Read nothing yet.

        Args:
            files: the file system.
            fd: the chunk, open.
            serializer: what its records are.
            holes: take a record that lies in part in a hole for one that is not whole.
        """
        self._files, self._fd, self._serializer = files, fd, serializer
        self.size = files.size(fd)
        # A write that never reached the disk may leave a hole below the size; it reads as zeros, which may decode.
        self._hole = files.next_hole(fd, 0) if holes else self.size
        self._base, self._data = 0, b""
        self._look_base, self._look = 0, b""

    def end_of(self, offset: int) -> int | None:
        """Return where the whole record at *offset* ends; None: no whole record begins there."""
        try:
            end = self.walk(self._serializer.check, offset)
        except (Damaged, Torn):
            return None
        return None if self._in_hole(offset, end) else end

    def walk(self, step: Callable[[bytes, int], int], offset: int) -> int:
        """Return where *step*, such as `skip` of a serializer, ends at *offset*.

        Raises:
            Damaged: as *step*.
            Torn: there is no byte, or the file ends inside the record.
        """
        if not self._base <= offset < self._base + len(self._data):
            self._load(offset, BLOCK)
        while offset < self.size:
            try:
                return self._base + step(self._data, offset - self._base)
            except Torn:
                have = self._base + len(self._data)
                if have >= self.size:
                    raise
                self._load(offset, max(BLOCK, 2 * (have - offset)))
        raise Torn

    def _in_hole(self, start: int, end: int) -> bool:
        """Return whether a part of these bytes was never written."""
        if self._hole < min(start, self.size):
            self._hole = self._files.next_hole(self._fd, start)
        return self._hole < end

    def next_whole(self, offset: int) -> int | None:
        """Return where the next whole record behind *offset* begins, if it does within LOOK_MAX."""
        if offset + 1 >= self.size:
            return None
        have = self._look_base + len(self._look)
        if not self._look_base <= offset < have or (have < self.size and have - offset < LOOK_MAX // 2):
            self._look_base, self._look = offset, self.read(offset, LOOK_MAX)
        # The byte at *offset* is in what is searched: only behind it a line can begin.
        found = self._serializer.resync(self._look, offset + 1 - self._look_base)
        return None if found is None else self._look_base + found

    def behind(self, offset: int, stop: int) -> int:
        """Return where the damaged place at *offset* ends: before a whole record, or at *stop*."""
        end = self.end_of(offset)  # its shape may be whole, and only its value impossible
        if end is None:
            end = stated_end(self._serializer, self.read, offset, self.size)
        if end is not None and (end == stop or (end < stop and self.end_of(end) is not None)):
            return end
        found = self.next_whole(offset)
        return stop if found is None else min(found, stop)

    def records_in(self, start: int, end: int) -> int:
        """Return how many records a damaged place has swallowed, as far as its bytes tell; at least one."""
        if isinstance(self._serializer, Custom) or self._serializer.NAME not in LINES:
            return 1
        lines, last = 0, b""
        while start < end and (block := self.read(start, min(BLOCK, end - start))):
            lines, last, start = lines + block.count(b"\n"), block[-1:], start + len(block)
        return max(1, lines + (last != b"\n"))

    def why(self, offset: int, end: int) -> str:
        """Return what is wrong with the bytes from *offset* to *end*; never what they hold."""
        if self.read(offset, min(BLOCK, end - offset)).count(0) == end - offset:
            return "zeros"
        try:
            self.walk(self._serializer.check, offset)
        except Damaged as damaged:
            return damaged.why
        except Torn:
            return "the record is not whole"
        return UNBUILT

    def rest(self, offset: int) -> Rest:
        """Return what the bytes from *offset* to the end are, where no whole record begins at *offset*."""
        if offset >= self.size:
            return Rest.NOTHING
        if self._only_zeros(offset):
            return Rest.ZEROS
        if isinstance(self._serializer, Custom) or self.size - offset > LOOK_MAX:
            return Rest.KEEP
        if self.end_of(offset) is not None or self.next_whole(offset) is not None:
            return Rest.KEEP
        return Rest.TORN if self._was_being_written(offset) else Rest.KEEP

    def _was_being_written(self, offset: int) -> bool:
        """Return whether what lies at *offset* never ended; zeros at its end were never written.

        What has its end, a newline or as many bytes as its length says, was a record once: it is damaged, not torn.
        """
        data = self.read(offset, LOOK_MAX).rstrip(b"\0")
        try:
            self._serializer.check(data, 0)
        except Torn:
            return True
        except Damaged:
            pass
        return self._serializer.NAME in LINES and b"\n" not in data

    def _only_zeros(self, offset: int) -> bool:
        while offset < self.size:
            block = self.read(offset, BLOCK)
            if not block or block.count(0) != len(block):
                return not block
            offset += len(block)
        return True

    def _load(self, offset: int, length: int) -> None:
        self._base, self._data = offset, self.read(offset, length)

    def read(self, offset: int, length: int) -> bytes:
        """Return up to *length* bytes from *offset*; fewer only at the end of the file."""
        length = max(0, min(length, self.size - offset))
        data = self._files.pread(self._fd, length, offset) if length else b""
        while len(data) < length and (more := self._files.pread(self._fd, length - len(data), offset + len(data))):
            data += more
        return data


class Chunks:
    """The chunk files of a directory.  *numbers* are those that exist, sorted."""

    def __init__(
        self, files: Files, dirfd: int, serializer: Serializer, numbers: Sequence[int], *, holes: bool = True
    ) -> None:
        """Open nothing yet; *holes* as for a Chunk."""
        self._files, self._dirfd, self._serializer, self._holes = files, dirfd, serializer, holes
        self.numbers = numbers
        self._there = numbers if isinstance(numbers, range) else frozenset(numbers)

    def __contains__(self, number: object) -> bool:
        return number in self._there

    @contextmanager
    def open(self, number: int) -> Iterator[Chunk]:
        """Open a chunk for as long as the block runs."""
        fd = self._files.open_read(self._dirfd, chunk_name(number))
        try:
            self._files.drop_cache(fd)
            yield Chunk(self._files, fd, self._serializer, holes=self._holes)
        finally:
            self._files.close(fd)

    def size(self, number: int) -> int:
        """Return the bytes of a chunk file."""
        fd = self._files.open_read(self._dirfd, chunk_name(number))
        try:
            return self._files.size(fd)
        finally:
            self._files.close(fd)

    def holds_nothing(self, number: int) -> bool:
        """Return whether a chunk is empty, or zeros from end to end."""
        with self.open(number) as chunk:
            return chunk.rest(0) in (Rest.NOTHING, Rest.ZEROS)

    def first_is_whole(self, number: int) -> bool:
        """Return whether a chunk begins with a whole record."""
        with self.open(number) as chunk:
            return chunk.end_of(0) is not None

    def rest(self, position: Position) -> tuple[Rest, int]:
        """Return what lies behind *position* in its chunk, and how many bytes that is."""
        with self.open(position.chunk) as chunk:
            return chunk.rest(position.offset), chunk.size - position.offset

    def scan(self, start: Position, chunksize: int, known: Position, *, tolerant: bool, stop: bool = False) -> Scan:
        """Walk the records of a chunk from *start* on.

        Args:
            start: where a record begins.
            chunksize: records after which the chunk is full.
            known: up to where info counts; a later chunk: all of this one.
            tolerant: pass over damaged places within what is known, when whole records follow.
            stop: end the walk at *known*.
        """
        within = known.offset if known.chunk == start.chunk else (1 << 63 if known.chunk > start.chunk else 0)
        with self.open(start.chunk) as chunk:
            return _walk(chunk, start, chunksize, known, within, tolerant=tolerant, stop=stop)


def _walk(
    chunk: Chunk, start: Position, chunksize: int, known: Position, within: int, *, tolerant: bool, stop: bool
) -> Scan:
    number, count, offset = start
    past = damaged = 0
    while (chunksize < 1 or count < chunksize) and not (stop and offset >= within):
        end = chunk.end_of(offset)
        if end is None:
            end = chunk.behind(offset, chunk.size) if tolerant and offset < within else chunk.size
            if end == chunk.size:
                break
            damaged += 1
        count, offset, past = count + 1, end, past + (end > within)
        if damaged and known == (number, max(known.count, count), offset):
            # How many records a damaged place has swallowed only info can tell; where it can be right, it is.
            count = known.count
    return Scan(Position(number, count, offset), chunk.size, past, damaged)
