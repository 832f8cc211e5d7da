"""AsyncNatsQueue: the API of AsyncQueue, on a work queue of NATS JetStream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncpq import fsync as policies
from asyncpq import serializers
from asyncpq.deliveries import Claiming, Delivery
from asyncpq.errors import Full, QueueClosed
from asyncpq.lifecycle import Lifecycle
from asyncpq.nats.batches import put_many
from asyncpq.nats.engine import Engine, Plan, open_engine
from asyncpq.nats.letters import letters_of
from asyncpq.nats.login import login
from asyncpq.nats.streams import Settings
from asyncpq.nats.taking import Taker

if TYPE_CHECKING:
    import asyncio
    import os
    import ssl
    from collections.abc import AsyncIterator, Iterable, Sequence

    from asyncpq.queue import AsyncQueue


class AsyncNatsQueue(Claiming, Lifecycle[Engine]):
    """A queue on a server, or on a cluster of them, shared by all who open it by its name.

    It opens at its first use, or in ``async with``, and belongs to the event loop that opened it.  What differs from
    a queue on the disk is said in docs/nats.md.
    """

    fsync = policies.get("never")  # the server's own policy counts

    def __init__(
        self,
        servers: str | Sequence[str],
        name: str,
        maxsize: int = 0,
        serializer: Any = None,
        autosave: bool = False,
        *,
        replicas: int = 1,
        storage: str = "file",
        max_bytes: int | None = None,
        duplicate_window: float = 120.0,
        ack_wait: float = 30.0,
        lease: float | None = None,
        max_in_flight: int = 1000,
        max_attempts: int | None = None,
        dead_letters: str | os.PathLike[str] | AsyncQueue | AsyncNatsQueue | None = None,
        timeout: float = 5.0,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        credentials: str | os.PathLike[str] | None = None,
        tls: ssl.SSLContext | str | os.PathLike[str] | None = None,
        monitor: str | None = None,
        create: bool = True,
    ) -> None:
        """Describe the queue; nothing is opened yet.

        Args:
            servers: nats://host:port, or several: of one cluster.
            name: of letters, digits, - and _; the stream has it, and its subject is asyncpq.<name>.
            maxsize: items that fit, got and not acknowledged ones too; 0 or less: no bound.
            serializer: a module with dump and load, or a name of `asyncpq.serializers`; None: pickle.
            autosave: True: get acknowledges; False: task_done does.
            replicas: servers that have each item: 1, 3 or 5.
            storage: "file" or "memory".
            max_bytes: bytes that fit; None: no bound.
            duplicate_window: seconds for which the server remembers what was put, so that what is sent again is stored
                once.
            ack_wait: seconds after which the server gives an item to somebody else of whose holder it hears nothing:
                its process ended, or the network broke.
            lease: seconds after which it does so in any case, when nobody answered; None: as long as the holder has
                the queue open, he keeps it.
            max_in_flight: claims of this queue that may wait for their answer; 0: no bound.
            max_attempts: deliveries after which an item that is given back goes to the dead letters.
            dead_letters: another queue on the same servers by its name, a directory (a Path), or a queue that is yours
                to close, for what failed too often, was rejected, or cannot be decoded.
            timeout: seconds to wait for the answer of the server to one request.
            user: who logs in, with a *password*.
            password: see *user*.
            token: logs in instead.
            credentials: the path of a file (.creds) that logs in instead.
            tls: a context, or the path of a file with the certificates to trust.
            monitor: the address of the server's monitoring, http://host:8222, to find out how it syncs.
            create: False: raise NotAQueue where the queue is not there.

        Raises:
            ValueError: an unknown serializer, an address that cannot be read, a number that cannot be kept, or
                max_attempts without dead_letters.
            AttributeError: the serializer has no dump or load.
        """
        super().__init__()
        if max_in_flight < 0 or not (lease is None or lease > 0) or not (max_attempts is None or max_attempts >= 1):
            raise ValueError("max_in_flight is at least 0, lease above 0, max_attempts at least 1")
        if max_attempts is not None and dead_letters is None:
            raise ValueError("max_attempts needs dead_letters=, for what failed so often")
        if not timeout > 0 or not duplicate_window > 2 * timeout:
            raise ValueError("timeout is above 0, and duplicate_window more than twice of it: a put is sent again")
        self.name, self.autosave = name, autosave
        self.serializer = serializers.get("pickle" if serializer is None else serializer)
        held_for = ack_wait if lease is None else lease
        self._settings = Settings(name, maxsize, replicas, storage, max_bytes, duplicate_window, held_for)
        self._login = login(servers, user=user, password=password, token=token, credentials=credentials, tls=tls)
        self.path = f"{self._login.servers[0]}/{name}"
        self._timeout, self._create, self._monitor = timeout, create, monitor
        self._letters = letters_of(dead_letters, self)
        self._limits = (lease, max_in_flight, max_attempts)
        self._taker: Taker

    def __repr__(self) -> str:
        """Name the server, the queue and the state; never an item, nor who logs in."""
        if self._closing is not None:
            state = "closed"
        elif self._engine is None:
            state = "not open yet"
        else:
            state = "connected" if self._engine.wire.connection.connected.is_set() else "away"
        return f"<{type(self).__name__} {str(self.path)!r} {state}>"

    @property
    def maxsize(self) -> int:
        """How many items fit; 0 or less: no bound.  It belongs to the queue on the server."""
        return self._settings.maxsize

    def sibling(self, name: str) -> AsyncNatsQueue:
        """Return the queue *name* for dead letters, on the same servers, with the same login and replicas."""
        queue = AsyncNatsQueue(
            self._login.servers,
            name,
            serializer="msgpack",
            replicas=self._settings.replicas,
            storage=self._settings.storage,
            duplicate_window=self._settings.duplicate_window,
            timeout=self._timeout,
        )
        queue._login = self._login
        return queue

    # -- put --------------------------------------------------------------------------------------------------

    async def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Store *item*; on return the server has confirmed it, and it survives what the server promises.

        Args:
            item: anything that the serializer takes; encoded here and now.
            block: False: raise Full when there is no room.
            timeout: seconds to wait for room; None waits for ever.

        Raises:
            Full: no room (in time); nothing was stored.
            ValueError: *timeout* is negative.
            RecordTooLarge: the server takes no message of this size; nothing was stored.
            QueueClosed: the queue was closed or shut down.
            ServerAway: no confirmation in time; `ServerAway.sent` says whether it may be stored.
            OSError: the server has no space; nothing was stored.
            Exception: what the serializer raises for an item that it does not take; nothing was stored.

        Cancellation: the item is stored whole or not at all.
        """
        engine = await self._enter(putting=True)
        _check(block, timeout)
        message = engine.publisher.message(await self._encode(item), self.serializer.NAME)
        if not await engine.publisher.put(message, block, timeout):
            waited = "" if not block or timeout is None else f" in {timeout:g} s"
            raise Full(f"{self.path}: no room for another item{waited}: maxsize is {self.maxsize}")

    async def put_nowait(self, item: Any) -> None:
        """Store *item* as `put` with ``block=False``."""
        await self.put(item, block=False)

    async def put_many(self, items: Iterable[Any]) -> int:
        """Store *items* in order, and return how many there were; all of them are encoded first.

        They go in batches of up to 1,000, each of which the server stores whole, or not at all (before nats-server
        2.12: one by one); more items than *maxsize* go in as room comes.

        Raises:
            As `put`; the exception's attribute `stored` has the number of items that are known to be stored, from the
            first on.  Nothing behind them is, but after ServerAway the rest of one batch may be.

        Cancellation: the CancelledError has `stored` too; a batch that was sent is waited for.
        """
        try:
            engine = await self._enter(putting=True)
            name, new = self.serializer.NAME, engine.publisher.message
            messages = [new(await self._encode(item), name) for item in items]
        except BaseException as error:
            error.stored = 0  # type: ignore[attr-defined]  # see above
            raise
        await put_many(engine.publisher, messages, batches=engine.found.batches)
        return len(messages)

    async def _encode(self, item: Any) -> bytes:
        if self.serializer.is_async:
            record: bytes = await self.serializer.aencode(item)  # type: ignore[attr-defined]  # where is_async
            return record
        return self.serializer.encode(item)

    # -- get --------------------------------------------------------------------------------------------------

    async def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next item.

        With autosave it is acknowledged first; else the server keeps it until `task_done`, and gives it to somebody
        else when this queue is closed, or its process ends, before.

        Args:
            block: False: raise Empty when there is none.
            timeout: seconds to wait for one; None waits for ever, also for a server that is away.

        Raises:
            Empty: no item (in time).
            ValueError: *timeout* is negative.
            CorruptMessage: the next item cannot be decoded; it stays the next one.
            QueueClosed: the queue was closed, or shut down and is empty.
            ServerAway: the server does not say whether there is one (``block=False``), or does not confirm.

        Cancellation: the item goes to the next get.
        """
        (item,) = await self._get(1, block, timeout)
        return item

    async def get_nowait(self) -> Any:
        """Return the next item as `get` with ``block=False``."""
        return await self.get(block=False)

    async def get_many(self, max_items: int, timeout: float | None = None) -> list[Any]:
        """Wait for one item, then take what is there, up to *max_items*.

        Raises:
            As `get`; ValueError also where *max_items* is below 1.

        Cancellation: the items go to the next gets.
        """
        if max_items < 1:
            raise ValueError(f"max_items must be at least 1, not {max_items!r}")
        return await self._get(max_items, True, timeout)

    async def _get(self, limit: int, block: bool, timeout: float | None) -> list[Any]:
        await self._enter(getting=True)
        _check(block, timeout)
        return await self._taker.get(limit, block, timeout, autosave=self.autosave)

    async def peek(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next item and leave it; another consumer may take it before you do.  Else as `get`."""
        await self._enter(getting=True)
        _check(block, timeout)
        item, value = await self._taker.next(block, timeout)
        self._taker.put_back([item])
        return value

    def __aiter__(self) -> AsyncIterator[Any]:
        """Get items until the queue is closed or shut down."""
        return self

    async def __anext__(self) -> Any:
        """Get the next item."""
        try:
            return await self.get()
        except QueueClosed:
            raise StopAsyncIteration from None

    async def task_done(self) -> None:
        """Say that an item that was got is done with; on return the server has confirmed that.

        It acknowledges all that was got through this queue so far, also by other tasks.

        Raises:
            ValueError: called more often than items were got.
            ServerAway: no confirmation in time; call it again.
            QueueClosed, WrongContext: see there.

        Cancellation: what was begun goes on.
        """
        engine = await self._enter()
        if not engine.calls:
            raise ValueError("task_done() called too many times")
        await engine.answers.confirm_all(engine.answers.got)
        engine.calls -= 1
        engine.changed()

    async def join(self) -> None:
        """Wait until the queue is empty, and everything that was got here is done.

        Raises:
            QueueClosed: it was closed before.
            ServerAway: the server did not say in time.

        Cancellation: only the waiting ends.
        """
        await (await self._enter(getting=True)).join()

    # -- claim ------------------------------------------------------------------------------------------------

    async def claim(self, block: bool = True, timeout: float | None = None) -> Delivery:
        """Return the next item as a delivery; the server keeps it until `Delivery.ack`.

        Any number of tasks, processes and machines may claim; each item is with one of them at a time.

        Args:
            block: False: raise Empty when there is none.
            timeout: seconds to wait for one; None waits for ever.

        Raises:
            As `get`; Empty also where *max_in_flight* is reached.

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
        await self._enter(getting=True)
        _check(block, timeout)
        return await self._taker.claim(limit, block, timeout)

    # -- looking ----------------------------------------------------------------------------------------------

    async def qsize(self) -> int:
        """Return how many items get can hand out; those that other openers hold at the moment count, too."""
        return await (await self._enter()).available()

    async def empty(self) -> bool:
        """Return whether there is no item to get."""
        return await (await self._enter()).is_empty()

    async def full(self) -> bool:
        """Return whether there is no room to put."""
        engine = await self._enter()
        return self.maxsize > 0 and await engine.messages() >= self.maxsize

    def stats(self) -> dict[str, Any]:
        """Return counts since the queue was opened; empty while it is not open."""
        return {} if self._engine is None else self._engine.stats()

    async def sync(self) -> None:
        """Return when everything so far is confirmed; when the server syncs it is for the server to say.

        Raises:
            QueueClosed: it was closed before.
            ServerAway: the server did not confirm it in time.

        Cancellation: only the waiting ends.
        """
        engine = await self._enter()
        await engine.wire.quiet()
        await engine.messages()

    async def clear(self) -> None:
        """Drop every item of the queue, whoever holds it; they count as done.

        Raises:
            QueueClosed: it was closed before.
            ServerAway: the server did not confirm it in time; they may be dropped or not.

        Cancellation: all are dropped, or none.
        """
        await (await self._enter()).clear()

    # -- beginning and end ------------------------------------------------------------------------------------

    def _start(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Engine]:
        lease, max_in_flight, max_attempts = self._limits
        plan = Plan(
            self._login,
            str(self.path),
            self._settings,
            self.serializer.NAME,
            self._timeout,
            self._create,
            lease,
            max_in_flight,
            max_attempts,
            self._letters,
            self._monitor,
        )
        return loop.create_task(open_engine(plan, loop))

    def _started(self, engine: Engine) -> None:
        self._taker = Taker(engine, self.serializer)

    def _closing_last(self, engine: Engine) -> asyncio.Future[None] | None:
        """Close the dead letters, where they were opened here."""
        if self._letters is None or not self._letters.is_open:
            return None
        return engine.loop.create_task(self._letters.close())

    def _closed(self) -> QueueClosed:
        return QueueClosed(f"{self.path}: the queue was closed; open it again with AsyncNatsQueue(servers, name)")


def _check(block: bool, timeout: float | None) -> None:
    if timeout is not None and timeout < 0 and block:
        raise ValueError("'timeout' must be a non-negative number")
