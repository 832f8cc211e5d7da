"""Files that are copied aside before their first change, and reads that are counted.

    jobs/                    jobs.before-repair-1/
      info     <- changed      info      as it was, durable before the change
      q00003   <- removed      q00003
      q00004   <- read only

What is copied is decided by the calls themselves: the first that could change or remove a file of the directory waits
for its copy.  What was made meanwhile, and what lies in damaged/, is not copied.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Final

from asyncpq.files import OSFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["CountingFiles", "KeepingFiles"]

BLOCK: Final = 1024 * 1024  # bytes copied at a time


class CountingFiles(OSFiles):
    """Says how many bytes have been read.

    Args:
        progress: called with the bytes read so far, in the thread that reads; what it raises ends the reading.
    """

    def __init__(self, progress: Callable[[int], None] | None = None) -> None:
        self._progress, self._bytes = progress, 0
        if progress is not None:
            self.pread = self._counted  # else it stays the system call itself

    def _counted(self, fd: int, length: int, offset: int, /) -> bytes:
        data = os.pread(fd, length, offset)
        self._bytes += len(data)
        self.reached(self._bytes)
        return data

    def reached(self, count: int) -> None:
        """Tell it."""
        assert self._progress is not None
        self._progress(count)


class KeepingFiles(CountingFiles):
    """Copies each file of the directory *path* aside before it is changed, to *path*.before-repair-N.

    Once anything is changed, what *progress* raises is ignored: the work is finished.
    """

    def __init__(self, path: Path, progress: Callable[[int], None] | None, *, keep: bool) -> None:
        super().__init__(progress)
        self.copies: Path | None = None  # where the copies are, once there is one
        self._path = path if path.name not in ("", "..") else path.resolve()  # a name that another can stand beside
        self._keep = keep
        self._changed = False
        self._ours: set[int] = set()  # descriptors of the directory
        self._settled: set[str] = set()  # names that were copied, or made here

    def reached(self, count: int) -> None:
        if not self._changed:
            super().reached(count)
            return
        with suppress(Exception):
            super().reached(count)

    def open_dir(self, path: str) -> int:
        dirfd = super().open_dir(path)
        self._ours.add(dirfd)
        return dirfd

    def close(self, fd: int) -> None:
        self._ours.discard(fd)
        super().close(fd)

    def create(self, dirfd: int, name: str, mode: int = 0o666) -> int:
        self._made(dirfd, name)
        return super().create(dirfd, name, mode)

    def make_dir(self, dirfd: int, name: str, mode: int) -> None:
        self._changed = True
        super().make_dir(dirfd, name, mode)

    def open_write(self, dirfd: int, name: str) -> int:
        self._before(dirfd, name)
        return super().open_write(dirfd, name)

    def rename(self, dirfd: int, old: str, new: str, new_dirfd: int | None = None) -> None:
        self._before(dirfd, old)
        self._before(dirfd if new_dirfd is None else new_dirfd, new)
        super().rename(dirfd, old, new, new_dirfd)

    def link(self, dirfd: int, old: str, new: str) -> None:
        self._made(dirfd, new)
        super().link(dirfd, old, new)

    def unlink(self, dirfd: int, name: str) -> None:
        self._before(dirfd, name)
        super().unlink(dirfd, name)

    def _made(self, dirfd: int, name: str) -> None:
        self._changed = True
        if dirfd in self._ours and not _is_file(dirfd, name):
            self._settled.add(name)

    def _before(self, dirfd: int, name: str) -> None:
        """See to it that *name* is copied; from here on something is changed."""
        if self._keep and dirfd in self._ours and name not in self._settled:
            if _is_file(dirfd, name):
                self._copy(dirfd, name)
            self._settled.add(name)
        self._changed = True

    def _copy(self, dirfd: int, name: str) -> None:
        if self.copies is None:
            self.copies = self._new_folder()
        folder = super().open_dir(str(self.copies))
        try:
            source = self.open_read(dirfd, name)
            try:
                self._copy_durably(source, folder, name)
            finally:
                super().close(source)
            self.fsync_dir(folder)
        finally:
            super().close(folder)

    def _copy_durably(self, source: int, folder: int, name: str) -> None:
        target = super().create(folder, name)
        try:
            with open(source, "rb", buffering=0, closefd=False) as old, open(target, "wb", closefd=False) as new:
                while block := old.read(BLOCK):
                    new.write(block)
            self.copy_mode(source, target)
            self.fsync(target)
        except BaseException:
            super().unlink(folder, name)
            raise
        finally:
            super().close(target)

    def _new_folder(self) -> Path:
        """Make the directory for the copies, durably, under the first free number."""
        for number in count(1):
            folder = self._path.with_name(f"{self._path.name}.before-repair-{number}")
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)
                break
        parent = super().open_dir(str(folder.parent))
        try:
            self.fsync_dir(parent)
        finally:
            super().close(parent)
        return folder


def _is_file(dirfd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=dirfd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
