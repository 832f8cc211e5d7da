"""A file system that writes down what is done to it, in order, beside what was asked of the queue and answered.

Every change happens under one lock, so the list has the order in which the kernel saw them, whatever thread they
came from.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from asyncpq.files import OSFiles
from tests.crash.contents import BLOCK, Content
from tests.crash.operations import (
    ROOT,
    Acknowledged,
    Begun,
    Call,
    Entry,
    Link,
    Operation,
    Place,
    Rename,
    Sync,
    SyncDir,
    Truncate,
    Unlink,
    Write,
)

HERE: Final = os.path.dirname(__file__)
UNTOLD: Final = ("Syncer.timed",)  # frames that say nothing about which sync it is


@dataclass(slots=True)
class Tree:
    """Names and contents, by node."""

    names: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})  # of each directory
    files: dict[int, Content] = field(default_factory=dict)

    def copy(self) -> Tree:
        return Tree({node: dict(names) for node, names in self.names.items()}, dict(self.files))

    def add(self, path: str, content: Content | None) -> None:
        """Add a file, or a directory where there is no content; those above it are made."""
        directory = ROOT
        *above, name = path.split("/")
        for part in above:
            directory = self._directory(directory, part)
        if content is None:
            self._directory(directory, name)
        else:
            node = self.names[directory][name] = self.count()
            self.files[node] = content

    def _directory(self, parent: int, name: str) -> int:
        if name not in self.names[parent]:
            node = self.names[parent][name] = self.count()
            self.names[node] = {}
        return self.names[parent][name]

    def count(self) -> int:
        return len(self.names) + len(self.files)


def read_content(path: Path) -> Content:
    """The bytes of a file, and its holes."""
    data, holes = path.read_bytes(), set[int]()
    with path.open("rb") as file:
        at = os.lseek(file.fileno(), 0, os.SEEK_HOLE) if data else 0
        while at < len(data):
            try:
                end = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # no data behind it
                end = len(data)
            holes.update(range(at // BLOCK, -(-end // BLOCK)))
            at = os.lseek(file.fileno(), end, os.SEEK_HOLE) if end < len(data) else end
    return Content(data, frozenset(holes))


def read_tree(base: Path) -> Tree:
    """What lies in the directory *base*."""
    tree = Tree()
    for path in sorted(base.rglob("*")):
        tree.add(path.relative_to(base).as_posix(), None if path.is_dir() else read_content(path))
    return tree


class Recorder(OSFiles):
    """Records what happens below *base*; *before* is called ahead of each operation, with its name and the file's."""

    def __init__(self, base: Path, tree: Tree | None = None, *, really: bool = False) -> None:
        """Start with what lies in *base*, or with *tree* where that is known; *really*: sync, too."""
        self.base = os.fspath(base)
        self.first = read_tree(base) if tree is None else tree
        self.log: list[Entry] = []
        self._really = really
        self.before: Callable[[str, str], None] = lambda call, name: None
        self.dead = False  # after a kill -9: nothing reaches the kernel
        self.kill_after: int | None = None  # operations, counted from now
        self._names = {node: dict(names) for node, names in self.first.names.items()}
        self._count = self.first.count()
        self._open: dict[int, int] = {}  # descriptor -> node
        self._dead: set[int] = set()  # descriptors of a process that was killed
        self._lock = threading.RLock()

    @property
    def operations(self) -> list[Operation]:
        return [entry for entry in self.log if not isinstance(entry, Begun | Acknowledged)]

    # -- marks ----------------------------------------------------------------------------------------------

    def begun(self, name: str, keys: list[int] | None = None, records: list[tuple[int, Place]] | None = None) -> Call:
        call = Call(name, keys or [], records or [])
        self._mark(Begun(call))
        return call

    def acknowledged(self, call: Call) -> None:
        self._mark(Acknowledged(call))

    def _mark(self, entry: Entry) -> None:
        with self._lock:
            if not self.dead:
                self.log.append(entry)

    def kill(self) -> None:
        """As kill -9: from now on nothing is done, and through the descriptors of now never again."""
        with self._lock:
            self.dead, self.kill_after = True, None
            self._dead.update(self._open)

    def revive(self) -> None:
        self.dead = False

    @contextmanager
    def _change(self, call: str, name: str, fd: int = -1) -> Iterator[None]:
        self.before(call, name)
        with self._lock:
            if self.kill_after is not None:
                self.kill_after -= 1
                if self.kill_after < 0:
                    self.kill()
            if self.dead or fd in self._dead:
                raise OSError(errno.EIO, "killed")
            yield

    # -- which node -----------------------------------------------------------------------------------------

    def _node(self, path: str) -> int:
        node = ROOT
        relative = os.path.relpath(path, self.base)
        for part in [] if relative == "." else relative.split("/"):
            node = self._names[node][part]
        return node

    def _name(self, fd: int) -> str:
        node = self._open[fd]
        return next((n for names in self._names.values() for n, other in names.items() if other == node), "?")

    def _new(self, directory: int, name: str, *, is_directory: bool = False) -> int:
        node, self._count = self._count, self._count + 1
        self._names[directory][name] = node
        if is_directory:
            self._names[node] = {}
        self.log.append(Link(directory, name, node, is_directory))
        return node

    def open_dir(self, path: str) -> int:
        fd = super().open_dir(path)
        self._open[fd] = self._node(path)
        return fd

    def open_subdir(self, dirfd: int, name: str) -> int:
        return self._opened(super().open_subdir(dirfd, name), dirfd, name)

    def open_write(self, dirfd: int, name: str) -> int:
        return self._opened(super().open_write(dirfd, name), dirfd, name)

    def open_read(self, dirfd: int, name: str) -> int:
        return self._opened(super().open_read(dirfd, name), dirfd, name)

    def _opened(self, fd: int, dirfd: int, name: str) -> int:
        self._open[fd] = self._names[self._open[dirfd]][name]
        return fd

    def close(self, fd: int) -> None:
        with self._lock:
            self._dead.discard(fd)
            self._open.pop(fd, None)
            super().close(fd)

    # -- changes --------------------------------------------------------------------------------------------

    def _make_one(self, directory: str, made: list[str]) -> None:
        parent, name = os.path.split(directory)
        with self._change("mkdir", name):
            self._new(self._node(parent), name, is_directory=True)
            super()._make_one(directory, made)

    def make_dir(self, dirfd: int, name: str, mode: int) -> None:
        with self._change("mkdir", name, dirfd):
            super().make_dir(dirfd, name, mode)
            self._new(self._open[dirfd], name, is_directory=True)

    def create(self, dirfd: int, name: str, mode: int = 0o666) -> int:
        with self._change("create", name, dirfd):
            fd = super().create(dirfd, name, mode)
            self._open[fd] = self._new(self._open[dirfd], name)
            return fd

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int, /) -> int:  # type: ignore[override]
        with self._change("pwrite", self._name(fd), fd):
            written = os.pwrite(fd, data, offset)
            self.log.append(Write(self._open[fd], offset, bytes(data[:written])))
            return written

    def truncate(self, fd: int, length: int) -> None:
        with self._change("truncate", self._name(fd), fd):
            super().truncate(fd, length)
            self.log.append(Truncate(self._open[fd], length))

    def rename(self, dirfd: int, old: str, new: str, new_dirfd: int | None = None) -> None:
        with self._change("rename", old, dirfd):
            super().rename(dirfd, old, new, new_dirfd)
            source = self._open[dirfd]
            target = source if new_dirfd is None else self._open[new_dirfd]
            node = self._names[source].pop(old)
            over = new in self._names[target]
            self._names[target][new] = node
            self.log.append(Rename(source, old, target, new, node, over))

    def link(self, dirfd: int, old: str, new: str) -> None:
        with self._change("link", new):
            super().link(dirfd, old, new)
            directory = self._open[dirfd]
            node = self._names[directory][new] = self._names[directory][old]
            self.log.append(Link(directory, new, node))

    def unlink(self, dirfd: int, name: str) -> None:
        if name not in self._names[self._open[dirfd]]:
            super().unlink(dirfd, name)  # says so, and is no operation
        with self._change("unlink", name, dirfd):
            super().unlink(dirfd, name)
            del self._names[self._open[dirfd]][name]
            self.log.append(Unlink(self._open[dirfd], name))

    # -- syncs: what was asked for counts, and nothing has to be synced -------------------------------------

    def fsync(self, fd: int) -> None:
        with self._change("fsync", self._name(fd), fd):
            if self._really:
                super().fsync(fd)
            self.log.append(Sync(self._open[fd], _site(), "fsync"))

    def fdatasync(self, fd: int) -> None:
        with self._change("fdatasync", self._name(fd), fd):
            if self._really:
                super().fdatasync(fd)
            self.log.append(Sync(self._open[fd], _site()))

    def fsync_dir(self, dirfd: int) -> None:
        with self._change("fsync_dir", self._name(dirfd), dirfd):
            if self._really:
                super().fsync_dir(dirfd)
            self.log.append(SyncDir(self._open[dirfd], _site()))


def _site() -> str:
    """The function of asyncpq that asked for a sync, and the one that called it."""
    frame: Any = sys._getframe(1)
    names: list[str] = []
    while frame is not None and len(names) < 2:
        code = frame.f_code
        if "/asyncpq/" in code.co_filename and not code.co_filename.startswith(HERE) and code.co_qualname not in UNTOLD:
            names.append(code.co_qualname)
        frame = frame.f_back
    return " > ".join(reversed(names))
