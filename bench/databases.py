"""What is measured of the SQLite queues: asyncpq, persist-queue, and SQLite itself.

persist-queue's AsyncSQLiteQueue commits with a rollback journal and synchronous=FULL.  SQLite does not sync the
directory when it removes that journal, so a power cut may roll back the last transaction
(sqlite.org/pragma.html#pragma_synchronous, under EXTRA): all but the last acknowledged change is durable.  That is
what `fsync.Interval(items=1)` promises here; `always` promises more.
"""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

import persistqueue

from asyncpq import AsyncPriorityQueue, AsyncSQLiteAckQueue, AsyncSQLiteQueue, fsync
from bench.contenders import ITEM, PROTOCOL, folder, put
from bench.measure import Measured, in_slices, stopwatch

POLICIES: Final[dict[str, fsync.Policy]] = {
    "equal": fsync.Interval(items=1),
    "default": fsync.Interval(),
    "always": fsync.Always(),
}
SLICE: Final = 50  # operations
ACKED, READY = 5, 1  # persist-queue's status numbers


async def consume(queue: Any) -> None:
    for _ in range(SLICE):
        await queue.get()
        await queue.task_done()


async def one_by_one(where: Path, slices: int) -> Measured:
    """Put, then get + task_done, one producer: each policy, in turn with persist-queue's AsyncSQLiteQueue."""
    path = folder(where)
    theirs = persistqueue.AsyncSQLiteQueue(str(path / "theirs.db"))
    queues: dict[str, Any] = {
        name: await AsyncSQLiteQueue(path / f"{name}.db", fsync=policy).open() for name, policy in POLICIES.items()
    }
    queues["theirs"] = theirs
    measured = await in_slices(slices, {f"put {name}": _putting(queue) for name, queue in queues.items()})
    measured |= await in_slices(slices, {f"get {name}": _consuming(queue) for name, queue in queues.items()})
    for queue in queues.values():
        await queue.close()
    return {name: seconds / SLICE for name, seconds in measured.items()}


def _putting(queue: Any) -> Any:
    return lambda: put(queue, SLICE)


def _consuming(queue: Any) -> Any:
    return lambda: consume(queue)


async def many_producers(where: Path, producers: int, each: int) -> Measured:
    """Put under `always` from so many producers at once."""
    async with AsyncSQLiteQueue(folder(where) / "queue.db", fsync="always") as queue:
        await queue.put(ITEM)
        with stopwatch() as putting:
            await asyncio.gather(*(put(queue, each) for _ in range(producers)))
        commits = queue.stats()["commits"]
    return {"put many": putting.seconds / (producers * each), "commits": commits / (producers * each)}


async def put_many(where: Path, slices: int, count: int) -> Measured:
    """put_many under `always`, in turn with executemany in one transaction of the same journal mode."""
    path = folder(where)
    items = [ITEM] * count
    connection = sqlite3.connect(path / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE queue (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT)")
    rows = [(pickle.dumps(ITEM, PROTOCOL), time.time())] * count

    async def executemany() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO queue (data, timestamp) VALUES (?, ?)", rows)
        connection.execute("COMMIT")

    async with AsyncSQLiteQueue(path / "queue.db", fsync="always") as queue:

        async def ours() -> None:
            await queue.put_many(items)

        measured = await in_slices(slices, {"put_many": ours, "executemany": executemany})
    connection.close()
    return {name: seconds / count for name, seconds in measured.items()}


def fill(queue_file: Path, table: str, extra: str, rows: int) -> None:
    """Insert so many rows, with the value of one more column as an expression of x, their number."""
    connection = sqlite3.connect(queue_file)
    numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?) "
    data = pickle.dumps(ITEM, PROTOCOL)
    connection.execute(
        f"{numbers} INSERT INTO {table} SELECT NULL, ?, 0.0, {extra} FROM n",
        (rows, data),
    )
    connection.commit()
    connection.close()


async def acked_backlog(where: Path, slices: int, rows: int) -> Measured:
    """One get of an ack queue in front of which lie so many acknowledged rows, in turn with one where none do."""
    path = folder(where)
    queues = {}
    for name, count in (("get among none", 0), ("get among acked", rows)):
        async with AsyncSQLiteAckQueue(path / name):
            pass
        if count:
            fill(path / name / "data.db", "ack_queue_default", str(ACKED), count)
        fill(path / name / "data.db", "ack_queue_default", str(READY), slices * SLICE)
        queues[name] = await AsyncSQLiteAckQueue(path / name, fsync="never").open()
    return await _gets(queues, slices)


async def priority_backlog(where: Path, slices: int, rows: int) -> Measured:
    """One get of a priority queue of so many rows, in turn with one of 100."""
    path = folder(where)
    queues = {}
    for name, count in (("get of few", 100), ("get of many", rows)):
        async with AsyncPriorityQueue(path / name):
            pass
        fill(path / name / "data.db", "priority_queue_default", "x * 7919 % 1000", count)
        queues[name] = await AsyncPriorityQueue(path / name, fsync="never").open()
    return await _gets(queues, slices, refill=True)


async def _gets(queues: dict[str, Any], slices: int, refill: bool = False) -> Measured:
    taken: dict[str, list[float]] = {name: [] for name in queues}
    for _ in range(slices):
        for name, queue in queues.items():
            began = time.perf_counter()
            for _ in range(SLICE):
                await queue.get()
            taken[name].append((time.perf_counter() - began) / SLICE)
            if refill:
                await queue.put_many([ITEM] * SLICE, priority=500)
    for queue in queues.values():
        await queue.close()
    return {name: sorted(seconds)[len(seconds) // 2] for name, seconds in taken.items()}
