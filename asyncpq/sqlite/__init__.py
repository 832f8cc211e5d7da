"""Persistent queues in SQLite databases, in the tables of persist-queue's: the extra `sqlite`.

    async with AsyncSQLiteAckQueue("jobs") as queue:
        await queue.put({"url": "https://example.org"})
        job = await queue.get()
        await queue.ack(job)

`check` and `repair` are for databases that may be damaged.  What each class is for is said in docs/sqlite.md.

Everything is imported when it is asked for: who only reads, checks or repairs a database needs no aiosqlite.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asyncpq.sqlite.acks import AsyncFILOSQLiteAckQueue, AsyncSQLiteAckQueue, AsyncUniqueAckQ
    from asyncpq.sqlite.checking import DatabaseCheck, DatabaseDamage, QueueCheck, check
    from asyncpq.sqlite.queues import (
        AsyncFIFOSQLiteQueue,
        AsyncFILOSQLiteQueue,
        AsyncPriorityQueue,
        AsyncSQLiteQueue,
        AsyncUniqueQ,
    )
    from asyncpq.sqlite.repairing import DatabaseRepair, repair

__all__ = [
    "AsyncFIFOSQLiteQueue",
    "AsyncFILOSQLiteAckQueue",
    "AsyncFILOSQLiteQueue",
    "AsyncPriorityQueue",
    "AsyncSQLiteAckQueue",
    "AsyncSQLiteQueue",
    "AsyncUniqueAckQ",
    "AsyncUniqueQ",
    "DatabaseCheck",
    "DatabaseDamage",
    "DatabaseRepair",
    "QueueCheck",
    "check",
    "repair",
]

_MODULES: Final = {
    "AsyncFILOSQLiteAckQueue": "acks",
    "AsyncSQLiteAckQueue": "acks",
    "AsyncUniqueAckQ": "acks",
    "DatabaseCheck": "checking",
    "DatabaseDamage": "checking",
    "DatabaseRepair": "repairing",
    "QueueCheck": "checking",
    "check": "checking",
    "repair": "repairing",
}


def __getattr__(name: str) -> Any:
    """Import *name*; a class, without aiosqlite, says which extra to install."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES.get(name, "queues")
    if module in ("acks", "queues"):
        _need_aiosqlite()
    return getattr(import_module(f"{__name__}.{module}"), name)


def _need_aiosqlite() -> None:
    try:
        import_module("aiosqlite")
    except ImportError as error:
        raise ImportError(
            "the SQLite queues need aiosqlite; install it with: pip install 'asyncpq-engine[sqlite]'", name="aiosqlite"
        ) from error
