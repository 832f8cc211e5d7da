"""persist-queue's SQLite queues: each fault, and that it is not here.  S: the sync ones, Q: the async ones."""

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import persistqueue
import pytest

from asyncpq import (
    AsyncFILOSQLiteQueue,
    AsyncPriorityQueue,
    AsyncSQLiteAckQueue,
    AsyncSQLiteQueue,
    AsyncUniqueAckQ,
    AsyncUniqueQ,
    CorruptRow,
    Empty,
    NotInFlight,
    WrongContext,
)
from asyncpq.sqlite.base import SQLiteQueue

ALL = [
    AsyncSQLiteQueue,
    AsyncFILOSQLiteQueue,
    AsyncUniqueQ,
    AsyncPriorityQueue,
    AsyncSQLiteAckQueue,
    AsyncUniqueAckQ,
]


def rows(path: Path, sql: str) -> list[Any]:
    """What a program that knows nothing of asyncpq sees."""
    connection = sqlite3.connect(path)
    found = connection.execute(sql).fetchall()
    connection.close()
    return found


# -- S --------------------------------------------------------------------------------------------------------


async def test_s01_a_raw_get_of_a_filo_queue_returns_the_row(tmp_path: Path) -> None:
    """There, it raises IndexError, and the row is gone."""
    async with AsyncFILOSQLiteQueue(tmp_path / "q.db") as queue:
        await queue.put("a")
        raw = await queue.get(raw=True)
        assert (raw["pqid"], raw["data"]) == (1, "a")
        assert isinstance(raw["timestamp"], float)


async def test_s02_filo_stays_filo_without_auto_commit(tmp_path: Path) -> None:
    """There, the order turns into FIFO, and one task_done after a reopening deletes every row."""
    async with AsyncFILOSQLiteQueue(tmp_path / "q.db", auto_commit=False) as queue:
        await queue.put_many([1, 2, 3])
        assert await queue.get() == 3
        await queue.task_done()
        assert await queue.get() == 2
    async with AsyncFILOSQLiteQueue(tmp_path / "q.db", auto_commit=False) as queue:
        assert [await queue.get(), await queue.get()] == [2, 1]


async def test_s03_priorities_skip_nothing_without_auto_commit(tmp_path: Path) -> None:
    """There, rows with lower ids are skipped, get finds nothing of what is there, and task_done deletes all of it."""
    async with AsyncPriorityQueue(tmp_path / "q", auto_commit=False) as queue:
        for item, priority in (("low", 9), ("high", 1), ("middle", 5)):
            await queue.put(item, priority)
        assert await queue.get() == "high"
        await queue.task_done()
        assert [await queue.get(), await queue.get()] == ["middle", "low"]
    async with AsyncPriorityQueue(tmp_path / "q", auto_commit=False) as queue:
        assert await queue.qsize() == 2


async def test_s04_equal_priorities_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    """There, the clock orders them, and a step of the clock turns the order round."""
    async with AsyncPriorityQueue(tmp_path / "q") as queue:
        await queue.put_many(["a", "b"], priority=3)
        connection = sqlite3.connect(tmp_path / "q" / "data.db")
        connection.execute("UPDATE priority_queue_default SET timestamp = -_id")
        connection.commit()
        connection.close()
        assert [await queue.get(), await queue.get()] == ["a", "b"]


@pytest.mark.parametrize("make", ALL)
async def test_s05_none_is_an_item(make: type[SQLiteQueue], tmp_path: Path) -> None:
    """There, its row is deleted and Empty raised, or get waits."""
    async with make(tmp_path / "q") as queue:
        await queue.put(None)
        assert await queue.get(block=False) is None
        if isinstance(queue, AsyncSQLiteAckQueue):
            assert await queue.ack(None) == 1


