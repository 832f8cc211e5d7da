"""Coroutines that read in a thread, with a meter; Ctrl-C ends the reading and not only the waiting."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from asyncpq.cli.options import Stopped
from asyncpq.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from asyncpq.cli.progress import Meter

UNCHANGED: Final = "interrupted; nothing was changed"

__all__ = ["Watch", "run_watched"]


class Watch:
    """Called by the thread with the bytes read so far."""

    def __init__(self, meter: Meter) -> None:
        """Nobody has asked it to stop."""
        self._meter = meter
        self.stop = False

    def __call__(self, count: int) -> None:
        """Show how far it is; raises as `go_on`."""
        if self.stop:
            raise Stopped(UNCHANGED)
        self._meter.reach(bytes=count)

    def rows(self, count: int, total: int | None) -> None:
        """Show how many rows of all were read; raises as `go_on`."""
        if self.stop:
            raise Stopped(UNCHANGED)
        self._meter.reach(items=count, all_items=total)

    def go_on(self) -> None:
        """Show that it is at work.

        Raises:
            Stopped: Ctrl-C was pressed.
        """
        if self.stop:
            raise Stopped(UNCHANGED)
        self._meter.reach()


def run_watched(meter: Meter, work: Callable[[Watch], Coroutine[Any, Any, Any]], *, changes: bool = False) -> Any:
    """Return what *work* returns.

    Args:
        meter: shows how far it is.
        work: a coroutine function that lets its thread call the Watch.
        changes: whether *work* changes anything: it finishes that, Ctrl-C or not.

    Raises:
        Stopped: Ctrl-C was pressed before anything was changed.
    """
    watch = Watch(meter)

    async def watched() -> Any:
        task = asyncio.ensure_future(work(watch))
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                watch.stop = True  # and wait for the thread: it stops at its next read, or has begun to change things
        return task.result()

    with meter:
        result = asyncio.run(watched())
    if watch.stop and not changes:
        raise Stopped(UNCHANGED)
    if watch.stop:
        say("Ctrl-C came when it was being changed; that is finished")
    return result
