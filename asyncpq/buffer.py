"""The read side: records between the read cursor and the head, as far as they are in memory.

    file:    r r r r r r r r r r r r r r r r r r r r r r
                   ^cursor        ^end of the blocks    ^head
    blocks:        [r r r r r r r r]                         read ahead, READ_AHEAD bytes at a time
    recent:                        [r r r r r r r ...]       just written, at most RECENT_MAX bytes

Recent records follow the blocks without a gap, or there are none; then a thread reads the next block.  So memory
does not grow with the backlog, and a consumer that keeps up costs no read.  What is beyond a little of each queue's
own counts against what all queues may keep together (`allowance.py`).
"""

from __future__ import annotations

import bisect
from collections import deque
from dataclasses import dataclass, field
from itertools import repeat
from operator import call
from typing import TYPE_CHECKING, Any, Final

from asyncpq.allowance import shared
from asyncpq.errors import CorruptRecord
from asyncpq.layout import Position, chunk_name, following
from asyncpq.serializers import Damaged, Torn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from asyncpq.files import Files
    from asyncpq.serializers import Serializer

READ_AHEAD: Final = 256 * 1024  # bytes taken from the chunks at a time, ...
READ_LEAST: Final = 4 * 1024  # ... and where all queues together keep too much
RECENT_MAX: Final = 1024 * 1024  # bytes of just written records kept for a consumer that keeps up, ...
RECENT_OWN: Final = 2 * 1024  # ... without asking, ...
RECENT_STEP: Final = 16 * 1024  # ... and asked for together


class NeedsRead(Exception):
    """The next record is not in memory, or not all of it: `ask` says how many bytes to read."""

    def __init__(self, ask: int) -> None:
        self.ask = ask


@dataclass(order=True, slots=True)
class Returned:
    """An item that a cancelled autosave get gave back."""

    number: int
    position: Position = field(compare=False)
    item: Any = field(compare=False)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where the read side was when a get_many had its first item."""

    first: Returned
    popped: list[Returned]  # had been given back by others, and were taken since
    cursor: Position
    got: int
    epoch: int

    @property
    def start(self) -> Position:
        """The place of the first of them on the disk; one that was given back may lie before `first`."""
        return min(self.first.position, *(item.position for item in self.popped), self.cursor)


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes of one chunk from some offset on; *complete*: up to the end of what may be read there."""

    chunk: int
    data: bytes
    complete: bool


def read_blocks(files: Files, dirfd: int, start: Position, end: tuple[int, int], ask: int) -> list[Block]:
    """Read about *ask* bytes from *start* on, never beyond *end* (chunk, offset), for a worker thread.

    A chunk that is gone reads as empty.
    """
    blocks: list[Block] = []
    chunk, offset = start.chunk, start.offset
    while ask > 0 and chunk <= end[0]:
        block = _read_block(files, dirfd, chunk, offset, end[1] if chunk == end[0] else None, ask)
        blocks.append(block)
        if not block.complete or (not block.data and chunk == start.chunk):
            break
        ask -= len(block.data)
        chunk, offset = chunk + 1, 0
    return blocks


def _read_block(files: Files, dirfd: int, chunk: int, offset: int, limit: int | None, ask: int) -> Block:
    try:
        fd = files.open_read(dirfd, chunk_name(chunk))
    except FileNotFoundError:
        return Block(chunk, b"", complete=True)
    try:
        end = files.size(fd)
        end = end if limit is None else min(end, limit)
        parts = []
        # One read may return less than was asked for: Linux reads 2 GiB at most.
        while offset < end and ask > 0 and (part := files.pread(fd, min(ask, end - offset), offset)):
            parts.append(part)
            offset += len(part)
            ask -= len(part)
        return Block(chunk, parts[0] if len(parts) == 1 else b"".join(parts), offset >= end)
    finally:
        files.close(fd)


