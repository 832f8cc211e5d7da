"""Files that are only looked at: no byte changes, no time of access, and what is cached stays cached."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Final, NoReturn

from asyncpq.files import OSFiles

with suppress(ImportError):  # Windows has neither fcntl nor O_NOATIME
    import fcntl

__all__ = ["Looking", "traceless"]


def _no_change(*args: Any) -> NoReturn:
    raise AssertionError("who looks changes nothing")


_REFUSE: Final[Any] = _no_change


class Looking(OSFiles):
    """Reads without a trace, and refuses to change anything; the lock can be taken, and asked for."""

    def open_dir(self, path: str) -> int:
        """See Files."""
        return traceless(super().open_dir(path))

    def open_subdir(self, dirfd: int, name: str) -> int:
        """See Files."""
        return traceless(super().open_subdir(dirfd, name))

    def open_read(self, dirfd: int, name: str) -> int:
        """See Files."""
        return traceless(super().open_read(dirfd, name))

    def drop_cache(self, fd: int) -> None:
        """Leave the cache alone: what the kernel shows is what every program reads."""

    create = open_write = pwrite = truncate = rename = link = unlink = make_dir = make_path = copy_mode = _REFUSE
    fsync = fdatasync = fsync_dir = remove_path = _REFUSE


def traceless(fd: int) -> int:
    """Return *fd*, reading from which leaves the time of access alone, where this user may ask for that."""
    if hasattr(os, "O_NOATIME"):
        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NOATIME)
    return fd
