"""The calls of asyncpq's file queue, counted as it makes them: a layer of `Files` that keeps the ledger.

Nothing is slowed down by a tracer, so what is at risk is counted at nearly full speed.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from asyncpq.files import OSFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.bench.ledger import Ledger

__all__ = ["WatchedFiles"]


class WatchedFiles(OSFiles):
    """The files of one queue; every call that matters for durability goes into the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        """Watch from now on."""
        self._ledger = ledger
        self._lock = threading.Lock()  # the loop writes while threads sync
        self._names: dict[int, str] = {}  # by descriptor; "" is the directory

    def open_dir(self, path: str) -> int:
        return self._named(super().open_dir(path), "")

    def open_subdir(self, dirfd: int, name: str) -> int:
        return self._named(super().open_subdir(dirfd, name), name)

    def create(self, dirfd: int, name: str, mode: int = 0o666) -> int:
        fd = self._named(super().create(dirfd, name, mode), name)
        self._tell(lambda: self._ledger.named(""))
        return fd

    def open_write(self, dirfd: int, name: str) -> int:
        return self._named(super().open_write(dirfd, name), name)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int, /) -> int:  # type: ignore[override]  # is static
        written = OSFiles.pwrite(fd, data, offset)
        self._tell(lambda: self._ledger.wrote(self._names[fd], written))
        return written

    def fsync(self, fd: int) -> None:
        self._synced(super().fsync, fd)

    def fdatasync(self, fd: int) -> None:
        self._synced(super().fdatasync, fd)

    def fsync_dir(self, dirfd: int) -> None:
        self._synced(super().fsync_dir, dirfd)

    def rename(self, dirfd: int, old: str, new: str, new_dirfd: int | None = None) -> None:
        super().rename(dirfd, old, new, new_dirfd)
        self._names = {fd: new if name == old else name for fd, name in self._names.items()}
        self._tell(lambda: self._ledger.renamed(old, new))

    def unlink(self, dirfd: int, name: str) -> None:
        super().unlink(dirfd, name)
        self._tell(lambda: self._ledger.removed(name))

    def acked(self, count: int) -> None:
        """So many puts have returned."""
        self._tell(lambda: self._ledger.acked(count))

    def _named(self, fd: int, name: str) -> int:
        self._names[fd] = name
        return fd

    def _synced(self, sync: Callable[[int], None], fd: int) -> None:
        with self._lock:
            covers = self._ledger.sync_begins()
        sync(fd)
        self._tell(lambda: self._ledger.sync_ends(self._names[fd], covers))

    def _tell(self, event: Callable[[], None]) -> None:
        with self._lock:
            self._ledger.now = time.monotonic()
            event()
