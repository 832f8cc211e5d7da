"""persist-queue 1.1.0's SQLite queues have the faults, shown as they are shown not to be here."""

import asyncio
import pickle
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import persistqueue  # type: ignore[import-untyped, unused-ignore]
import pytest
from persistqueue import Empty

from tests.faults.scenes import LETTERS

FIFO: Final[Any] = persistqueue.SQLiteQueue
FILO: Final[Any] = persistqueue.FILOSQLiteQueue
UNIQUE: Final[Any] = persistqueue.UniqueQ
PRIORITY: Final[Any] = persistqueue.PriorityQueue
ACK: Final[Any] = persistqueue.SQLiteAckQueue
UNIQUE_ACK: Final[Any] = persistqueue.UniqueAckQ
ASYNC: Final[Any] = persistqueue.AsyncSQLiteQueue
ASYNC_FILO: Final[Any] = persistqueue.AsyncFILOSQLiteQueue


@contextmanager
def theirs(make: Any, path: Path, *items: Any, **options: Any) -> Iterator[Any]:
    """Their queue, with *items* put into it."""
    with closing(make(str(path), **options)) as queue:
        for item in items:
            queue.put(item)
        yield queue


def got(queue: Any) -> Any:
    return queue.get(block=False)


def answered(queue: Any) -> None:
    queue.ack(got(queue))


def rows(path: Path, table: str) -> list[Any]:
    """What is stored, by _id."""
    file = path / "data.db" if path.is_dir() else path
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY _id").fetchall()


def change(path: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(path / "data.db")) as connection:
        connection.execute(sql, values)
        connection.commit()


async def test_s01_a_raw_get_of_a_filo_queue_loses_the_row(tmp_path: Path) -> None:
    with theirs(FILO, tmp_path, "a") as queue:
        with pytest.raises(IndexError):
            queue.get(raw=True)
        assert rows(tmp_path, "filo_queue_default") == []
    async with ASYNC_FILO(str(tmp_path / "q.db")) as other:
        await other.put("a")
        with pytest.raises(IndexError):
            await other.get(raw=True)
        assert await other.qsize() == 0


def test_s02_filo_without_auto_commit_is_fifo(tmp_path: Path) -> None:
    with theirs(FILO, tmp_path, *LETTERS[:3], auto_commit=False) as queue:
        assert got(queue) == "a"
    with theirs(FILO, tmp_path, auto_commit=False) as queue:
        assert got(queue) == "c"
        queue.task_done()
    assert rows(tmp_path, "filo_queue_default") == []


def test_s03_priorities_without_auto_commit_skip_and_delete(tmp_path: Path) -> None:
    with theirs(PRIORITY, tmp_path, auto_commit=False) as queue:
        for priority, item in enumerate(["c", "b", "a"]):
            queue.put(item, priority=-priority)
        assert got(queue) == "a"
        with pytest.raises(Empty):
            got(queue)
        assert queue.qsize() == 2
        queue.task_done()
    assert rows(tmp_path, "priority_queue_default") == []


def test_s04_the_clock_orders_equal_priorities(tmp_path: Path) -> None:
    with theirs(PRIORITY, tmp_path, "a", "b"):
        pass
    change(tmp_path, "UPDATE priority_queue_default SET timestamp = -_id")
    with theirs(PRIORITY, tmp_path) as queue:
        assert got(queue) == "b"


def test_s05_none_is_lost(tmp_path: Path) -> None:
    with theirs(FIFO, tmp_path, None) as queue:
        with pytest.raises(Empty):
            got(queue)
        assert rows(tmp_path, "queue_default") == []
    with theirs(ACK, tmp_path, None) as queue:
        with pytest.raises(Empty):
            got(queue)
        assert queue.unack_count() == 1


def test_s06_a_row_that_cannot_be_decoded_is_deleted(tmp_path: Path) -> None:
    with theirs(FIFO, tmp_path, "a", "b"):
        pass
    change(tmp_path, "UPDATE queue_default SET data = x'00' WHERE _id = 1")
    with theirs(FIFO, tmp_path) as queue:
        with pytest.raises(pickle.UnpicklingError):
            got(queue)
        assert len(rows(tmp_path, "queue_default")) == 1


