"""When what was committed becomes durable: the fsync policies, for a database.

    never, rollover   when SQLite moves its log into the file; synchronous=NORMAL
    interval          the same, and an fdatasync of the log at the end of the window, or when `items` wait for one
    always            each commit; synchronous=FULL

The deadline is kept by a thread: a busy event loop cannot stretch it.
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

    from asyncpq.fsync import Policy
    from asyncpq.sqlite.database import Database


SLOW_SYNC: Final = 0.0003  # seconds; a put takes 0.2 ms besides its sync, wake-ups included


class Durability:
    """Counts what is not durable, and syncs.  For worker threads: one commits, any number of them sync."""

    def __init__(self, database: Database, policy: Policy, failed: Callable[[SyncFailed], None]) -> None:
        """Sync nothing yet; *failed* is told, in a thread, of a sync in the background that failed."""
        self._database, self._failed = database, failed
        self._seconds: float | None = getattr(policy, "seconds", None)
        self._items: int | None = getattr(policy, "items", None)
        self._counts = policy.name != "always"  # under `always` nothing waits
        self._lock = threading.Lock()  # one sync at a time, and none after the close
        self._armed = self._closed = False
        self._failure: SyncFailed | None = None
        self._took = 0.0  # seconds: the last sync
        # Two counts, each changed in one place: by who commits, and by who syncs.
        self._committed = self._durable = 0

    @property
    def waiting(self) -> int:
        """How many changes are committed and not durable."""
        return self._committed - self._durable

    def committed(self, changes: int) -> None:
        """Count changes that were committed, set the deadline, and wait while more than `items` are not durable.

        Raises:
            SyncFailed: the disk did not take them.
        """
        if not self._counts or not changes:
            return
        self._committed += changes
        if self._items is not None and self.waiting > self._items:
            # The sync of what was acknowledged before often runs, in the other thread: then its end is enough.
            self._sync_beyond(self._items)
        if self.waiting and self._seconds is not None and not self._armed:
            self._armed = True
            threads.keeper.call_at(time.monotonic() + self._seconds, lambda: threads.pool.submit(self._due))

    def acknowledged(self) -> None:
        """Sync at once, where the next change would have to wait for it.

        A fast sync is done in this thread, for which the next transaction then waits, awake: to wake another takes as
        long as what is won.  A slow one goes to another thread, and the next transaction runs beside it.
        """
        if self._items is None or self.waiting < self._items:
            return
        if self._took >= SLOW_SYNC:
            with suppress(RuntimeError):  # the interpreter ends: no thread begins any more
                threads.pool.submit(self._in_background)
                return
        self._in_background()

    def sync(self) -> None:
        """Make durable what is committed.

        Raises:
            SyncFailed: the disk did not take it.
        """
        with self._lock:
            if not self._closed:
                self._sync()

    def close(self) -> None:
        """Make all durable, and sync no more.

        Raises:
            SyncFailed: the disk did not take it.
        """
        with self._lock:
            self._closed = True
            if self.waiting:
                self._sync()

    def stop(self) -> None:
        """Sync no more."""
        with self._lock:
            self._closed = True

    def _sync_beyond(self, items: int) -> None:
        """Sync, unless no more than *items* wait for it when nobody syncs any more."""
        with self._lock:
            if self.waiting > items and not self._closed:
                self._sync()

    def _sync(self) -> None:
        committed = self._committed
        if self._failure is not None:
            raise self._failure  # a second sync may report success for what was dropped
        if committed == self._durable and self._counts:
            return
        began = time.monotonic()
        try:
            self._database.sync()
        except SyncFailed as error:
            self._failure = error
            raise
        self._took = time.monotonic() - began
        self._durable = committed

    def _due(self) -> None:
        self._armed = False
        self._in_background()

    def _in_background(self) -> None:
        try:
            self.sync()
        except SyncFailed as error:
            self._failed(error)