class ReadBuffer:
    """The read cursor, and what lies before it in memory.  Only for the event loop's thread."""

    def __init__(self, path: Path, serializer: Serializer, chunksize: int, tail: Position, size: int) -> None:
        """Start at *tail*, with *size* records stored and none in memory."""
        self._path, self._serializer, self._chunksize = path, serializer, chunksize
        self._loads, self._decode = serializer.loads, serializer.decode
        # Without the frame of Python that tells errors apart; where there is such a one.
        self._raw_loads: Callable[[bytes], Any] = getattr(serializer, "raw_loads", serializer.loads)
        self.chunk, self.count, self.offset = tail
        # Sequence numbers: records stored, handed out, and in memory without a gap from the cursor on.
        self.stored, self.got, self._reach = size, 0, 0
        self._block = b""
        self._at = 0
        self._complete = False
        self._more: deque[Block] = deque()
        self._recent: deque[bytes] = deque()
        self._recent_bytes = 0
        self._recent_limit = RECENT_OWN  # bytes that may be kept
        self._ahead = 0  # bytes taken from what is shared, for blocks
        self.returned: list[Returned] = []  # handed out first
        self.jumped = 0  # of those `got`: nobody got them
        self.epoch = 0  # positions of an earlier one mean nothing any more: the queue was cleared or compacted
        self.marked_at: Mark | None = None  # a get_many has items that it has not returned

    @property
    def cursor(self) -> Position:
        """Where the next record is read."""
        return Position(self.chunk, self.count, self.offset)

    @property
    def ready(self) -> int:
        """How many items can be handed out."""
        return self.stored - self.got + len(self.returned)

    @property
    def at(self) -> tuple[int, Position]:
        """The number and the position of the next item."""
        if self.returned:
            return self.returned[0].number, self.returned[0].position
        return self.got, self.cursor

    @property
    def handed_out(self) -> Position:
        """Up to where items have been handed out: what a get_many has taken so far is its own until it returns."""
        return self.marked_at.start if self.marked_at else self.at[1]

    def give_back(self, item: Returned, epoch: int) -> None:
        """Let *item* be the next one again, unless it was cleared since *epoch*."""
        if epoch == self.epoch:
            bisect.insort(self.returned, item)

    def mark(self, first: Returned) -> Mark:
        """Remember the place behind *first*, which was just taken."""
        self.marked_at = mark = Mark(first, [], self.cursor, self.got, self.epoch)
        return mark

    def unmark(self) -> None:
        """What was taken since the mark counts as handed out."""
        self.marked_at = None

    def rewind(self, mark: Mark) -> None:
        """Give back all that was taken since *mark*, where nobody else took in between."""
        self.marked_at = None
        if mark.epoch != self.epoch:
            return
        self.returned[:] = sorted([mark.first, *mark.popped, *self.returned])
        if self.got != mark.got:
            self.jump(mark.cursor, mark.got - self.got)

    def leave(self, position: Position) -> None:
        """Go on at *position*, with nothing stored: the queue was cleared or compacted."""
        self.jump(position, self.stored - self.got)
        self.returned.clear()
        self.marked_at = None
        self.epoch += 1

    def added(self, record: bytes) -> None:
        """Count a record that was stored, and keep it if it follows what is in memory."""
        stored = self.stored
        self.stored = stored + 1
        if self._reach != stored:
            if self.got != stored:
                return
            self._reach = stored  # the consumer has caught up: everything from here on follows
        size = self._recent_bytes + len(record)
        if size <= self._recent_limit or self._may_keep(size):
            self._recent.append(record)
            self._recent_bytes = size
            self._reach = stored + 1

    def added_many(self, records: Sequence[bytes]) -> None:
        """Count records that were stored: as `added`."""
        size = self._recent_bytes + sum(map(len, records))
        follows = self._reach == self.stored or self.got == self.stored
        if follows and (size <= self._recent_limit or self._may_keep(size)):
            self._recent.extend(records)
            self._recent_bytes = size
            self.stored = self._reach = self.stored + len(records)
        else:
            for record in records:
                self.added(record)

    def _may_keep(self, size: int) -> bool:
        """Whether so many bytes of recent records may be kept; ask for what is missing."""
        if size > RECENT_MAX:
            return False
        missing = size - self._recent_limit
        taken = shared.take(max(missing, RECENT_STEP))
        if taken < missing:
            shared.give_back(taken)
            return False
        self._recent_limit += taken
        return True

    def _keep_less(self) -> None:
        """Give back what was taken for recent records: there are none."""
        taken, self._recent_limit = self._recent_limit - RECENT_OWN, RECENT_OWN
        shared.give_back(taken)

    def _ask(self) -> int:
        """Return how many bytes to read ahead: nothing is in memory."""
        shared.give_back(self._ahead)
        self._ahead = shared.take(READ_AHEAD - READ_LEAST)
        return READ_LEAST + self._ahead

    def let_go(self) -> None:
        """Give back what was taken: the queue is closed, and nobody reads any more."""
        taken, self._ahead = self._ahead, 0
        shared.give_back(taken)
        self._keep_less()

    def __del__(self, give_back: Callable[[int], None] = shared.give_back, own: int = RECENT_OWN) -> None:
        """Give back what was taken, where the queue was dropped without being closed."""
        give_back(self._ahead + self._recent_limit - own)

    def take(self) -> Any:
        """Return the next item and move the cursor behind it.

        Raises:
            NeedsRead: its record is not in memory.
            CorruptRecord: it cannot be read; the cursor stays.
        """
        if self.returned:
            back = self.returned.pop(0)
            if self.marked_at:
                self.marked_at.popped.append(back)
            return back.item
        if self._at < len(self._block):
            try:
                value, end = self._decode(self._block, self._at)
            except (Torn, Damaged) as error:
                raise self._unreadable(error) from error
            length = end - self._at
            self._at = end
        elif self._recent and not self._more:
            record = self._recent[0]
            try:
                value = self._raw_loads(record)
            except Exception:
                value = self._load(record)  # says what is wrong with it
            length = len(record)
            self._recent.popleft()
            self._recent_bytes -= length
            if not self._recent and self._recent_limit > RECENT_OWN:
                self._keep_less()
        else:
            self._next_block()
            return self.take()
        self._advance(length)
        return value

    def has(self, limit: int) -> bool:
        """Whether there are items, and so many of them in memory, or all there are."""
        ready = self.stored - self.got
        return ready > 0 and not self.returned and self._reach - self.got >= min(limit, ready)

    def _load(self, record: bytes) -> Any:
        try:
            return self._loads(record)
        except (Damaged, Torn) as error:
            raise self.corrupt(str(error)) from error

    def take_many(self, limit: int) -> list[Any]:
        """Return up to *limit* items, at least one: as `take`; what stops it later is met by the next call."""
        items: list[Any] = []
        try:
            while len(items) < limit and (self.stored > self.got or self.returned or not items):
                if self._recent and not self._more and self._at >= len(self._block) and not self.returned:
                    self._take_recent(items, limit)
                else:
                    items.append(self.take())
        except (NeedsRead, CorruptRecord):
            if not items:
                raise
        return items

    def _take_recent(self, items: list[Any], limit: int) -> None:
        """Take from the recent records, to the end of the chunk at most: the cursor is moved once."""
        left = limit - len(items)
        if self._chunksize > 0:
            left = min(left, self._chunksize - self.count)
        records = list(map(call, repeat(self._recent.popleft, min(left, len(self._recent)))))
        before = len(items)
        try:
            items += map(self._raw_loads, records)
        except Exception:
            taken = len(items) - before
            self._recent.extendleft(reversed(records[taken:]))
            del records[taken:]
            if not taken:
                self._load(self._recent[0])  # says what is wrong with it
                raise
        except BaseException:
            del items[before:]
            self._recent.extendleft(reversed(records))
            raise
        length = len(b"".join(records))  # half of what a sum of lengths takes; recent records are bounded
        self._recent_bytes -= length
        if not self._recent:
            self._keep_less()
        self._advance(length, len(records))

    def record(self) -> bytes:
        """Return the next record as bytes and leave it: as `take`."""
        if self._at < len(self._block):
            return self._block[self._at : self._skip_block()]
        if self._recent and not self._more:
            return self._recent[0]
        self._next_block()
        return self.record()

    def take_record(self) -> tuple[Any, bytes]:
        """Return the next item and its record, and move the cursor behind it: as `take`, of the files alone."""
        block, at = self._block, self._at
        if at < len(block):
            try:
                value, end = self._decode(block, at)
            except (Torn, Damaged) as error:
                raise self._unreadable(error) from error
            record = block[at:end]
            self._at = end
        elif self._recent and not self._more:
            record = self._recent[0]
            try:
                value = self._raw_loads(record)
            except Exception:
                value = self._load(record)  # says what is wrong with it
            self._recent.popleft()
            self._recent_bytes -= len(record)
            if not self._recent and self._recent_limit > RECENT_OWN:
                self._keep_less()
        else:
            self._next_block()
            return self.take_record()
        self._advance(len(record))
        return value, record

    def at_hand(self) -> bytes:
        """Return the bytes from the cursor on that are in memory: a part of its chunk, or one record."""
        if self._at < len(self._block):
            return self._block[self._at :]
        return self._recent[0] if self._recent and not self._more else b""

    def drop(self, length: int) -> None:
        """Move the cursor behind the record of *length* bytes that `record` returned."""
        if self._at < len(self._block):
            self._at += length
        else:
            self._recent_bytes -= len(self._recent.popleft())
        self._advance(length)

    def peek(self) -> Any:
        """Return the next item and leave it: as `take`."""
        if self.returned:
            return self.returned[0].item
        if self._at < len(self._block):
            try:
                return self._decode(self._block, self._at)[0]
            except (Torn, Damaged) as error:
                raise self._unreadable(error) from error
        if self._recent and not self._more:
            return self._load(self._recent[0])
        self._next_block()
        return self.peek()

    def _advance(self, length: int, records: int = 1) -> None:
        self.got += records
        count = self.count + records
        if count == self._chunksize:
            self.chunk, self.count, self.offset = self.chunk + 1, 0, 0
            self._block, self._at = b"", 0  # whatever lies behind the last record of a chunk is no record
        else:
            self.count = count
            self.offset += length

    def _skip_block(self) -> int:
        try:
            return self._serializer.skip(self._block, self._at)
        except (Torn, Damaged) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Torn | Damaged) -> Exception:
        """Tell a record that the block cut short from one that is damaged, or ends where its chunk does."""
        if isinstance(error, Damaged):
            return self.corrupt(str(error))
        if self._complete:
            return self.corrupt("the record is not whole")
        return NeedsRead(self._ask() if self._at else 2 * max(len(self._block), READ_AHEAD))

    def corrupt(self, why: str) -> CorruptRecord:
        """Return the error for the record at the cursor."""
        return CorruptRecord(self._path / chunk_name(self.chunk), self.offset, why)

    # -- blocks ---------------------------------------------------------------------------------------------

    def _next_block(self) -> None:
        """Go on with the next block in memory; raise NeedsRead when there is none."""
        if not self._more or self._more[0].chunk != self.chunk:
            raise NeedsRead(self._ask())
        block = self._more.popleft()
        if not block.data:
            raise NeedsRead(self._ask())
        self._block, self._at, self._complete = block.data, 0, block.complete

    def fill(self, start: Position, blocks: list[Block], reached: int | None) -> None:
        """Take blocks that were read from *start* on; they hold every record up to number *reached*, if given.

        Raises:
            CorruptRecord: there is no byte where the next record must be.
        """
        if start != self.cursor:
            return  # the cursor went on meanwhile (clear, compact)
        self._forget_recent()
        self._block, self._at = b"", 0
        self._more = deque(blocks)
        self._reach = -1 if reached is None else reached
        if not blocks or not blocks[0].data:
            self._more.clear()
            self._reach = -1
            raise self.corrupt(f"the chunk ends here, after {self.count} records")
        self._next_block()

    def jump(self, position: Position, records: int) -> None:
        """Move the cursor over *records* to *position*; nothing is in memory afterwards."""
        self.chunk, self.count, self.offset = position
        self.got += records
        self.jumped += records
        self._block, self._at = b"", 0
        self._more.clear()
        self._forget_recent()
        self._reach = -1

    def _forget_recent(self) -> None:
        self._recent.clear()
        self._recent_bytes = 0
        self._keep_less()


