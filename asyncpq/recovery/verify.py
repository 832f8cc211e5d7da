"""Every record from tail to head, looked at: what check reports and what repair mends.

    q00003   r r r ???????? r r          runs   [r r r] [r r]
             ^start                      places [????????]
    q00004   r r r | r ~~~               a chunk of three: what lies behind the third is never read

Nothing is unpickled: a pickle is built as plain data, which runs nothing.  So a class that is gone, or that refuses
its state, is not found.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from asyncpq import serializers
from asyncpq.layout import chunk_name
from asyncpq.recovery.plan import Plan
from asyncpq.serializers import Custom, Damaged, TooComplex, Torn, plain_loads, quick_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncpq.layout import Position
    from asyncpq.recovery.chunks import Chunk, Chunks
    from asyncpq.serializers import Serializer


@dataclass(frozen=True, slots=True)
class Run:
    """Whole records, back to back."""

    start: int
    end: int
    records: int


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes that are no record."""

    start: int
    end: int
    why: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """What of a chunk lies between tail and head."""

    number: int  # of the chunk
    source: int | None  # the number that its file has now; None: there is none
    start: int
    stop: int | None  # byte; None: the end of the file
    expected: int  # records


@dataclass(frozen=True, slots=True)
class Verified:
    """A stretch that was read."""

    stretch: Stretch
    runs: tuple[Run, ...] = ()
    places: tuple[Place, ...] = ()  # damaged
    beyond: Place | None = None  # all that lies behind the last record that the chunk can hold

    @property
    def records(self) -> int:
        """Whole records, also those that nobody would read."""
        return sum(run.records for run in self.runs)

    @property
    def name(self) -> str:
        """The file, as it is called now."""
        return chunk_name(self.stretch.number if self.stretch.source is None else self.stretch.source)

    @property
    def right(self) -> bool:
        """Whether every record is read, and nothing else lies there."""
        return not self.places and self.beyond is None and self.records == self.stretch.expected

    def damage(self) -> Iterator[tuple[str, Place]]:
        """Yield the name of the file, and a place, for each thing that is wrong."""
        for place in self.places:
            if self.beyond is None or place.start < self.beyond.start:
                yield self.name, place
        if self.beyond is not None:
            yield self.name, self.beyond
        elif not self.places and self.records != self.stretch.expected:
            end = self.runs[-1].end if self.runs else self.stretch.start
            yield self.name, Place(end, end, _miscounted(self.stretch, self.records))


def _miscounted(stretch: Stretch, records: int) -> str:
    if stretch.source is None:
        return f"the chunk is gone, and with it {stretch.expected} records"
    return f"{stretch.expected} records were to be read here, and there are {records}"


def stretches(plan: Plan, chunks: Chunks) -> list[Stretch]:
    """Return what lies between tail and head once *plan* has been carried out, in the files as they are now."""
    named = {new: old for old, new in plan.renames}
    gone = {old for old, _ in plan.renames} | {*plan.moves, *plan.empty}
    cuts = {at.chunk: at.offset for at, _ in plan.cuts}
    found = []
    for number in range(plan.tail.chunk, plan.head.chunk + 1):
        source: int | None = named.get(number, number)
        if source not in chunks or (number not in named and source in gone):
            source = None
        start = plan.tail.offset if number == plan.tail.chunk else 0
        before = plan.tail.count if number == plan.tail.chunk else 0
        is_last = number == plan.head.chunk
        stop = plan.head.offset if is_last else None if source is None else cuts.get(source)
        found.append(Stretch(number, source, start, stop, (plan.head.count if is_last else plan.chunksize) - before))
    return found


def between(tail: Position, head: Position, chunksize: int, chunks: Chunks) -> list[Stretch]:
    """Return the same for a directory that is healed."""
    return stretches(Plan(tail, head, chunksize), chunks)


def verify(stretch: Stretch, chunks: Chunks, serializer: Serializer) -> Verified:
    """Read every record of *stretch*."""
    if stretch.source is None:
        return Verified(stretch)
    with chunks.open(stretch.source) as chunk:
        stop = chunk.size if stretch.stop is None else min(stretch.stop, chunk.size)
        parts = list(_parts(chunk, stretch.start, stop, stretch.expected, _sound(chunk, serializer)))
    runs = tuple(part for part in parts if isinstance(part, Run))
    places = tuple(part for part in parts if isinstance(part, Place))
    beyond = None
    if stretch.stop is None and runs and not (places and places[0].start < runs[0].end):
        beyond = _beyond(runs, places, stretch.expected, stop)
    return Verified(stretch, runs, places, beyond)


def _beyond(runs: tuple[Run, ...], places: tuple[Place, ...], expected: int, stop: int) -> Place | None:
    """Return what lies behind the last record that the chunk can hold, where no damage lies before it."""
    first = runs[0]
    if first.records != expected or first.end == stop:
        return None
    more = sum(run.records for run in runs[1:])
    what = f"{more} whole records" if more else places[-1].why if places else "bytes"
    return Place(first.end, stop, f"{what} behind the last record that this chunk can hold: never read")


def _parts(
    chunk: Chunk, start: int, stop: int, most: int, end_of: Callable[[int], int | None]
) -> Iterator[Run | Place]:
    """Yield runs and places in turn; a run ends behind the record number *most*."""
    at, total = start, 0
    while at < stop:
        begin, records = at, 0
        while at < stop and (end := end_of(at)) is not None and end <= stop:
            at, records = end, records + 1
            if total + records == most:
                break
        total += records
        if records:
            yield Run(begin, at, records)
        begin = at
        while at < stop and ((end := end_of(at)) is None or end > stop):
            at = chunk.behind(at, stop)
        if at > begin:
            yield Place(begin, at, chunk.why(begin, at))


def _sound(chunk: Chunk, serializer: Serializer) -> Callable[[int], int | None]:
    """Return the function that tells where the record at an offset ends, if get() can read it."""
    step = step_of(serializer)

    def end_of(offset: int) -> int | None:
        try:
            return chunk.walk(step, offset)
        except (Damaged, Torn):
            return None

    return end_of


def step_of(serializer: Serializer, encoding: str = "latin-1") -> Callable[[bytes, int], int]:
    """Return what finds the end of a record that get() can read, or raises Torn or Damaged.

    Args:
        serializer: of the records.
        encoding: of Python 2's byte strings in pickles, as for `plain_loads`.
    """
    if isinstance(serializer, Custom):
        return serializer.skip
    if serializer.NAME == "pickle":
        return partial(_pickled, encoding=encoding)
    if serializer.NAME == "cbor2":
        return partial(_decoded, serializers.get("cbor2").decode)
    return serializer.check


def _pickled(buffer: bytes, start: int, encoding: str) -> int:
    """Check the shape of a pickle, then the values, as far as they need no class."""
    quick = quick_end(buffer, start, encoding)
    if quick is not None:
        return quick
    end = serializers.pickle.check(buffer, start)
    with suppress(TooComplex):
        plain_loads(buffer[start:end], 0, encoding=encoding)
    return end


def _decoded(decode: Callable[[bytes, int], tuple[Any, int]], buffer: bytes, start: int) -> int:
    """Build the value: what the library takes, get() takes."""
    return decode(buffer, start)[1]
