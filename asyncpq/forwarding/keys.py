"""What each record is called on the server, so that it is stored once.  Pure.

    5f0c...e1:12:34:9a1b2c3d4e5f6071
    directory chunk index digest             the Nats-Msg-Id

The directory and the place tell records apart that are equal; the digest tells records apart that came to the same
place, one in the directory and one in a copy of it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final
from uuid import UUID

if TYPE_CHECKING:
    from asyncpq.layout import Position

__all__ = ["key"]

DIGEST_SIZE: Final = 8  # bytes


def key(directory: UUID, position: Position, record: bytes) -> str:
    """Return the key of *record*, which lies at *position* in *directory*."""
    digest = blake2b(record, digest_size=DIGEST_SIZE).hexdigest()
    return f"{directory.hex}:{position.chunk}:{position.count}:{digest}"
