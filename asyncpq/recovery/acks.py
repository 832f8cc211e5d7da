"""The journal of acknowledgements as opening finds it: which notes are about records that are there.

r r r r r r ??? gone             healing moves head back: notes at or past it are dropped first, durably,
^tail       ^head                since the next records get those positions
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zlib import crc32

from asyncpq.journal import ACKED, JOURNAL, JOURNAL_TEMP, NOTE_SIZE, read_notes, written
from asyncpq.layout import START, Position
from asyncpq.opened import Acks, Failed
from asyncpq.recovery.chunks import Chunks
from asyncpq.recovery.heal import write_all
from asyncpq.serializers import Damaged, Torn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncpq.files import Files
    from asyncpq.journal import Note
    from asyncpq.recovery.chunks import Chunk
    from asyncpq.serializers import Serializer

READ_MAX: Final = 64 * 1024 * 1024  # bytes; a journal that is longer than any that is written is not believed


def load(files: Files, dirfd: int) -> list[Note]:
    """Return the notes in the journal, which is there."""
    fd = files.open_read(dirfd, JOURNAL)
    try:
        return list(read_notes(files.pread(fd, READ_MAX, 0)))
    finally:
        files.close(fd)


def find_acked(
    files: Files, dirfd: int, serializer: Serializer, numbers: Sequence[int], tail: Position, head: Position
) -> dict[Position, int]:
    """Return the positions and lengths of the records from *tail* to *head* that are acknowledged.

    Raises:
        FileNotFoundError: there is no journal, or a chunk has gone.
    """
    notes = load(files, dirfd)
    return match(notes, Chunks(files, dirfd, serializer, numbers, holes=False), tail, head).acked if notes else {}


def drop_from(files: Files, dirfd: int, notes: Sequence[Note], floor: Position | None) -> list[Note]:
    """Forget, durably, the notes at or past *floor* (None: all); return those that are left."""
    left = [note for note in notes if floor is not None and note.position[::2] < floor[::2]]
    if len(left) == len(notes):
        return left
    fd = files.create(dirfd, JOURNAL_TEMP)
    try:
        write_all(files, fd, written(left))
        files.fsync(fd)
    finally:
        files.close(fd)
    files.rename(dirfd, JOURNAL_TEMP, JOURNAL)
    files.fsync_dir(dirfd)
    return left


def match(notes: Iterable[Note], chunks: Chunks, tail: Position, head: Position) -> Acks:
    """Return what *notes* say about the records from *tail* to *head*; one whose checksum differs says nothing."""
    notes = list(notes)
    acked: dict[Position, int] = {}
    failed: dict[Position, Failed] = {}
    by_chunk: dict[int, list[Note]] = {}
    for note in notes:
        if tail <= note.position < head and note.position.chunk in chunks:
            by_chunk.setdefault(note.position.chunk, []).append(note)
    for number, some in by_chunk.items():
        with chunks.open(number) as chunk:
            for note in some:
                length = _length(chunk, note)
                if length and note.kind == ACKED:
                    acked[note.position] = length
                elif length:
                    failed[note.position] = Failed(note.attempts, note.first)
    return Acks(True, 0, max((note.position for note in notes), default=START), acked, failed)


def _length(chunk: Chunk, note: Note) -> int:
    """Return the length of the record that *note* is about; 0: it is about another one."""
    start = note.position.offset
    try:
        end = chunk.end_of(start)
    except (Damaged, Torn):
        return 0
    if end is None or crc32(chunk.read(start, end - start)) != note.crc:
        return 0
    return end - start


def whole(files: Files, dirfd: int) -> int:
    """Return the bytes of the whole notes in the journal: the next one goes behind them."""
    fd = files.open_read(dirfd, JOURNAL)
    try:
        return files.size(fd) // NOTE_SIZE * NOTE_SIZE
    finally:
        files.close(fd)
