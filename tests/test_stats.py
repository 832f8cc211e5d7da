"""What `stats()` says is what was done, and docs/stats.md names every key."""

import asyncio
import re
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncQueue, AsyncSQLiteAckQueue, AsyncSQLiteQueue, AsyncUniqueQ, QueueFailed
from asyncpq.latency import BOUNDS, Latency
from tests.test_errors import FailsAt

PAGE: Final = Path(__file__).parents[1] / "docs" / "stats.md"
POLICIES: Final = ("never", "rollover", "interval", "always")


def picked(queue: Any, *keys: str) -> list[Any]:
    stats = queue.stats()
    return [stats[key] for key in keys]


def test_a_histogram_counts_what_took_at_most_so_long() -> None:
    latency = Latency()
    for seconds in (0.0, 0.0001, 0.0002, 0.02, 7.0):
        latency.add(seconds)
    found = latency.histogram()
    assert list(found) == list(BOUNDS)
    assert (found[0.0001], found[0.00025], found[0.01], found[0.025], found[1.0]) == (2, 3, 3, 4, 4)
    assert found[float("inf")] == latency.count == 5
    assert latency.longest == 7.0
    assert latency.seconds == pytest.approx(7.0203)


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_file_queue_counts_what_was_done(policy: str, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path, chunksize=4, fsync=policy) as queue:
        await queue.put_many(range(10))
        await queue.put("x")
        for _ in range(5):
            await queue.get()
        await queue.task_done()
        assert picked(queue, "size", "puts", "gets", "done", "in_flight", "unfinished") == [6, 11, 5, 1, 4, 10]
        await queue.sync()
        stats = queue.stats()
    assert stats["not_durable"] == 0
    assert stats["syncs"] == stats["sync_histogram"][float("inf")] > 0
    assert stats["items_per_commit"] == 11 / stats["commits"]
    assert stats["open_seconds"] > 0
    assert (stats["healed"], stats["failed"], stats["chunks_removed"]) == (False, False, 1)


async def test_the_bytes_of_a_file_queue_are_those_of_its_records_since_the_opening(tmp_path: Path) -> None:
    """However the chunks roll over, and whatever was there before."""
    sizes = []
    for _ in range(2):
        before = sum(file.stat().st_size for file in tmp_path.glob("q*"))
        async with AsyncQueue(tmp_path, chunksize=3, serializer="json") as queue:
            for number in range(4):
                await queue.put(number)
            await queue.put_many(["abc"] * 7)
            sizes.append((queue.stats()["bytes_put"], sum(f.stat().st_size for f in tmp_path.glob("q*")) - before))
    assert sizes == [(4 * 2 + 7 * 6, 4 * 2 + 7 * 6)] * 2


async def test_bytes_that_were_undone_are_not_counted(tmp_path: Path) -> None:
    """Records are written, chunks roll over, and then info cannot be written."""
    for at in range(1, 12):
        files = FailsAt("pwrite", at, 28)
        queue = AsyncQueue(tmp_path / str(at), chunksize=3, serializer="json")
        queue._files = files
        await queue.open()
        await queue.put(0)
        files.start()
        stored = 8
        try:
            await queue.put_many(range(1, 9))
        except OSError as error:
            stored = error.stored  # type: ignore[attr-defined]  # put_many promises it
        files.on = False
        assert queue.stats()["bytes_put"] == 2 * (1 + stored)
        await queue.close()
        if not files.hit:
            return
    pytest.fail("it never ended")


async def test_a_sqlite_queue_counts_what_was_done(tmp_path: Path) -> None:
    async with AsyncSQLiteQueue(tmp_path / "q.db", serializer="json", auto_commit=False) as queue:
        await queue.put_many(range(10))
        await queue.get_many(3)
        assert picked(queue, "puts", "gets", "in_flight", "done", "bytes_put") == [10, 3, 3, 0, 10]
        for _ in range(3):
            await queue.task_done()
        assert picked(queue, "size", "in_flight", "done") == [7, 0, 3]
        await queue.sync()
        stats = queue.stats()
    assert stats["not_durable"] == 0
    assert stats["items_per_commit"] == 13 / stats["commits"]
    assert stats["syncs"] == stats["sync_histogram"][float("inf")] >= 1


async def test_an_item_that_is_there_already_is_not_counted_as_put(tmp_path: Path) -> None:
    async with AsyncUniqueQ(tmp_path / "q.db", serializer="json") as queue:
        await queue.put(1)
        await queue.put(1)
        await queue.put_many([1, 22, 22])
        assert picked(queue, "puts", "bytes_put") == [2, 3]


async def test_what_a_dead_holder_held_counts_as_come_back_and_as_healed(tmp_path: Path) -> None:
    async with AsyncSQLiteAckQueue(tmp_path) as dead:
        await dead.put_many([1, 2, 3])
        await dead.get()
        engine = dead._engine
        assert engine is not None
        # It has given no sign of life for too long.
        engine.store.database.execute("UPDATE asyncpq_owners SET expires = 0")
        async with AsyncSQLiteAckQueue(tmp_path) as queue:
            assert picked(queue, "came_back", "healed", "size") == [1, True, 3]


async def test_a_lease_that_is_over_counts_as_come_back(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path, lease=0.01) as queue:
        await queue.put(1)
        await queue.claim()
        await queue.claim()
        assert picked(queue, "came_back", "size") == [1, 0]


async def test_a_failed_queue_says_so(tmp_path: Path) -> None:
    files = FailsAt("fdatasync", 1, 5)
    queue = AsyncQueue(tmp_path)
    queue._files = files
    await queue.open()
    await queue.put(1)
    files.start()
    with pytest.raises(QueueFailed):
        await queue.sync()
    assert queue.stats()["failed"] is True
    await queue.close()


async def test_the_page_names_every_key_and_no_other(tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8").partition("## Prometheus")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    async with AsyncQueue(tmp_path / "file") as queue, AsyncSQLiteQueue(tmp_path / "q.db") as database:
        assert queue.stats().keys() | database.stats().keys() == named
        assert queue.stats().keys() - database.stats().keys() == {"chunks_removed"}


async def test_a_queue_that_is_not_open_has_no_stats(tmp_path: Path) -> None:
    queue = AsyncQueue(tmp_path)
    assert queue.stats() == {}
    assert queue.closed is False
    await asyncio.gather(queue.put(1), queue.put(2))
    await queue.close()
    assert repr(queue).endswith(" closed>")
    assert queue.stats()["puts"] == 2
