"""The syncs themselves: which descriptors, in which order, and how long they took."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from asyncpq.errors import SyncFailed
from asyncpq.latency import Latency
from asyncpq.layout import chunk_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asyncpq.files import Files


class Syncer:
    """Makes chunks, the directory and info durable.  Any error is a SyncFailed: nothing is tried again."""

    def __init__(self, files: Files, dirfd: int) -> None:
        """Sync nothing yet."""
        self._files, self._dirfd = files, dirfd
        self.commits = 0
        self.latency = Latency()  # of each sync

    def chunks(self, fds: Iterable[int]) -> None:
        """Sync chunks by the descriptors that they were written through."""
        for fd in fds:
            self.timed(self._files.fdatasync, fd)

    def closed_chunk(self, chunk: int) -> None:
        """Sync a chunk that was closed, or that another process wrote; one that is gone needs none.

        Raises:
            TooManyOpenFiles: nothing was synced, and nothing failed: it may be tried again.
        """
        with suppress(FileNotFoundError):
            fd = self._files.open_write(self._dirfd, chunk_name(chunk))
            try:
                self.timed(self._files.fdatasync, fd)
            finally:
                self._files.close(fd)

    def names(self) -> None:
        """Sync the directory."""
        self.timed(self._files.fsync_dir, self._dirfd)

    def timed(self, sync: Callable[..., None], *args: int) -> None:
        """Do one sync, and count it."""
        began = time.monotonic()
        try:
            sync(*args)
        except OSError as error:
            raise SyncFailed(error) from error
        self.latency.add(time.monotonic() - began)
