"""AsyncQueue: a persistent queue for asyncio, in the directory layout of persist-queue's file queue."""

from __future__ import annotations

from pathlib import Path
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from asyncpq import fsync as policies
from asyncpq import serializers, upkeep
from asyncpq.buffer import NeedsRead
from asyncpq.claims import Claims
from asyncpq.consumer import Consumer
from asyncpq.deliveries import Claiming, Delivery
from asyncpq.directory import check_tempdir
from asyncpq.engine import Engine
from asyncpq.errors import CorruptRecord, MixedUse, QueueClosed
from asyncpq.files import FILES
from asyncpq.lifecycle import Lifecycle
from asyncpq.misuse import checked_path, explain_refused, has_to_be_awaited
from asyncpq.opened import Recovery
from asyncpq.opening import open_engine
from asyncpq.producer import ENCODE_LIMIT, LONG_TYPES, Producer
from asyncpq.turn import YIELD

if TYPE_CHECKING:
    import asyncio
    import os
    from collections.abc import AsyncIterator, Callable, Iterable

    from asyncpq.files import Files

C = TypeVar("C", bound=Consumer)


class AsyncQueue(Claiming, Lifecycle[Engine]):
    """A queue on the disk.

    The positional parameters and the methods are those of persist-queue's AsyncQueue, whose directories it goes on
    with.  It opens at its first use, or in ``async with``, and belongs to the event loop that opened it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        maxsize: int = 0,
        chunksize: int = 100,
        tempdir: str | os.PathLike[str] | None = None,
        serializer: Any = None,
        autosave: bool = False,
        *,
        fsync: str | policies.Policy = "interval",
        repair: bool = False,
        on_corrupt: str = "raise",
        inline_limit: int = 65536,
        lock: bool = True,
        max_in_flight: int = 0,
        lease: float | None = None,
        max_attempts: int | None = None,
        dead_letters: str | os.PathLike[str] | AsyncQueue | None = None,
    ) -> None:
        """Describe the queue; nothing is opened yet.

        Args:
            path: the directory; it is made when it is missing.
            maxsize: items that fit; 0 or less: no bound.
            chunksize: records in a chunk file, for a new directory; an existing one keeps its own.
            tempdir: accepted for persist-queue's sake; nothing is written there.
            serializer: a module with dump and load, or a name of `asyncpq.serializers`; None: what the directory
                was written with, pickle for a new one.
            autosave: True: get commits; False: task_done does.
            fsync: a policy of `asyncpq.fsync`, or its name.
            repair: do first what `asyncpq.repair` does: read every record, and set aside what is damaged.
            on_corrupt: "raise", or "skip" to set a damaged record aside and go on.
            inline_limit: bytes that are written from the event loop itself; 0: everything in a thread.
            lock: False where the file system has no flock; then one opener is your own care.
            max_in_flight: claims that may wait for their answer; 0: only the window bounds them.
            lease: seconds after which a claim that nobody answered is given back; None: never.
            max_attempts: failed attempts after which an item goes to the dead letters; None: no bound.
            dead_letters: a directory, or a queue that is yours to close, for what failed too often, was rejected,
                or cannot be decoded.

        Raises:
            ValueError: an unknown policy or serializer, a tempdir on another file system, a number that cannot be
                kept, or max_attempts without dead_letters.
            AttributeError: the serializer has no dump or load.
        """
        self.path = checked_path(path)
        self.chunksize, self.tempdir, self.autosave = chunksize, tempdir, autosave
        self.serializer = None if serializer is None else serializers.get(serializer)
        self.fsync = policies.get(fsync)
        if on_corrupt not in ("raise", "skip"):
            raise ValueError(f"on_corrupt is 'raise' or 'skip', not {on_corrupt!r}")
        if max_in_flight < 0 or not (lease is None or lease > 0) or not (max_attempts is None or max_attempts >= 1):
            raise ValueError("max_in_flight is at least 0, lease above 0, max_attempts at least 1")
        if max_attempts is not None and dead_letters is None:
            raise ValueError("max_attempts needs dead_letters=, a directory or a queue for what failed so often")
        self._claiming = (max_in_flight, lease, max_attempts)
        self._letters = None if dead_letters is None else DeadQueue(dead_letters, self.fsync)
        self._claims: Claims | None = None
        self.on_corrupt, self.inline_limit = on_corrupt, inline_limit
        self._repair, self._lock, self._maxsize = repair, lock, maxsize
        check_tempdir(FILES, path, tempdir)
        super().__init__()
        self._files = FILES
        self._producer: Producer
        self._consumer: Consumer
        self._encode: Callable[[Any], bytes] | None = None  # None: it may have to wait
        self._direct = False  # a get waits neither for a commit nor for the serializer

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

    @property
    def recovery(self) -> Recovery:
        """What opening healed; false where nothing was, or where the queue is not open yet."""
        return Recovery() if self._engine is None else self._engine.opened.report

    # -- put --------------------------------------------------------------------------------------------------

    async def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Store *item*; on return it survives what the fsync policy promises.

        Args:
            item: anything that the serializer takes; encoded here and now.
            block: False: raise Full when there is no room.
            timeout: seconds to wait for room; None waits for ever.

        Raises:
            Full: no room (in time); nothing was stored.
            ValueError: *timeout* is negative.
            QueueClosed: the queue was closed or shut down.
            QueueFailed: an earlier sync failed; reopen the queue.
            OSError: the disk did not take it; nothing was stored, and the queue works on.
            Exception: what the serializer raises for an item that it does not take; nothing was stored.

        Cancellation: the item is stored whole or not at all.
        """
        engine = self._engine
        if engine is None or not (engine.thread == get_ident() and engine.runs()) or engine.refusal or engine.draining:
            engine = await self._enter(putting=True)
        if timeout is not None and timeout < 0 and block:
            raise ValueError("'timeout' must be a non-negative number")
        if self._encode is None or (type(item) in LONG_TYPES and len(item) > ENCODE_LIMIT):
            record = await self._producer.encode_away(item)
        else:
            try:
                record = self._encode(item)
            except Exception as error:
                explain_refused(error, self.path, engine.opened.serializer.NAME)
                raise
        if engine.maxsize > 0:
            await self._producer.put(record, block, timeout)
        elif (waiting := engine.put(record)) is not None:
            await waiting

    async def put_nowait(self, item: Any) -> None:
        """Store *item* as `put` with ``block=False``."""
        await self.put(item, block=False)

    async def put_many(self, items: Iterable[Any]) -> int:
        """Store *items* in order, and return how many there were; all of them are encoded first.

        More items than *maxsize* go in as room comes.

        Raises:
            As `put`; when an OSError, or a shutdown, ends it, the exception's attribute `stored` has the number of
            items that are stored, from the first on.  An item that cannot be serialized: nothing is stored.

        Cancellation: the CancelledError has `stored` too; a write that has begun is waited for.
        """
        try:
            await self._enter(putting=True)
        except BaseException as error:
            error.stored = 0  # type: ignore[attr-defined]  # see above
            raise
        return await self._producer.put_many(items)

    # -- get --------------------------------------------------------------------------------------------------

    async def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next item.

        With autosave it is committed first, as the fsync policy promises; else it stays on the disk until
        `task_done`, and comes again when the queue is reopened before.

        Args:
            block: False: raise Empty when there is none.
            timeout: seconds to wait for one; None waits for ever.  A read or a commit is not counted.

        Raises:
            Empty: no item (in time).
            ValueError: *timeout* is negative.
            CorruptRecord: the next record cannot be read; the queue stays where it is.
            QueueClosed: the queue was closed, or shut down and is empty.
            QueueFailed: an earlier sync failed; reopen the queue.
            OSError: reading, or the commit, failed; the item is not lost.

        Cancellation: the item goes to the next get.
        """
        engine = self._engine
        if engine is None or not (engine.thread == get_ident() and engine.runs()) or engine.refusal or engine.stopped:
            engine = await self._enter(getting=True)
        if timeout is not None and timeout < 0 and block:
            raise ValueError("'timeout' must be a non-negative number")
        now = monotonic()
        if now >= engine.turn.ends and engine.turn.over(now):
            await YIELD
        buffer, getters = engine.buffer, engine.getters
        if self._direct and buffer.stored > buffer.got and not getters.promised and not getters.waiting:
            try:
                item = buffer.take()
            except (NeedsRead, CorruptRecord):
                pass  # in turn, somebody reads it, or says what is wrong with it
            else:
                if engine.maxsize > 0 or engine.draining:
                    engine.taken()
                return item
        item = await self._consumer.get(block, timeout)
        engine.taken()
        return item

    async def get_nowait(self) -> Any:
        """Return the next item as `get` with ``block=False``."""
        return await self.get(block=False)

    async def get_many(self, max_items: int, timeout: float | None = None) -> list[Any]:
        """Wait for one item, then take what is there, up to *max_items*; with autosave all in one commit.

        What was read before a damaged record is returned; the next call raises.

        Raises:
            As `get`; ValueError also where *max_items* is below 1.

        Cancellation: the items go to the next gets.
        """
        if max_items < 1:
            raise ValueError(f"max_items must be at least 1, not {max_items!r}")
        if timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        engine = self._engine
        if engine is None or not (engine.thread == get_ident() and engine.runs()) or engine.refusal or engine.stopped:
            engine = await self._enter(getting=True)
        now = monotonic()
        if now >= engine.turn.ends and engine.turn.over(now):
            await YIELD
        buffer, getters = engine.buffer, engine.getters
        if self._direct and buffer.has(max_items) and not getters.promised and not getters.waiting:
            try:
                items = buffer.take_many(max_items)
            except (NeedsRead, CorruptRecord):
                pass
            else:
                if engine.maxsize > 0 or engine.draining:
                    engine.taken()
                return items
        items = await self._consumer.get_many(max_items, timeout)
        engine.taken()
        return items

    async def peek(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next item and leave it; another consumer may take it before you do.  Else as `get`."""
        await self._enter(getting=True)
        if timeout is not None and timeout < 0 and block:
            raise ValueError("'timeout' must be a non-negative number")
        return await self._consumer.peek(block, timeout)

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
        """Say that an item that was got is done with; on return that survives as the fsync policy promises.

        It commits all that was got so far, also by others: one cursor stands for all consumers, as in persist-queue.

        Raises:
            ValueError: called more often than there were items.
            OSError: the disk did not take it; nothing was changed.
            QueueClosed, QueueFailed, WrongContext: see there.

        Cancellation: it is committed whole or not at all.
        """
        engine = self._engine
        if engine is None or not (engine.thread == get_ident() and engine.runs()) or engine.refusal:
            engine = await self._enter()
        waiting = engine.task_done(commit=not self.autosave)
        if waiting is not None:
            await waiting

    async def join(self) -> None:
        """Wait until every item that was put, or was there, is done.

        Raises:
            QueueClosed, QueueFailed: it ended before.

        Cancellation: nothing is changed.
        """
        engine = await self._enter(getting=True)
        if engine.unfinished and await engine.joiners.wait(None):
            engine.joiners.release()

    # -- claim ----------------------------------------------------------------------------------------------

    async def claim(self, block: bool = True, timeout: float | None = None) -> Delivery:
        """Return the next item as a delivery; it stays on the disk until `Delivery.ack`.

        Any number of tasks may claim; each item is with one of them at a time.  What was not acknowledged comes again
        when it is given back, when its lease is over, and when the queue is reopened.

        Args:
            block: False: raise Empty when there is none.
            timeout: seconds to wait for one; None waits for ever.

        Raises:
            As `get`; Empty also where *max_in_flight*, or the window, is full.
            MixedUse: get was used since the queue was opened.

        Cancellation: the item goes to the next claim.
        """
        if timeout is not None and timeout < 0 and block:
            raise ValueError("'timeout' must be a non-negative number")
        claims, engine = self._claims, self._engine
        if (
            claims is None
            or engine is None
            or not (engine.thread == get_ident() and engine.runs())
            or engine.refusal
            or engine.stopped
        ):
            claims = self._claim_from(await self._enter(getting=True))
            engine = await self._enter(getting=True)
        now = monotonic()
        if now >= engine.turn.ends and engine.turn.over(now):
            await YIELD
        return claims.claim_now() or await claims.claim(block, timeout)

    async def claim_many(self, max_items: int, timeout: float | None = None) -> list[Delivery]:
        """Wait for one item, then claim what is there, up to *max_items*: as `claim`."""
        if max_items < 1:
            raise ValueError(f"max_items must be at least 1, not {max_items!r}")
        if timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        return await self._claim_from(await self._enter(getting=True)).claim_many(max_items, timeout)

    def _claim_from(self, engine: Engine) -> Claims:
        """Claim from here on: a get is refused."""
        if self._claims is None:
            if engine.claims is not None:
                raise engine.claims.mixed("claim")
            if self._consumer.used or engine.buffer.got > engine.buffer.jumped:
                raise MixedUse(self.path, "claim", "get")
            max_in_flight, lease, max_attempts = self._claiming
            self._consumer = self._claims = Claims(
                engine,
                self._files,
                engine.dirfd,
                skip=self.on_corrupt == "skip",
                max_in_flight=max_in_flight,
                lease=lease,
                max_attempts=max_attempts,
                letters=self._letters,
            )
            self._direct = False
        return self._claims

    async def _hand_over(self, make: Callable[[Engine, Files, int], C]) -> C:
        """Let what *make* makes have the consumer's side from here on: `forward` does; get and claim are refused.

        Raises:
            MixedUse: something was got or claimed since the queue was opened.
        """
        engine = await self._enter(getting=True)
        if self._claims is not None or self._consumer.used or engine.buffer.got > engine.buffer.jumped:
            raise MixedUse(self.path, "forward", "claim" if self._claims is not None else "get")
        self._consumer = made = make(engine, self._files, engine.dirfd)
        self._direct = False
        return made

    # -- looking --------------------------------------------------------------------------------------------

    @has_to_be_awaited
    async def qsize(self) -> int:
        """Return how many items get can hand out."""
        return (await self._enter()).ready

    @has_to_be_awaited
    async def empty(self) -> bool:
        """Return whether there is no item to get."""
        return (await self._enter()).ready == 0

    @has_to_be_awaited
    async def full(self) -> bool:
        """Return whether there is no room to put."""
        engine = await self._enter()
        return engine.maxsize > 0 and engine.ready >= engine.maxsize

    def stats(self) -> dict[str, Any]:
        """Return counts since the queue was opened: sizes, operations, commits, syncs and the seconds they took.

        Empty while the queue is not open.
        """
        return {} if self._engine is None else self._engine.stats()

    # -- the directory --------------------------------------------------------------------------------------

    async def sync(self) -> None:
        """Return when everything so far is durable, whatever the policy.

        Raises:
            QueueFailed: the disk did not take it; reopen the queue.

        Cancellation: the sync goes on.
        """
        engine = await self._enter()
        await engine.sync()

    async def clear(self) -> None:
        """Drop every stored item, and those that were got and not committed; they count as done.

        Raises:
            OSError: the disk did not take it; nothing was dropped.
            QueueClosed, QueueFailed, WrongContext: see there.

        Cancellation: all are dropped, or none.
        """
        engine = await self._enter()
        await upkeep.clear(engine)
        engine.taken()

    async def compact(self) -> None:
        """Give back the space of the present chunk, if everything in it was consumed and committed.

        The chunk that was emptied is removed, and an empty one takes its place; else nothing is done.

        Raises:
            OSError: the disk did not take it; nothing was changed.
            QueueClosed, QueueFailed, WrongContext: see there.

        Cancellation: it is done whole, or not at all.
        """
        await upkeep.compact(await self._enter())

    # -- beginning ------------------------------------------------------------------------------------------

    def _start(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Engine]:
        return open_engine(
            self._files,
            Path(self.path),
            loop,
            serializer=self.serializer,
            chunksize=self.chunksize,
            policy=self.fsync,
            repair=self._repair,
            lock=self._lock,
            inline_limit=self.inline_limit,
        )

    def _started(self, engine: Engine) -> None:
        engine.maxsize = self._maxsize
        self.serializer = engine.opened.serializer
        self.chunksize = engine.opened.chunksize
        self._producer = Producer(engine)
        self._encode = None if self.serializer.is_async else self.serializer.encode
        self._direct = not self.autosave and not self.serializer.is_async
        self._consumer = Consumer(
            engine, self._files, engine.dirfd, autosave=self.autosave, skip=self.on_corrupt == "skip"
        )

    def _closing_first(self, engine: Engine) -> asyncio.Future[None] | None:
        """Store dead letters that are on their way: theirs is another queue."""
        if self._claims is None or self._claims.settled:
            return None
        return engine.loop.create_task(self._claims.settle())

    def _closing_last(self, engine: Engine) -> asyncio.Future[None] | None:
        """Close the dead letters, where they were opened here."""
        if self._letters is None or not self._letters.is_open:
            return None
        return engine.loop.create_task(self._letters.close())


class DeadQueue:
    """Where the dead letters of a queue go: a queue of its own, opened with the first one, or the user's."""

    def __init__(self, where: str | os.PathLike[str] | AsyncQueue, policy: policies.Policy) -> None:
        """Open nothing yet."""
        self._own = not isinstance(where, AsyncQueue)
        self._queue = where if isinstance(where, AsyncQueue) else AsyncQueue(where, fsync=policy)
        self.is_open = False

    async def store(self, letter: dict[str, Any]) -> None:
        """Store *letter*; durable, but under `never`."""
        self.is_open = self._own
        await self._queue.put(letter)
        if self._queue.fsync.name != "never":
            await self._queue.sync()

    async def close(self) -> None:
        """Close the queue, where it was opened here."""
        self.is_open = False
        await self._queue.close()
