"""The directory that the bench works in, and that goes with it.

    PATH/asyncpq-bench-3f9a01c2/
      alive            locked while the bench runs: the kernel gives the lock back when it dies
      c0001 ...        one directory for each queue

What killed runs left behind has our file `alive`, which nobody locks: the next run removes it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PREFIX", "Workspace", "remove_stale", "workspace"]

PREFIX: Final = "asyncpq-bench-"
ALIVE: Final = "alive"


class Workspace:
    """Hands out empty directories."""

    def __init__(self, path: Path) -> None:
        """Hand out directories in *path*, which is there."""
        self.path, self._made = path, 0

    @contextmanager
    def place(self) -> Iterator[Path]:
        """Give an empty directory, and remove it with all that is in it by then."""
        self._made += 1
        made = self.path / f"c{self._made:04}"
        made.mkdir()
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def workspace(where: Path) -> Iterator[Workspace]:
    """Give a workspace in the directory *where*, and remove it whatever happens.

    Raises:
        OSError: it cannot be made there.
    """
    path = where / f"{PREFIX}{secrets.token_hex(4)}"
    path.mkdir(mode=0o700)
    try:
        with _kept_alive(path):
            yield Workspace(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _kept_alive(path: Path) -> Iterator[None]:
    # It gets its name when it is locked: nobody sees it unlocked while we live.
    fd = os.open(path / "begun", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with suppress(OSError):  # a file system without locks: what is left behind there, nobody removes
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(path / "begun", path / ALIVE)
        yield
    finally:
        os.close(fd)


def remove_stale(where: Path) -> list[Path]:
    """Remove what runs that were killed left in *where*; return it."""
    return [found for found in sorted(where.glob(f"{PREFIX}*")) if _is_stale(found) and _removed(found)]


def _is_stale(path: Path) -> bool:
    """Return whether it is ours, and whoever made it is dead."""
    try:
        facts = path.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
            return False
        fd = os.open(path / ALIVE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _removed(path: Path) -> bool:
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()
