"""Putting: encoding, who waits for room, and many at once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import Full
from asyncpq.lane import run
from asyncpq.misuse import explain_refused
from asyncpq.sqlite.transactions import NoRoom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asyncpq.sqlite.engine import Engine

ENCODE_LIMIT: Final = 1024 * 1024  # bytes or characters; a longer bytes or str is encoded in a thread
LONG_TYPES: Final = frozenset((bytes, bytearray, str))
PUT_MANY: Final = 10_000  # rows that one transaction of a put_many takes

Columns = tuple[Any, ...]


class Producer:
    """The write side of an open queue."""

    def __init__(self, engine: Engine, digest: Callable[[Any], bytes] | None) -> None:
        """Write nothing yet; *digest*: where no item may be there twice."""
        self._engine, self._digest = engine, digest
        self._dumps = engine.store.blobs.dumps
        self.puts = self.bytes_put = 0  # items stored, and bytes of what the serializer made of them

    async def columns(self, item: Any, *more: Any) -> Columns:
        """Return what is stored of *item*: data, timestamp, and *more*.

        Raises:
            QueueClosed, QueueFailed: it ended meanwhile.
            Exception: what the serializer raises.
        """
        try:
            if type(item) in LONG_TYPES and len(item) > ENCODE_LIMIT:
                data = await run(self._engine.loop, lambda: self._dumps(item))
            else:
                data = self._dumps(item)
        except Exception as error:
            explain_refused(error, self._engine.path, self._engine.opened.serializer.NAME)
            raise
        self._check_open()
        if self._digest is not None:
            more = (*more, self._digest(item))
        return data, time.time(), *more

    async def put(self, row: Columns, block: bool, timeout: float | None) -> Any:
        """Store *row* when there is room; return its id.  See `SQLiteQueue.put`."""
        engine = self._engine
        if engine.maxsize <= 0:
            ids = await self._insert([row])
        else:
            until = None if timeout is None else engine.loop.time() + timeout
            ticket = engine.putters.ticket()
            while isinstance(ids := await self._put_in_turn(row, block, timeout, ticket), NoRoom):
                timeout = None if until is None else max(0.0, until - engine.loop.time())
        self._count([row], ids)
        return ids[0]

    async def _put_in_turn(self, row: Columns, block: bool, timeout: float | None, ticket: int) -> Any:
        await self._wait(block, timeout, ticket)
        try:
            return await self._insert([row])
        finally:
            self._engine.putters.release()

    async def put_many(self, items: Iterable[Any], *more: Any) -> list[Any]:
        """Store *items* in order; return their ids.  See `SQLiteQueue.put_many`."""
        ids: list[Any] = []
        try:
            rows = [await self.columns(item, *more) for item in items]
            ticket = self._engine.putters.ticket()
            while len(ids) < len(rows):
                if some := await self._put_some(rows[len(ids) : len(ids) + PUT_MANY], ticket):
                    ids += some
                    ticket = self._engine.putters.ticket()  # the rest comes behind those who wait
        except BaseException as error:
            error.stored = len(ids) + getattr(error, "stored", 0)  # type: ignore[attr-defined]  # put_many promises it
            raise
        return ids

    async def _put_some(self, rows: list[Columns], ticket: int) -> list[Any]:
        """Store as many of *rows*, from the first on, as there is room for; return their ids."""
        engine = self._engine
        self._check_open()
        bounded = engine.maxsize > 0
        if bounded:
            await self._wait(block=True, timeout=None, ticket=ticket)
            # What others were promised stays theirs.
            rows = rows[: int(max(1, min(engine.room - engine.putters.promised + 1, len(rows))))]
        inserting = self._insert(rows)
        try:
            ids = await asyncio.shield(inserting)
        except asyncio.CancelledError as cancelled:
            cancelled.stored = await engine.end_of(inserting)  # type: ignore[attr-defined]  # put_many promises it
            raise
        finally:
            if bounded:
                engine.putters.release()
        if isinstance(ids, NoRoom):
            return []
        self._count(rows, ids)
        return list(ids)

    def _count(self, rows: list[Columns], ids: list[int | None]) -> None:
        """Count those of *rows* that are new."""
        self.puts += _stored(ids)
        self.bytes_put += sum(len(row[0]) for row, id in zip(rows, ids, strict=True) if id is not None)

    def _insert(self, rows: list[Columns]) -> asyncio.Future[Any]:
        """Have *rows* inserted; the result is their ids, or NoRoom."""
        store = self._engine.store
        # Rows that may be there already are not inserted together with those of other calls.
        together: Any = {"rows": rows} if self._digest is None else {}
        return self._engine.request(lambda: store.put(rows), needs=len(rows), gains=_stored, **together)

    async def _wait(self, block: bool, timeout: float | None, ticket: int) -> None:
        """Hold a promise of room, or raise Full."""
        engine = self._engine
        self._check_open()
        if not engine.putters.admits():
            engine.loop.call_soon(engine.watch)
        if not await engine.putters.hold(block, timeout, ticket):
            when = f" in {timeout:g} s" if block and timeout else ""
            raise Full(f"{engine.path}: no room for another item{when}: maxsize is {engine.maxsize}")
        if engine.draining:
            engine.putters.release()
            raise engine.closed()

    def _check_open(self) -> None:
        if self._engine.refusal is not None:
            raise self._engine.refusal()
        if self._engine.draining:
            raise self._engine.closed()


def _stored(ids: list[int | None]) -> int:
    """Return how many of *ids* are new: None stands for an item that was there."""
    return len(ids) - ids.count(None)
