"""Dead letters: look at what failed too often, and put it back.

async for letter in dead_letters("jobs.dead"): print(letter.error)
await dead_letters("jobs.dead").put_back(queue)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncpq import serializers
from asyncpq.queue import AsyncQueue
from asyncpq.reader import QueueReader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

__all__ = ["DeadLetter", "DeadLetters", "dead_letters"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is kept of an item that failed too often, was rejected, or cannot be decoded."""

    record: bytes  # as it was stored
    serializer: str  # the name of what it was stored with
    attempts: int  # that failed
    first: float  # when it was handed out first: seconds since the epoch; 0.0: never
    last: float  # when it failed last
    error: str  # why

    def item(self) -> Any:
        """Return the item; a pickle is run for it.

        Raises:
            LookupError, ValueError: it cannot be decoded.
        """
        return serializers.get(self.serializer).loads(self.record)


class DeadLetters:
    """The dead letters in the directory *path*."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open nothing yet."""
        self.path = Path(path)

    async def __aiter__(self) -> AsyncGenerator[DeadLetter, None]:
        """Yield the letters, oldest first; nothing is changed, and no lock is taken.

        Raises:
            NotAQueue: nothing was ever moved there, or it is no queue.
        """
        async with QueueReader(self.path) as reader:
            async for letter in reader:
                yield DeadLetter(**letter)

    async def put_back(self, queue: AsyncQueue, which: Callable[[DeadLetter], bool] = lambda _: True) -> int:
        """Put the items of the letters that *which* takes into *queue*; return how many.

        Each is durable there, but under `never`, before it leaves here.  What cannot be decoded stays.

        Raises:
            QueueLocked: the queue whose dead letters they are has them open.
            OSError, QueueClosed, QueueFailed: of either queue; what was moved by then stays moved.

        Cancellation: what was moved by then stays moved; the item at hand may be in both places.
        """
        moved = 0
        async with AsyncQueue(self.path, fsync=queue.fsync) as letters:
            for delivery in await letters.claim_many(await letters.qsize()) if await letters.qsize() else ():
                letter = DeadLetter(**delivery.item)
                if not which(letter):
                    continue
                try:
                    item = letter.item()
                except Exception:
                    continue
                await queue.put(item)
                if queue.fsync.name != "never":
                    await queue.sync()
                await delivery.ack()
                moved += 1
        return moved


def dead_letters(path: str | os.PathLike[str]) -> DeadLetters:
    """Return the dead letters in the directory *path*, to be listed with `async for`, and put back."""
    return DeadLetters(path)
