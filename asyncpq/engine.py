"""The one place where the event loop and the threads meet.

    put ──┬─ inline: Log.append_now, on the loop                           usually
          └─ lane:   Log.append or append_durably, in a worker thread      `always`; long records; during a sync
    get ──┬─ buffer: a record in memory                                    usually
          └─ read_blocks, in a worker thread

Making durable is a second lane beside the writing one (`committer.py`) under `interval` and `never`; under
`rollover` and `always` it is part of the writing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
import weakref
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Protocol

from asyncpq import threads
from asyncpq.buffer import ReadBuffer, SkippingBuffer
from asyncpq.committer import Committer
from asyncpq.errors import QueueClosed, QueueFailed, SyncFailed, TooManyOpenFiles, WrongContext
from asyncpq.lane import Lane, Request, forget, resolve, run
from asyncpq.layout import distance
from asyncpq.log import FULL_MAX, Log
from asyncpq.turn import YIELD, Turn, Yield
from asyncpq.waiting import Line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from asyncpq.files import Files
    from asyncpq.fsync import Policy
    from asyncpq.opened import Opened

SLOW_WRITE: Final = 0.005  # seconds; after an inline write that took longer, ...
REST_MIN: Final = 0.01  # ... the writes of so many seconds go to the thread, ...
REST_MAX: Final = 1.0  # ... twice as many each time until one is fast again: it may have been the scheduler
INF: Final = float("inf")

logger: Final = logging.getLogger("asyncpq")
monotonic = time.monotonic


class Claims(Protocol):
    """What hands items out to be acknowledged one by one, once it does."""

    @property
    def left(self) -> int:
        """How many items are not acknowledged, or still to be handed out."""

    def begun(self, group: list[Request]) -> None:
        """A group's job begins: its acknowledgements become a tail, and notes."""

    def mixed(self, call: str) -> Exception:
        """Return the error for a *call* that belongs to get."""

    def dropped_all(self) -> None:
        """The queue was cleared."""