async def test_s06_a_row_that_cannot_be_decoded_stays(tmp_path: Path) -> None:
    """There, get raises, and the row is gone."""
    path = tmp_path / "q.db"
    async with AsyncSQLiteQueue(path) as queue:
        await queue.put("a")
        connection = sqlite3.connect(path)
        connection.execute("UPDATE queue SET data = x'8004'")
        connection.commit()
        connection.close()
        with pytest.raises(CorruptRow):
            await queue.get()
        assert await queue.qsize() == 1


@pytest.mark.parametrize("auto_commit", [True, False])
async def test_s07_a_row_is_got_by_its_id_in_both_modes(auto_commit: bool, tmp_path: Path) -> None:
    """There, it is a ProgrammingError with auto_commit=False."""
    async with AsyncSQLiteQueue(tmp_path / "q.db", auto_commit=auto_commit) as queue:
        await queue.put_many("abc")
        assert await queue.get(id=2) == "b"
        assert await queue.get(id={"pqid": 3}) == "c"
        assert await queue.get() == "a"


@pytest.mark.parametrize("make", ALL)
async def test_s08_an_unknown_id_is_empty_at_once(make: type[SQLiteQueue], tmp_path: Path) -> None:
    """There, get waits for ever."""
    async with make(tmp_path / "q") as queue:
        await queue.put("a")
        with pytest.raises(Empty):
            await asyncio.wait_for(queue.get(id=99), 20)


@pytest.mark.parametrize("make", ALL)
async def test_s09_update_says_that_an_id_is_missing(make: type[SQLiteQueue], tmp_path: Path) -> None:
    """There, it is an UnboundLocalError."""
    async with make(tmp_path / "q") as queue:
        await queue.put("a")
        with pytest.raises(ValueError, match="id"):
            await queue.update("b")
        raw = (await queue.queue())[0]
        await queue.update({**raw, "data": "c"})
        assert await queue.get() == "c"


async def test_s10_sameness_is_of_values_not_of_bytes(tmp_path: Path) -> None:
    """There, nested keys in another order make another item, and keys of mixed types raise."""
    async with AsyncUniqueQ(tmp_path / "q.db") as queue:
        assert await queue.put([{"a": {"x": 1, "y": 2}}]) == 1
        assert await queue.put([{"a": {"y": 2, "x": 1}}]) is None
        text = "".join(["sh", "ared"])
        assert await queue.put([text, text]) is not None
        assert await queue.put(["shared", "".join(["sha", "red"])]) is None
        assert None not in [await queue.put(one) for one in (1, True, 1.0)]
        assert await queue.put({1: "a", "1": "b"}) is not None
    async with AsyncUniqueQ(tmp_path / "by key.db", key=lambda page: page["url"]) as queue:
        assert await queue.put({"url": "a", "depth": 1}) == 1
        assert await queue.put({"url": "a", "depth": 2}) is None


@pytest.mark.parametrize("make", ALL)
async def test_s11_put_has_one_signature(make: type[SQLiteQueue], tmp_path: Path) -> None:
    """There, put_nowait and put(block=) are missing or broken on the unique and the ack queues."""
    async with make(tmp_path / "q") as queue:
        assert [await queue.put("a", block=True, timeout=1), await queue.put_nowait("b")] == [1, 2]


async def test_s12_what_was_acknowledged_may_be_put_again(tmp_path: Path) -> None:
    """There, put returns None for ever, also after clear_acked_data."""
    async with AsyncUniqueAckQ(tmp_path / "q") as queue:
        assert await queue.put("a") == 1
        assert await queue.put("a") is None
        await queue.ack(await queue.get())
        assert await queue.put("a") == 2
        assert await queue.get() == "a"


async def test_s13_clearing_has_limits_and_keeps_nothing_unasked(tmp_path: Path) -> None:
    """There, 1000 are kept unasked, and keep_latest without a limit is an error of SQL."""
    async with AsyncSQLiteAckQueue(tmp_path / "q") as queue:
        await queue.put_many(range(6))
        for _ in range(6):
            await queue.ack(await queue.get())
        assert await queue.clear_acked_data(max_delete=1) == 1
        assert await queue.clear_acked_data(keep_latest=3) == 2
        assert await queue.clear_acked_data() == 3


