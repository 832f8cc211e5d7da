"""What Python's os lacks: names exchanged or taken in one step, and a whole file system made durable at once.

rename_new    old -> new, where nothing is at new       renameat2(RENAME_NOREPLACE); else link, or rename of a directory
exchange      old <-> new                               renameat2(RENAME_EXCHANGE); else there is none
sync_all      everything that was written so far        syncfs; else an fsync of each file

Synchronous: to be called in a worker thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import TYPE_CHECKING, Final

from asyncpq.files import FILES, NO_SUPPORT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["exchange", "rename_new", "sync_all", "sync_parent"]

_CWD: Final = -100  # AT_FDCWD
_NOREPLACE: Final = 1
_EXCHANGE: Final = 2
_MISSING: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)  # EPERM: a sandbox that forbids the call
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _renameat2(old: Path, new: Path, flags: int) -> bool:
    """Rename; False: there is no such call here, or not on this file system."""
    call = getattr(_LIBC, "renameat2", None)
    if call is None:
        return False
    if call(_CWD, os.fsencode(old), _CWD, os.fsencode(new), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in _MISSING:
        return False
    raise OSError(number, os.strerror(number), str(old), None, str(new))


def exchange(one: Path, other: Path) -> bool:
    """Exchange what is at two paths, in one step and durably; False: that cannot be done here.

    Raises:
        OSError: nothing was changed.
    """
    if not _renameat2(one, other, _EXCHANGE):
        return False
    sync_parent(one)
    sync_parent(other)
    return True


def rename_new(old: Path, new: Path) -> None:
    """Rename *old* to *new*, in one step and durably; an empty directory at *new* counts as nothing.

    Raises:
        FileExistsError, NotADirectoryError, OSError: something is at *new*; nothing was changed.
    """
    if old.is_dir():
        os.rename(old, new)  # replaces an empty directory and nothing else
    elif not _renameat2(old, new, _NOREPLACE):
        os.link(old, new, follow_symlinks=False)
        os.unlink(old)
    sync_parent(new)
    sync_parent(old)


def sync_parent(path: Path) -> None:
    """Make durable which names are beside *path*."""
    dirfd = FILES.open_dir(os.fspath(path.parent))
    try:
        FILES.fsync_dir(dirfd)
    finally:
        FILES.close(dirfd)


def sync_all(dirfd: int, names: Iterable[str]) -> None:
    """Make the files *names* durable, and which names there are.

    A sync for each of ten thousand chunks takes 7 s on ext4, one of the whole file system 0.2.

    Raises:
        OSError: the disk did not take it.
    """
    if not _syncfs(dirfd):
        for name in names:
            fd = FILES.open_read(dirfd, name)
            try:
                FILES.fsync(fd)
            finally:
                FILES.close(fd)
    FILES.fsync_dir(dirfd)


def _syncfs(dirfd: int) -> bool:
    call = getattr(_LIBC, "syncfs", None)
    if call is None:
        return False
    if call(dirfd) == 0:
        return True
    number = ctypes.get_errno()
    if number in NO_SUPPORT:
        return False
    raise OSError(number, os.strerror(number))
