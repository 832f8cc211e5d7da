"""Passing over a damaged record in a queue that is open: its bytes are set aside, and the cursor goes behind them.

r r ????????????? r r r            what the chunk must hold, less what is whole, is what the place has swallowed
    ^at           ^end   ^stop     (stop: the head, or the end of a full chunk)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from asyncpq.layout import Position, chunk_name
from asyncpq.recovery.chunks import Chunks
from asyncpq.recovery.heal import Healer

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.files import Files
    from asyncpq.recovery.chunks import Chunk
    from asyncpq.serializers import Serializer


def pass_over(
    files: Files,
    dirfd: int,
    path: Path,
    serializer: Serializer,
    at: Position,
    head: Position,
    chunksize: int,
) -> tuple[Position, int]:
    """Set aside what lies at *at* and is no record; return where the next record begins, and the records between.

    A damaged place may have swallowed several records.  How many is known from what the chunk must hold, where all
    that follows in it is whole; else as many as it has lines, or one: the last damaged place of the chunk makes
    good for the others.

    Raises:
        OSError: it could not be set aside; nothing was changed.
    """
    chunks = Chunks(files, dirfd, serializer, [at.chunk], holes=False)
    try:
        with chunks.open(at.chunk) as chunk:
            place = damaged_place(chunk, at, head, chunksize)
    except FileNotFoundError:
        return _beyond(at, head, chunksize)
    if place.end > at.offset:
        Healer(files, dirfd, path).copy_aside([(chunk_name(at.chunk), at.offset, place.end)])
    return place.behind, place.records


class DamagedPlace(NamedTuple):
    """Bytes that are no record."""

    behind: Position  # where the next record begins
    records: int  # that were there, as far as can be told
    end: int  # byte of the file


def damaged_place(chunk: Chunk, at: Position, head: Position, chunksize: int) -> DamagedPlace:
    """Return what lies at *at* in *chunk*, where no record begins; *head* is the end of the queue."""
    beyond, left = _beyond(at, head, chunksize)
    stop = head.offset if at.chunk == head.chunk else chunk.size
    end = min(chunk.behind(at.offset, stop), stop)
    records = _swallowed(chunk, at.offset, end, stop, left)
    if records == left:
        return DamagedPlace(beyond, left, min(stop, chunk.size))
    return DamagedPlace(Position(at.chunk, at.count + records, end), records, min(end, chunk.size))


def _beyond(at: Position, head: Position, chunksize: int) -> tuple[Position, int]:
    """Return where the chunk of *at* ends, and how many records there are up to it."""
    if at.chunk == head.chunk:
        return head, head.count - at.count
    return Position(at.chunk + 1, 0, 0), chunksize - at.count


def _swallowed(chunk: Chunk, start: int, end: int, stop: int, left: int) -> int:
    """Return how many of the *left* records from *start* to *stop* the damaged place up to *end* stands for."""
    at, whole = end, 0
    while at < stop and whole < left and (after := chunk.end_of(at)) is not None and after <= stop:
        at, whole = after, whole + 1
    if at >= stop or whole == left:
        return max(1, left - whole)
    return max(1, min(chunk.records_in(start, end), left - whole - 1))