async def test_s14_equality_acknowledges_nothing(tmp_path: Path) -> None:
    """There, an equal copy is silently ignored, and a dict with a key `pqid` acknowledges another row."""
    async with AsyncSQLiteAckQueue(tmp_path / "q") as queue:
        await queue.put_many([{"pqid": 2}, ["x"]])
        first, second = await queue.get(), await queue.get()
        with pytest.raises(NotInFlight):
            await queue.ack(list(second))
        assert await queue.ack(first) == 1
        assert await queue.unack_count() == 1
        assert await queue.ack(second) == 2


async def test_s15_given_back_twice_counts_once(tmp_path: Path) -> None:
    """There, each call raises the size."""
    async with AsyncSQLiteAckQueue(tmp_path / "q") as queue:
        await queue.put("a")
        await queue.nack(await queue.get())
        for id in (1, 99):
            with pytest.raises(NotInFlight):
                await queue.nack(id=id)
        assert await queue.qsize() == 1


async def test_s16_what_was_acknowledged_is_not_got_by_its_id(tmp_path: Path) -> None:
    """There, it is got again, and the size becomes negative."""
    async with AsyncSQLiteAckQueue(tmp_path / "q") as queue:
        await queue.put("a")
        await queue.ack(await queue.get())
        with pytest.raises(Empty):
            await queue.get(id=1)
        assert await queue.qsize() == 0


async def test_s17_a_second_opener_takes_no_jobs_in_flight(tmp_path: Path) -> None:
    """There, opening gives all of them out again."""
    async with AsyncSQLiteAckQueue(tmp_path / "q") as queue, AsyncSQLiteAckQueue(tmp_path / "q") as other:
        await queue.put("a")
        job = await queue.get()
        async with AsyncSQLiteAckQueue(tmp_path / "q") as third:
            for late in (other, third):
                with pytest.raises(Empty):
                    await late.get(block=False)
                with pytest.raises(NotInFlight):
                    await late.ack(id=1)
        await queue.ack(job)


async def test_s18_sizes_are_those_of_the_database(tmp_path: Path) -> None:
    """There, they are counted in memory: empty while get works, or below zero."""
    async with AsyncSQLiteQueue(tmp_path / "q.db") as queue, AsyncSQLiteQueue(tmp_path / "q.db") as other:
        await other.put("a")
        assert (await queue.qsize(), await queue.empty()) == (1, False)
        assert await queue.get(block=False) == "a"
        assert (await other.qsize(), await other.empty()) == (0, True)


async def test_s19_a_put_between_a_look_and_the_waiting_is_not_missed(tmp_path: Path) -> None:
    """There, the wake-up is lost, and get sleeps for ten seconds."""
    async with AsyncSQLiteQueue(tmp_path / "q.db") as queue:
        for number in range(100):
            getting = asyncio.ensure_future(queue.get())
            for _ in range(number % 10):  # the look is somewhere between the loop and the thread
                await asyncio.sleep(0)
            await queue.put(number)
            assert await asyncio.wait_for(getting, 5) == number


async def test_s20_task_done_deletes_the_rows_of_its_own_worker(tmp_path: Path) -> None:
    """There, all rows up to the cursor go, also those that other workers have."""
    async with AsyncSQLiteQueue(tmp_path / "q.db", auto_commit=False) as queue:
        await queue.put_many(["slow", "fast"])
        assert await asyncio.create_task(queue.get()) == "slow"  # asked for by this task
        taken = asyncio.Event()

        async def fast() -> None:
            assert await queue.get() == "fast"
            await queue.task_done()
            taken.set()

        await asyncio.create_task(fast())
        assert taken.is_set()
    assert len(rows(tmp_path / "q.db", "SELECT _id FROM queue")) == 1
    async with AsyncSQLiteQueue(tmp_path / "q.db") as queue:
        assert await queue.get() == "slow"


