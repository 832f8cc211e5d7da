"""Small queue directories, written by hand: chunks of three items, so that every edge is near.

q00000  0 1 2     q00001  3 4 5     q00002  6 7
          ^tail: 0 was consumed                 ^head
"""

import importlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from asyncpq import fsync, layout, serializers
from asyncpq.files import FILES, Files
from asyncpq.layout import Mark, Position
from asyncpq.opened import Opened
from asyncpq.recovery import open_queue

CHUNKSIZE: Final = 3
ITEMS: Final = 8
Tree = dict[str, bytes | None]  # file -> content; directory -> None


def item(number: int) -> str:
    """The item with this number; all have the same length."""
    return f"item {number:05d}"


@dataclass
class QueueDir:
    """A directory, and the bytes that belong into it."""

    path: Path
    name: str  # of the serializer
    record: bytes = b""  # of info
    items: int = ITEMS
    tail: Position = field(default=layout.START)
    head: Position = field(default=layout.START)

    @property
    def width(self) -> int:
        """Bytes of a record."""
        return len(self.encoded(0))

    def encoded(self, number: int) -> bytes:
        return serializers.get(self.name).encode(item(number))

    def place(self, number: int) -> Position:
        chunk, count = divmod(number, CHUNKSIZE)
        return Position(chunk, count, count * self.width)

    def chunk(self, number: int) -> Path:
        return self.path / layout.chunk_name(number)

    def append(self, chunk: int, *data: bytes) -> None:
        with self.chunk(chunk).open("ab") as file:
            file.write(b"".join(data))

    def write_info(self, mark: tuple[str, int] | None = None, **changed: Any) -> None:
        """Write info: exact, or as the slot with a mark of (policy, number of durable items)."""
        tail, head = self.tail, self.head
        fields = {
            "chunksize": CHUNKSIZE,
            "size": layout.distance(CHUNKSIZE, tail, head),
            "tail": list(tail),
            "head": list(head),
        } | changed
        self.record = serializers.get(self.name).encode(fields)
        data = self.record
        if mark is not None:
            policy, durable = mark
            sign = Mark(fsync.get(policy).code, self.place(durable), layout.START)
            data = layout.slot(self.record, layout.mark_prefix(sign))
        (self.path / "info").write_bytes(data)


def make(folder: Path, name: str, *, items: int = ITEMS, consumed: int = 1) -> QueueDir:
    """A directory with that many items, closed."""
    folder.mkdir(parents=True, exist_ok=True)
    made = QueueDir(folder, name, items=items)
    made.tail, made.head = made.place(consumed), made.place(items)
    for number in range(items):
        if number // CHUNKSIZE >= made.tail.chunk:
            made.append(number // CHUNKSIZE, made.encoded(number))
    made.append(made.head.chunk)
    made.write_info()
    return made


def opened(path: Path, files: Files = FILES, **options: Any) -> Opened:
    """Open *path* as a queue would."""
    asked: dict[str, Any] = {
        "serializer": None,
        "chunksize": CHUNKSIZE,
        "policy": fsync.get("interval"),
        "repair": False,
    } | options
    dirfd = os.open(path, os.O_RDONLY)
    try:
        return open_queue(files, dirfd, path, **asked)
    finally:
        os.close(dirfd)


def tree(path: Path) -> Tree:
    """All that lies below *path*."""
    return {
        str(found.relative_to(path)): found.read_bytes() if found.is_file() else None
        for found in sorted(path.rglob("*"))
    }


def drained_by_upstream(path: Path, name: str, copy: Path) -> list[Any]:
    """What persist-queue gets from a copy of the directory."""
    from persistqueue import Queue  # type: ignore[import-untyped, unused-ignore]

    shutil.copytree(path, copy)
    queue = Queue(str(copy), serializer=importlib.import_module(f"persistqueue.serializers.{name}"), tempdir=str(copy))
    return [queue.get_nowait() for _ in range(queue.qsize())]


def read_back(path: Path, found: Opened) -> list[Any]:
    """The items from tail to head, read with the serializer that opening found."""
    items: list[Any] = []
    at = found.tail
    for _ in range(found.size):
        data = (path / layout.chunk_name(at.chunk)).read_bytes()
        value, end = found.serializer.decode(data, at.offset)
        items.append(value)
        at = layout.following(at, end - at.offset, found.chunksize)
    assert at == found.head
    return items
