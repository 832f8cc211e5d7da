"""Getting: who waits for an item, and what becomes of one whose caller was cancelled."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from asyncpq.errors import Empty

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpq.sqlite.engine import Engine
    from asyncpq.sqlite.store import Row


class Consumer:
    """The read side of an open queue."""

    def __init__(self, engine: Engine) -> None:
        """Read nothing yet."""
        self._engine, self._getters, self._store = engine, engine.getters, engine.store
        self.gets = 0  # items taken

    async def take(self, limit: int, block: bool, timeout: float | None) -> list[Row]:
        """Take at least one row, and up to *limit*, or raise Empty.  See `SQLiteQueue.get_many`."""
        return await self._in_turn(lambda: self._take_some(limit), block, timeout)

    async def peek(self, block: bool, timeout: float | None) -> Row:
        """Return the next row and leave it.  See `SQLiteQueue.peek`."""
        (row,) = await self._in_turn(
            lambda: self._engine.request(self._store.peek, sought=1, looks=True), block, timeout
        )
        return row

    async def take_by(self, take: Callable[[], list[Row]], otherwise: str) -> Row:
        """Take the row that *take* finds, without waiting for it; Empty, saying *otherwise*, where it finds none."""
        rows = await self._taking(take, 0)
        if not rows:
            raise Empty(f"{self._engine.path}: {otherwise}")
        return rows[0]

    async def _in_turn(self, use: Callable[[], Awaitable[list[Row]]], block: bool, timeout: float | None) -> list[Row]:
        """Wait for an item, then return what *use* finds; where others were quicker, wait again."""
        engine = self._engine
        until = None if timeout is None else engine.loop.time() + timeout
        ticket = self._getters.ticket()
        while True:
            await self._wait(block, timeout, ticket)
            try:
                rows = await use()
            finally:
                self._getters.release()
            if rows:
                return rows
            if engine.drained:
                raise engine.closed()
            if not block:
                raise Empty(f"{engine.path}: no item")
            timeout = None if until is None else max(0.0, until - engine.loop.time())

    async def _take_some(self, limit: int) -> list[Row]:
        if self._engine.known:
            # What others were promised stays theirs.
            limit = max(1, min(limit, self._engine.ready - self._getters.promised + 1))
        return await self._taking(partial(self._store.take, limit), limit)

    async def _taking(self, take: Callable[[], list[Row]], sought: int) -> list[Row]:
        """Run *take* in a transaction; when cancelled, what it took goes back."""
        engine, undo = self._engine, self._store.give_back
        taking = engine.request(take, gains=_lost, undo=undo, sought=sought)
        engine.taking += 1
        try:
            rows: list[Row] = await taking
        except asyncio.CancelledError:
            if taking.done() and not taking.cancelled() and taking.exception() is None:
                engine.undo_later(undo, taking.result(), _lost(taking.result()))
            raise
        finally:
            engine.taking -= 1
            if engine.joiners.waiting:
                engine.loop.call_soon(engine.joiners.wake)  # when what was taken is handed out
        self.gets += len(rows)
        return rows

    async def _wait(self, block: bool, timeout: float | None, ticket: int) -> None:
        """Hold a promise of an item, or raise Empty."""
        engine = self._engine
        if engine.refusal is not None or engine.stopped:  # it ended while this one looked
            raise engine.closed() if engine.refusal is None else engine.refusal()
        engine.doubt()
        if not self._getters.admits():
            if engine.drained:
                raise engine.closed()
            engine.loop.call_soon(engine.watch)
        if not await self._getters.hold(block, timeout, ticket):
            raise Empty(f"{engine.path}: no item")


def _lost(rows: list[Row]) -> int:
    return -len(rows)
