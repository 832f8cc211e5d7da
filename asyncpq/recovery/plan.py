"""What opening is going to do, as data, and the decisions that lead to it.

    tail            durable head          head             files past it
     v                   v                 v
    [q3 ~~~~~~~~~~~][q4 ~~~~ ????????][q5 ???? ------][q6 ----------]
     believed            verified          adopted, if whole records go on to here

With a mark, everything behind its head is verified, and the queue ends before the first record that is not
whole: nothing behind it was ever durable.  Without one (closed, or foreign) the head chunk is verified,
and a damaged place with whole records behind it stays: get() reports it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

from asyncpq import fsync
from asyncpq.layout import START, Position, chunk_name, distance
from asyncpq.recovery.chunks import Rest, Scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpq.layout import Info, Mark
    from asyncpq.recovery.chunks import Chunks
    from asyncpq.recovery.survey import Readable


@dataclass(frozen=True, slots=True)
class Hole:
    """A chunk between tail and head is gone that was durable: nothing that opening may heal by itself."""

    missing: int
    why: str


@dataclass(slots=True)
class Plan:
    """Where the queue begins and ends, and what has to be done to the files.  Chunks are numbers."""

    tail: Position
    head: Position
    chunksize: int
    adopted: int = 0
    lost: int = 0
    copies: list[Position] = field(default_factory=list)  # from here to the chunk's end: set aside
    cuts: list[tuple[Position, int]] = field(default_factory=list)  # cut off here, so many bytes
    moves: list[int] = field(default_factory=list)  # whole files: set aside
    empty: list[int] = field(default_factory=list)  # files to be removed before anything is written
    sync: list[int] = field(default_factory=list)  # what is adopted, or was verified
    renames: list[tuple[int, int]] = field(default_factory=list)  # in this order, at the end
    create: bool = False  # the head chunk is not there
    below: list[int] = field(default_factory=list)  # consumed: removed at the end
    write_info: bool = False
    messages: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Records from tail to head."""
        return distance(self.chunksize, self.tail, self.head)

    @property
    def changes_chunks(self) -> bool:
        """Whether a chunk file at or behind the tail is touched."""
        return bool(self.copies or self.cuts or self.moves or self.empty or self.renames or self.create)

    def end_chunk(self, chunks: Chunks, at: Position, *, keep: bool, cut: bool = False) -> None:
        """Let the chunk of *at* end there: what lies behind is set aside or cut off.

        Args:
            chunks: the files.
            at: behind the last record that counts.
            keep: set aside anything but zeros.
            cut: cut off without a look: nothing of it was acknowledged.
        """
        rest, length = (Rest.TORN, chunks.size(at.chunk) - at.offset) if cut else chunks.rest(at)
        if length <= 0:
            return
        if rest is Rest.KEEP or (keep and rest is Rest.TORN):
            self.copies.append(at)
            self.messages.append(f"{chunk_name(at.chunk)}: set aside {length} bytes from byte {at.offset} on")
            self.cuts.append((at, 0))
        else:
            self.cuts.append((at, length))
            what = "zeros" if rest is Rest.ZEROS else "bytes of records that were never finished"
            self.messages.append(f"{chunk_name(at.chunk)}: cut off {length} {what} at byte {at.offset}")

    def put_away(self, chunks: Chunks, numbers: Sequence[int]) -> None:
        """Take whole chunk files out of the queue."""
        for number in numbers:
            if chunks.holds_nothing(number):
                self.empty.append(number)
                self.messages.append(f"{chunk_name(number)}: removed, it held nothing")
            else:
                self.moves.append(number)
                self.messages.append(f"{chunk_name(number)}: set aside, it does not follow the head")


def fits(found: Readable, chunks: Chunks) -> bool:
    """Return whether the files are what an exact info says, by name and by the size of the head chunk."""
    info, live = found.info, _from(chunks.numbers, found.info.tail.chunk)
    return (
        found.exact
        and _sound(info)
        and len(live) == info.head.chunk - info.tail.chunk + 1
        and live[-1] == info.head.chunk
        and chunks.size(info.head.chunk) == info.head.offset
    )


def _sound(info: Info) -> bool:
    """Return whether the positions can be those of a queue."""
    tail, head, chunksize = info.tail, info.head, info.chunksize
    ordered = tail.chunk < head.chunk or (
        tail.chunk == head.chunk and tail.offset <= head.offset and tail.count <= head.count
    )
    return ordered and all(
        (p.count == 0) == (p.offset == 0) and (chunksize < 1 or p.count < chunksize) for p in (tail, head)
    )


