"""Persistent queues for asyncio, in the directory layout of persist-queue's file queue.

from asyncpq import AsyncQueue

async with AsyncQueue("jobs") as queue:
await queue.put({"url": "https://example.org"})
job = await queue.get()
await queue.task_done()
"""

from asyncpq import fsync, serializers
from asyncpq.errors import (
    AsyncpqError,
    CorruptQueue,
    CorruptRecord,
    Empty,
    Full,
    NotAQueue,
    QueueClosed,
    QueueFailed,
    QueueLocked,
    StorageError,
    WrongContext,
    WrongSerializer,
)
from asyncpq.opened import Recovery
from asyncpq.queue import AsyncQueue
from asyncpq.reader import QueueReader

__version__ = "0.1.0"

__all__ = [
    "AsyncQueue",
    "AsyncpqError",
    "CorruptQueue",
    "CorruptRecord",
    "Empty",
    "Full",
    "NotAQueue",
    "QueueClosed",
    "QueueFailed",
    "QueueLocked",
    "QueueReader",
    "Recovery",
    "StorageError",
    "WrongContext",
    "WrongSerializer",
    "fsync",
    "serializers",
]
