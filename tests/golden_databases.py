"""The SQLite queues under golden/, which persist-queue 1.1.0 wrote, and its classes as a test uses them.

golden/NAME/queue/data.db   as a sync class left it (or another file name); the table ends with the queue's name
golden/NAME/queue.db        as an async class left it
golden/NAME/expected.json   the kind, the tables, the items in the order of get

SQLite may write to a database that is only looked at: nothing here is ever opened but a copy.
"""

import inspect
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import persistqueue

import asyncpq
from asyncpq.sqlite.base import SQLiteQueue
from tests.golden_dirs import FOLDER

OURS: Final[dict[str, type[SQLiteQueue]]] = {
    "fifo": asyncpq.AsyncSQLiteQueue,
    "filo": asyncpq.AsyncFILOSQLiteQueue,
    "unique": asyncpq.AsyncUniqueQ,
    "priority": asyncpq.AsyncPriorityQueue,
    "ack": asyncpq.AsyncSQLiteAckQueue,
    "filo ack": asyncpq.AsyncFILOSQLiteAckQueue,
    "unique ack": asyncpq.AsyncUniqueAckQ,
}
THEIRS: Final[dict[str, Any]] = {
    "fifo": persistqueue.SQLiteQueue,
    "filo": persistqueue.FILOSQLiteQueue,
    "unique": persistqueue.UniqueQ,
    "priority": persistqueue.PriorityQueue,
    "ack": persistqueue.SQLiteAckQueue,
    "filo ack": persistqueue.FILOSQLiteAckQueue,
    "unique ack": persistqueue.UniqueAckQ,
}
THEIRS_ASYNC: Final[dict[str, Any]] = {
    "fifo": persistqueue.AsyncSQLiteQueue,
    "filo": persistqueue.AsyncFILOSQLiteQueue,
    "unique": persistqueue.AsyncUniqueQ,
}


@dataclass(frozen=True, slots=True)
class Golden:
    """One database and what a consumer must find in it."""

    name: str
    kind: str
    database: Path  # below the folder of this name
    queue: str  # its name
    table: str
    in_file: bool  # the layout of the async classes
    items: list[Any]  # what can be got, in that order; what was in flight is in its old place
    unacked: list[Any] = field(default_factory=list)
    acked: list[Any] = field(default_factory=list)
    failed: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return self.name

    @property
    def original(self) -> Path:
        return FOLDER / self.name / self.database

    def copy(self, folder: Path) -> "Place":
        """A copy in *folder* that a test may change."""
        if self.in_file:
            return Place(self.kind, Path(shutil.copy(self.original, folder)), self.queue, in_file=True)
        (folder / "queue").mkdir()
        shutil.copy(self.original, folder / "queue")
        return Place(self.kind, folder / "queue", self.queue, db_file_name=self.database.name)


def load(name: str) -> Golden:
    """The golden database called *name*."""
    said = json.loads((FOLDER / name / "expected.json").read_text("utf-8"))
    (table,) = said["tables"]
    return Golden(
        name=name,
        kind=said["kind"],
        database=Path(said["db"]),
        queue=said.get("name", "default"),
        table=table,
        in_file=said.get("asynchronous", False),
        items=said["items"] if "items" in said else said["unacked"] + said["ready"],
        unacked=said.get("unacked", []),
        acked=said.get("acked", []),
        failed=said.get("failed", []),
    )


GOLDEN: Final = [load(folder.name) for folder in sorted(FOLDER.iterdir()) if "-sqlite-" in folder.name]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queue of one of the seven kinds is."""

    kind: str
    path: Path
    name: str = "default"
    in_file: bool = False
    db_file_name: str | None = None

    @property
    def database(self) -> Path:
        return self.path if self.in_file else self.path / (self.db_file_name or "data.db")

    def ours(self, **options: Any) -> SQLiteQueue:
        """The queue, not open yet."""
        path = self.path if self.in_file else os.path.join(self.path, "")
        return OURS[self.kind](path, self.name, db_file_name=self.db_file_name, **options)

    @asynccontextmanager
    async def theirs(self, **options: Any) -> AsyncIterator["Their"]:
        """persist-queue's queue, open."""
        if self.in_file:
            async with THEIRS_ASYNC[self.kind](str(self.path), self.name, **options) as queue:
                yield Their(queue)
            return
        options = {"db_file_name": self.db_file_name, "name": self.name} | options
        queue = THEIRS[self.kind](str(self.path), **options)
        try:
            yield Their(queue)
        finally:
            queue.close()


class Their:
    """One of their queues, sync or async, to be awaited."""

    def __init__(self, queue: Any) -> None:
        self.queue = queue

    async def put(self, item: Any, **options: Any) -> Any:
        return await self._awaited(self.queue.put(item, **options))

    async def get(self) -> Any:
        return await self._awaited(self.queue.get(block=False))

    async def qsize(self) -> int:
        return int(await self._awaited(self.queue.qsize()))

    async def drained(self) -> list[Any]:
        """All items."""
        return [await self.get() for _ in range(await self.qsize())]

    async def _awaited(self, result: Any) -> Any:
        return await result if inspect.isawaitable(result) else result


async def drained(queue: SQLiteQueue) -> list[Any]:
    """All items of one of our queues, each answered before the next is got; there are as many as it says."""
    size = await queue.qsize()
    items = []
    while not await queue.empty():
        items.append(await queue.get_nowait())
        if isinstance(queue, asyncpq.AsyncSQLiteAckQueue | asyncpq.AsyncFILOSQLiteAckQueue | asyncpq.AsyncUniqueAckQ):
            await queue.ack(items[-1])
    assert len(items) == size
    return items


def joined(kind: str, items: list[Any], added: list[Any]) -> list[Any]:
    """In the order of get: *items*, and what was *added* to them in order."""
    return [*added[::-1], *items] if "filo" in kind else [*items, *added]
