"""Where the dead letters of a queue on a server go: another queue there, a directory, or a queue of the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncpq import fsync
from asyncpq.queue import AsyncQueue, DeadQueue

if TYPE_CHECKING:
    import os

    from asyncpq.nats.queue import AsyncNatsQueue


class DeadStream:
    """Another queue on a server, opened with the first letter, or the user's."""

    def __init__(self, queue: AsyncNatsQueue, *, own: bool) -> None:
        """Open nothing yet; *own*: it is closed here."""
        self._queue, self._own = queue, own
        self.is_open = False

    async def store(self, letter: dict[str, Any]) -> None:
        """Store *letter*; the server has confirmed it."""
        self.is_open = self._own
        await self._queue.put(letter)

    async def close(self) -> None:
        """Close the queue, where it was opened here."""
        self.is_open = False
        await self._queue.close()


def letters_of(
    where: str | os.PathLike[str] | AsyncQueue | AsyncNatsQueue | None, queue: AsyncNatsQueue
) -> DeadStream | DeadQueue | None:
    """Return the place *where*, as the parameter *dead_letters* of *queue* names it."""
    if where is None:
        return None
    if isinstance(where, str):
        if where == queue.name:
            raise ValueError("dead_letters needs another name than the queue has")
        return DeadStream(queue.sibling(where), own=True)
    if isinstance(where, AsyncQueue) or hasattr(where, "__fspath__"):
        return DeadQueue(where, fsync.get("always"))
    return DeadStream(where, own=False)
