"""Room in a queue with a bound: who puts waits here, first come, first served.

    known     messages in the stream, as far as is known here: own puts and acknowledgements count at once,
              what others do is seen when a put is refused, and looked for while somebody waits
    sending   puts that are on their way

The server is the judge: what it refuses is put again when there may be room.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from asyncpq.errors import ServerAway
from asyncpq.nats.streams import ApiError
from asyncpq.waiting import Line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SOON: Final = 0.02  # seconds until the first look for room
LATE: Final = 1.0  # seconds between two looks, at most
NEAR: Final = 16  # with less room than that, one put at a time is on its way: else one that is refused is overtaken
INF: Final = float("inf")


class Room:
    """How many items may be put, as far as is known."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, maxsize: int, known: int, count: Callable[[], Awaitable[int]]
    ) -> None:
        """*count* asks the server how many messages there are; *known* is what it said last."""
        self._loop, self._count = loop, count
        self.maxsize, self.known, self.sending = maxsize, known, 0
        self.line = Line(loop, self._free)
        self._refused = False  # though the count allows it: the bound is of bytes
        self._looking: asyncio.Task[None] | None = None

    def _free(self) -> float:
        if self._refused:
            return 0
        if self.maxsize <= 0:
            return INF
        free = self.maxsize - self.known - self.sending
        return free if free >= NEAR else 0 if self.sending else min(1, free)

    async def enter(self, timeout: float | None, ticket: int | None = None) -> bool:
        """Have room for one item, or wait for it; False: there was none in *timeout* seconds.

        Cancellation: the room goes to the next.
        """
        if self.line.admits():
            self.sending += 1
            return True
        self._look()
        if not await self.line.wait(timeout, ticket):
            return False
        self.sending += 1  # before the promise is given up: else the next one would have the same room
        self.line.release()
        return True

    def enter_now(self, *, untold: bool = False) -> bool:
        """Have room for one item, if there is some; *untold*: or if nobody waits, for the server to judge."""
        if self.line.admits() or (untold and not self.line.waiting):
            self.sending += 1
            return True
        return False

    def more(self, most: int) -> int:
        """Take room for up to *most* items that go with one that has room; return for how many there is some."""
        free = INF if self.maxsize <= 0 else self.maxsize - self.known - self.sending
        count = 0 if self.line.waiting else int(max(0, min(most, free)))
        self.sending += count
        return count

    def stored(self, count: int = 1) -> None:
        """Items that were sent are in the queue, or may be."""
        self.sending -= count
        self.known += count
        self._refused = False
        self.line.wake()

    def leave(self, count: int = 1) -> None:
        """Items that had room were not stored."""
        self.sending -= count
        self.line.wake()

    def refused(self, count: int = 1) -> None:
        """Items that were sent were refused: there is no room for so many."""
        self.sending -= count
        self._refused = True
        self._look()

    def freed(self, count: int = 1) -> None:
        """Items that this queue held are done with."""
        self.known -= count  # below 0 for a moment: an item may be done with before its put is confirmed
        self._refused = False
        self.line.wake()

    def _look(self) -> None:
        if self._looking is None:
            self._looking = self._loop.create_task(self._look_for_room())
            self._looking.add_done_callback(self._looked)

    async def _look_for_room(self) -> None:
        """Ask how many there are while somebody waits, at first soon and then seldom."""
        pause = SOON
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            if not self.line.waiting:
                break
            try:
                self.known = await self._count()
            except (ServerAway, ApiError):
                continue  # it goes on when the server is back
            self._refused = False
            self.line.wake()
            pause = min(LATE, pause * 2)
        self._refused = False

    def _looked(self, looking: asyncio.Task[None]) -> None:
        self._looking = None
        if not looking.cancelled():
            looking.exception()
            if self.line.waiting:
                self._look()

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.remove_done_callback(self._looked)
            self._looking.cancel()