@pytest.mark.parametrize(
    ("make", "scanned"), [(AsyncPriorityQueue, "priority_queue_default"), (AsyncSQLiteAckQueue, "ack_queue_default")]
)
async def test_s21_s25_a_get_walks_over_an_index(make: type[SQLiteQueue], scanned: str, tmp_path: Path) -> None:
    """There, each get sorts the whole table, or goes over all that was acknowledged."""
    async with make(tmp_path / "q") as queue:
        assert queue._engine
        select = queue._engine.store.sql.front
    (plan,) = [row[-1] for row in rows(tmp_path / "q" / "data.db", f"EXPLAIN QUERY PLAN {select.replace('?', '1')}")][
        :1
    ]
    assert "USING" in plan
    assert "asyncpq_" in plan
    assert "TEMP B-TREE" not in plan


def test_s22_another_loop_is_told_so(tmp_path: Path) -> None:
    """There, another thread gets an error of sqlite3."""
    queue = AsyncSQLiteQueue(tmp_path / "q.db")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(queue.put("a"))
    with pytest.raises(WrongContext, match="loop"):
        asyncio.run(queue.qsize())
    loop.run_until_complete(queue.close())
    loop.close()


async def test_s23_a_row_looks_the_same_everywhere_and_in_the_order_of_get(tmp_path: Path) -> None:
    """There, queue() says `id` and raw gets say `pqid`, and the rows of a FILO queue come in FIFO order."""
    async with AsyncFILOSQLiteQueue(tmp_path / "q.db") as queue:
        await queue.put_many("ab")
        listed = await queue.queue()
        assert [row["data"] for row in listed] == ["b", "a"]
        assert await queue.get(raw=True) == listed[0]


async def test_s24_shrinking_gives_the_space_back_at_once(tmp_path: Path) -> None:
    """There, nothing is seen of it until the queue is closed."""
    path = tmp_path / "q.db"
    async with AsyncSQLiteQueue(path) as queue:
        await queue.put_many(["x" * 10_000] * 200)
        await queue.get_many(200)
        await queue.shrink()
        log = path.with_name("q.db-wal")
        assert path.stat().st_size + log.stat().st_size < 200_000


@pytest.mark.parametrize("name", ["a`b", 'c"d', "e-f", "1", "g h", "{i}", "j'k", "naïve"])
async def test_s26_a_name_may_be_anything(name: str, tmp_path: Path) -> None:
    """There, a backtick breaks the SQL."""
    for make in ALL:
        async with make(tmp_path / "q", name, db_file_name="data.db") as queue:
            await queue.put("a")
            assert len(await queue.queue()) == 1
            assert await queue.get() == "a"
    with pytest.raises(ValueError, match="NUL"):
        AsyncSQLiteQueue(tmp_path / "q", "a\0b")


@pytest.mark.parametrize(("policy", "synchronous"), [("always", 2), ("interval", 1), ("never", 1)])
async def test_s27_the_policy_says_how_commits_are_synced(policy: str, synchronous: int, tmp_path: Path) -> None:
    """There, the SQLite queue syncs and the file queue does not, and the two are compared with each other."""
    async with AsyncSQLiteQueue(tmp_path / "q.db", fsync=policy) as queue:
        assert queue._engine
        execute = queue._engine.store.database.execute
        assert execute("PRAGMA synchronous").fetchone() == (synchronous,)
        assert execute("PRAGMA journal_mode").fetchone() == ("wal",)


# -- Q --------------------------------------------------------------------------------------------------------


async def test_q01_both_layouts_are_gone_on_with_and_a_name_is_a_queue(tmp_path: Path) -> None:
    """There, the async and the sync queues share nothing, and `name=` is ignored."""
    there = persistqueue.SQLiteQueue(str(tmp_path / "dir"), name="x")
    there.put("of sync")
    there.close()
    async with AsyncSQLiteQueue(tmp_path / "dir", "x") as queue:
        assert await queue.get() == "of sync"
    theirs = persistqueue.AsyncSQLiteQueue(str(tmp_path / "file.db"))
    await theirs.put("of async")
    await theirs.close()
    async with AsyncSQLiteQueue(tmp_path / "file.db") as queue, AsyncSQLiteQueue(tmp_path / "file.db", "y") as other:
        assert await queue.get() == "of async"
        await other.put("of y")
        assert await queue.empty()