class Engine:
    """An open queue; everything here belongs to the thread of its event loop."""

    def __init__(
        self,
        files: Files,
        dirfd: int,
        path: Path,
        opened: Opened,
        policy: Policy,
        loop: asyncio.AbstractEventLoop,
        inline_limit: int,
    ) -> None:
        """Take over *dirfd* and its lock."""
        self.loop, self.path, self.policy, self.opened = loop, path, policy, opened
        # A loop that runs in this thread is the running loop; to ask for that one takes a system call (0.3 us).
        self.thread, self.runs = get_ident(), loop.is_running
        self.dirfd = dirfd
        self.log = Log(files, dirfd, path, opened, policy)
        begin = (path, opened.serializer, opened.chunksize, opened.tail, opened.size)
        acked = opened.acks.acked
        self.buffer = SkippingBuffer(*begin, acked) if acked else ReadBuffer(*begin)
        self.claims: Claims | None = None  # once items are claimed, nobody gets
        self.always = policy.name == "always"
        self._in_lane = policy.name in ("always", "rollover")  # durable commits are part of the writing
        self.items: int | None = getattr(policy, "items", None)
        self._lane = Lane(loop, self)
        seconds = getattr(policy, "seconds", INF)
        self._committer = Committer(self.log, loop, seconds, self.fail, self._postponed, self._lane.pump)
        self.log.on_full = self._committer.want_full
        self._visible: tuple[int, int] | None = None  # chunk and offset of head, while a job may be beyond it
        self._inline_limit = -1 if self.always or opened.serializer.is_async else inline_limit
        self._thread_until = 0.0
        self._rest = REST_MIN
        self.turn = Turn(loop)

        self.maxsize = 0
        self.pending = 0  # records on their way to the disk
        self.unfinished = self._first = self.buffer.stored
        self._since = monotonic()
        self.getters = Line(loop, lambda: self.ready)
        self.putters = Line(loop, lambda: self.room)
        self.joiners = Line(loop, lambda: INF if self.unfinished == 0 else 0)
        self.finishing = 0  # task_dones whose commit runs
        self.draining = False  # shut down: no put any more, get until it is empty ...
        self.stopped = False  # ... or not even that
        self.autosaving: list[int] = []  # chunks of autosave gets that have not returned
        self.quiet = True  # as the job began, nothing was there to get, and nobody was getting

        self.came_back = 0  # items given out again, since their lease was over
        self._closing: asyncio.Future[None] | None = None
        self.refusal: Callable[[], BaseException] | None = None  # what every further call gets
        self.failure: QueueFailed | None = None
        self._forsaken = False  # dropped without being closed
        _open.add(self)

    @property
    def ready(self) -> int:
        """How many items get can hand out."""
        return self.buffer.stored - self.buffer.got + len(self.buffer.returned)

    @property
    def released(self) -> bool:
        """Whether the files are closed."""
        return self.log.closed

    @property
    def room(self) -> float:
        """How many items may still be put."""
        return self.maxsize - self.ready - self.pending if self.maxsize > 0 else INF

    # -- put ------------------------------------------------------------------------------------------------

    def put(self, record: bytes) -> Awaitable[Any] | None:
        """Store *record*; None: it is stored; else it is once what is returned has been awaited.

        Raises:
            OSError: it does not fit; nothing was changed.
        """
        began = monotonic()
        # As _may_write, without its call: this is the hot path.
        if (
            len(record) <= self._inline_limit
            and self._lane.idle
            and self._thread_until <= began < self._committer.due
            and (self.items is None or not self._too_many(1))
        ):
            try:
                stored = self.log.append_now(record)
            except SyncFailed as error:
                raise self.fail(error) from error
            if stored:
                self.unfinished += 1
                self.buffer.added(record)
                if self.getters.waiting:
                    self.getters.wake()
                # As written, without its call.
                now = monotonic()
                if now - began > SLOW_WRITE or self._rest > REST_MIN or not self._committer.armed:
                    self._look_after(began, now)
                return YIELD if now >= self.turn.ends and self.turn.over(now) else None
        self.pending += 1
        return self._lane.enqueue(Request(self.loop.create_future(), (record,)))

    def put_many(self, records: Sequence[bytes]) -> Awaitable[Any] | None:
        """Store *records* in order, or a prefix of them whose length the error has as `stored`: as `put`."""
        began = monotonic()
        if sum(map(len, records)) <= self._inline_limit and self._may_write(began, len(records)):
            try:
                failed = self.log.append_many_now(records)
            except SyncFailed as error:
                raise self.fail(error) from error
            if failed is not None:
                self._count(records, failed)
                self.getters.wake()
                if failed:
                    raise _partial(failed)
                return self.written(began)
        self.pending += len(records)
        return self._lane.enqueue(Request(self.loop.create_future(), records, prefix=True))

    def _may_write(self, now: float, records: int) -> bool:
        """Whether the loop may write itself: in order, not after a slow write, not beyond the policy's window."""
        return (
            self._lane.idle
            and self._thread_until <= now < self._committer.due
            and (self.items is None or not self._too_many(records))
        )

    def _undurable(self) -> int:
        return distance(self.log.chunks.size, self.log.durable_head, self.log.chunks.head)

    def written(self, began: float) -> Yield | None:
        """Look after the time that an inline write took, and the deadline of what it wrote; say when to yield."""
        now = monotonic()
        self._look_after(began, now)
        return YIELD if now >= self.turn.ends and self.turn.over(now) else None

    def _look_after(self, began: float, now: float) -> None:
        """See what follows from an inline write from *began* to *now*: writes in the thread for a while, a deadline."""
        if now - began > SLOW_WRITE:
            self._thread_until = now + self._rest
            self._rest = min(2 * self._rest, REST_MAX)
        elif self._rest > REST_MIN:
            self._rest = REST_MIN
        if not self._committer.armed:
            self._committer.arm(now)

    def _count(self, records: Sequence[bytes], failed: dict[int, OSError]) -> None:
        """Count those of *records* as stored that did not fail."""
        if failed:
            records = [record for index, record in enumerate(records) if index not in failed]
        self.unfinished += len(records)
        self.buffer.added_many(records)

    # -- the writing lane -----------------------------------------------------------------------------------

    def begun(self, group: list[Request]) -> None:
        """A job begins: until it is settled, the log's head may be beyond what is acknowledged."""
        chunks, buffer = self.log.chunks, self.buffer
        self._visible = (chunks.chunk, chunks.offset)
        self.quiet = not self.autosaving and self.ready == 0
        for request in group:
            if request.tail is not None and request.epoch != buffer.epoch:
                request.tail = buffer.handed_out  # the place that was asked for was cleared meanwhile
        if self.claims is not None:
            self.claims.begun(group)

    def held(self, request: Request, taken: int) -> bool:
        """Keep a write waiting while too much is not durable; the committer lets it go on."""
        committer = self._committer
        if self._in_lane or request.job is not None:
            return False
        if monotonic() >= committer.due or self._too_many(len(request.records), taken):
            committer.want_commit()
            return True
        if len(self.log.chunks.full) >= FULL_MAX:
            committer.want_full()
            return True
        return False

    def _too_many(self, records: int, taken: int = 0) -> bool:
        """Return whether so many records more would not be within the policy's number of items."""
        if self.items is None or not records:
            return False
        before = self._undurable() + taken
        return before > 0 and before + records > self.items

    def work(self, group: list[Request]) -> Any:
        """Do a group's job, in a worker thread."""
        if group[0].job is not None:
            return group[0].job()
        records = [record for request in group for record in request.records]
        tail = next((request.tail for request in reversed(group) if request.tail is not None), None)
        notes = b"".join([request.note for request in group])
        if notes:
            failed = self.log.append_noted(records, tail, notes, prefix=group[0].prefix, durably=self.always)
        elif records or tail is not None:
            write = self.log.append_durably if self.always else self.log.append
            failed = write(records, tail, prefix=group[0].prefix)
        else:
            return {}
        if tail is not None:
            self.log.reclaim(min(self.autosaving, default=None))
        return failed

    def settle(self, group: list[Request], outcome: Any) -> None:
        """Tell everyone in the group what became of his request."""
        self._visible = None
        if isinstance(outcome, SyncFailed):
            self.fail(outcome)
        elif not self._committer.armed and not self._in_lane:
            self._committer.arm(monotonic())
        if outcome == {}:
            for request in group:
                self._settle_stored(request)
        else:
            index = 0
            for request in group:
                self._settle_other(request, outcome, index)
                index += len(request.records)
            self.putters.wake()
        self.getters.wake()
        if self.claims is not None:
            self.trim()
        if self.draining:
            self.check_drained()
        self.orphaned()

    def _settle_stored(self, request: Request) -> None:
        if request.records:
            self.pending -= len(request.records)
            self._count(request.records, {})
        if request.settled is not None:
            request.settled(None)
        if not request.future.done():
            request.future.set_result(len(request.records))

    def _settle_other(self, request: Request, outcome: Any, index: int) -> None:
        """Settle a request of a group in which something failed, or of a job."""
        count = len(request.records)
        self.pending -= count
        error: BaseException | None = None
        if isinstance(outcome, BaseException):
            error = self.failure if isinstance(outcome, SyncFailed) else outcome
        elif count:
            failed = {i - index: e for i, e in outcome.items() if index <= i < index + count}
            self._count(request.records, failed)
            error = _partial(failed) if failed else None
        elif request.note and -1 in outcome:
            error = outcome[-1]
        if request.settled is not None:
            request.settled(error)
        resolve(request.future, outcome if request.job else None, error)

    def late(self, request: Request) -> None:
        """Refuse a request that came behind the one that closes the queue."""
        error = self.closed() if self.refusal is None else self.refusal()
        self._settle_other(request, error, 0)

    def dropped(self, request: Request) -> None:
        """Take back what a request counted whose caller was cancelled before its job began."""
        self.pending -= len(request.records)
        if request.settled is not None:
            request.settled(asyncio.CancelledError())
        self.putters.wake()

    async def outcome(self, waiting: Awaitable[Any], records: int) -> None:
        """Wait for a request of *records*; when cancelled, withdraw it, or wait for its end if it has begun.

        Cancellation: the CancelledError has `stored`, the number of its records that are stored.
        """
        future = waiting if isinstance(waiting, asyncio.Future) else None
        try:
            await (waiting if future is None else asyncio.shield(future))
        except asyncio.CancelledError as cancelled:
            stored = records if future is None else await self._lane.end_of(future)
            cancelled.stored = stored  # type: ignore[attr-defined]  # see put_many
            raise

    def in_lane(self, job: Callable[[], Any], settled: Callable[[Any], None] | None = None) -> asyncio.Future[Any]:
        """Run *job* in a thread when everything before it is written; then *settled*, on the loop."""
        return self._lane.enqueue(Request(self.loop.create_future(), job=job, settled=settled))

    # -- get ------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing is being written, in a thread or waiting for it."""
        return self._lane.idle

    @property
    def visible(self) -> tuple[int, int]:
        """Chunk and offset up to which records may be read: where the last one that was acknowledged ends."""
        return self._visible or (self.log.chunks.chunk, self.log.chunks.offset)

    async def run(self, job: Callable[[], Any]) -> Any:
        """Run *job* in a worker thread, beside the writing lane."""
        return await run(self.loop, job)

    def commit_tail(self, settled: Callable[[Any], None] | None = None) -> Awaitable[Any] | None:
        """Commit what was got so far; None: it is; else it is once what is returned has been awaited.

        *settled* is told of the outcome in any case, cancelled or not: None or the exception.
        """
        began = monotonic()
        if self._move_tail(began):
            if settled is not None:
                settled(None)
            return self.written(began)
        return self._lane.enqueue(self._tail(settled))

    def _move_tail(self, now: float) -> bool:
        """Commit what was got so far, from the loop itself; False, with nothing done, where a thread has to."""
        buffer = self.buffer
        if (
            not self._lane.idle
            or self._inline_limit <= 0
            or not self._thread_until <= now < self._committer.due
            or buffer.returned
            or self.autosaving
            or buffer.marked_at
        ):
            return False
        try:
            return self.log.move_tail_now(buffer.chunk, buffer.count, buffer.offset)
        except SyncFailed as error:
            raise self.fail(error) from error

    def commit_later(self) -> asyncio.Future[None]:
        """Commit what was got so far, in the lane."""
        return self._lane.enqueue(self._tail(None))

    def _tail(self, settled: Callable[[Any], None] | None) -> Request:
        buffer = self.buffer
        return Request(self.loop.create_future(), tail=buffer.handed_out, epoch=buffer.epoch, settled=settled)

    def task_done(self, *, commit: bool) -> Awaitable[Any] | None:
        """Count one item as done, and commit what was got so far: as `commit_tail`.

        Raises:
            ValueError: more calls than items.
        """
        if self.claims is not None:
            raise self.claims.mixed("task_done")
        if self.unfinished <= self.finishing:
            raise ValueError("task_done() called too many times: every item was already counted as done")
        if not commit:
            self._done()
            return None
        began = monotonic()
        if self._move_tail(began):
            # As _done and written, without their calls: this is the hot path.
            self.unfinished -= 1
            if self.unfinished == 0:
                self.joiners.wake()
            now = monotonic()
            if now - began > SLOW_WRITE or self._rest > REST_MIN or not self._committer.armed:
                self._look_after(began, now)
            return YIELD if now >= self.turn.ends and self.turn.over(now) else None
        self.finishing += 1
        return self._lane.enqueue(self._tail(self.finished))

    def finished(self, error: BaseException | None) -> None:
        """Count an item as done, unless its commit failed; `finishing` was counted up before."""
        self.finishing -= 1
        if error is None:
            self._done()

    def _done(self) -> None:
        self.unfinished -= 1
        if self.unfinished == 0:
            self.joiners.wake()

    def taken(self) -> None:
        """Let go on who waits for room, or for the end."""
        self.putters.wake()
        if self.draining:
            self.check_drained()

    # -- claims ---------------------------------------------------------------------------------------------

    def claim_from(self, claims: Claims, free: Callable[[], float]) -> None:
        """From here on items are claimed; *free* says how many could be."""
        self.claims = claims
        self.getters = Line(self.loop, free)

    def write(self, request: Request) -> asyncio.Future[Any]:
        """Have *request* take part in the next write."""
        return self._lane.enqueue(request)

    def inline(self, now: float) -> bool:
        """Whether the loop itself may write at *now*."""
        return self._inline_limit > 0 and self._lane.idle and self._thread_until <= now < self._committer.due

    def trim(self) -> None:
        """Have the journal written anew, when it has become long."""
        if self.log.acks.crowded and self.refusal is None:
            if self._in_lane:
                forget(self.in_lane(self.log.commit))
            else:
                self._committer.want_commit()

    # -- durable --------------------------------------------------------------------------------------------

    def sync(self) -> asyncio.Future[None]:
        """Return a future that is done when everything so far is durable."""
        if self._in_lane:
            return self.in_lane(self.log.commit)
        done: asyncio.Future[None] = self.loop.create_future()
        if self._lane.idle:
            self._sync_now(done)
        else:
            # What waits in the lane comes first.
            forget(self.in_lane(lambda: None, lambda _: self._sync_now(done)))
        return done

    def _sync_now(self, done: asyncio.Future[None]) -> None:
        if self.failure is not None:
            resolve(done, None, self.failure)
        else:
            self._committer.commit(done)

    def fail(self, error: SyncFailed) -> QueueFailed:
        """Latch: from here on every call, and everyone who waits, gets QueueFailed."""
        if self.failure is None:
            self.failure = QueueFailed(self.path, error.cause)
            logger.error("%s", self.failure)
            self.log.failed = error
            self.refuse(lambda: QueueFailed(self.path, error.cause))
            self._lane.fail(lambda request: self._settle_other(request, error, 0))
            self._committer.refuse(lambda: QueueFailed(self.path, error.cause))
        return self.failure

    def _postponed(self, error: TooManyOpenFiles) -> None:
        """Let those who wait in the lane hear why nothing can be made durable; the queue goes on."""
        self._lane.fail(lambda request: self._settle_other(request, error, 0))
        self._lane.pump()

    # -- the end --------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Return counts since the opening."""
        log, commits = self.log, self.log.syncer.commits
        ready, puts = max(0, self.ready), self.buffer.stored - self._first
        not_durable = max(0, self._undurable())
        return {
            "open_seconds": monotonic() - self._since,
            "size": ready,
            "unfinished": self.unfinished,
            "in_flight": max(0, self.unfinished - ready),
            "waiting_to_be_stored": self.pending,
            "puts": puts,
            "gets": self.buffer.got - len(self.buffer.returned),
            "done": max(0, self._first + puts - self.unfinished),
            "bytes_put": log.chunks.written,
            "commits": commits,
            "items_per_commit": max(0, puts - not_durable) / commits if commits else 0.0,
            **log.syncer.latency.stats(),
            "not_durable": not_durable,
            "came_back": self.came_back,
            "chunks_removed": log.chunks.removed,
            "healed": bool(self.opened.report),
            "failed": self.failure is not None,
        }

    def refuse(self, error: Callable[[], BaseException]) -> None:
        """Let everyone who waits, and every later call, get an error."""
        self.refusal = error
        for line in (self.getters, self.putters, self.joiners):
            line.refuse(error)

    def shut_down(self, *, immediate: bool) -> None:
        """Let puts be refused, and gets once nothing is left, or at once."""
        self.draining = True
        self.putters.refuse(self.closed)
        self.check_drained()
        if immediate:
            self.stopped = True
            self.getters.refuse(self.closed)
            self.joiners.refuse(self.closed)

    @property
    def drained(self) -> bool:
        """Whether nothing is left to get, nor on its way."""
        left = self.ready if self.claims is None else self.claims.left
        return self.draining and left == 0 and self.pending == 0

    def check_drained(self) -> None:
        """Let go on who waits for an item that cannot come any more."""
        if self.drained:
            self.getters.refuse(self.closed)

    def closed(self) -> QueueClosed:
        """Return the error for calls after the end."""
        return QueueClosed(f"{self.path}: the queue is closed or was shut down; open it again with AsyncQueue(path)")

    def forked(self) -> None:
        """In the child of a fork: this queue is the parent's."""
        self.refusal = lambda: WrongContext(
            f"{self.path}: this queue was opened by the parent process; open it in one process only, after the fork"
        )
        self.log.abandon()

    def close(self) -> asyncio.Future[None]:
        """Make all durable and release everything, after what waits in the lane.

        Autosave gets whose commit runs come first: one that is cancelled has its item put back.

        Cancellation: goes on; the lock is freed at its end.
        """
        self._closing = closing = self.loop.create_future()
        self._close_when_quiet()
        return closing

    def _close_when_quiet(self) -> None:
        closing = self._closing
        if closing is not None and not self.autosaving:
            self._closing = None  # once: a second request would be late, and its refusal the first one's outcome
            self._lane.enqueue(Request(closing, job=self._close, last=True))

    def autosaved(self, chunk: int) -> None:
        """Take an autosave get out of `autosaving`: it has returned, or the tail has moved back before it."""
        self.autosaving.remove(chunk)
        self._close_when_quiet()

    def _close(self) -> None:
        self._committer.stop()
        try:
            self.log.close(failed=self.failure is not None)
        finally:
            self.buffer.let_go()

    def forsake(self) -> None:
        """Release everything at once, without waiting: the queue was dropped without being closed."""
        self._forsaken = True
        self.buffer.let_go()
        if not self._lane.running:
            self.orphaned()

    def acknowledged(self) -> None:
        """Nothing is left to do when those who waited have been told."""

    def orphaned(self) -> None:
        """Release everything, if nobody is left who could close the queue: no job runs any more."""
        if self._forsaken and not sys.is_finalizing():
            # At the end of the interpreter no thread begins any more, and those that were there hold locks for ever;
            # what was written is synced by then, and the system closes the files.
            self._lane.fail(self.dropped)
            stop = None if self._committer.stop_now() else self._committer.stop
            with suppress(RuntimeError):  # the interpreter begins to end: no new thread any more
                self.log.forsake(threads.pool.submit, stop)


# Every open engine: the child of a fork must not touch the files of its parent.
_open: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    for engine in list(_open):
        engine.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _partial(failed: dict[int, OSError]) -> OSError:
    """Return the first error, with the number of records stored before it."""
    first = min(failed)
    error = failed[first]
    error.stored = first  # type: ignore[attr-defined]  # put_many promises it
    return error
