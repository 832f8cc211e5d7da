"""Callers who wait: first come, first served, with a timeout by the loop's clock.

A caller who is let go on holds a *promise* until he has done what he waited for: nobody who comes later can take
it from him, and when he is cancelled in the same tick, the next one gets it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Line:
    """A line of callers who wait for something that there is a number of: items, or room."""

    __slots__ = ("_free", "_loop", "_places", "_tickets", "_woken", "promised", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, free: Callable[[], float]) -> None:
        """*free* says how many callers could go on now, if nobody held a promise."""
        self._loop, self._free = loop, free
        self.waiting: deque[asyncio.Future[bool]] = deque()
        self.promised = 0
        self._woken = 0  # who hold a promise, and have not run since
        self._tickets = 0
        self._places: dict[asyncio.Future[bool], int] = {}  # of those who wait with a ticket

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self.waiting)

    def admits(self) -> bool:
        """Whether somebody who comes now may go on without waiting, and overtakes nobody."""
        return not self.waiting and not self._woken and self._free() > self.promised

    def may_overtake(self) -> bool:
        """Whether there is something for a caller who cannot wait, when all who wait have got theirs."""
        return not self.waiting and self._free() > self.promised

    def wake(self) -> None:
        """Let go on who can, in order."""
        while self.waiting and self._free() > self.promised:
            waiter = self.waiting.popleft()
            if not waiter.done():
                self.promised += 1
                self._woken += 1
                waiter.set_result(True)

    def ticket(self) -> int:
        """Return a place in the line, for who may have to wait more than once."""
        self._tickets += 1
        return self._tickets

    async def wait(self, timeout: float | None, ticket: int | None = None) -> bool:
        """Wait for a promise; True: it is held, and `release` gives it up.  False: none came in *timeout* seconds.

        With a *ticket*, before all who came after it was taken.

        Cancellation: no promise is held; one that was just made goes to the next caller.
        """
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._join(waiter, ticket)
        timer = None if timeout is None else self._loop.call_later(timeout, self._expire, waiter)
        try:
            granted = await waiter
        except BaseException:
            if _granted(waiter):
                self._woken -= 1
                self.release()
            else:
                self._forget(waiter)
            raise
        else:
            if granted:
                self._woken -= 1
                if self.waiting:
                    self.wake()  # those who came before this one could run
            return granted
        finally:
            if timer is not None:
                timer.cancel()
            if ticket is not None:
                del self._places[waiter]

    def _join(self, waiter: asyncio.Future[bool], ticket: int | None) -> None:
        if ticket is None:
            self.waiting.append(waiter)
            return
        self._places[waiter] = ticket
        place = len(self.waiting)
        while place and self._places.get(self.waiting[place - 1], 0) > ticket:
            place -= 1
        self.waiting.insert(place, waiter)

    async def hold(self, block: bool, timeout: float | None, ticket: int | None = None) -> bool:
        """Hold a promise, having waited for one where *block* says so; False: none came, in *timeout* seconds.

        Cancellation: as `wait`.
        """
        if not self.admits():
            if block and timeout != 0:
                return await self.wait(timeout, ticket)
            if not self.may_overtake():
                return False
        self.promise()
        return True

    def promise(self) -> None:
        """Hold a promise without having waited."""
        self.promised += 1

    def release(self) -> None:
        """Give up a promise, used or not."""
        self.promised -= 1
        if self.waiting:
            self.wake()

    def refuse(self, error: Callable[[], BaseException]) -> None:
        """Let everyone who waits get an error of his own."""
        waiting, self.waiting = self.waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(error())

    def _expire(self, waiter: asyncio.Future[bool]) -> None:
        if not waiter.done():
            waiter.set_result(False)
            self._forget(waiter)

    def _forget(self, waiter: asyncio.Future[bool]) -> None:
        if waiter in self.waiting:
            self.waiting.remove(waiter)


def _granted(waiter: asyncio.Future[bool]) -> bool:
    return waiter.done() and not waiter.cancelled() and waiter.exception() is None and waiter.result()