def unchanged(found: Readable, chunks: Chunks) -> Plan:
    """Return the plan for a directory that fits: at most the size is put right, and consumed chunks go."""
    info = found.info
    plan = Plan(info.tail, info.head, info.chunksize)
    _finish(plan, info, chunks)
    return plan


def decide(found: Readable, chunks: Chunks, *, repair: bool = False) -> Plan | Hole:
    """Return what to do with a directory whose info can be read and that was not closed, or does not fit.

    With *repair*, what lies behind the last record of a full chunk stays: a repair takes the records in.
    """
    info, mark = found.info, found.mark
    if info.chunksize < 1 and info.tail.chunk != info.head.chunk:
        return Hole(
            info.head.chunk,
            f"info says that chunks never fill, and that there are several ({info.chunksize=})",
        )
    if mark is not None and mark.head[::2] > info.head[::2]:
        mark = None  # no writer writes that
    always = mark is not None and mark.policy == fsync.Always.code
    live = _from(chunks.numbers, info.tail.chunk)
    if always:
        live = live[: bisect_right(live, info.head.chunk)]
    run = _run(live)
    behind = live[len(run) : bisect_right(live, info.head.chunk)]
    if behind and (mark is None or run[-1] < mark.head.chunk):
        name = chunk_name(run[-1] + 1)
        return Hole(run[-1] + 1, f"{name} is missing, though {chunk_name(behind[0])} behind it is there")
    return _Decision(info, mark, always, run, chunks, repair).plan()


class _Decision:
    """Follows the records from the last place that can be believed."""

    def __init__(
        self, info: Info, mark: Mark | None, always: bool, run: Sequence[int], chunks: Chunks, repair: bool
    ) -> None:
        self.info, self.mark, self.always, self.run, self.chunks = info, mark, always, run, chunks
        self.repair = repair
        self.chunksize = info.chunksize
        self.result = Plan(info.tail, info.head, info.chunksize)

    def plan(self) -> Plan:
        """Return the plan."""
        if self.run:
            self._find_tail()
            self._end(self._find_head())
        else:
            self._nothing_left()
        result = self.result
        result.put_away(self.chunks, _from(self.chunks.numbers, result.head.chunk + 1))
        if result.head.chunk not in self.chunks:
            result.create = True
            result.messages.append(f"{chunk_name(result.head.chunk)}: made, it was not there")
        if result.tail[::2] > result.head[::2] or result.size < 0:
            result.tail = result.head
            result.messages.append("the tail was behind the head: it is at the head now")
        _finish(result, self.info, self.chunks)
        return result

    def _nothing_left(self) -> None:
        info, result = self.info, self.result
        end = Position(max(info.tail.chunk, info.head.chunk), 0, 0)
        if info.tail != end or info.head != end:
            result.lost = max(0, distance(self.chunksize, info.tail, info.head))
            result.messages.append(f"no chunk from the tail on is there: the queue is empty, {result.lost} items lost")
        result.tail = result.head = end

    def _find_tail(self) -> None:
        tail = self.info.tail
        if self.run[0] != tail.chunk:
            self.result.tail = Position(self.run[0], 0, 0)
            gone, first = chunk_name(tail.chunk), chunk_name(self.run[0])
            self.result.messages.append(f"{gone}: gone, so it was consumed; the tail is at the beginning of {first}")
        elif (0 < self.chunksize <= tail.count) or (tail.count == 0) != (tail.offset == 0):
            # Only the offset can be checked against the records.
            start = Position(tail.chunk, 0, 0)
            self.result.tail = self.chunks.scan(start, self.chunksize, tail, tolerant=True, stop=True).end
            self.result.messages.append("the tail did not fit the records: it was counted again")

    def _find_head(self) -> list[Scan]:
        """Return what was found in each chunk from the last place that can be believed up to the new head."""
        start = self._start()
        scans = self._walk(start)
        while self.mark is None and start.chunk > self.run[0] and self._missed(start, scans[-1].end):
            # Nothing whole in this chunk: the last whole record is further back.
            start = self._start_of(start.chunk - 1)
            scans = self._walk(start)
        return scans

    def _missed(self, start: Position, end: Position) -> bool:
        return end == start and start[::2] < self.info.head[::2]

    def _start(self) -> Position:
        """Return where verifying begins; forget the mark where the chunks contradict it."""
        tail = self.result.tail
        if self.mark is not None:
            for start in (max(self.mark.head, tail), max(self.mark.head, Position(tail.chunk, 0, 0))):
                if start.chunk in self.run and self.chunks.size(start.chunk) >= start.offset:
                    return start
            # What was durable is not there any more.
            self.mark = None
        return self._start_of(min(max(self.info.head.chunk, self.run[0]), self.run[-1]))

    def _start_of(self, chunk: int) -> Position:
        tail = self.result.tail
        if chunk == tail.chunk and self.chunks.size(chunk) >= tail.offset:
            return tail
        return Position(chunk, 0, 0)

    def _walk(self, start: Position) -> list[Scan]:
        scans = [self._scan(start)]
        while self._is_full(scans[-1]):
            start = Position(scans[-1].end.chunk + 1, 0, 0)
            scans.append(self._scan(start) if start.chunk in self.run else Scan(start))
        return scans

    def _scan(self, start: Position) -> Scan:
        known, tolerant = self.info.head, self.mark is None
        return self.chunks.scan(start, self.chunksize, known, tolerant=tolerant, stop=self.always)

    def _is_full(self, scan: Scan) -> bool:
        if 0 < self.chunksize <= scan.end.count:
            return True
        # How many records a damaged place has swallowed is not known; that this chunk was full, info says.
        return scan.damaged > 0 and scan.end.chunk < self.info.head.chunk and scan.end.offset == scan.size

    def _end(self, scans: list[Scan]) -> None:
        """Let head be where the last scan ends, and every chunk end where its records do."""
        result, known = self.result, self.info.head
        *full, last = scans
        result.head = last.end
        result.adopted = sum(scan.past for scan in scans)
        result.sync = [scan.end.chunk for scan in scans if scan.end.chunk in self.chunks]
        self._tell(result.head, known)
        for scan in full:
            if scan.end.offset < scan.size and not self.repair:
                result.end_chunk(self.chunks, scan.end, keep=True)
        if last.end.offset < last.size:
            before = last.end[::2] < known[::2]
            result.end_chunk(self.chunks, last.end, keep=before, cut=self.always and not before)

    def _tell(self, head: Position, known: Position) -> None:
        result = self.result
        if head[::2] < known[::2] and result.tail.chunk <= known.chunk:
            result.lost = max(0, distance(self.chunksize, max(head, result.tail), known))
            result.messages.append(
                f"the head goes back to {_place(head)}: {result.lost} items that info counted are lost"
            )
        elif result.adopted:
            result.messages.append(f"{result.adopted} items behind the head were taken in; it is at {_place(head)} now")
        elif head != known:
            result.messages.append(f"info counted {known.count} records in its last chunk; there are {head.count}")