def test_s07_no_id_without_auto_commit(tmp_path: Path) -> None:
    with theirs(FIFO, tmp_path, "a", "b", auto_commit=False) as queue, pytest.raises(sqlite3.ProgrammingError):
        queue.get(id=2, block=False)


def test_s08_an_unknown_id_is_waited_for(tmp_path: Path) -> None:
    class Waits(Exception):
        pass

    def wait(seconds: float) -> None:
        raise Waits(seconds)

    with theirs(FIFO, tmp_path, "a") as queue:
        queue.put_event.wait = wait
        with pytest.raises(Waits, match="10"):
            queue.get(id=99)


@pytest.mark.parametrize("make", [FIFO, ASYNC])
async def test_s09_update_without_an_id_fails_by_accident(make: Any, tmp_path: Path) -> None:
    queue = make(str(tmp_path / "q"))
    with pytest.raises(UnboundLocalError):
        await asyncio.ensure_future(queue.update("b")) if make is ASYNC else queue.update("b")
    if make is FIFO:
        queue.close()


def test_s10_equal_items_are_stored_twice(tmp_path: Path) -> None:
    with theirs(UNIQUE, tmp_path, [{"a": 1, "b": 2}], [{"b": 2, "a": 1}]) as queue:
        assert queue.qsize() == 2
        with pytest.raises(TypeError):
            queue.put({1: "a", "1": "b"})


@pytest.mark.parametrize("make", [UNIQUE, ACK, UNIQUE_ACK])
def test_s11_put_has_another_signature(make: Any, tmp_path: Path) -> None:
    with theirs(make, tmp_path) as queue:
        with pytest.raises(TypeError):
            queue.put("a", block=True)
        with pytest.raises((AttributeError, TypeError)):
            queue.put_nowait("a")


def test_s12_what_was_acknowledged_is_refused_for_ever(tmp_path: Path) -> None:
    with theirs(UNIQUE_ACK, tmp_path, "a") as queue:
        answered(queue)
        assert queue.put("a") is None
        queue.clear_acked_data()
        assert queue.put("a") is None


def test_s13_a_thousand_are_kept_unasked(tmp_path: Path) -> None:
    with theirs(ACK, tmp_path, "a") as queue:
        answered(queue)
        queue.clear_acked_data()
        assert queue.acked_count() == 1
        with pytest.raises(sqlite3.OperationalError, match="syntax"):
            queue.clear_acked_data(max_delete=0, keep_latest=1)


def test_s14_an_answer_hits_nothing_or_another_row(tmp_path: Path) -> None:
    with theirs(ACK, tmp_path, {"pqid": 2}, ["x"]) as queue:
        first, second = got(queue), got(queue)
        assert queue.ack(list(second)) is None
        assert queue.ack(first) == 2


def test_s15_every_nack_counts(tmp_path: Path) -> None:
    with theirs(ACK, tmp_path, "a") as queue:
        got(queue)
        for id in (1, 1, 99):
            queue.nack(id=id)
        assert queue.qsize() == 3


def test_s16_what_was_acknowledged_is_got_again(tmp_path: Path) -> None:
    with theirs(ACK, tmp_path, "a") as queue:
        answered(queue)
        assert queue.get(id=1, block=False) == "a"
        with pytest.raises(ValueError, match=">= 0"):
            len(queue)


def test_s17_a_second_opener_gets_the_same_job(tmp_path: Path) -> None:
    with theirs(ACK, tmp_path, "a") as queue:
        assert got(queue) == "a"
        with theirs(ACK, tmp_path) as other:
            assert got(other) == "a"


def test_s18_sizes_are_counted_in_memory(tmp_path: Path) -> None:
    with theirs(FIFO, tmp_path) as queue, theirs(FIFO, tmp_path, "a"):
        assert queue.empty()
        assert got(queue) == "a"
        assert queue.size == -1


def test_s19_a_put_behind_the_look_wakes_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with theirs(FIFO, tmp_path) as queue:
        pop = queue._pop

        def put_meanwhile(**options: Any) -> Any:
            found = pop(**options)
            monkeypatch.undo()
            queue.put("a")
            return found

        waits: list[float] = []
        monkeypatch.setattr(queue, "_pop", put_meanwhile)
        queue.put_event.wait = waits.append
        assert queue.get() == "a"
        assert waits == [10]


