"""Descriptors of a database beside SQLite's own.

The locks of a database are POSIX locks, which belong to the process: closing any descriptor of the file gives up all
of them, also those by which a queue in this process keeps others out (sqlite.org/howtocorrupt.html, 2.2).  So what is
opened here is closed when nothing else in this process has the file open, and kept until then.

Synchronous: for worker threads.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from asyncpq.errors import NotAQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FLAGS: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_lock: Final = threading.Lock()
_held: Final[dict[tuple[int, int], list[Callable[[], None]]]] = {}  # by file: what closes ours that are not in use
_used: Final[dict[tuple[int, int], int]] = {}  # by file: how many of ours are in use


@contextmanager
def raw(path: str, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Give a descriptor of the regular file *path*.

    Raises:
        NotAQueue: it is no regular file.
        OSError: it cannot be opened.
    """
    fd = os.open(path, flags | _FLAGS)
    key = file_key(os.fstat(fd))
    with held(key, lambda: os.close(fd)):
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotAQueue(path, "is not a regular file")
        yield fd


@contextmanager
def held(key: tuple[int, int], close: Callable[[], None]) -> Iterator[None]:
    """Have a descriptor of the file *key* open in this block; *close* closes it, at its end or later."""
    with _lock:
        _used[key] = _used.get(key, 0) + 1
    try:
        yield
    finally:
        with _lock:
            _used[key] -= 1
            if not _used[key]:
                del _used[key]
            _held.setdefault(key, []).append(close)
            _close_unneeded()


def _close_unneeded() -> None:
    """Close what is kept of files that nothing else has open, now."""
    counts = _open_files()
    for key in list(_held):
        if key not in _used and counts.get(key, 0) <= len(_held[key]):
            for close in _held.pop(key):
                close()


def close_unneeded() -> None:
    """Close what is kept and not needed any more: whoever has closed a database calls it."""
    with _lock:
        _close_unneeded()


def open_here(path: str) -> bool:
    """Return whether this process has the file open, but for what is kept here; where nobody can tell, no."""
    with suppress(OSError), _lock:
        key = file_key(os.stat(path))
        return _open_files().get(key, 0) > len(_held.get(key, ())) + _used.get(key, 0)
    return False


def _open_files() -> dict[tuple[int, int], int]:
    """Return how many descriptors this process has of each file."""
    counts: dict[tuple[int, int], int] = {}
    with suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with suppress(OSError, ValueError):
                key = file_key(os.fstat(int(name)))
                counts[key] = counts.get(key, 0) + 1
    return counts


def file_key(facts: os.stat_result) -> tuple[int, int]:
    """Return what tells the file from every other one."""
    return facts.st_dev, facts.st_ino


def at_work(path: str) -> bool | None:
    """Return whether some process holds a lock of the database *path*, or of its log's index; None: nobody can tell."""
    keys = set()
    for name in (path, path + "-shm"):
        with suppress(OSError):
            facts = os.stat(name)
            keys.add(f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}")
    try:
        with open("/proc/locks", encoding="ascii") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    # 1: POSIX  ADVISORY  READ 4711 fe:01:1234567 128 128
    return any("POSIX" in parts and not keys.isdisjoint(parts) for parts in map(str.split, lines))