async def test_q02_puts_are_kept_at_a_clean_close(tmp_path: Path) -> None:
    """There, they are lost with auto_commit=False, if no task_done came."""
    async with AsyncSQLiteQueue(tmp_path / "q.db", auto_commit=False) as queue:
        await queue.put("a")
    async with AsyncSQLiteQueue(tmp_path / "q.db") as queue:
        assert await queue.get() == "a"


@pytest.mark.parametrize("auto_commit", [True, False])
async def test_q03_no_transaction_stays_open(auto_commit: bool, tmp_path: Path) -> None:
    """There, an open transaction locks all other writers out."""
    async with AsyncSQLiteQueue(tmp_path / "q.db", auto_commit=auto_commit) as queue:
        await queue.put_many("ab")
        await queue.get()
        other = sqlite3.connect(tmp_path / "q.db", timeout=0, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
        other.close()


async def test_q04_first_calls_in_parallel_open_once(tmp_path: Path) -> None:
    """There, each of them opens a connection."""
    queue = AsyncSQLiteQueue(tmp_path / "q.db")
    await asyncio.gather(*(queue.put(number) for number in range(3)))
    engine = queue._engine
    assert engine
    assert sorted([await queue.get() for _ in range(3)]) == [0, 1, 2]
    assert queue._engine is engine
    await queue.close()


def test_q05_an_unclosed_queue_does_not_keep_the_interpreter(tmp_path: Path) -> None:
    """There, the thread of its connection does."""
    code = (
        "import asyncio, sys\nfrom asyncpq import AsyncSQLiteQueue\nqueue = AsyncSQLiteQueue(sys.argv[1])\n"
        "async def main():\n    await queue.put(1)\n    print(len(await queue.queue()))\nasyncio.run(main())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "q.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "1\n")


async def test_q06_a_waiting_get_sees_what_others_put(tmp_path: Path) -> None:
    """There, it never does."""
    async with AsyncSQLiteQueue(tmp_path / "q.db") as queue:
        getting = asyncio.ensure_future(queue.get())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(getting), 0.02)
        there = persistqueue.AsyncSQLiteQueue(str(tmp_path / "q.db"))
        await there.put("a")
        await there.close()
        assert await asyncio.wait_for(getting, 20) == "a"


async def test_q07_q08_a_cancelled_call_leaves_no_trace(tmp_path: Path) -> None:
    """There, a cancelled get has deleted its row, and a cancelled put is committed by the next one."""
    async with AsyncSQLiteQueue(tmp_path / "q.db") as queue:
        await queue.put("a")
        for turns in range(12):
            getting = asyncio.ensure_future(queue.get())
            for _ in range(turns):
                await asyncio.sleep(0)
            getting.cancel()
            if (await asyncio.gather(getting, return_exceptions=True))[0] == "a":
                await queue.put("a")
        assert await queue.get(timeout=20) == "a"
        putting = asyncio.ensure_future(queue.put("b"))
        await asyncio.sleep(0)
        putting.cancel()
        await asyncio.gather(putting, return_exceptions=True)
        await queue.put("c")
        left = [row["data"] for row in await queue.queue()]
        assert left in (["c"], ["b", "c"])


async def test_q09_every_class_is_asynchronous(tmp_path: Path) -> None:
    """There, priority and ack queues are sync only, though the documentation says otherwise."""
    for number, make in enumerate(ALL):
        async with make(tmp_path / str(number)) as queue:
            getting = asyncio.ensure_future(queue.get())
            await queue.put("a")
            assert await asyncio.wait_for(getting, 20) == "a"
