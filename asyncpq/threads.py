"""The threads that wait for disks, shared by all queues of the process: a pool, and a keeper of deadlines.

All are daemons: none keeps the interpreter alive.  A job that was given to the pool always finishes, whatever
becomes of the caller; only at the end of the interpreter it may be cut short, which is a crash like any other.
"""

from __future__ import annotations

import atexit
import heapq
import itertools
import os
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_THREADS: Final = 32
IDLE_SECONDS: Final = 5.0  # a thread without work for so long ends


class Pool:
    """Runs jobs in threads, started when needed."""

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        """Start no thread yet; never more than *max_threads*."""
        self._max = max_threads
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0  # jobs that no thread has taken
        self._idle = 0  # threads that wait for one
        self._threads = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Run *job*, which must not raise, as soon as a thread is free."""
        with self._lock:
            self._jobs.put(job)
            self._waiting += 1
            if self._waiting <= self._idle or self._threads == self._max:
                return
            self._threads += 1
        threading.Thread(target=self._work, name="asyncpq", daemon=True).start()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()
            del job  # a thread at rest keeps no queue alive

    def _next(self) -> Callable[[], None] | None:
        """Wait for a job, and take it; None: there was none for IDLE_SECONDS, and this thread is counted no more."""
        with self._lock:
            self._idle += 1
        while True:
            try:
                job = self._jobs.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if not self._waiting:  # else one came just now, and may count on this thread
                        self._idle -= 1
                        self._threads -= 1
                        return None
                continue
            with self._lock:
                self._idle -= 1
                self._waiting -= 1
            return job


class Keeper:
    """Calls back at deadlines, by its own thread: a busy event loop cannot stretch them."""

    def __init__(self) -> None:
        """Start no thread yet."""
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._running = False

    def call_at(self, when: float, job: Callable[[], None]) -> None:
        """Call *job*, which must neither raise nor wait, at *when* (time.monotonic, seconds)."""
        with self._changed:
            heapq.heappush(self._heap, (when, next(self._order), job))
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, name="asyncpq-keeper", daemon=True).start()
            elif self._heap[0][0] == when:
                self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                job = self._next_due()
                if job is None:
                    self._running = False
                    return
            job()
            del job

    def _next_due(self) -> Callable[[], None] | None:
        """Wait for the next deadline; None after IDLE_SECONDS without one."""
        while True:
            if not self._heap:
                self._changed.wait(IDLE_SECONDS)
                if not self._heap:
                    return None
            left = self._heap[0][0] - time.monotonic()
            if left <= 0:
                return heapq.heappop(self._heap)[2]
            self._changed.wait(left)

    def drain(self) -> list[Callable[[], None]]:
        """Return the jobs that have not been called, and forget them."""
        with self._changed:
            jobs = [job for _, _, job in self._heap]
            self._heap.clear()
            return jobs


pool = Pool()
keeper = Keeper()
_at_exit: set[Callable[[], None]] = set()


def at_exit(job: Callable[[], None]) -> None:
    """Call *job*, which must not raise, when the interpreter ends, unless it is taken back before."""
    _at_exit.add(job)


def not_at_exit(job: Callable[[], None]) -> None:
    """Take *job* back."""
    _at_exit.discard(job)


@atexit.register
def _finish() -> None:
    for job in list(_at_exit):
        job()


def _after_fork() -> None:
    """In the child of a fork the threads are gone, and the locks may be held by nobody."""
    global pool, keeper
    pool, keeper = Pool(), Keeper()
    _at_exit.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
