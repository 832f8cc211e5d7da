"""The journal of acknowledgements, as bytes.  Pure: no files, no clock, no await.

    info      tail: the oldest item that is not acknowledged
    q00000    r r r r r r r r            a: acknowledged, though an older one is not
              ^tail a   a   ^cursor
    acked     note note ...              one for each `a`, and one for each attempt that failed

A note, 48 bytes, all numbers little-endian:

    0       1        4                8            12       20       28        36            44
    | kind  | spare  | CRC-32 of the  | attempts   | chunk  | count  | offset  | first time  | CRC-32 of the
    |       |        | record         | that failed|        |        |         | (s, float)  | note up to here

A note is a fact about one record: notes need no order, may be there twice, and one that is torn, or whose record has
another checksum, says nothing.  So losing the journal costs deliveries that come again, never an item.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from asyncpq.layout import Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

JOURNAL: Final = "acked"
JOURNAL_TEMP: Final = "acked.tmp"  # a shorter journal before its rename; removed by opening
NOTE_SIZE: Final = 48  # bytes

ACKED: Final = 1  # the record is done with
FAILED: Final = 2  # it was given back, so many times by now

_BODY: Final = struct.Struct("<B3xIIQQQd")
_CRC: Final = struct.Struct("<I")


class Note(NamedTuple):
    """What a note says."""

    kind: int
    crc: int  # CRC-32 of the record
    attempts: int  # that failed
    position: Position
    first: float  # when the item was handed out first: seconds since the epoch; 0.0 where nobody needs it


def acked_note(position: Position, record: bytes) -> bytes:
    """Return the note that *record*, at *position*, is acknowledged."""
    return _note(ACKED, crc32(record), 0, position, 0.0)


def failed_note(position: Position, record: bytes, attempts: int, first: float) -> bytes:
    """Return the note that *attempts* with *record*, at *position*, have failed."""
    return _note(FAILED, crc32(record), attempts, position, first)


def _note(kind: int, crc: int, attempts: int, position: Position, first: float) -> bytes:
    body = _BODY.pack(kind, crc, attempts, *position, first)
    return body + _CRC.pack(crc32(body))


def read_notes(data: bytes) -> Iterator[Note]:
    """Yield the notes in *data*; what is none, or only a part of one, is left out."""
    for start in range(0, len(data) - NOTE_SIZE + 1, NOTE_SIZE):
        body = data[start : start + _BODY.size]
        if _CRC.unpack_from(data, start + _BODY.size)[0] == crc32(body):
            kind, crc, attempts, chunk, count, offset, first = _BODY.unpack(body)
            yield Note(kind, crc, attempts, Position(chunk, count, offset), first)


def highest(data: bytes) -> Position | None:
    """Return the last position that the notes in *data* are about."""
    return max((note.position for note in read_notes(data)), default=None)


def written(notes: Iterable[Note]) -> bytes:
    """Return *notes* as bytes."""
    return b"".join(_note(*note) for note in notes)


def needed(notes: Iterable[Note], floor: Position) -> list[Note]:
    """Return those of *notes* that still say something: at or behind *floor*, the last of each kind and record."""
    last = {(note.position, note.kind, note.crc): note for note in notes if note.position >= floor}
    done = {(position, crc) for position, kind, crc in last if kind == ACKED}
    return [note for note in last.values() if note.kind == ACKED or (note.position, note.crc) not in done]
