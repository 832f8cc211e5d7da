"""What all SQLite queues have in common: the API of AsyncQueue, on a table."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from asyncpq import fsync as policies
from asyncpq import serializers
from asyncpq.errors import QueueClosed
from asyncpq.lifecycle import Lifecycle
from asyncpq.misuse import checked_path, has_to_be_awaited
from asyncpq.sqlite.blobs import blobs
from asyncpq.sqlite.consumer import Consumer
from asyncpq.sqlite.database import MEMORY, explained
from asyncpq.sqlite.engine import Engine
from asyncpq.sqlite.flight import Flight
from asyncpq.sqlite.listing import Listing, Raw
from asyncpq.sqlite.opening import Plan, open_engine
from asyncpq.sqlite.producer import Producer
from asyncpq.sqlite.readers import Readers
from asyncpq.sqlite.statements import Statements
from asyncpq.sqlite.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable

    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.database import Database
    from asyncpq.sqlite.owner import Owner
    from asyncpq.sqlite.store import Row
    from asyncpq.sqlite.tables import Kind


class Options(TypedDict, total=False):
    """The keyword parameters that all SQLite queues have; see `SQLiteQueue`."""

    maxsize: int
    fsync: str | policies.Policy
    timeout: float
    db_file_name: str | None
    on_corrupt: str
    owner_timeout: float


class AckOptions(Options, total=False):
    """Those of the ack queues, too."""

    auto_resume: bool
    lease: float | None
    max_in_flight: int
    max_attempts: int | None


class SQLiteQueue(Lifecycle[Engine]):
    """A queue in a SQLite database; the classes of `asyncpq.sqlite` say in which order, and what is deleted when.

    Any number of queues, in any number of processes, may have the same table open.
    """

    kind: ClassVar[Kind]
    store_class: type[Store] = Store

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str = "default",
        serializer: Any = None,
        auto_commit: bool = True,
        *,
        maxsize: int = 0,
        fsync: str | policies.Policy = "interval",
        timeout: float = 10.0,
        db_file_name: str | None = None,
        on_corrupt: str = "raise",
        owner_timeout: float = 30.0,
    ) -> None:
        """Describe the queue; nothing is opened yet.

        Args:
            path: a directory, for the layout of persist-queue's sync classes; a file, for that of its async ones;
                or ":memory:".  What exists wins; see `asyncpq.sqlite.place` for a path that is new.
            name: which queue of the database.
            serializer: a module with dumps and loads (or dump and load), or a name of `asyncpq.serializers`; None:
                what the rows are of, pickle for a new table.
            auto_commit: True: get deletes the row; False: task_done deletes what its task has got so far.
            maxsize: items that fit; 0 or less: no bound.
            fsync: a policy of `asyncpq.fsync`, or its name; `never` and `rollover` leave syncing to SQLite's
                checkpoints.
            timeout: seconds to wait for the database's lock while another program holds it.
            db_file_name: the name of the file in the directory; None: data.db.
            on_corrupt: "raise", or "skip" to set rows that cannot be read aside and go on.
            owner_timeout: seconds without a sign of life after which the items that a queue holds go to others; on
                the same machine (Linux) the death of a process is seen at once.

        Raises:
            ValueError: an unknown policy, serializer or on_corrupt, a NUL in the name, or a serializer of coroutines.
            AttributeError: the serializer has no dump or load.
        """
        super().__init__()
        if "\0" in name:
            raise ValueError("the name of a queue must not hold a NUL")
        if on_corrupt not in ("raise", "skip"):
            raise ValueError(f"on_corrupt is 'raise' or 'skip', not {on_corrupt!r}")
        if not owner_timeout > 0:
            raise ValueError(f"owner_timeout must be above 0, not {owner_timeout!r}")
        self.path, self.name, self.auto_commit = checked_path(path), name, auto_commit
        self.serializer: Serializer | None = None if serializer is None else serializers.get(serializer)
        if self.serializer is not None:
            blobs(self.serializer)  # refuses coroutines
        self.fsync = policies.get(fsync)
        self.timeout, self.db_file_name, self.on_corrupt = timeout, db_file_name, on_corrupt
        self.owner_timeout = owner_timeout
        self._maxsize = maxsize
        self._flight = Flight()
        self._readers: Readers | None = None
        self._store: Store
        self._producer: Producer
        self._consumer: Consumer

    # -- opening --------------------------------------------------------------------------------------------

    def _start(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Engine]:
        plan = Plan(
            os.fspath(self.path),
            self.name,
            self.kind,
            self.serializer,
            self.fsync,
            self.timeout,
            self.db_file_name,
            self.owner_timeout,
            self._make_store,
        )
        return open_engine(plan, loop)

    def _make_store(self, database: Database, sql: Statements, serializer: Serializer, owner: Owner) -> Store:
        """Return the store of this class; in a thread."""
        claims, skip = sql.kind.acked or not self.auto_commit, self.on_corrupt == "skip"
        return self.store_class(database, sql, blobs(serializer), owner, claims=claims, skip=skip)

    def _started(self, engine: Engine) -> None:
        engine.maxsize = self._maxsize
        self.serializer, self._store = engine.opened.serializer, engine.store
        self._producer, self._consumer = Producer(engine, self._digest_of()), Consumer(engine)
        if engine.path != MEMORY:
            self._readers = Readers(engine.path, self.timeout)

    def _digest_of(self) -> Callable[[Any], bytes] | None:
        """Return what tells items apart, where none may be there twice."""
        return None

    def _closing_first(self, engine: Engine) -> asyncio.Future[None] | None:
        """Close the readers, so that the last connection is the one that writes: it leaves one file, without a log."""
        if self._readers is None:
            return None
        readers, self._readers = self._readers, None
        return engine.loop.create_task(readers.close())

    @property
    def maxsize(self) -> int:
        """How many items fit; 0 or less: no bound.  May be changed at any time."""
        return self._maxsize

    @maxsize.setter
    def maxsize(self, value: int) -> None:
        self._maxsize = value
        if self._engine is not None:
            self._engine.maxsize = value
            self._engine.putters.wake()

    # -- put ------------------------------------------------------------------------------------------------

    async def put(self, item: Any, block: bool = True, timeout: float | None = None) -> Any:
        """Store *item*; on return it survives what the fsync policy promises.

        Returns:
            Its id; unique queues: None if there is the same item already.

        Raises:
            Full: no room (in time); nothing was stored.
            ValueError: *timeout* is negative.
            QueueClosed, QueueFailed, DatabaseBusy: see there.
            OSError: the disk did not take it; nothing was stored, and the queue works on.
            Exception: what the serializer raises for an item that it does not take; nothing was stored.

        Cancellation: the item is stored whole or not at all.
        """
        await self._enter(putting=True)
        check_timeout(block, timeout)
        return await self._producer.put(await self._producer.columns(item), block, timeout)

    async def put_nowait(self, item: Any) -> Any:
        """Store *item* as `put` with ``block=False``."""
        return await self.put(item, block=False)

    async def put_many(self, items: Iterable[Any]) -> list[Any]:
        """Store *items* in order, and return their ids; all of them are encoded first.

        They go in together, 10,000 in a transaction; with a *maxsize*, as room comes.

        Raises:
            As `put`; the exception's attribute `stored` has the number of items that are stored, from the first on.
            An item that cannot be serialized: nothing is stored.

        Cancellation: the CancelledError has `stored` too; a transaction that has begun is waited for.
        """
        return await self._put_many(items)

    async def _put_many(self, items: Iterable[Any], *more: Any) -> list[Any]:
        """Store *items*, with *more* columns; see `put_many`."""
        try:
            await self._enter(putting=True)
        except BaseException as error:
            error.stored = 0  # type: ignore[attr-defined]  # put_many promises it
            raise
        return await self._producer.put_many(items, *more)

    async def update(self, item: Any, id: int | None = None) -> int:
        """Replace the item of row *id* by *item*, wherever it is in the queue; return the id.

        Args:
            item: what to store; without *id*, what ``get(raw=True)`` or `queue` gave, with its "data" changed.
            id: the row; one that is not there is left so.

        Raises:
            ValueError: neither an id nor such a dict; unique queues: another row has the same item.
            Else as `put`.

        Cancellation: it is replaced or not.
        """
        engine = await self._enter()
        if id is None:
            if not isinstance(item, dict) or "pqid" not in item:
                raise ValueError("update needs the id of the row, or a dict of get(raw=True)")
            id, item = item["pqid"], item.get("data")
        row, number = await self._producer.columns(item), row_number(id)
        await engine.request(lambda: self._update(number, row))
        return number

    def _update(self, id: int, row: tuple[Any, ...]) -> None:
        self._store.update(id, row[0])

    # -- get ------------------------------------------------------------------------------------------------

    def get(
        self, block: bool = True, timeout: float | None = None, id: Any = None, raw: bool = False
    ) -> Coroutine[Any, Any, Any]:
        """Return the next item.

        With auto_commit the row is deleted; else it stays until the task that called get calls `task_done`, and
        comes again when the queue is closed, or its process ends, before.

        Args:
            block: False: raise Empty when there is none.
            timeout: seconds to wait for one; None waits for ever.  The transaction is not counted.
            id: take this row (or the row of a dict of ``get(raw=True)``), and never wait for it.
            raw: return {"pqid": its id, "data": the item, "timestamp": when it was put, as time.time}.

        Raises:
            Empty: no item (in time), or none of that id.
            ValueError: *timeout* is negative.
            CorruptRow: the row cannot be read; it stays where it is.
            QueueClosed, QueueFailed, DatabaseBusy, OSError: see `put`; the item is not lost.

        Cancellation: the item goes to the next get.
        """
        # Not a coroutine function, so that the task is known that asked, whatever task runs it: wait_for has its own.
        return self._get(block, timeout, id, raw, caller())

    def get_nowait(self, id: Any = None, raw: bool = False) -> Coroutine[Any, Any, Any]:
        """Return the next item as `get` with ``block=False``."""
        return self._get(False, None, id, raw, caller())

    async def _get(self, block: bool, timeout: float | None, id: Any, raw: bool, caller: Any) -> Any:
        engine = await self._enter(getting=True)
        check_timeout(block, timeout)
        if id is None:
            (row,) = await self._consumer.take(1, block, timeout)
        else:
            take = partial(self._store.take_id, row_number(id))
            row = await self._consumer.take_by(take, f"no item of id {id!r}")
        return self._hand_out(engine, row, raw, caller)

    def get_many(self, max_items: int, timeout: float | None = None, raw: bool = False) -> Coroutine[Any, Any, Any]:
        """Wait for one item, then take what is there, up to *max_items*, in one transaction; return a list.

        What was read before a row that cannot be is returned; the next call raises.

        Raises:
            As `get`; ValueError also where *max_items* is below 1.

        Cancellation: the items go to the next gets.
        """
        return self._get_many(max_items, timeout, raw, caller())

    async def _get_many(self, max_items: int, timeout: float | None, raw: bool, caller: Any) -> list[Any]:
        if max_items < 1:
            raise ValueError(f"max_items must be at least 1, not {max_items!r}")
        check_timeout(True, timeout)
        engine = await self._enter(getting=True)
        rows = await self._consumer.take(max_items, True, timeout)
        return [self._hand_out(engine, row, raw, caller) for row in rows]

    def _hand_out(self, engine: Engine, row: Row, raw: bool, caller: Any) -> Any:
        """Count *row* as got, and return what the caller asked for."""
        engine.outstanding += 1
        if not self.auto_commit:
            self._flight.add(caller, row.id)
            engine.beat()
        if engine.maxsize > 0:
            engine.putters.wake()
        return Raw(pqid=row.id, data=row.item, timestamp=row.timestamp) if raw else row.item

    async def peek(self, block: bool = True, timeout: float | None = None, raw: bool = False) -> Any:
        """Return the next item and leave it; another consumer may take it before you do.  Else as `get`."""
        await self._enter(getting=True)
        check_timeout(block, timeout)
        row = await self._consumer.peek(block, timeout)
        return Raw(pqid=row.id, data=row.item, timestamp=row.timestamp) if raw else row.item

    def __aiter__(self) -> AsyncIterator[Any]:
        """Get items until the queue is closed or shut down."""
        return self

    async def __anext__(self) -> Any:
        """Get the next item."""
        try:
            return await self.get()
        except QueueClosed:
            raise StopAsyncIteration from None

    # -- done -----------------------------------------------------------------------------------------------

    def task_done(self) -> Coroutine[Any, Any, None]:
        """Say that an item that was got is done with.

        With ``auto_commit=False`` it deletes the rows that the calling task has got so far, and nobody else's; on
        return that survives as the fsync policy promises.  Called by a task that has got none, it stands for an item
        of those that tasks have got which have ended; they are deleted once it was called for each.

        Raises:
            ValueError: called more often than items were got.
            OSError, QueueClosed, QueueFailed, DatabaseBusy: see `put`; nothing was changed.

        Cancellation: they are deleted or not; the next call deletes them.
        """
        return self._task_done(caller())

    async def _task_done(self, caller: Any) -> None:
        engine = await self._enter()
        if engine.outstanding <= 0:
            raise ValueError("task_done() called too many times: every item that was got was counted as done")
        if not self.auto_commit:
            ids = self._flight.done(caller)
            try:
                if ids:
                    await engine.request(lambda: self._store.finish(ids))
            except BaseException:
                self._flight.undone(caller, ids)
                raise
        engine.outstanding = max(0, engine.outstanding - 1)
        engine.wake()

    async def join(self) -> None:
        """Wait until nothing is stored, and every item that was got here is done.

        Raises:
            QueueClosed, QueueFailed: it ended before.

        Cancellation: nothing is changed.
        """
        engine = await self._enter(getting=True)
        engine.left = None  # what others did since it was counted is not known
        if not engine.finished:
            engine.loop.call_soon(engine.watch)
            if await engine.joiners.wait(None):
                engine.joiners.release()

    # -- looking --------------------------------------------------------------------------------------------

    @has_to_be_awaited
    async def qsize(self) -> int:
        """Return how many items get can hand out, whoever put them."""
        engine = await self._enter()
        return int(await engine.alone(self._store.count))

    @has_to_be_awaited
    async def empty(self) -> bool:
        """Return whether there is no item to get."""
        return await self.qsize() == 0

    @has_to_be_awaited
    async def full(self) -> bool:
        """Return whether there is no room to put."""
        engine = await self._enter()
        return engine.maxsize > 0 and await self.qsize() >= engine.maxsize

    def queue(self) -> Listing:
        """Return all rows, to be awaited (a list) or iterated over (``async for``), without consuming any.

        Each is a dict as of ``get(raw=True)``, in the order of get; ack queues have its "status", priority queues its
        "priority" too.  A row that is put or taken while you iterate may or may not be seen.
        """
        return Listing(self._listed, self.kind)

    async def _listed(self, where: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        engine = await self._enter()
        rows = await self._fetch(engine, engine.store.sql.rows.format(where), values)
        loads = engine.store.loads
        return [dict(zip(self.kind.shown, (row[0], loads(row), *row[2:]), strict=True)) for row in rows]

    async def _fetch(self, engine: Engine, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Return the rows of a query, beside the writer where there is a file."""
        if self._readers is None:
            return list(await engine.alone(lambda: engine.store.database.execute(sql, values).fetchall()))
        try:
            return await self._readers.fetch(sql, values)
        except sqlite3.Error as error:
            raise explained(error, engine.path, self.timeout) from error

    def stats(self) -> dict[str, Any]:
        """Return counts since the queue was opened: sizes, operations, commits, syncs and the seconds they took.

        Empty while the queue is not open.
        """
        engine = self._engine
        if engine is None:
            return {}
        store, puts, gets = engine.store, self._producer.puts, self._consumer.gets
        commits, done = store.database.commits, max(0, gets - engine.outstanding)
        return {
            "open_seconds": time.monotonic() - engine.since,
            "size": engine.ready,
            "unfinished": engine.outstanding,
            "in_flight": engine.outstanding,
            "waiting_to_be_stored": engine.pending,
            "puts": puts,
            "gets": gets,
            "done": done,
            "bytes_put": self._producer.bytes_put,
            "commits": commits,
            "items_per_commit": (puts + gets) / commits if commits else 0.0,
            **store.database.latency.stats(),
            "not_durable": max(0, engine.durability.waiting),
            "came_back": store.came_back,
            "healed": store.healed,
            "failed": engine.failure is not None,
        }

    # -- the database ---------------------------------------------------------------------------------------

    async def sync(self) -> None:
        """Return when everything so far is durable, whatever the policy.

        Raises:
            QueueFailed: the disk did not take it; reopen the queue.

        Cancellation: the sync goes on.
        """
        engine = await self._enter()
        await asyncio.shield(engine.alone(engine.durability.sync))

    async def clear(self) -> None:
        """Delete every item, also those that were got and are not done, by whomever; they count as done.

        Raises:
            OSError, QueueClosed, QueueFailed, DatabaseBusy: see `put`; nothing was deleted.

        Cancellation: it goes on.
        """
        engine = await self._enter()
        clearing = engine.request(self._store.clear, gains=lambda count: -count)
        clearing.add_done_callback(lambda done: self._cleared(engine, done))
        await asyncio.shield(clearing)

    def _cleared(self, engine: Engine, done: asyncio.Future[Any]) -> None:
        """Forget what was got, if it was deleted."""
        if done.cancelled() or done.exception() is not None:
            return
        self._flight.clear()
        engine.outstanding = 0
        engine.wake()

    async def shrink(self) -> None:
        """Give the space of deleted rows back to the file system, now, while the queue is open.

        Raises:
            DatabaseBusy: another program reads or writes for too long; nothing is lost.
            OSError: there is no room for the copy that SQLite makes.

        Cancellation: it goes on.
        """
        engine = await self._enter()
        await asyncio.shield(engine.alone(engine.store.database.shrink))


def caller() -> asyncio.Task[Any] | None:
    """Return the task that calls; None outside a loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def check_timeout(block: bool, timeout: float | None) -> None:
    """Raise ValueError where *timeout* is negative."""
    if timeout is not None and timeout < 0 and block:
        raise ValueError("'timeout' must be a non-negative number")


def row_number(id: Any) -> int:
    """Return the `_id` that *id*, a number or a dict of get(raw=True), names."""
    number = id.get("pqid") if isinstance(id, dict) else id
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"an id is a number, or a dict of get(raw=True), not {id!r}")
    return number
