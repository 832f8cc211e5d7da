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
from asyncpq.errors import SyncFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.log import Log

FULL_BATCH: Final = 64  # full chunks that are synced together
INF: Final = float("inf")


class Committer:
    """Runs `Log.commit` when the window ends or somebody asks, and `Log.sync_full` as chunks fill."""

    def __init__(self, log: Log, seconds: float, tell: Callable[[SyncFailed | None], None]) -> None:
        """Start nothing.

        Args:
            log: what is made durable.
            seconds: how long something may stay undurable; infinity: for ever.
            tell: called from the worker thread after each commit, with what went wrong.
        """
        self._log, self._seconds, self._tell = log, seconds, tell
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._running = self._commit_wanted = self._full_wanted = False
        self.begun = self.ended = 0  # commits
        self.armed = seconds == INF  # a deadline is set for what was written
        self.due = INF  # when what was written first has to be durable (time.monotonic)

    def arm(self, now: float) -> None:
        """Something was written at *now*: keep its deadline."""
        self.armed = True
        self.due = due = now + self._seconds
        threads.at_exit(self._finish)
        threads.keeper.call_at(due, self._deadline)

    def _deadline(self) -> None:
        if time.monotonic() >= self.due:
            self.want_commit()

    def want_commit(self) -> int:
        """Have a commit begin as soon as possible; return the number that `ended` has when it is done."""
        with self._lock:
            self._commit_wanted = True
            self._start()
            return self.begun + 1

    def want_full(self) -> None:
        """Have the full chunks synced."""
        with self._lock:
            self._full_wanted = True
            self._start()

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
            except OSError as failure:
                error = SyncFailed(failure)
            if job == self._log.commit:
                self.ended += 1
            self._tell(error)

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if self._commit_wanted:
                self._commit_wanted = self._full_wanted = False
                self.begun += 1
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
