"""Persistent queues for asyncio, in the directory layout of persist-queue's file queue.

from asyncpq import AsyncQueue

async with AsyncQueue("jobs") as queue:
await queue.put({"url": "https://example.org"})
job = await queue.get()
await queue.task_done()
"""

from asyncpq import fsync, serializers
from asyncpq.checking import CheckReport, Damage, check
from asyncpq.deadletters import DeadLetter, DeadLetters, dead_letters
from asyncpq.deliveries import Delivery
from asyncpq.errors import (
    AlreadyAnswered,
    AsyncpqError,
    CorruptQueue,
    CorruptRecord,
    Empty,
    Full,
    MixedUse,
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
from asyncpq.repairing import RepairReport, repair

__version__ = "0.1.0"

__all__ = [
    "AlreadyAnswered",
    "AsyncQueue",
    "AsyncpqError",
    "CheckReport",
    "CorruptQueue",
    "CorruptRecord",
    "Damage",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Empty",
    "Full",
    "MixedUse",
    "NotAQueue",
    "QueueClosed",
    "QueueFailed",
    "QueueLocked",
    "QueueReader",
    "Recovery",
    "RepairReport",
    "StorageError",
    "WrongContext",
    "WrongSerializer",
    "check",
    "dead_letters",
    "fsync",
    "repair",
    "serializers",
]
