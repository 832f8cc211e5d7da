"""Fairness: queue operations that finish inline must not starve the rest of the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator

TURN: Final = 0.001  # seconds that operations may take before the rest of the loop has its turn


class Yield:
    """To be awaited: lets the rest of the loop have its turn."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        """Yield once."""
        yield


YIELD: Final = Yield()


class Turn:
    """One turn of the loop, begun by the first operation in it.

    After TURN every operation yields, and so do those of other tasks in the same turn: however many producers
    there are, the loop gets round in little more than TURN.
    """

    __slots__ = ("_loop", "ends")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with the first operation."""
        self._loop = loop
        self.ends = 0.0  # time.monotonic; 0: no operation in this turn yet.  Before it, nobody need ask `over`

    def over(self, now: float) -> bool:
        """Return whether the operation that asks, at *now*, has to yield."""
        if self.ends:
            return now >= self.ends
        self.ends = now + TURN
        self._loop.call_soon(self._next)
        return False

    def _next(self) -> None:
        self.ends = 0.0
