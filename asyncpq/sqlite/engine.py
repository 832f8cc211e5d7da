"""The one place where the event loop and the thread of a database meet.

    put, get, ack ──> operations ──> the lane ──> one transaction for all that wait ──> their outcomes

An operation is a function of the store.  A get whose caller is cancelled is undone, in the same transaction or in the
next one.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncpq import threads
from asyncpq.errors import QueueClosed, QueueFailed, SyncFailed, WrongContext
from asyncpq.lane import Lane, Request, call_loop, forget, resolve
from asyncpq.sqlite.durable import Durability
from asyncpq.sqlite.transactions import UNDONE, NoRoom, Operation, Outcome, Transactions
from asyncpq.waiting import Line

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from asyncpq.fsync import Policy
    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.store import Store

POLL: Final = 0.075  # seconds between two looks for what other processes did, while somebody waits
INF: Final = float("inf")

logger: Final = logging.getLogger("asyncpq")


@dataclass(frozen=True, slots=True)
class Opened:
    """What was found in the database."""

    file: str
    serializer: Serializer
    store: Store
    ready: int  # items that can be got


class Engine:
    """An open queue; but for `work` and what it calls, everything here belongs to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, opened: Opened, policy: Policy, heartbeat: float) -> None:
        """Take over what was opened; while it holds items, it gives a sign of life each *heartbeat* seconds."""
        self.loop, self.opened, self.path, self.store = loop, opened, opened.file, opened.store
        self.durability = Durability(self.store.database, policy, self._failed_in_thread)
        self.transactions = Transactions(self.store, self.durability)
        # A thread of its own: while it syncs what was acknowledged, the next group waits for that thread, awake.
        self._lane = Lane(loop, self, threads.Pool(max_threads=1))
        self._heartbeat = heartbeat
        self._beating: asyncio.TimerHandle | None = None
        self._polling = False

        self.maxsize = 0
        self.ready, self.known = opened.ready, True  # known: nobody else can have changed it
        self._known_until = 0.0  # by the loop's clock; then a get may look again
        self.pending = 0  # items on their way into the database
        self.outstanding = 0  # items that were got here and are not done
        self.taking = 0  # gets that may have taken items, and have not handed them out
        self.since = time.monotonic()
        self.left: int | None = None  # rows that are not done, as counted last
        self.lives = False  # gives signs of life whether it holds items or not
        self.getters = Line(loop, lambda: self.ready if self.known else INF)
        self.putters = Line(loop, lambda: self.room)
        self.joiners = Line(loop, lambda: INF if self.finished else 0)
        self.lines = [self.getters, self.putters, self.joiners]
        self.draining = self.stopped = False
        self.thread = threading.get_ident()
        self._undone: list[tuple[Callable[[Any], None], Any, int]] = []  # to be undone in the next transaction

        self.refusal: Callable[[], BaseException] | None = None
        self.failure: QueueFailed | None = None
        self.released = False
        self._forsaken = False
        _open.add(self)

    # -- operations -----------------------------------------------------------------------------------------

    @property
    def room(self) -> float:
        """How many items may still be put, as far as is known."""
        return self.maxsize - self.ready - self.pending if self.maxsize > 0 and self.known else INF

    @property
    def finished(self) -> bool:
        """Whether nothing is stored, on its way, or got and not done."""
        if self.pending or self.taking:
            return False
        # Where what is got stays in the table until it is done, a count tells all, also of what others hold.
        return self.left == 0 if self.store.claims else self.known and self.ready == 0 and self.outstanding == 0

    def operate(self, operation: Operation) -> asyncio.Future[Any]:
        """Have *operation* run in the next transaction; return the future of its result."""
        self.pending += operation.needs
        return self._lane.enqueue(operation)

    def request(self, run: Callable[[], Any], **how: Any) -> asyncio.Future[Any]:
        """Have *run* run in the next transaction, as an `Operation`."""
        return self.operate(Operation(self.loop.create_future(), run=run, **how))

    async def end_of(self, inserting: asyncio.Future[Any]) -> int:
        """Withdraw an insert, or wait for its end if it has begun; return how many rows are stored."""
        result: Any = await self._lane.end_of(inserting)
        return len(result) if isinstance(result, list) else 0

    def alone(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
        """Have *job* run by itself, outside a transaction, when everything before it is done."""
        return self._lane.enqueue(Request(self.loop.create_future(), job=job))

    def undo_later(self, undo: Callable[[Any], None], result: Any, gained: int) -> None:
        """Undo in the next transaction what a cancelled caller never got, and see to it that there is one."""
        self._undone.append((undo, result, gained))
        forget(self.request(lambda: None))

    # -- the lane -------------------------------------------------------------------------------------------

    def held(self, request: Request, taken: int) -> bool:
        """Hold nothing back: what has to wait for the disk does so in the thread."""
        return False

    def begun(self, group: list[Request]) -> None:
        """A job begins: it undoes first what was left to be undone."""
        self.transactions.undoing += self._undone
        self._undone.clear()
        self.transactions.bound, self.transactions.unsure = self.maxsize, not self.known

    def work(self, group: list[Request]) -> Any:
        """Do a group's job, in a worker thread."""
        try:
            return group[0].job() if group[0].job else self.transactions.run(group)  # type: ignore[arg-type]
        except sqlite3.Error as error:
            raise self.transactions.explained(error) from error

    # -- outcomes -------------------------------------------------------------------------------------------

    def settle(self, group: list[Request], outcome: Any) -> None:
        """Tell everyone in the group what became of his operation."""
        if isinstance(outcome, SyncFailed):
            self.fail(outcome)
        if group[0].job is not None:
            self._settle_job(group[0], outcome)
        else:
            results = outcome.results if isinstance(outcome, Outcome) else [outcome] * len(group)
            if isinstance(outcome, Outcome):
                self.ready = max(0, self.ready - outcome.undone)
                self.known = self.known and not outcome.changed
            for request, result in zip(group, results, strict=True):
                self._settle(request, self.failure if isinstance(result, SyncFailed) else result)  # type: ignore[arg-type]
            if isinstance(outcome, Outcome) and outcome.ready is not None:
                self.ready, self.known = outcome.ready, True
            elif UNDONE in results:
                self.known = False  # a take behind it may have found nothing, and now there is something
        self.wake()
        self.orphaned()

    def _settle_job(self, request: Request, outcome: Any) -> None:
        failed = isinstance(outcome, BaseException)
        error = self.failure if isinstance(outcome, SyncFailed) and not request.last else outcome
        resolve(request.future, None if failed else outcome, error if failed else None)

    def _settle(self, operation: Operation, result: Any) -> None:
        self.pending -= operation.needs
        if isinstance(result, NoRoom):
            resolve(operation.future, result, None)
        elif isinstance(result, BaseException):
            resolve(operation.future, None, result)
        elif result is not UNDONE:
            self._account(operation, result)
            if not operation.future.done():
                operation.future.set_result(result)
            elif operation.undo is not None:
                self.undo_later(operation.undo, result, operation.gains(result))

    def _account(self, operation: Operation, result: Any) -> None:
        """Count what can be got now."""
        self.ready = max(0, self.ready + operation.gains(result))
        if operation.needs:
            self.left = None
        if operation.sought and not result:
            self.ready, self.known = 0, True
            self._known_until = self.loop.time() + POLL

    def wake(self) -> None:
        """Let go on who can; and refuse those who cannot any more."""
        for line in self.lines:
            if line.waiting:
                line.wake()
        if self.drained:
            self.getters.refuse(self.closed)
        self.watch()

    def late(self, request: Request) -> None:
        """Refuse a request that came behind the one that closes the queue."""
        self._drop(request)
        resolve(request.future, None, self.closed() if self.refusal is None else self.refusal())

    def dropped(self, request: Request) -> None:
        """Take back what a request counted whose caller was cancelled before its job began."""
        self._drop(request)
        self.putters.wake()

    def _drop(self, request: Request) -> None:
        if isinstance(request, Operation):
            self.pending -= request.needs

    def acknowledged(self) -> None:
        """Sync at once, where the policy's number of changes waits for it.  In the worker thread."""
        self.durability.acknowledged()

    def fail(self, error: SyncFailed) -> QueueFailed:
        """Latch: from here on every call, and everyone who waits, gets QueueFailed."""
        if self.failure is None:
            self.failure = QueueFailed(self.path, error.cause)
            logger.error("%s", self.failure)
            self.refuse(lambda: QueueFailed(self.path, error.cause))
            self._lane.fail(lambda request: resolve(request.future, None, self.failure))
        return self.failure

    def _failed_in_thread(self, error: SyncFailed) -> None:
        call_loop(self.loop, self._latch, error)

    def _latch(self, error: SyncFailed) -> None:
        self.fail(error)

    # -- other processes ------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look from time to time for what others did, as long as somebody waits for it."""
        if not self._polling and self._somebody_waits():
            self._polling = True
            self.loop.call_later(POLL, self._poll)

    def _somebody_waits(self) -> bool:
        waiting = self.getters.waiting or self.putters.waiting or self.joiners.waiting
        return bool(waiting) and self.refusal is None

    def _poll(self) -> None:
        self._polling = False
        if not self._somebody_waits():
            return
        if not self._lane.idle:
            self.watch()
            return
        self._polling = True
        self.alone(self._look).add_done_callback(self._looked)

    def _look(self) -> tuple[bool, int | None, int | None]:
        """Return whether others changed the database; where it matters, what can be got and what is left."""
        changed, due = self.store.poll()
        exact = bool(self.putters.waiting or self.joiners.waiting) and (changed or due or not self.known)
        ready = self.store.count() if exact else None
        return changed or due, ready, self.store.count_left() if self.joiners.waiting else None

    def _looked(self, done: asyncio.Future[Any]) -> None:
        self._polling = False
        if done.cancelled() or self.refusal is not None:
            return
        if done.exception() is not None:
            self.known = False  # whoever waits finds out by himself
        else:
            changed, ready, self.left = done.result()
            if ready is not None:
                self.ready, self.known = ready, True
            elif changed:
                self.known = False
            self._known_until = self.loop.time() + POLL
        self.wake()

    def doubt(self) -> None:
        """Let the next get look for itself, where nothing is there as far as is known, and that is old."""
        if self.known and self.ready == 0 and self.loop.time() >= self._known_until and not self.getters.waiting:
            self.known = False

    def beat(self) -> None:
        """Give signs of life as long as items are held here."""
        if self._beating is None:
            self._beating = self.loop.call_later(self._heartbeat, self._beat)

    def _beat(self) -> None:
        self._beating = None
        if (self.outstanding > 0 or self.lives) and self.refusal is None:
            forget(self.request(lambda: self.store.owner.live(time.time())))
            self.beat()

    # -- the end --------------------------------------------------------------------------------------------

    def refuse(self, error: Callable[[], BaseException]) -> None:
        """Let everyone who waits, and every later call, get an error."""
        self.refusal = error
        for line in self.lines:
            line.refuse(error)

    def shut_down(self, *, immediate: bool) -> None:
        """Let puts be refused, and gets once nothing is left, or at once."""
        self.draining = True
        self.putters.refuse(self.closed)
        if immediate:
            self.stopped = True
            for line in self.lines:
                line.refuse(self.closed)
        self.wake()

    @property
    def drained(self) -> bool:
        """Whether nothing is left to get, nor on its way."""
        return self.draining and self.known and self.ready == 0 and self.pending == 0

    def closed(self) -> QueueClosed:
        """Return the error for calls after the end."""
        return QueueClosed(f"{self.path}: the queue is closed or was shut down; open it again")

    def forked(self) -> None:
        """In the child of a fork: this queue is the parent's."""
        self.refusal = lambda: WrongContext(
            f"{self.path}: this queue was opened by the parent process; open it in one process only, after the fork"
        )
        _of_parent.append(self.store.database)

    def close(self) -> asyncio.Future[None]:
        """Make all durable and release everything, after what waits in the lane.

        Cancellation: goes on.
        """
        if self._beating is not None:
            self._beating.cancel()
        request = Request(self.loop.create_future(), job=self._close, last=True)
        return self._lane.enqueue(request)

    def _close(self) -> None:
        try:
            if self.failure is None:
                if self.transactions.undoing or self.store.owner.id:
                    self.transactions.run([Operation(self.loop.create_future(), run=self.store.leave)])
                self.durability.close()
        except SyncFailed as error:
            raise error.cause from error
        finally:
            self._release()

    def _release(self) -> None:
        self.durability.stop()
        self.released = True
        self.store.database.close()

    def forsake(self) -> None:
        """Release everything at once: the queue was dropped without being closed."""
        self._forsaken = True
        if not self._lane.running:
            self.orphaned()

    def orphaned(self) -> None:
        """Release everything, if nobody is left who could close the queue: no job runs any more."""
        if self._forsaken and not self.released:
            self.released = True
            self._lane.fail(self.dropped)
            with suppress(RuntimeError):  # the interpreter ends: no thread begins any more, and the system closes all
                threads.pool.submit(self._release)


# Every open engine: the child of a fork must not touch the connections of its parent, nor close them.
_open: weakref.WeakSet[Engine] = weakref.WeakSet()
_of_parent: list[Any] = []


def _after_fork() -> None:
    for engine in list(_open):
        if not engine.released:
            engine.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
