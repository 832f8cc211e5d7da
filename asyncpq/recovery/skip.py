"""Passing over a damaged record in a queue that is open: its bytes are set aside, and the cursor goes behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncpq.layout import Position, chunk_name
from asyncpq.recovery.chunks import Chunks
from asyncpq.recovery.heal import Healer

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.files import Files
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
    that follows in it is whole; else the place counts as one.

    Raises:
        OSError: it could not be set aside; nothing was changed.
    """
    chunks = Chunks(files, dirfd, serializer, [at.chunk])
    last = at.chunk == head.chunk
    total = head.count if last else chunksize
    try:
        end, behind, whole = _behind(chunks, at, head.offset if last else None)
    except FileNotFoundError:
        return _end_of_chunk(at, head), total - at.count
    if end > at.offset:
        Healer(files, dirfd, path).copy_aside(chunk_name(at.chunk), at.offset, end)
    if behind == 0 and whole:
        return _end_of_chunk(at, head), max(1, total - at.count)
    records = max(1, total - at.count - behind) if whole else 1
    return Position(at.chunk, at.count + records, end), records


def _end_of_chunk(at: Position, head: Position) -> Position:
    return head if at.chunk == head.chunk else Position(at.chunk + 1, 0, 0)


def _behind(chunks: Chunks, at: Position, limit: int | None) -> tuple[int, int, bool]:
    """Return where the damaged place ends, how many records follow, and whether they reach the end of the chunk."""
    with chunks.open(at.chunk) as chunk:
        size = chunk.size if limit is None else limit
        end = chunk.next_whole(at.offset)
        if end is None or end >= size:
            return size, 0, True
        offset, records = end, 0
        while offset < size and (after := chunk.end_of(offset)) is not None:
            offset, records = after, records + 1
        return end, records, offset >= size