def _place(position: Position) -> str:
    return f"{chunk_name(position.chunk)}, byte {position.offset}"


def _from(numbers: Sequence[int], first: int) -> Sequence[int]:
    return numbers[bisect_left(numbers, first) :]


def _run(numbers: Sequence[int]) -> Sequence[int]:
    """Return the first of *numbers* and those that follow it without a gap."""
    if not numbers or numbers[-1] - numbers[0] == len(numbers) - 1:
        return numbers  # there may be a hundred thousand
    return numbers[: sum(1 for _ in takewhile(lambda pair: pair[1] == numbers[0] + pair[0], enumerate(numbers)))]


def _finish(plan: Plan, info: Info, chunks: Chunks) -> None:
    """Note what info has to say, and which chunks are below the tail."""
    plan.write_info = (plan.tail, plan.head, plan.size) != (info.tail, info.head, info.size)
    if (plan.tail, plan.head) == (info.tail, info.head) and plan.size != info.size:
        plan.messages.append(f"info said {info.size} items; by its positions there are {plan.size}")
    plan.below = list(chunks.numbers[: bisect_left(chunks.numbers, plan.tail.chunk)])
    if plan.below:
        plan.messages.append(f"removed {len(plan.below)} consumed chunks below {chunk_name(plan.tail.chunk)}")


def without_info(chunks: Chunks, chunksize: int) -> Plan | Hole:
    """Return what to do with a directory that has no info: a new queue, or one cut short in its first put."""
    plan = Plan(START, START, chunksize)
    if not chunks.numbers:
        return plan
    if chunks.numbers[-1]:
        return Hole(-1, f"there is no info, though {_named(chunks.numbers)} are there")
    scan = chunks.scan(START, chunksize, START, tolerant=False)
    if scan.end.count >= chunksize:
        return Hole(-1, f"there is no info, though {chunk_name(0)} is full")
    if scan.size:
        plan.head, plan.adopted, plan.sync = scan.end, scan.past, [0]
        plan.write_info = plan.adopted > 0
        if plan.adopted:
            plan.messages.append(f"there was no info; {plan.adopted} items in {chunk_name(0)} were taken in")
        # Without an info it is not certain that this is the right serializer: nothing but zeros is destroyed.
        plan.end_chunk(chunks, scan.end, keep=True)
    return plan


def _named(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"chunks such as {chunk_name(numbers[0])}"
    return f"{len(numbers)} chunks from {chunk_name(numbers[0])} to {chunk_name(numbers[-1])}"
