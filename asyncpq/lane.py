"""The writing lane: requests gather while a job runs in a worker thread; the next job takes them all.

    enqueue ──> waiting ──> group ──> work (thread) ──> settle (loop) ──> the next group

No timer and no lock.  Those who come in one turn of the loop share a job.  A job that has begun always finishes:
only the waiting for it can be cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from asyncpq import threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncpq.layout import Position

GROUP_MAX: Final = 16 * 1024 * 1024  # bytes of records that one job takes together


@dataclass(eq=False, slots=True)
class Request:
    """What one caller waits for."""

    future: asyncio.Future[Any]
    records: Sequence[bytes] = ()
    tail: Position | None = None
    epoch: int = 0  # of the read side, when *tail* was asked for
    prefix: bool = False  # put_many: nothing is stored behind a record that was not
    job: Callable[[], Any] | None = None  # runs by itself, in the order of the lane
    settled: Callable[[Any], None] | None = None  # told of the outcome, cancelled or not
    note: bytes = b""  # for the journal of acknowledgements
    acks: Sequence[Any] = ()  # what is acknowledged, more until its job begins; the owner makes tail and notes of it
    stays: bool = False  # done whatever becomes of its caller
    last: bool = False  # closes the queue: is done whatever happened before


def resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Settle *future*, unless its caller has gone."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


class Owner(Protocol):
    """What the requests mean.  All but `work` is called on the loop."""

    def held(self, request: Request, taken: int) -> bool:
        """Return whether a write has to be held back, behind so many records; who says so calls `pump` later."""

    def begun(self, group: list[Request]) -> None:
        """A group's job begins."""

    def work(self, group: list[Request]) -> Any:
        """Do a group's job, in a worker thread; what is returned or raised is its outcome."""

    def settle(self, group: list[Request], outcome: Any) -> None:
        """Take the outcome."""

    def acknowledged(self) -> None:
        """Those who wait have been told.  Called in the worker thread, before the next job may begin or beside it."""

    def orphaned(self) -> None:
        """The loop was closed while a job ran.  Called in the worker thread."""

    def dropped(self, request: Request) -> None:
        """A request's caller was cancelled before its job began."""

    def late(self, request: Request) -> None:
        """A request came behind the one that closes the queue."""


class Lane:
    """One job at a time, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner, pool: threads.Pool | None = None) -> None:
        """Start nothing; jobs run in *pool*, by default the one that all share."""
        self._loop, self._owner, self._pool = loop, owner, pool
        self._waiting: deque[Request] = deque()
        self._running = self._scheduled = self._ended = False
        self.idle = True  # nothing runs and nobody waits: then the loop itself may write

    @property
    def running(self) -> bool:
        """Whether a job runs."""
        return self._running

    def enqueue(self, request: Request) -> asyncio.Future[Any]:
        """Let *request* take part in the next job; return its future.

        Behind the request that closes the queue everything is refused: its descriptors are somebody else's then.
        """
        if self._ended:
            self._owner.late(request)
            return request.future
        self._ended = request.last
        self._waiting.append(request)
        self.idle = False
        if not self._running and not self._scheduled:
            # Those who come in this turn of the loop share the job.
            self._scheduled = True
            self._loop.call_soon(self.pump)
        return request.future

    def pump(self) -> None:
        """Start the next job, if none runs."""
        self._scheduled = False
        while self._waiting and not self._running:
            group, held = self._next_group()
            if group:
                self._running = True
                self._owner.begun(group)
                (self._pool or threads.pool).submit(partial(self._run, group))
            elif held:
                break
        self.idle = not (self._running or self._waiting or self._ended)

    def _next_group(self) -> tuple[list[Request], bool]:
        """Take from those who wait what goes into one job; and whether somebody was held back."""
        group: list[Request] = []
        size = records = 0
        while self._waiting and size <= GROUP_MAX:
            request = self._waiting[0]
            if request.future.cancelled() and not (request.last or request.stays):
                self._owner.dropped(self._waiting.popleft())
                continue
            alone = request.job is not None or request.prefix
            if alone and group:
                break
            if self._owner.held(request, records):
                return group, True
            group.append(self._waiting.popleft())
            if alone:
                break
            records += len(request.records)
            size += sum(map(len, request.records))
        return group, False

    def _run(self, group: list[Request]) -> None:
        outcome: Any
        try:
            outcome = self._owner.work(group)
        except BaseException as error:  # whatever it is, those who wait must hear of it
            outcome = error
        if not call_loop(self._loop, self._done, group, outcome):
            self._running = False
            self._owner.orphaned()
        else:
            self._owner.acknowledged()

    def _done(self, group: list[Request], outcome: Any) -> None:
        self._running = False
        self._owner.settle(group, outcome)
        self.pump()

    async def end_of(self, future: asyncio.Future[Any]) -> int:
        """Withdraw the request of *future*, or wait for its end if its job has begun; return the records stored."""
        for request in self._waiting:
            if request.future is future:
                self._waiting.remove(request)
                self._owner.dropped(request)
                return 0
        while not future.done():
            # The caller was cancelled already: being cancelled again changes nothing.
            with suppress(asyncio.CancelledError):
                await asyncio.wait((future,))
        error = future.exception()
        return future.result() if error is None else getattr(error, "stored", 0)

    def fail(self, settle: Callable[[Request], None]) -> None:
        """Give *settle* everyone who waits, but for the request that closes the queue."""
        waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            if request.last:
                self._waiting.append(request)
            else:
                settle(request)


def call_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: Any) -> bool:
    """Have the loop call, from another thread; False: it was closed, and nobody is left who waits."""
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
        return False
    return True


async def run(loop: asyncio.AbstractEventLoop, job: Callable[[], Any]) -> Any:
    """Return what *job* returns, run in a worker thread beside every lane.

    Cancellation: the job goes on.
    """
    future: asyncio.Future[Any] = loop.create_future()

    def work() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = job()
        except BaseException as failure:  # whatever it is, the caller must hear of it
            error = failure
        call_loop(loop, resolve, future, result, error)

    threads.pool.submit(work)
    return await future


def forget(future: asyncio.Future[Any]) -> None:
    """Let nobody wait for it: an error latches the queue, or the next commit meets it."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