class SkippingBuffer(ReadBuffer):
    """The same, for a directory in which some records are acknowledged although an older one is not.

    They are never handed out, nor counted: the numbers are of the others alone, and the cursor never stays at one.
    """

    def __init__(
        self,
        path: Path,
        serializer: Serializer,
        chunksize: int,
        tail: Position,
        size: int,
        acked: dict[Position, int],
    ) -> None:
        """Start at *tail*; *acked* has the lengths of the records to leave out."""
        super().__init__(path, serializer, chunksize, tail, size - len(acked))
        self._acked, self._last = acked, max(acked)
        self._pass()

    @property
    def _skipping(self) -> bool:
        return self.cursor <= self._last

    def _pass(self) -> None:
        while length := self._acked.get(self.cursor, 0):
            if self._at + length <= len(self._block):
                self._at += length
                super()._advance(length)
                self.got -= 1  # it is not counted
            else:
                super().jump(following(self.cursor, length, self._chunksize), 0)

    def _advance(self, length: int, records: int = 1) -> None:
        super()._advance(length, records)
        self._pass()

    def jump(self, position: Position, records: int) -> None:
        """Move the cursor over *records* to *position*, and past what is acknowledged there."""
        super().jump(position, records)
        self._pass()

    def added(self, record: bytes) -> None:
        """Count a record that was stored."""
        if self._skipping:
            self.stored += 1  # not kept: it does not follow what is in memory
        else:
            super().added(record)

    def added_many(self, records: Sequence[bytes]) -> None:
        """Count records that were stored."""
        if self._skipping:
            self.stored += len(records)
        else:
            super().added_many(records)

    def has(self, limit: int) -> bool:
        """Return whether so many items can be taken together."""
        return not self._skipping and super().has(limit)
