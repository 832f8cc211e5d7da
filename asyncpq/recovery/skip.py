"""Passing over a damaged record in a queue that is open: its bytes are set aside, and the cursor goes behind them.

r r ????????????? r r r            what the chunk must hold, less what is whole, is what the place has swallowed
    ^at           ^end   ^stop     (stop: the head, or the end of a full chunk)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    is_last = at.chunk == head.chunk
    left = (head.count if is_last else chunksize) - at.count  # records from here to the end
    beyond = head if is_last else Position(at.chunk + 1, 0, 0)
    try:
        with chunks.open(at.chunk) as chunk:
            stop = head.offset if is_last else chunk.size
            end = min(chunk.behind(at.offset, stop), stop)
            records = _swallowed(chunk, at.offset, end, stop, left)
            end = stop if records == left else end
            there = min(end, chunk.size)
    except FileNotFoundError:
        return beyond, left
    if there > at.offset:
        Healer(files, dirfd, path).copy_aside([(chunk_name(at.chunk), at.offset, there)])
    return (beyond, left) if records == left else (Position(at.chunk, at.count + records, end), records)


def _swallowed(chunk: Chunk, start: int, end: int, stop: int, left: int) -> int:
    """Return how many of the *left* records from *start* to *stop* the damaged place up to *end* stands for."""
    at, whole = end, 0
    while at < stop and whole < left and (after := chunk.end_of(at)) is not None and after <= stop:
        at, whole = after, whole + 1
    if at >= stop or whole == left:
        return max(1, left - whole)
    return max(1, min(chunk.records_in(start, end), left - whole - 1))
