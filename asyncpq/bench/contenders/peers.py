"""Queues of other libraries, as their documentation shows them in use: file queues first, then those on SQLite.

A library without coroutines is called straight from the event loop, which waits meanwhile: the fastest for it.
What each syncs is what its source says; `asyncpq.bench` counts it besides.
"""

from __future__ import annotations

import pickle
import sqlite3
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final

from asyncpq.bench.result import Promise

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.bench.contenders.protocol import Peer

__all__ = ["PEERS"]


class _Blocking:
    """A queue without coroutines."""

    shares, blocking = False, True
    _queue: Any

    def __init__(self, place: Path) -> None:
        """Describe it."""
        self._place = place

    async def close(self) -> None:
        """Close it."""
        self._queue.close()


class PersistQueueFile(_Blocking):
    """persistqueue.Queue."""

    name, module, library = "persist-queue Queue", "persistqueue", "persist-queue"
    promise = Promise.SOMETIMES
    syncs = "a chunk of 100 items when it is full; never info, nor names"

    async def open(self) -> None:
        """Make the queue."""
        queue = import_module("persistqueue").Queue
        self._queue = queue(str(self._place / "queue"), chunksize=100, tempdir=str(self._place))

    async def put(self, item: str) -> None:
        """Store."""
        self._queue.put(item)

    async def get(self) -> None:
        """Take and mark done."""
        self._queue.get()
        self._queue.task_done()

    async def close(self) -> None:
        """Close its files, for which it has no method."""
        self._queue.headf.close()
        self._queue.tailf.close()


class PersistQueueAsync(_Blocking):
    """persistqueue.AsyncQueue."""

    name, module, library = "persist-queue AsyncQueue", "persistqueue", "persist-queue"
    blocking = False
    promise = Promise.NONE
    syncs = "nothing"

    async def open(self) -> None:
        """Make the queue."""
        queue = import_module("persistqueue").AsyncQueue
        self._queue = queue(str(self._place / "queue"), chunksize=100, tempdir=str(self._place))

    async def put(self, item: str) -> None:
        """Store."""
        await self._queue.put(item)

    async def get(self) -> None:
        """Take and mark done."""
        await self._queue.get()
        await self._queue.task_done()

    async def close(self) -> None:
        """Close it."""
        await self._queue.close()


class QueuelibFile(_Blocking):
    """queuelib.FifoDiskQueue."""

    name, module, library = "queuelib FifoDiskQueue", "queuelib", "queuelib"
    promise = Promise.NONE
    syncs = "nothing; a killed process loses its info too, which is written by close"

    async def open(self) -> None:
        """Make the queue."""
        self._queue = import_module("queuelib").FifoDiskQueue(str(self._place / "queue"))

    async def put(self, item: str) -> None:
        """Store, as bytes: it has no serializer."""
        self._queue.push(pickle.dumps(item, 4))

    async def get(self) -> None:
        """Take."""
        pickle.loads(self._queue.pop())


class QueuelibSQLite(QueuelibFile):
    """queuelib.FifoSQLiteQueue."""

    name = "queuelib FifoSQLiteQueue"
    promise = Promise.BUT_LAST
    syncs = "each commit (rollback journal, FULL)"

    async def open(self) -> None:
        """Make the queue."""
        self._queue = import_module("queuelib.queue").FifoSQLiteQueue(str(self._place / "queue.db"))


class PersistQueueSQLite(PersistQueueFile):
    """persistqueue.SQLiteQueue."""

    name = "persist-queue SQLiteQueue"
    promise = Promise.EACH
    syncs = "each commit (WAL, FULL)"

    async def open(self) -> None:
        """Make the queue."""
        self._queue = import_module("persistqueue").SQLiteQueue(str(self._place), auto_commit=True)

    async def close(self) -> None:
        """Close it."""
        self._queue.close()


class PersistQueueAsyncSQLite(PersistQueueAsync):
    """persistqueue.AsyncSQLiteQueue."""

    name = "persist-queue AsyncSQLiteQueue"
    promise = Promise.BUT_LAST
    syncs = "each commit (rollback journal, FULL)"

    async def open(self) -> None:
        """Make the queue."""
        self._queue = import_module("persistqueue").AsyncSQLiteQueue(str(self._place / "queue.db"))


class LiteQueue(_Blocking):
    """litequeue.LiteQueue."""

    name, module, library = "litequeue", "litequeue", "litequeue"
    promise = Promise.SOMETIMES
    syncs = "when SQLite moves its log into the file (WAL, NORMAL)"

    async def open(self) -> None:
        """Make the queue."""
        self._queue = import_module("litequeue").LiteQueue(str(self._place / "queue.db"))

    async def put(self, item: str) -> None:
        """Store, as text: it has no serializer."""
        self._queue.put(item)

    async def get(self) -> None:
        """Take and mark done."""
        self._queue.done(self._queue.pop().message_id)

    async def close(self) -> None:
        """Close its connection."""
        self._queue.conn.close()


class DiskcacheDeque(_Blocking):
    """diskcache.Deque."""

    name, module, library = "diskcache Deque", "diskcache", "diskcache"
    promise = Promise.SOMETIMES
    syncs = "when SQLite moves its log into the file (WAL, NORMAL)"

    async def open(self) -> None:
        """Make the queue."""
        self._queue = import_module("diskcache").Deque(directory=str(self._place / "queue"))

    async def put(self, item: str) -> None:
        """Store."""
        self._queue.append(item)

    async def get(self) -> None:
        """Take."""
        self._queue.popleft()

    async def close(self) -> None:
        """Close its cache."""
        self._queue.cache.close()


class PlainSQLite(_Blocking):
    """The module sqlite3 alone: the least that a queue on SQLite takes for the promise of `always`."""

    name, module, library = "sqlite3", "sqlite3", "sqlite3"
    promise = Promise.EACH
    syncs = "each commit (WAL, FULL)"
    _TABLE: ClassVar = "CREATE TABLE queue (id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB)"
    _FIRST: ClassVar = "SELECT id, data FROM queue ORDER BY id LIMIT 1"

    async def open(self) -> None:
        """Make the queue."""
        self._queue = sqlite3.connect(self._place / "queue.db", isolation_level=None)
        self._queue.execute("PRAGMA journal_mode=WAL")
        self._queue.execute("PRAGMA synchronous=FULL")
        self._queue.execute(self._TABLE)

    async def put(self, item: str) -> None:
        """Insert a row."""
        self._queue.execute("INSERT INTO queue (data) VALUES (?)", (pickle.dumps(item, 4),))

    async def get(self) -> None:
        """Take the first row and delete it, in one transaction."""
        self._queue.execute("BEGIN IMMEDIATE")
        number, data = self._queue.execute(self._FIRST).fetchone()
        pickle.loads(data)
        self._queue.execute("DELETE FROM queue WHERE id = ?", (number,))
        self._queue.execute("COMMIT")


PEERS: Final[tuple[type[Peer], ...]] = (
    PersistQueueFile,
    PersistQueueAsync,
    QueuelibFile,
    PersistQueueSQLite,
    PersistQueueAsyncSQLite,
    QueuelibSQLite,
    LiteQueue,
    DiskcacheDeque,
    PlainSQLite,
)
