"""When what was committed becomes durable: the fsync policies, for a database.

    never, rollover   when SQLite moves its log into the file; synchronous=NORMAL
    interval          the same, and an fdatasync of the log at the end of the window, or when `items` wait for one
    always            each commit; synchronous=FULL

The deadline is kept by a thread: a busy event loop cannot stretch it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from asyncpq import threads
from asyncpq.errors import SyncFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.fsync import Policy
    from asyncpq.sqlite.database import Database


class Durability:
    """Counts what is not durable, and syncs.  For worker threads; any number of them."""

    def __init__(self, database: Database, policy: Policy, failed: Callable[[SyncFailed], None]) -> None:
        """Sync nothing yet; *failed* is told, in a thread, of a sync in the background that failed."""
        self._database, self._failed = database, failed
        self._seconds: float | None = getattr(policy, "seconds", None)
        self._items: int | None = getattr(policy, "items", None)
        self._counts = policy.name != "always"  # under `always` nothing waits
        self._lock = threading.Lock()  # one sync at a time, and none after the close
        self._armed = self._closed = False
        self.waiting = 0  # changes that are committed and not durable

    def committed(self, changes: int) -> None:
        """Count changes that were committed, set the deadline, and sync where more than `items` would be acknowledged.

        Raises:
            SyncFailed: the disk did not take them.
        """
        if not self._counts or not changes:
            return
        self.waiting += changes
        if self._items is not None and self.waiting > self._items:
            self.sync()
        elif self._seconds is not None and not self._armed:
            self._armed = True
            threads.keeper.call_at(time.monotonic() + self._seconds, lambda: threads.pool.submit(self._due))

    def acknowledged(self) -> None:
        """Begin to sync at once, where the next change would have to wait for it."""
        if self._items is not None and self.waiting >= self._items:
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

    def _sync(self) -> None:
        waiting = self.waiting
        if waiting or not self._counts:
            self._database.sync()
            self.waiting -= waiting

    def _due(self) -> None:
        self._armed = False
        self._in_background()

    def _in_background(self) -> None:
        try:
            self.sync()
        except SyncFailed as error:
            self._failed(error)