def test_s20_task_done_deletes_what_others_hold(tmp_path: Path) -> None:
    with theirs(FIFO, tmp_path, "slow", "fast", auto_commit=False) as queue:
        assert [got(queue), got(queue)] == ["slow", "fast"]  # two workers
        queue.task_done()  # of the second one
    assert rows(tmp_path, "queue_default") == []


@pytest.mark.parametrize(("make", "table"), [(PRIORITY, "priority_queue"), (ACK, "ack_queue")])
def test_s21_s25_there_is_no_index(make: Any, table: str, tmp_path: Path) -> None:
    with theirs(make, tmp_path, "a") as queue, closing(sqlite3.connect(tmp_path / "data.db")) as connection:
        plan = connection.execute("EXPLAIN QUERY PLAN " + queue._sql_select(0)).fetchall()
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall() == []
        assert any("USE TEMP B-TREE" in row[-1] or "PRIMARY KEY" in row[-1] for row in plan), table


def test_s23_a_row_looks_different(tmp_path: Path) -> None:
    with theirs(FILO, tmp_path, "a", "b") as queue:
        listed = queue.queue()
        assert [row["data"] for row in listed] == ["a", "b"]
        assert "pqid" not in listed[0]


def test_s24_shrinking_makes_the_files_longer(tmp_path: Path) -> None:
    with theirs(FIFO, tmp_path) as queue:
        for _ in range(50):
            queue.put("x" * 10_000)
            got(queue)
        before = sum(file.stat().st_size for file in tmp_path.iterdir())
        queue.shrink_disk_usage()
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) >= before


def test_s26_a_backtick_breaks_the_sql(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        FIFO(str(tmp_path), name="a`b")


async def test_q01_a_name_is_ignored_and_a_directory_is_none(tmp_path: Path) -> None:
    async with ASYNC(str(tmp_path / "q.db"), name="x") as queue:
        await queue.put("a")
    async with ASYNC(str(tmp_path / "q.db"), name="y") as queue:
        assert await queue.get() == "a"
    there = {*threading.enumerate()}
    with theirs(FIFO, tmp_path / "sync", "a"), pytest.raises(sqlite3.OperationalError):
        await ASYNC(str(tmp_path / "sync")).qsize()
    for thread in {*threading.enumerate()} - there:  # aiosqlite's; its last word is for this loop
        thread.join()


async def test_q02_puts_are_lost_at_a_clean_close(tmp_path: Path) -> None:
    async with ASYNC(str(tmp_path / "q.db"), auto_commit=False) as queue:
        await queue.put("a")
    assert rows(tmp_path / "q.db", "queue") == []


async def test_q03_an_open_transaction_locks_others_out(tmp_path: Path) -> None:
    async with ASYNC(str(tmp_path / "q.db"), auto_commit=False) as queue:
        await queue.put("a")
        with closing(sqlite3.connect(tmp_path / "q.db", timeout=0)) as other:
            assert other.execute("PRAGMA journal_mode").fetchone() == ("delete",)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("INSERT INTO queue (data) VALUES (x'00')")


async def test_q07_a_cancelled_get_has_deleted_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ASYNC(str(tmp_path / "q.db")) as queue:
        await queue.put("a")
        delete, deleted = queue._delete, asyncio.Event()

        async def delete_and_wait(key: Any) -> None:
            await delete(key)
            deleted.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(queue, "_delete", delete_and_wait)
        getting = asyncio.ensure_future(queue.get())
        await deleted.wait()
        getting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await getting
        assert await queue.qsize() == 0


async def test_q08_a_cancelled_put_is_committed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ASYNC(str(tmp_path / "q.db")) as queue:
        await queue.qsize()
        commit, committing = queue._conn.commit, asyncio.Event()

        async def never() -> None:
            committing.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(queue._conn, "commit", never)
        putting = asyncio.ensure_future(queue.put("cancelled"))
        await committing.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        monkeypatch.setattr(queue._conn, "commit", commit)
        await queue.put("b")
    assert len(rows(tmp_path / "q.db", "queue")) == 2


def test_q09_there_are_no_async_ack_and_priority_queues() -> None:
    there = {name for name in dir(persistqueue) if name.startswith("Async")}
    assert there == {"AsyncQueue", "AsyncSQLiteQueue", "AsyncFIFOSQLiteQueue", "AsyncFILOSQLiteQueue", "AsyncUniqueQ"}
