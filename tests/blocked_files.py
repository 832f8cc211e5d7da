"""File systems to stand in front of the real one: calls that wait, that fail, and that sync nothing."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from asyncpq import AsyncQueue
from asyncpq.files import OSFiles

SECONDS = 20.0  # that a test waits for what has to come


class Fast(OSFiles):
    """Makes nothing durable: for tests of which only the order of events matters."""

    def fsync(self, fd: int) -> None:
        os.fstat(fd)

    def fdatasync(self, fd: int) -> None:
        os.fstat(fd)

    def fsync_dir(self, dirfd: int) -> None:
        os.fstat(dirfd)


class Intercepted(Fast):
    """Calls `before` before each call that changes something, or makes it durable, or that opening begins with."""

    def __init__(self) -> None:
        # An attribute, since the log keeps the function itself.
        self.pwrite: Callable[[int, bytes, int], int] = self._pwrite  # type: ignore[assignment]

    def before(self, call: str, file: str | None = None) -> None:
        raise NotImplementedError

    def _pwrite(self, fd: int, data: bytes, offset: int, /) -> int:
        self.before("pwrite")
        return os.pwrite(fd, data, offset)

    def fsync(self, fd: int) -> None:
        self.before("fsync")
        super().fsync(fd)

    def fdatasync(self, fd: int) -> None:
        self.before("fdatasync")
        super().fdatasync(fd)

    def fsync_dir(self, dirfd: int) -> None:
        self.before("fsync_dir")
        super().fsync_dir(dirfd)

    def create(self, dirfd: int, name: str, mode: int = 0o666) -> int:
        self.before("create", name)
        return super().create(dirfd, name, mode)

    def unlink(self, dirfd: int, name: str) -> None:
        self.before("unlink", name)
        super().unlink(dirfd, name)

    def truncate(self, fd: int, length: int) -> None:
        self.before("truncate")
        super().truncate(fd, length)

    def list_dir(self, dirfd: int) -> list[str]:
        self.before("list_dir")
        return super().list_dir(dirfd)

    def open_read(self, dirfd: int, name: str) -> int:
        self.before("open_read", name)
        return super().open_read(dirfd, name)


class Blocked(Intercepted):
    """A worker thread that comes to one of the calls in `names` waits there; the event loop's own calls pass."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.reached = threading.Event()
        self._passing = threading.Event()

    @contextmanager
    def at(self, *names: str) -> Iterator[None]:
        """Stop there; whoever is there goes on when the block ends."""
        self.names = set(names)
        self.reached.clear()
        self._passing.clear()
        try:
            yield
        finally:
            self.names = set()
            self._passing.set()

    async def is_reached(self) -> None:
        """Wait until a thread stands there."""
        assert await asyncio.to_thread(self.reached.wait, SECONDS), f"nobody came to {self.names}"

    def before(self, call: str, file: str | None = None) -> None:
        if call in self.names and threading.current_thread() is not threading.main_thread():
            self.reached.set()
            assert self._passing.wait(SECONDS)


class Failing(Intercepted):
    """The calls in `names` fail with *code*."""

    def __init__(self, code: int = errno.ENOSPC) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.code = code

    def before(self, call: str, file: str | None = None) -> None:
        if call in self.names:
            raise OSError(self.code, os.strerror(self.code), file)


def queue_on(files: OSFiles, path: os.PathLike[str], *args: Any, **options: Any) -> AsyncQueue:
    """A queue that calls *files* instead of the operating system."""
    queue = AsyncQueue(path, *args, **options)
    queue._files = files
    return queue
