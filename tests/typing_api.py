"""How a user's program is typed: checked by mypy (`make types`) and pyright (`make pyright`), and never run."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Any, assert_type

import asyncpq
from asyncpq import (
    AsyncPriorityQueue,
    AsyncQueue,
    AsyncSQLiteAckQueue,
    AsyncSQLiteQueue,
    AsyncUniqueQ,
    CheckReport,
    CopyReport,
    DeadLetter,
    Delivery,
    MigrationReport,
    QueueReader,
    Recovery,
    RepairReport,
    dead_letters,
    fsync,
)
from asyncpq.metrics import QueueCollector, collector, register


async def file_queue(path: Path) -> None:
    """Every call of a file queue."""
    queue = AsyncQueue(path, maxsize=10, serializer="json", fsync=fsync.Interval(seconds=0.2, items=100))
    async with queue as entered:
        assert_type(entered, AsyncQueue)
        await queue.put({"any": "thing"}, timeout=1.0)
        await queue.put_nowait(1)
        assert_type(await queue.put_many(range(3)), int)
        assert_type(await queue.get(block=False), Any)
        assert_type(await queue.get_many(3, timeout=0.5), list[Any])
        assert_type(await queue.peek(), Any)
        assert_type(await queue.qsize(), int)
        assert_type(await queue.empty(), bool)
        assert_type(await queue.full(), bool)
        assert_type(queue.stats(), dict[str, Any])
        assert_type(queue.recovery, Recovery)
        assert_type(queue.closed, bool)
        assert_type(queue.maxsize, int)
        waiting: Awaitable[int] = queue.qsize()
        await waiting
        async for item in queue:
            assert_type(item, Any)
        await queue.task_done()
        await queue.join()
        await queue.sync()
        queue.shutdown(immediate=True)


async def claims(path: Path) -> None:
    """Every call of deliveries."""
    async with AsyncQueue(path, dead_letters=path / "dead", max_attempts=3, lease=60.0) as queue:
        delivery = await queue.claim()
        assert_type(delivery, Delivery)
        assert_type(delivery.item, Any)
        assert_type(delivery.attempt, int)
        assert_type(delivery.age, float)
        assert_type(await queue.claim_many(5), list[Delivery])
        await delivery.nack(delay=1.0, to_end=True, error=ValueError("why"))
        async with queue.receive() as item:
            assert_type(item, Any)
        async for one in queue.deliveries():
            assert_type(one, Delivery)
            await one.ack()
    async for letter in dead_letters(path / "dead"):
        assert_type(letter, DeadLetter)
        assert_type(letter.error, str)
    assert_type(await dead_letters(path / "dead").put_back(queue), int)


async def databases(path: Path) -> None:
    """Every kind of SQLite queue."""
    async with AsyncSQLiteQueue(path, "name", auto_commit=False, timeout=5.0) as plain:
        assert_type(plain, AsyncSQLiteQueue)
        assert_type(await plain.put_many([1, 2]), list[Any])
        assert_type(await plain.update("new", id=1), int)
        assert_type(await plain.get(raw=True), Any)
        await plain.task_done()
    async with AsyncSQLiteAckQueue(path, lease=30.0, max_in_flight=10) as acked:
        assert_type(await acked.ack(await acked.get()), int)
        assert_type(await acked.claim(), Delivery)
        assert_type(await acked.unack_count(), int)
        assert_type(await acked.clear_acked_data(max_delete=100), int)
    async with AsyncPriorityQueue(path) as urgent, AsyncUniqueQ(path) as unique:
        await urgent.put("item", priority=1)
        assert_type(await unique.qsize(), int)


async def looking_and_moving(path: Path) -> None:
    """Everything beside the queues."""
    async with QueueReader(path) as reader:
        assert_type(reader.size, int)
        async for item in reader:
            assert_type(item, Any)
    assert_type(await asyncpq.check(path), CheckReport)
    assert_type(await asyncpq.repair(path, dry_run=True), RepairReport)
    assert_type(await asyncpq.migrate(path, path / "new", serializer="json"), MigrationReport)
    assert_type(await asyncpq.copy(path, path / "copy"), CopyReport)


def watching(queue: AsyncQueue, database: AsyncSQLiteQueue) -> None:
    """The metrics."""
    register(queue, name="jobs")
    assert_type(collector(queue, database), QueueCollector)


async def first_mistakes(queue: AsyncQueue) -> None:
    """What a type checker says before the program runs: each line needs its ignore."""
    with queue:  # type: ignore[attr-defined]
        pass
    for _ in queue:  # type: ignore[attr-defined]
        pass
    if await queue.qsize() == "3":  # type: ignore[comparison-overlap]
        pass
    while not queue.empty():  # type: ignore[truthy-bool]
        pass
    await queue.put("item", timeout="1")  # type: ignore[arg-type]
    AsyncQueue()  # type: ignore[call-arg]
    fsync.Interval("1")  # type: ignore[arg-type]
