"""The file `forward` of a directory, as bytes.  Pure: no files, no clock, no await.

    0       8         9       16                32             40
    | magic | version | spare | the directory's | CRC-32 of it | what is known of the target, or zeros
    |       | 1       |       | UUID, 16        | 4, spare 4   |

    40        48      56       64         72       80      88       104
    | chunk   | count | offset | sequence | time   | server| target | CRC-32 of the note
    | everything before it     | the last of the   | 8     | 16     | from 40 on, 4
    | is stored there          | stream, and when  |       |        |

All numbers little-endian; 108 bytes, overwritten in place within one sector.  The note stays true when it gets old:
what lies at the place or behind it was not in the stream when that ended with the sequence.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final
from uuid import UUID
from zlib import crc32

from asyncpq.layout import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NAME", "SIZE", "Note", "directory_of", "fingerprint", "note_of", "written"]

NAME: Final = "forward"
MAGIC: Final = b"asyncpqF"
VERSION: Final = 1

_HEAD: Final = struct.Struct("<8sB7x16sI4x")
_NOTE: Final = struct.Struct("<QQQQd8s16s")
_CRC: Final = struct.Struct("<I")
SIZE: Final = _HEAD.size + _NOTE.size + _CRC.size  # bytes


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of a target."""

    position: Position  # every record before it is stored there
    sequence: int  # the stream's last one when nothing from *position* on had been sent
    time: float  # when it was written: seconds since the epoch
    server: bytes  # fingerprint of the server that was connected then: it changes when it is started
    target: bytes  # fingerprint of the stream


def fingerprint(parts: Sequence[str], size: int) -> bytes:
    """Return *size* bytes that tell *parts* from all others."""
    return blake2b("\0".join(parts).encode(), digest_size=size).digest()


def written(directory: UUID, note: Note | None) -> bytes:
    """Return the file's bytes."""
    head = _HEAD.pack(MAGIC, VERSION, directory.bytes, crc32(directory.bytes))
    if note is None:
        return head.ljust(SIZE, b"\0")
    body = _NOTE.pack(*note.position, note.sequence, note.time, note.server, note.target)
    return head + body + _CRC.pack(crc32(body))


def directory_of(data: bytes) -> UUID | None:
    """Return the directory's UUID; None: there is none that can be read."""
    if len(data) < _HEAD.size:
        return None
    magic, version, raw, crc = _HEAD.unpack_from(data)
    return UUID(bytes=raw) if (magic, version, crc) == (MAGIC, VERSION, crc32(raw)) else None


def note_of(data: bytes) -> Note | None:
    """Return the note; None: there is none that can be read."""
    if len(data) < SIZE:
        return None
    body = data[_HEAD.size : _HEAD.size + _NOTE.size]
    (crc,) = _CRC.unpack_from(data, _HEAD.size + _NOTE.size)
    if crc != crc32(body):
        return None
    chunk, count, offset, sequence, time, server, target = _NOTE.unpack(body)
    return Note(Position(chunk, count, offset), sequence, time, server, target)
