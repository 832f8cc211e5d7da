"""The directory of a queue: made if it has to be, opened, and locked against a second opener.

    make the path          each new directory is synced into its parent
    open, flock            on the directory itself; the kernel gives it back when its holder dies
    compare again          path and descriptor: the directory may have been replaced in between
    lease on head, info    persist-queue takes no lock; the kernel knows who has a file open (Linux)

Synchronous: to be called in a worker thread.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncpq.errors import NotAQueue, QueueLocked
from asyncpq.files import NO_SUPPORT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncpq.files import Files

__all__ = ["check_tempdir", "open_directory", "refuse_other_openers", "take_lock"]

TRIES: Final = 5  # to get hold of a directory that is being replaced
LEASE_TRIES: Final = 4  # a reader has a file open for a moment only
LEASE_PAUSE: Final = 0.01  # seconds between them


def open_directory(files: Files, path: Path | str, *, lock: bool) -> tuple[int, list[str]]:
    """Return a descriptor of the directory, which exists from now on and is locked to it, and what was made for it.

    Whoever fails later gives what was made to `Files.remove_path`.

    Args:
        files: the file system.
        path: made, with its parents, if it is not there; when opening fails, what was made goes again.
        lock: False takes no lock: somebody else sees to it that nobody opens the directory twice.

    Raises:
        NotAQueue: the path, or a part of it, is no directory.
        QueueLocked: another asyncpq queue has it open.
        OSError: it cannot be made, read or locked.
    """
    full = os.path.abspath(path)
    for _ in range(TRIES):
        made: list[str] = []
        try:
            made = files.make_path(full)
            dirfd = files.open_dir(full)
        except FileNotFoundError:
            continue  # removed in between
        except OSError as error:
            files.remove_path(made)
            raise _explained(error, path) from error
        try:
            if not lock or take_lock(files, dirfd, path):
                return dirfd, made
        except BaseException as error:
            files.close(dirfd)
            if not isinstance(error, QueueLocked):  # what was made is the other's by now
                files.remove_path(made)
            raise
        files.close(dirfd)
    raise NotAQueue(path, "this directory is being replaced again and again by another program")


def take_lock(files: Files, dirfd: int, path: Path | str) -> bool:
    """Take the lock; return False when another directory lies at *path* by now.

    Raises:
        QueueLocked: another asyncpq queue has it.
        OSError: there are no locks here; the text says what to do.
    """
    try:
        taken = files.lock(dirfd)
    except OSError as error:
        if error.errno not in NO_SUPPORT:
            raise
        why = f"the file system has no locks ({error.strerror}); if nobody else opens it, pass lock=False"
        raise OSError(error.errno, why, str(path)) from error
    if not taken:
        raise QueueLocked(path, "another asyncpq queue")
    return files.same_dir(dirfd, os.path.abspath(path))


def _explained(error: OSError, path: Path | str) -> Exception:
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        found = Path(error.filename if isinstance(error.filename, str) else path)
        if found == Path(os.path.abspath(path)):
            why = "is no directory; a queue lives in a directory of its own: choose another path"
            return NotAQueue(path, f"{why} (a SQLite database is opened with AsyncSQLiteQueue)")
        return NotAQueue(path, f"cannot be made, since {found} is no directory")
    if error.errno in (errno.EACCES, errno.EPERM):
        why = "no permission to make or to open the directory of this queue; choose another path, or its rights"
        return type(error)(error.errno, why, str(path))
    return error


def refuse_other_openers(files: Files, dirfd: int, path: Path | str, names: Iterable[str]) -> None:
    """Raise when another process has one of these files open; to be asked before they are opened here.

    Raises:
        QueueLocked: such a program, which need not know of locks, is at work; nothing was changed.
    """
    for name in names:
        for tried in range(LEASE_TRIES):
            if files.lease(dirfd, name):
                break
            if tried + 1 == LEASE_TRIES:
                raise QueueLocked(path, "another program, such as persist-queue,")
            time.sleep(LEASE_PAUSE)


def check_tempdir(files: Files, path: str | os.PathLike[str], tempdir: str | os.PathLike[str] | None) -> None:
    """Accept persist-queue's *tempdir* where it would: nothing is written to it here.

    Raises:
        ValueError: it is not there, or lies on another file system than the queue.
    """
    if tempdir is None:
        return
    try:
        other = files.device(os.fspath(tempdir))
    except OSError as error:
        raise ValueError(f"tempdir={os.fspath(tempdir)!r}: {error.strerror}; it is not needed, leave it out") from error
    if other != _device(files, os.path.abspath(path)):
        raise ValueError(f"tempdir={os.fspath(tempdir)!r} has to be on the file system of {path}; leave it out")


def _device(files: Files, path: str) -> int:
    """Return the file system that *path* is on, or will be on when it is made."""
    while True:
        try:
            return files.device(path)
        except (FileNotFoundError, NotADirectoryError):
            path = os.path.dirname(path)
