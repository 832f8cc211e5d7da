"""Persistent queues for asyncio, in the directory layout of persist-queue's file queue.

    async with AsyncQueue("jobs") as queue:
        await queue.put({"url": "https://example.org"})
        job = await queue.get()
        await queue.task_done()

The SQLite queues need the extra `sqlite`, and the queue on a server the extra `nats`.
"""

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from asyncpq import fsync, serializers
from asyncpq.errors import (
    AccessDenied,
    AlreadyAnswered,
    AsyncpqError,
    CorruptDatabase,
    CorruptMessage,
    CorruptQueue,
    CorruptRecord,
    CorruptRow,
    DatabaseBusy,
    DatabaseOpen,
    Empty,
    Full,
    InTheWay,
    Loss,
    MigrationError,
    MixedUse,
    NeedsGap,
    NotAQueue,
    NotInFlight,
    QueueClosed,
    QueueFailed,
    QueueLocked,
    RecordTooLarge,
    ServerAway,
    SeveralQueues,
    StorageError,
    TooManyOpenFiles,
    Unfit,
    Unreadable,
    WrongContext,
    WrongSerializer,
    WrongSettings,
)

if TYPE_CHECKING:
    from asyncpq.checking import CheckReport, Damage, check
    from asyncpq.copying import CopyReport, copy
    from asyncpq.deadletters import DeadLetter, DeadLetters, dead_letters
    from asyncpq.deliveries import Delivery
    from asyncpq.forwarding import ForwardReport, forward
    from asyncpq.migrating import MigrationReport, Progress, migrate
    from asyncpq.nats import AsyncNatsQueue
    from asyncpq.opened import Recovery
    from asyncpq.queue import AsyncQueue
    from asyncpq.reader import QueueReader
    from asyncpq.repairing import RepairReport, repair
    from asyncpq.sqlite import (
        AsyncFIFOSQLiteQueue,
        AsyncFILOSQLiteAckQueue,
        AsyncFILOSQLiteQueue,
        AsyncPriorityQueue,
        AsyncSQLiteAckQueue,
        AsyncSQLiteQueue,
        AsyncUniqueAckQ,
        AsyncUniqueQ,
    )

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "AlreadyAnswered",
    "AsyncQueue",
    "AsyncpqError",
    "CheckReport",
    "CopyReport",
    "CorruptDatabase",
    "CorruptMessage",
    "CorruptQueue",
    "CorruptRecord",
    "CorruptRow",
    "Damage",
    "DatabaseBusy",
    "DatabaseOpen",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Empty",
    "ForwardReport",
    "Full",
    "InTheWay",
    "Loss",
    "MigrationError",
    "MigrationReport",
    "MixedUse",
    "NeedsGap",
    "NotAQueue",
    "NotInFlight",
    "Progress",
    "QueueClosed",
    "QueueFailed",
    "QueueLocked",
    "QueueReader",
    "RecordTooLarge",
    "Recovery",
    "RepairReport",
    "ServerAway",
    "SeveralQueues",
    "StorageError",
    "TooManyOpenFiles",
    "Unfit",
    "Unreadable",
    "WrongContext",
    "WrongSerializer",
    "WrongSettings",
    "check",
    "copy",
    "dead_letters",
    "fsync",
    "migrate",
    "repair",
    "serializers",
]


# A library says nothing where nobody listens; logging would print warnings by itself.
logging.getLogger("asyncpq").addHandler(logging.NullHandler())


def _installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ImportError:  # somebody forbids it
        return False


if _installed("aiosqlite"):  # else `from asyncpq import *` would ask for them
    __all__ += [
        "AsyncFIFOSQLiteQueue",
        "AsyncFILOSQLiteAckQueue",
        "AsyncFILOSQLiteQueue",
        "AsyncPriorityQueue",
        "AsyncSQLiteAckQueue",
        "AsyncSQLiteQueue",
        "AsyncUniqueAckQ",
        "AsyncUniqueQ",
    ]
if _installed("nats"):
    __all__ += ["AsyncNatsQueue", "forward"]


# Imported for those who ask for it: a program that reads pays nothing for migrating, nor a command for what it leaves.
_LATER: Final = {
    "checking": ("CheckReport", "Damage", "check"),
    "copying": ("CopyReport", "copy"),
    "deadletters": ("DeadLetter", "DeadLetters", "dead_letters"),
    "deliveries": ("Delivery",),
    "forwarding": ("ForwardReport", "forward"),
    "migrating": ("MigrationReport", "Progress", "migrate"),
    "nats": ("AsyncNatsQueue",),
    "opened": ("Recovery",),
    "queue": ("AsyncQueue",),
    "reader": ("QueueReader",),
    "repairing": ("RepairReport", "repair"),
}
_MODULES: Final = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and keep it for the next time.

    Without aiosqlite, asking for a SQLite queue says which extra to install, and without nats-py the same of NATS.
    """
    sqlite = "sqlite" if name.startswith("Async") and name.endswith(("Q", "Queue")) else None
    if not (module := _MODULES.get(name, sqlite)):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(f"asyncpq.{module}"), name)
    return found
