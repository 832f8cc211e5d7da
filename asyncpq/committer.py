"""Durable commits in the background, for `interval` and `never`: one at a time, in a worker thread.

The deadline is kept by a thread too, so the loop may be as busy as it likes.  Whoever asks while a commit runs gets
the next one: it has to begin after what he wants durable was written.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from asyncpq import threads
from asyncpq.errors import SyncFailed, TooManyOpenFiles
from asyncpq.lane import call_loop, resolve

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from asyncpq.log import Log

INF: Final = float("inf")
RETRY: Final = 0.1  # seconds after which a commit is tried again that found no descriptor


class Committer:
    """Runs `Log.commit` when the window ends or somebody asks, and `Log.sync_full` as chunks fill."""

    def __init__(
        self,
        log: Log,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        failed: Callable[[SyncFailed], object],
        postponed: Callable[[TooManyOpenFiles], None],
        went_on: Callable[[], None],
    ) -> None:
        """Start nothing.

        Args:
            log: what is made durable.
            loop: the event loop of those who wait, and of the three that are called.
            seconds: how long something may stay undurable; infinity: for ever.
            failed: told what went wrong.
            postponed: told why a commit could not be done; it is tried again.
            went_on: told after each commit.
        """
        self._log, self._loop, self._seconds = log, loop, seconds
        self._failed, self._postponed, self._went_on = failed, postponed, went_on
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._running = self._commit_wanted = self._full_wanted = False
        self._begun = self._ended = 0  # commits
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self.armed = seconds == INF  # a deadline is set for what was written
        self.due = INF  # when what was written first has to be durable (time.monotonic)

    # -- for the event loop ---------------------------------------------------------------------------------

    def arm(self, now: float) -> None:
        """Keep the deadline of what was written at *now*."""
        self.armed = True
        self.due = due = now + self._seconds
        threads.at_exit(self._finish)
        threads.keeper.call_at(due, self._deadline)

    def commit(self, done: asyncio.Future[None]) -> None:
        """Settle *done* when everything written so far is durable."""
        self._waiting.append((self.want_commit(), done))

    def want_commit(self) -> int:
        """Have a commit begin as soon as possible; return its number."""
        with self._lock:
            self._commit_wanted = True
            self._start()
            return self._begun + 1

    def want_full(self) -> None:
        """Have the full chunks synced."""
        if not self._full_wanted:
            with self._lock:
                self._full_wanted = True
                self._start()

    def _synced(self, ended: int, error: SyncFailed | None) -> None:
        if error is not None:
            self._failed(error)
            return
        waiting, self._waiting = self._waiting, []
        for number, future in waiting:
            if number <= ended:
                resolve(future, None, None)
            else:
                self._waiting.append((number, future))
        self._went_on()

    def _put_off(self, error: TooManyOpenFiles, now: float) -> None:
        """Try again later; until then what is overdue lets no put go on, and who waits hears why."""
        if self._seconds != INF and not self._log.closed and self._log.failed is None:
            self.armed, self.due = True, now
            threads.at_exit(self._finish)
            threads.keeper.call_at(now + RETRY, self._deadline)
        self.refuse(lambda: error)
        self._postponed(error)

    def refuse(self, error: Callable[[], BaseException]) -> None:
        """Let everyone who waits get an error of his own."""
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            resolve(future, None, error())

    # -- in other threads -----------------------------------------------------------------------------------

    def _deadline(self) -> None:
        if time.monotonic() >= self.due:
            self.want_commit()

    def _start(self) -> None:
        if not self._running:
            self._running = True
            threads.pool.submit(self._work)

    def _work(self) -> None:
        """Do what is wanted until nothing is."""
        while (job := self._next()) is not None:
            error: SyncFailed | None = None
            try:
                job()
            except SyncFailed as failure:
                error = failure
            except TooManyOpenFiles as failure:
                self._ended = self._begun
                call_loop(self._loop, self._put_off, failure, time.monotonic())
                continue
            except OSError as failure:
                error = SyncFailed(failure)
            if error is not None:
                self._log.failed = error  # now, since the loop hears of it later than the next job would begin
            self._ended = self._begun
            call_loop(self._loop, self._synced, self._ended, error)

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if self._commit_wanted:
                self._commit_wanted = self._full_wanted = False
                self._begun += 1
                # What is written from here on has a deadline of its own.
                self.due, self.armed = INF, self._seconds == INF
                threads.not_at_exit(self._finish)
                return self._log.commit
            if self._full_wanted:
                self._full_wanted = False
                return self._log.sync_full
            self._running = False
            self._idle.notify_all()
            return None

    def stop_now(self) -> bool:
        """Forget the deadline; False, with nothing done, when a commit runs."""
        with self._lock:
            if self._running:
                return False
            self.due, self.armed = INF, True
            threads.not_at_exit(self._finish)
            return True

    def stop(self) -> None:
        """Wait, in a worker thread, until nothing runs; forget the deadline."""
        with self._lock:
            self.due, self.armed = INF, True
            threads.not_at_exit(self._finish)
            self._idle.wait_for(lambda: not self._running)

    def _finish(self) -> None:
        """At the end of the interpreter: keep the promise for what was written last."""
        self.stop()
        if not self._log.closed:
            with suppress(OSError, SyncFailed):
                self._log.commit()
