"""Persistent queues in SQLite databases, in the tables of persist-queue's: the extra `sqlite`.

    async with AsyncSQLiteAckQueue("jobs") as queue:
        await queue.put({"url": "https://example.org"})
        job = await queue.get()
        await queue.ack(job)

What each class is for is said in docs/sqlite.md.
"""

try:
    import aiosqlite as _aiosqlite  # noqa: F401  # missing: say which extra, before anything else is imported
except ImportError as error:
    raise ImportError(
        "the SQLite queues need aiosqlite; install it with: pip install 'asyncpq-engine[sqlite]'", name="aiosqlite"
    ) from error

from asyncpq.sqlite.acks import AsyncFILOSQLiteAckQueue, AsyncSQLiteAckQueue, AsyncUniqueAckQ
from asyncpq.sqlite.queues import (
    AsyncFIFOSQLiteQueue,
    AsyncFILOSQLiteQueue,
    AsyncPriorityQueue,
    AsyncSQLiteQueue,
    AsyncUniqueQ,
)

__all__ = [
    "AsyncFIFOSQLiteQueue",
    "AsyncFILOSQLiteAckQueue",
    "AsyncFILOSQLiteQueue",
    "AsyncPriorityQueue",
    "AsyncSQLiteAckQueue",
    "AsyncSQLiteQueue",
    "AsyncUniqueAckQ",
    "AsyncUniqueQ",
]
