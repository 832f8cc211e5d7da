"""The acknowledged SQLite queues: what was got stays in the table until it is answered."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack

from asyncpq.deliveries import Claiming, Delivery
from asyncpq.errors import NotInFlight
from asyncpq.sqlite import tables
from asyncpq.sqlite.ackstore import AckStore, UniqueAckStore
from asyncpq.sqlite.base import Options, SQLiteQueue, caller, check_timeout, row_number
from asyncpq.sqlite.delivering import RowBackend
from asyncpq.sqlite.listing import Raw
from asyncpq.sqlite.tables import ACKED, FAILED, READY, UNACK
from asyncpq.sqlite.unique import Unique

if TYPE_CHECKING:
    import asyncio
    import os
    from collections.abc import Callable, Coroutine

    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.database import Database
    from asyncpq.sqlite.engine import Engine
    from asyncpq.sqlite.owner import Owner
    from asyncpq.sqlite.statements import Statements
    from asyncpq.sqlite.store import Row, Store
    from asyncpq.sqlite.tables import Kind

NOTHING: Final[Any] = object()  # None is an item like others


class InFlight:
    """The items that were got here, found again by identity: equal ones are different."""

    def __init__(self) -> None:
        """Hold none."""
        self._rows: dict[int, list[int]] = {}  # id() of an item, or of its raw dict -> rows, the oldest first
        # row -> attempt, and what is known by identity, and so kept alive
        self._held: dict[int, tuple[int, tuple[Any, ...]]] = {}

    def add(self, row: int, attempt: int, *known: Any) -> bool:
        """*row* is in flight, known by its item and its raw dict; return whether it is so for the first time.

        Whoever had it before has it no more: its lease is over.
        """
        new = not self.pop(row)
        self._held[row] = attempt, known
        for value in known:
            self._rows.setdefault(id(value), []).append(row)
        return new

    def find(self, item: Any) -> int | None:
        """Return the row that *item* itself was got from; None: it was not."""
        rows = self._rows.get(id(item))
        return rows[0] if rows else None

    def pop(self, row: int, attempt: int | None = None) -> bool:
        """Forget *row*, unless it was got again since *attempt*; return whether it was there."""
        held = self._held.get(row)
        if held is None or attempt not in (None, held[0]):
            return False
        del self._held[row]
        for value in held[1]:
            rows = self._rows[id(value)]
            rows.remove(row)
            if not rows:
                del self._rows[id(value)]
        return True

    def clear(self) -> None:
        """Forget all."""
        self._rows.clear()
        self._held.clear()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._held)


class AckQueue(Claiming, SQLiteQueue):
    """What the acknowledged queues have in common.

    `get` marks the row as in flight.  It is given out again when it is given back (`nack`), when the queue that got
    it is closed or its process ends, or when its lease ends; never before.
    """

    store_class: type[AckStore] = AckStore

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str = "default",
        serializer: Any = None,
        auto_commit: bool = True,
        *,
        auto_resume: bool = True,
        lease: float | None = None,
        max_in_flight: int = 0,
        max_attempts: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        """As `SQLiteQueue`, with leases.

        Args:
            path: see there.
            name: see there.
            serializer: see there.
            auto_commit: True; an ack queue has no other mode.
            auto_resume: opening gives out again what is in flight and held by no opener that is alive.
            lease: seconds after which an item that nobody answered is given out again; None: as long as the queue
                that got it is open, and its process gives signs of life.
            max_in_flight: items that may wait for their answer; claim waits for a place; 0: no bound.
            max_attempts: claims after which an item that is given back is failed (status 9); None: no bound.
            options: see there.
        """
        super().__init__(path, name, serializer, auto_commit, **options)
        if not auto_commit:
            raise ValueError("an ack queue deletes nothing at get, so auto_commit=False means nothing here")
        if lease is not None and not lease > 0:
            raise ValueError(f"lease must be above 0 seconds, or None, not {lease!r}")
        if max_in_flight < 0 or not (max_attempts is None or max_attempts >= 1):
            raise ValueError("max_in_flight is at least 0, max_attempts at least 1 or None")
        self.auto_resume, self.lease = auto_resume, lease
        self._bounds = (max_in_flight, max_attempts)
        self._backend: RowBackend
        self._items = InFlight()

    def _make_store(self, database: Database, sql: Statements, serializer: Serializer, owner: Owner) -> Store:
        store = super()._make_store(database, sql, serializer, owner)
        assert isinstance(store, AckStore)
        store.lease, store.may_resume = self.lease, self.auto_resume
        return store

    def _started(self, engine: Engine) -> None:
        super()._started(engine)
        engine.lives = True
        engine.beat()
        self._backend = RowBackend(engine, self._acks, partial(self._forget, engine), *self._bounds)
        engine.lines.append(self._backend.places)

    @property
    def _acks(self) -> AckStore:
        store = self._store
        assert isinstance(store, AckStore)
        return store

    # -- get ------------------------------------------------------------------------------------------------

    def get(
        self,
        block: bool = True,
        timeout: float | None = None,
        id: Any = None,
        raw: bool = False,
        next_in_order: bool = False,
    ) -> Coroutine[Any, Any, Any]:
        """Return the next item that is ready, and mark it as in flight; else as `SQLiteQueue.get`.

        Args:
            block: see there.
            timeout: see there.
            id: see there; a row that is in flight or answered is not there.
            raw: see there.
            next_in_order: take the row behind *id* instead; behind the last one comes the first.
        """
        if not isinstance(next_in_order, bool):
            raise ValueError(f"next_in_order is True or False, not {next_in_order!r}")
        if next_in_order and id is None:
            raise ValueError("next_in_order needs the id of the row before")
        if next_in_order:
            return self._get_after(block, timeout, row_number(id), raw)
        return super().get(block, timeout, id, raw)

    async def _get_after(self, block: bool, timeout: float | None, id: int, raw: bool) -> Any:
        engine = await self._enter(getting=True)
        check_timeout(block, timeout)
        row = await self._consumer.take_by(lambda: self._store.take_after(id), "no item")
        return self._hand_out(engine, row, raw, caller())

    def _hand_out(self, engine: Engine, row: Row, raw: bool, caller: Any) -> Any:
        given = Raw(pqid=row.id, data=row.item, timestamp=row.timestamp) if raw else row.item
        engine.outstanding += self._items.add(row.id, row.attempt, given, *[row.item] * raw)
        if engine.maxsize > 0:
            engine.putters.wake()
        return given

    async def _task_done(self, caller: Any) -> None:
        """Do nothing: an item is done when it is answered."""
        await self._enter()

    # -- claim ----------------------------------------------------------------------------------------------

    async def claim(self, block: bool = True, timeout: float | None = None) -> Delivery:
        """Return the next item as a delivery, which is answered by its own methods; else as `get`.

        An item that was rejected, or failed *max_attempts* times, is kept with status 9 and its last error.

        Raises:
            As `get`; Empty also where *max_in_flight* are in flight.

        Cancellation: the item goes to the next claim.
        """
        (delivery,) = await self._claim(1, block, timeout)
        return delivery

    async def claim_many(self, max_items: int, timeout: float | None = None) -> list[Delivery]:
        """Wait for one item, then claim what is there, up to *max_items*: as `claim`."""
        if max_items < 1:
            raise ValueError(f"max_items must be at least 1, not {max_items!r}")
        return await self._claim(max_items, True, timeout)

    async def _claim(self, limit: int, block: bool, timeout: float | None) -> list[Delivery]:
        engine = await self._enter(getting=True)
        check_timeout(block, timeout)
        backend, until = self._backend, None if timeout is None else engine.loop.time() + timeout
        await backend.wait_for_place(block, timeout)
        try:
            left = None if until is None else max(0.0, until - engine.loop.time())
            if self._bounds[0]:
                limit = max(1, min(limit, self._bounds[0] - engine.outstanding - backend.places.promised + 1))
            rows = await self._consumer.take(limit, block, left)
            engine.outstanding += sum(self._items.add(row.id, row.attempt) for row in rows)
        finally:
            backend.places.release()
        if engine.maxsize > 0:
            engine.putters.wake()
        return [backend.deliver(row) for row in rows]

    # -- answers --------------------------------------------------------------------------------------------

    async def ack(self, item: Any = NOTHING, id: Any = None) -> int:
        """Say that an item is done with, for ever; return its id.

        Args:
            item: the very object that get returned (not an equal one), or the dict of ``get(raw=True)``.
            id: the number of the row instead.

        Raises:
            NotInFlight: it is not in flight here: answered before, its lease ended, or never got.
            ValueError: both or neither were given.
            QueueClosed, QueueFailed, DatabaseBusy, OSError: see `put`; nothing was changed.

        Cancellation: it is acknowledged or not.
        """
        return await self._answer(self._which(item, id), lambda row: self._acks.answer(row, ACKED))

    async def ack_failed(self, item: Any = NOTHING, id: Any = None) -> int:
        """Say that an item is done with and failed: as `ack`; it is kept, with status 9, until it is cleared."""
        return await self._answer(self._which(item, id), lambda row: self._acks.answer(row, FAILED))

    async def nack(self, item: Any = NOTHING, id: Any = None, *, delay: float = 0.0, to_end: bool = False) -> int:
        """Give an item back, to be got again: as `ack`; return its id, which *to_end* changes.

        Args:
            item: see there.
            id: see there.
            delay: seconds before it can be got.
            to_end: behind all others; else to its old place, before all that came later.
        """
        if delay < 0:
            raise ValueError(f"delay must not be negative: {delay!r}")
        row = self._which(item, id)
        return await self._answer(row, lambda row: self._acks.nack(row, delay, to_end, None), int(delay == 0))

    def _which(self, item: Any, id: Any) -> int:
        """Return the row that is meant."""
        if (item is NOTHING) == (id is None):
            raise ValueError("give the item that was got, or its id, and not both")
        if id is not None:
            return row_number(id)
        row = self._items.find(item)
        if row is None and isinstance(item, Raw):
            row = row_number(item)
        if row is None:
            raise NotInFlight(
                f"{self.path}: this object was not got here, or was answered before; items are told apart by "
                f"identity, so give the one that get returned, or id= (get(raw=True) has it)"
            )
        return row

    async def _answer(self, row: int, answer: Callable[[int], int], gains: int = 0) -> int:
        engine = await self._enter()
        try:
            result: int = await engine.request(lambda: answer(row), gains=lambda _: gains)
        except NotInFlight:
            self._forget(engine, row)
            raise
        self._forget(engine, row)
        self._backend.places.wake()
        return result

    def _forget(self, engine: Engine, row: int, attempt: int | None = None) -> None:
        if self._items.pop(row, attempt):
            engine.outstanding -= 1
            engine.wake()

    async def resume_unack_tasks(self) -> int:
        """Give out again what is in flight and held by no opener that is alive; return how many items that are.

        Raises:
            OSError, QueueClosed, QueueFailed, DatabaseBusy: see `put`; nothing was changed.

        Cancellation: they are given out again, or not.
        """
        engine = await self._enter()
        return int(await engine.request(lambda: self._acks.resume(time.time()), gains=lambda count: count))

    # -- counts ---------------------------------------------------------------------------------------------

    async def ready_count(self) -> int:
        """Return how many items were given back or resumed, and wait to be got again."""
        return await self._count_status(READY)

    async def unack_count(self) -> int:
        """Return how many items are in flight, here or elsewhere, or wait for the end of their delay."""
        return await self._count_status(UNACK)

    async def acked_count(self) -> int:
        """Return how many acknowledged rows are kept."""
        return await self._count_status(ACKED)

    async def ack_failed_count(self) -> int:
        """Return how many failed rows are kept."""
        return await self._count_status(FAILED)

    async def active_size(self) -> int:
        """Return how many items are not answered: to be got, or in flight here."""
        return await self.qsize() + len(self._items)

    async def _count_status(self, status: int) -> int:
        engine = await self._enter()
        rows = await self._fetch(engine, engine.store.sql.count_status, (status,))
        return int(rows[0][0])

    async def clear_acked_data(
        self, max_delete: int | None = None, keep_latest: int = 0, clear_ack_failed: bool = False
    ) -> int:
        """Delete acknowledged rows, the oldest first; return how many.

        Args:
            max_delete: at most so many; None: no limit.
            keep_latest: leave so many of them.
            clear_ack_failed: failed ones, too.

        Raises:
            ValueError: a number is negative.
            OSError, QueueClosed, QueueFailed, DatabaseBusy: see `put`; nothing was deleted.

        Cancellation: they are deleted or not.
        """
        if (max_delete is not None and max_delete < 0) or keep_latest < 0:
            raise ValueError("max_delete and keep_latest must not be negative")
        engine = await self._enter()
        statuses = (ACKED, FAILED) if clear_ack_failed else (ACKED,)
        return int(await engine.request(lambda: self._acks.clear_answered(statuses, max_delete, keep_latest)))

    async def clear(self) -> None:
        """Delete every item that is not answered, held by whomever; they count as done.

        Raises:
            OSError, QueueClosed, QueueFailed, DatabaseBusy: see `put`; nothing was deleted.

        Cancellation: it goes on.
        """
        await super().clear()

    def _cleared(self, engine: Engine, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._items.clear()
        super()._cleared(engine, done)


class AsyncSQLiteAckQueue(AckQueue):
    """First in, first out; the table of persist-queue's SQLiteAckQueue."""

    kind: ClassVar[Kind] = tables.ACK


class AsyncFILOSQLiteAckQueue(AckQueue):
    """First in, last out; the table of persist-queue's FILOSQLiteAckQueue."""

    kind: ClassVar[Kind] = tables.FILO_ACK


class AsyncUniqueAckQ(Unique, AckQueue):
    """First in, first out, and no item twice among those not answered; the table of persist-queue's UniqueAckQ.

    As `AsyncUniqueQ`; what was acknowledged, or failed, may be put again.
    """

    kind: ClassVar[Kind] = tables.UNIQUE_ACK
    store_class: type[UniqueAckStore] = UniqueAckStore
