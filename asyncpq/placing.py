"""Something new, built beside its place and put there in one step.

    TARGET.partial/    being built; locked by its builder, so that one which was left is told from one at work
    TARGET             not there, or complete and durable; nothing is ever replaced

Synchronous: for worker threads.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import QueueLocked
from asyncpq.files import FILES, NO_SUPPORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["building", "put_in_place"]

PARTIAL: Final = ".partial"
TRIES: Final = 5  # to get hold of a directory that others discard
_AT_FDCWD: Final = -100
_NOREPLACE: Final = 1  # renameat2


@contextmanager
def building(target: Path, ours: Callable[[str], bool]) -> Iterator[tuple[Path, int]]:
    """Give the empty directory TARGET.partial and a descriptor of it, locked; in the end it is gone, or renamed.

    Args:
        target: what is to be; must not be there.
        ours: whether a builder makes files of this name: one that was left is discarded if it holds nothing else.

    Raises:
        FileExistsError: *target* is there, or what lies at TARGET.partial was not left by a builder.
        QueueLocked: somebody else is building it.
        OSError: it cannot be made.
    """
    _refuse_existing(target)
    partial = target.with_name(target.name + PARTIAL)
    dirfd = _begin(partial, ours)
    try:
        yield partial, dirfd
    finally:
        with suppress(OSError):  # a disk that fails: the next one discards it
            if FILES.same_dir(dirfd, os.fspath(partial)):
                _empty(dirfd, partial, ours)
                partial.rmdir()
        os.close(dirfd)


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "is there already, and is not replaced; give another target", str(target))


def _begin(partial: Path, ours: Callable[[str], bool]) -> int:
    for _ in range(TRIES):
        with suppress(FileExistsError):
            partial.mkdir(mode=0o700)
        try:
            dirfd = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # discarded in between
        except NotADirectoryError:
            raise _not_ours(partial, "is no directory") from None
        try:
            if not _lock(dirfd):
                raise QueueLocked(partial, "another one that builds it")
            if FILES.same_dir(dirfd, os.fspath(partial)):
                _empty(dirfd, partial, ours)
                return dirfd
        except BaseException:
            os.close(dirfd)
            raise
        os.close(dirfd)
    raise QueueLocked(partial, "another one that builds it")


def _lock(dirfd: int) -> bool:
    try:
        return FILES.lock(dirfd)
    except OSError as error:
        if error.errno not in NO_SUPPORT:
            raise
        return True  # a file system without locks: nobody can tell


def _empty(dirfd: int, partial: Path, ours: Callable[[str], bool]) -> None:
    """Remove the files, all of which a builder made; else remove none."""
    names = os.listdir(dirfd)
    for name in names:
        if not ours(name) or not stat.S_ISREG(os.stat(name, dir_fd=dirfd, follow_symlinks=False).st_mode):
            raise _not_ours(partial, f"holds {name!r}")
    for name in names:
        os.unlink(name, dir_fd=dirfd)


def _not_ours(partial: Path, what: str) -> FileExistsError:
    why = f"{what}, which was not left by an unfinished copy; move it away"
    return FileExistsError(errno.EEXIST, why, str(partial))


def put_in_place(built: Path, target: Path) -> None:
    """Rename *built*, a directory or a file, which is durable; on return that is durable, too.

    Raises:
        FileExistsError: *target* is there by now; nothing was changed.
        OSError: the disk did not take it.
    """
    _rename_new(built, target)
    parent = FILES.open_dir(os.path.dirname(os.path.abspath(target)))
    try:
        FILES.fsync_dir(parent)
    finally:
        os.close(parent)


def _rename_new(built: Path, target: Path) -> None:
    """Rename, replacing nothing, also where somebody makes the target in this moment."""
    import ctypes  # takes a while, and is not everywhere

    renameat2: Any = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        if not renameat2(_AT_FDCWD, os.fsencode(built), _AT_FDCWD, os.fsencode(target), _NOREPLACE):
            return
        code = ctypes.get_errno()
        if code not in NO_SUPPORT:
            raise OSError(code, os.strerror(code), str(target))
    if built.is_dir():
        _refuse_existing(target)
        os.rename(built, target)  # refused by the system unless an empty directory has come there just now
    else:
        os.link(built, target, follow_symlinks=False)
        os.unlink(built)
