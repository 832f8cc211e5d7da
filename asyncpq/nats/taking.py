"""From what has arrived to what get, claim and peek return: turns, decoding, and who is told that nothing is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from asyncpq.errors import CorruptMessage, Empty, QueueClosed, ServerAway
from asyncpq.lane import forget
from asyncpq.nats.headers import serializer_for
from asyncpq.nats.held import OUT, Held

if TYPE_CHECKING:
    from asyncpq.deliveries import Delivery
    from asyncpq.nats.engine import Engine
    from asyncpq.serializers import Serializer


class Taker:
    """The read side of an open queue."""

    def __init__(self, engine: Engine, serializer: Serializer) -> None:
        """Take nothing yet."""
        self._engine, self._serializer = engine, serializer
        self._puller, self._answers = engine.puller, engine.answers

    async def next(self, block: bool, timeout: float | None) -> tuple[Held, Any]:
        """Return the next item, and what it holds.

        Raises:
            Empty, QueueClosed, CorruptMessage, ServerAway: see there.

        Cancellation: the item goes to the next.
        """
        loop = self._engine.loop
        until = None if timeout is None else loop.time() + timeout
        while True:
            await self._hold(block, None if until is None else max(0.0, until - loop.time()))
            item = self._puller.take()
            try:
                return item, await self._value(item)
            except _Buried:
                continue
            except BaseException:
                self._puller.put_back(item)
                raise

    async def _hold(self, block: bool, timeout: float | None) -> None:
        engine, path = self._engine, self._engine.path
        if engine.draining and not await self._puller.hold_now():
            engine.stop()
            raise engine.closed()
        if engine.draining:
            return
        if not block or timeout == 0:
            if not await self._puller.hold_now():
                raise Empty(f"{path}: no item")
        elif not await self._puller.hold(timeout):
            raise Empty(f"{path}: no item in {timeout:g} s")
        if engine.refusal is not None:
            self._puller.line.release()
            raise engine.refusal()

    async def _value(self, item: Held) -> Any:
        """Return what *item* holds; nothing runs that the queue was not opened with."""
        own = self._serializer
        try:
            serializer = serializer_for(item.headers, own)
            if own.is_async and serializer is own:
                return await own.aloads(item.record)  # type: ignore[attr-defined]  # where is_async
            return serializer.loads(item.record)
        except Exception as error:
            if await self._answers.bury(item, error):
                raise _Buried from error
            why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise CorruptMessage(self._engine.path, item.sequence, f"it cannot be decoded: {why}") from error

    async def get(self, limit: int, block: bool, timeout: float | None, *, autosave: bool) -> list[Any]:
        """Wait for one item, and take what else is there, up to *limit*; *autosave*: acknowledge first."""
        taken = await self._some(limit, block, timeout)
        if autosave:
            await self._commit([item for item, _ in taken])
        else:
            for item, _ in taken:
                self._answers.was_got(item)
        self._engine.calls += len(taken)
        return [value for _, value in taken]

    async def claim(self, limit: int, block: bool, timeout: float | None) -> list[Delivery]:
        """Wait for a place among those in flight, and for one item, and claim what else is there, up to *limit*."""
        engine, answers, most = self._engine, self._answers, self._engine.plan.max_in_flight
        until = None if timeout is None else engine.loop.time() + timeout
        if not await answers.places.hold(block, timeout):
            raise Empty(f"{engine.path}: {most} items are in flight, as many as max_in_flight says")
        try:
            left = None if until is None else max(0.0, until - engine.loop.time())
            if most:
                limit = max(1, min(limit, most - answers.in_flight - answers.places.promised + 1))
            return [answers.deliver(item, value) for item, value in await self._some(limit, block, left)]
        finally:
            answers.places.release()

    async def _some(self, limit: int, block: bool, timeout: float | None) -> list[tuple[Held, Any]]:
        """Wait for one item, then take what is there; what cannot be decoded is left for the next call."""
        found = [await self.next(block, timeout)]
        try:
            if limit > 1:
                await self._puller.gather(limit - 1 + len(self._puller.line.waiting))
            while len(found) < limit and self._puller.line.admits():
                found.append(await self.next(False, None))
        except (CorruptMessage, Empty, QueueClosed, ServerAway):
            pass  # the next call meets it
        except BaseException:
            self.put_back([item for item, _ in found])
            raise
        return found

    def put_back(self, items: list[Held]) -> None:
        """Have *items*, which nobody has seen, be the next ones."""
        for item in reversed(items):
            self._puller.put_back(item)

    async def _commit(self, items: list[Held]) -> None:
        """Acknowledge *items* before they are handed out.

        Raises:
            ServerAway: they are the next ones again.

        Cancellation: the same; what is acknowledged by then is kept here for the next get.
        """
        waiting = [item for item in items if item.state == OUT]
        if not waiting:
            return
        committing = asyncio.ensure_future(self._answers.confirm_all(waiting))
        try:
            await asyncio.shield(committing)
        except asyncio.CancelledError:
            committing.add_done_callback(lambda _: self.put_back(items))
            forget(committing)
            raise
        except BaseException:
            self.put_back(items)
            raise


class _Buried(Exception):
    """An item went to the dead letters instead."""
