"""What the bench asks of a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.bench.result import Promise

__all__ = ["Contender", "Peer"]


class Contender(Protocol):
    """A queue in a directory of its own, to be opened once, filled, drained and closed in one event loop."""

    promise: Promise
    syncs: str  # what is synced, and when
    shares: bool  # puts at once share a commit, and return together
    blocking: bool  # a put never lets the loop go on: it is made to, once a millisecond

    async def open(self) -> None:
        """Make the queue."""

    async def put(self, item: str) -> Any:
        """Store *item*; on return it is acknowledged."""

    async def get(self) -> None:
        """Take the next item, which is there, and mark it done."""

    async def close(self) -> None:
        """Release everything; what is in the queue may stay."""


class Peer(Contender, Protocol):
    """A queue of another library, made for an empty directory."""

    name: str
    module: str  # that has to be installed
    library: str  # its name where packages are installed from

    def __init__(self, place: Path) -> None:
        """Describe it; nothing is opened yet."""
