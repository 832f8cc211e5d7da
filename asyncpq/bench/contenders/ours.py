"""asyncpq's queues under each policy, and on a disk whose syncs take longer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from asyncpq import fsync
from asyncpq.bench.plan import policy
from asyncpq.bench.result import Promise
from asyncpq.files import FILES, OSFiles
from asyncpq.queue import AsyncQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from asyncpq.bench.plan import Cell
    from asyncpq.files import Files

__all__ = ["OursFile", "OursSQLite", "SlowFiles"]

_FILE: Final = {
    "never": (Promise.NONE, "nothing"),
    "rollover": (Promise.SOMETIMES, "a chunk of 100 items when it is full, then info"),
    "always": (Promise.EACH, "chunk, then info, before put returns; all that wait share it"),
}
_SQLITE: Final = {
    "never": (Promise.SOMETIMES, "when SQLite moves its log into the file (WAL, NORMAL)"),
    "rollover": (Promise.SOMETIMES, "when SQLite moves its log into the file (WAL, NORMAL)"),
    "always": (Promise.EACH, "each commit (WAL, FULL); all that wait share it"),
}


class SlowFiles(OSFiles):
    """A disk whose every sync takes so many seconds longer."""

    def __init__(self, delay: float) -> None:
        """Sync at least *delay* seconds long."""
        self.delay = delay

    def fsync(self, fd: int) -> None:
        time.sleep(self.delay)
        super().fsync(fd)

    def fdatasync(self, fd: int) -> None:
        time.sleep(self.delay)
        super().fdatasync(fd)

    def fsync_dir(self, dirfd: int) -> None:
        time.sleep(self.delay)
        super().fsync_dir(dirfd)


class _Ours:
    """What both kinds have in common."""

    shares, blocking = True, False
    put: Callable[[str], Coroutine[Any, Any, Any]]
    _queue: Any

    async def get(self) -> None:
        """Take an item and commit it, as the policy says."""
        await self._queue.get()
        await self._queue.task_done()

    async def close(self) -> None:
        """Close it."""
        await self._queue.close()


class OursFile(_Ours):
    """The file queue."""

    def __init__(self, place: Path, cell: Cell, files: Files | None = None) -> None:
        """Describe it; *files* is what stands between it and the system."""
        self._queue = AsyncQueue(place / "queue", serializer=cell.serializer, fsync=policy(cell.policy))
        self._queue._files = files or (SlowFiles(cell.delay) if cell.delay else FILES)
        self.put = self._queue.put
        self.promise, self.syncs = _promise(_FILE, cell)

    async def open(self) -> None:
        """Make the queue."""
        await self._queue.open()


class OursSQLite(_Ours):
    """The SQLite queue."""

    def __init__(self, place: Path, cell: Cell) -> None:
        """Describe it."""
        from asyncpq.sqlite import AsyncSQLiteQueue  # needs the extra `sqlite`

        self._queue = AsyncSQLiteQueue(place / "queue.db", serializer=cell.serializer, fsync=policy(cell.policy))
        self.put, self._delay = self._queue.put, cell.delay
        self.promise, self.syncs = _promise(_SQLITE, cell)

    async def open(self) -> None:
        """Make the queue, with the delay, where there is one, behind each sync that asyncpq asks for."""
        await self._queue.open()
        if self._delay:
            database = self._queue._store.database
            database.sync = _later(database.sync, self._delay)
            if self._queue.fsync.name == "always":
                database.commit = _later(database.commit, self._delay)


def _later(call: Callable[[], None], delay: float) -> Callable[[], None]:
    def called() -> None:
        call()
        time.sleep(delay)

    return called


def _promise(of: dict[str, tuple[Promise, str]], cell: Cell) -> tuple[Promise, str]:
    chosen = policy(cell.policy)
    if not isinstance(chosen, fsync.Interval):
        return of[chosen.name]
    items = f", or before {chosen.items:,} wait" if chosen.items is not None else ""
    return Promise.WINDOW, f"everything within {chosen.seconds:g} s{items}"
