"""`asyncpq.sqlite.check`: reads all, says what is there, and leaves no trace."""

import os
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

import asyncpq
from asyncpq import (
    AsyncPriorityQueue,
    AsyncSQLiteAckQueue,
    AsyncSQLiteQueue,
    DatabaseBusy,
    NotAQueue,
    WrongSerializer,
)
from asyncpq.sqlite import check, repair
from tests.damaged_databases import PAGES, fill, mapped
from tests.golden_databases import GOLDEN, Golden
from tests.sqlite.processes import Process
from tests.sqlite.test_bad_rows import execute


def state(folder: Path) -> dict[str, tuple[Any, ...]]:
    """All that could have been changed, but for the times of access."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        facts = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (facts.st_ino, facts.st_mode, facts.st_mtime_ns, facts.st_ctime_ns, content)
    return found


async def checked(path: Path, **options: Any) -> asyncpq.sqlite.DatabaseCheck:
    """What check says, having changed nothing."""
    folder = path if path.is_dir() else path.parent
    before = state(folder)
    report = await check(path, **options)
    assert state(folder) == before
    return report


@pytest.mark.parametrize("golden", GOLDEN, ids=str)
async def test_what_persist_queue_wrote_is_clean_or_comes_back_by_itself(golden: Golden, tmp_path: Path) -> None:
    place = golden.copy(tmp_path)
    report = await checked(place.database)
    assert report.status == ("healable" if golden.unacked else "clean")
    assert (report.items, report.lost, report.damage, report.refusal) == (len(golden.items), 0, (), None)
    assert (report.serializer, report.bytes_on_disk) == ("pickle", place.database.stat().st_size)
    (queue,) = report.queues
    assert (queue.table, queue.name, queue.items) == (golden.table, golden.queue, len(golden.items))
    assert queue.counts.get("acknowledged", 0) == len(golden.acked)
    assert queue.counts.get("failed", 0) == len(golden.failed)
    assert queue.counts.get("in flight", 0) == len(golden.unacked)


async def test_every_queue_of_a_database_is_looked_at_or_the_one_that_is_named(tmp_path: Path) -> None:
    await fill(tmp_path, items=30)
    report = await checked(tmp_path)
    assert {(queue.cls, queue.name): queue.items for queue in report.queues} == {
        ("AsyncSQLiteQueue", "default"): 20,
        ("AsyncSQLiteQueue", "mail"): 20,
        ("AsyncFILOSQLiteQueue", "default"): 30,
        ("AsyncSQLiteAckQueue", "default"): 27,
        ("AsyncUniqueQ", "default"): 30,
        ("AsyncPriorityQueue", "default"): 30,
    }
    assert (report.status, report.items) == ("clean", 157)
    (mail,) = (await checked(tmp_path, name="mail")).queues
    assert mail.table == "queue_mail"
    with pytest.raises(NotAQueue, match="no queue called 'post'; it holds 'default', 'mail'"):
        await check(tmp_path, name="post")


# -- rows -----------------------------------------------------------------------------------------------------------

ROWS: Final[dict[str, tuple[str, str]]] = {  # what is set, and what is said of it
    "cut short": ("data = x'80049558'", "no item of serializer 'pickle'"),
    "zeros": ("data = zeroblob(20)", "no item of serializer 'pickle' (zeros)"),
    "empty": ("data = x''", "empty"),
    "no data": ("data = NULL", "NULL"),
    "a number": ("data = 17", "of type int"),
    "a text": ("data = 'text'", "no item of serializer 'pickle'"),
    "two in one": ("data = data || data", "no item of serializer 'pickle'"),
}


@pytest.mark.parametrize("title", ROWS)
async def test_a_row_that_no_get_could_return_is_named(title: str, tmp_path: Path) -> None:
    change, says = ROWS[title]
    async with AsyncSQLiteQueue(tmp_path) as queue:
        await queue.put_many(["a", "b", "c"])
    execute(tmp_path / "data.db", f"UPDATE queue_default SET {change} WHERE _id = 2")
    report = await checked(tmp_path)
    assert (report.status, report.items, report.lost, report.refusal) == ("damaged", 2, 1, None)
    (found,) = report.damage
    assert (found.file, found.table, found.row) == ("data.db", "queue_default", 2)
    assert says in found.why
    assert report.heals == ("queue_default: 1 rows that cannot be read are set aside",)


@pytest.mark.parametrize("status", ["7", "NULL", "'done'", "-1", "2.5"])
async def test_a_status_that_no_get_finds_is_damage(status: str, tmp_path: Path) -> None:
    async with AsyncSQLiteAckQueue(tmp_path) as queue:
        await queue.put_many(["a", "b"])
    execute(tmp_path / "data.db", f"UPDATE ack_queue_default SET status = {status} WHERE _id = 1")
    report = await checked(tmp_path)
    assert (report.status, report.items, report.lost) == ("damaged", 2, 0)
    assert [(found.row, "status is" in found.why) for found in report.damage] == [(1, True)]


@pytest.mark.parametrize("change", ["timestamp = 'noon'", "timestamp = NULL", "priority = 'high'", "priority = NULL"])
async def test_what_a_get_does_not_look_at_may_be_anything(change: str, tmp_path: Path) -> None:
    async with AsyncPriorityQueue(tmp_path) as queue:
        await queue.put_many(["a", "b"])
    execute(tmp_path / "data.db", f"UPDATE priority_queue_default SET {change} WHERE _id = 1")
    assert (await checked(tmp_path)).status == "clean"
    async with AsyncPriorityQueue(tmp_path) as queue:
        assert sorted([await queue.get(), await queue.get()]) == ["a", "b"]


async def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Touches:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (os.fspath(tmp_path / "touched"), "w")

    async with AsyncSQLiteQueue(tmp_path) as queue:
        await queue.put(1)
    with closing(sqlite3.connect(tmp_path / "data.db")) as connection:
        connection.execute("UPDATE queue_default SET data = ?", (pickle.dumps(Touches()),))
        connection.commit()
    assert (await checked(tmp_path)).items == 1
    assert not (tmp_path / "touched").exists()


async def test_of_many_damaged_rows_some_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    async with AsyncSQLiteQueue(tmp_path) as queue:
        await queue.put_many(range(1200))
    execute(tmp_path / "data.db", "UPDATE queue_default SET data = x'00' WHERE _id > 100")
    report = await checked(tmp_path)
    assert (report.items, report.lost, len(report.damage)) == (100, 1100, 1001)
    assert report.damage[-1].why == "and 100 more rows like these"


async def test_rows_of_another_serializer_are_no_damage(tmp_path: Path) -> None:
    async with AsyncSQLiteQueue(tmp_path, serializer="json") as queue:
        await queue.put_many(["a", {"b": 1}])
    assert (await checked(tmp_path)).serializer == "json"
    assert (await checked(tmp_path, serializer="orjson")).status == "clean"
    with pytest.raises(WrongSerializer, match="'json'"):
        await check(tmp_path, serializer="pickle")


# -- pages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", ["zeros", "the type of the page", "the last half"])
async def test_a_damaged_page_is_found_and_what_is_left_is_counted(title: str, tmp_path: Path) -> None:
    """Each page in turn: of the schema, of tables, of indexes."""
    database = await fill(tmp_path, items=9, page_size=4096)
    well = mapped(database)
    whole, found = (await check(tmp_path)).items, 0
    for number in range(1, well.count + 1):
        start = (number - 1) * well.page_size
        page = well.data[start : start + well.page_size]
        database.write_bytes(well.data[:start] + PAGES[title](page) + well.data[start + len(page) :])
        report = await checked(tmp_path)
        assert report.items <= whole
        found += report.status == "damaged"
        if report.status != "damaged":
            assert report.items == whole
    assert found > well.count // 3  # an empty page may hold anything where its rows would be


NO_DATABASE: Final[dict[str, Callable[[Path], object]]] = {
    "nothing": lambda path: None,
    "an empty file": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("a text, which is no database\n" * 500),
    "zeros": lambda path: path.write_bytes(bytes(20000)),
    "a picture": lambda path: path.write_bytes(b"\x89PNG\r\n" + bytes(range(256)) * 60),
    "another database": lambda path: execute(path, "CREATE TABLE notes (text)"),
    "a named pipe": os.mkfifo,
    "a folder without data.db": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("title", NO_DATABASE)
async def test_what_holds_no_queue_is_called_so(title: str, tmp_path: Path) -> None:
    NO_DATABASE[title](tmp_path / "x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NotAQueue) as raised:
        await check(tmp_path / "x")
    assert str(tmp_path / "x") in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


async def test_a_link_in_a_directory_is_not_followed(tmp_path: Path) -> None:
    async with AsyncSQLiteQueue(tmp_path / "far.db") as queue:
        await queue.put(1)
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "data.db").symlink_to(tmp_path / "far.db")
    with pytest.raises(NotAQueue, match="is a link"):
        await check(tmp_path / "near")


@pytest.mark.parametrize("call", [asyncpq.check, asyncpq.repair])
async def test_the_calls_for_file_queues_name_those_for_databases(call: Any, tmp_path: Path) -> None:
    async with AsyncSQLiteQueue(tmp_path) as queue:
        await queue.put(1)
    for path in (tmp_path, tmp_path / "data.db"):
        with pytest.raises(NotAQueue, match=r"asyncpq\.sqlite\.check and asyncpq\.sqlite\.repair"):
            await call(path)


# -- beside others --------------------------------------------------------------------------------------------------


async def test_beside_a_queue_of_this_process_nothing_is_disturbed(tmp_path: Path) -> None:
    """A descriptor that is closed would take the queue's POSIX locks with it: another process could then break in."""
    async with AsyncSQLiteQueue(tmp_path) as queue:
        await queue.put_many(range(50))
        report = await check(tmp_path)
        assert (report.status, report.items, report.open_elsewhere) == ("clean", 50, True)
        held = [line for line in Path("/proc/locks").read_text().splitlines() if f" {os.getpid()} " in line]
        for name in ("data.db", "data.db-shm"):
            assert any(f":{(tmp_path / name).stat().st_ino} " in line for line in held)
    assert (await checked(tmp_path)).open_elsewhere is False


async def test_beside_a_writer_the_report_is_of_one_moment(tmp_path: Path) -> None:
    with Process(tmp_path / "said", "AsyncSQLiteQueue", tmp_path / "queue.db", "put", items=3000) as writer:
        writer.heard(1)
        seen = [await check(tmp_path / "queue.db") for _ in range(8)]
        writer.finish()
    assert {report.status for report in seen} == {"clean"}
    assert [report.items for report in seen] == sorted(report.items for report in seen)
    assert (await check(tmp_path / "queue.db")).items == 3000


async def test_what_a_killed_process_left_is_healable_and_stays_as_it_is(tmp_path: Path) -> None:
    """Its log, which was never put into the database, counts; and its items in flight come back."""
    path = tmp_path / "queue"
    async with AsyncSQLiteAckQueue(path) as queue:
        await queue.put_many(range(5))
    with Process(tmp_path / "said", "AsyncSQLiteAckQueue", path, "obey") as worker:
        worker.heard(1)
        worker.tell("stamp")
        assert worker.ask("get") == "got 0"
        worker.kill()
    assert (path / "data.db-wal").stat().st_size
    report = await checked(path)
    assert (report.status, report.items, report.open_elsewhere) == ("healable", 6, False)
    assert report.heals == (
        "the log of a program that was killed is put into the database",
        "ack_queue_default: 1 items in flight that nobody holds are ready again",
    )
    assert report.queues[0].counts == {"in flight": 1, "ready": 5}


async def test_a_transaction_that_was_cut_short_is_healable(tmp_path: Path) -> None:
    """Also in a database of the old kind, whose journal undoes what is half written."""
    database = tmp_path / "queue.db"
    async with AsyncSQLiteQueue(database) as queue:
        await queue.put_many(["x" * 500] * 40)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA cache_size=1")  # so that pages reach the file before the commit
        connection.execute("BEGIN")
        connection.execute("UPDATE queue SET data = zeroblob(500)")
        half = database.read_bytes(), Path(f"{database}-journal").read_bytes()
        connection.execute("ROLLBACK")
    database.write_bytes(half[0])
    Path(f"{database}-journal").write_bytes(half[1])
    report = await checked(database)
    assert (report.status, report.items) == ("healable", 40)
    assert report.heals == ("the unfinished transaction of a program that was killed is undone",)


async def test_a_lock_that_is_held_too_long_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "queue.db"
    async with AsyncSQLiteQueue(database) as queue:
        await queue.put(1)
    monkeypatch.setattr("asyncpq.sqlite.looking.TIMEOUT", 0.05)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseBusy):
            await check(database)


@pytest.mark.parametrize("look", [check, repair], ids=["check", "repair"])
async def test_progress_ends_with_all_rows(look: Callable[..., Any], tmp_path: Path) -> None:
    async with AsyncSQLiteQueue(tmp_path / "queue.db", fsync="never") as queue:
        await queue.put_many(range(1000))
    told: list[tuple[int, int | None]] = []
    path = tmp_path / "queue.db"
    await look(path, progress=lambda rows, total: told.append((rows, total)))
    assert told[-1] == (1000, 1000)
    assert sorted(rows for rows, _ in told) == [rows for rows, _ in told]


@pytest.mark.parametrize("after", [0, 500])
@pytest.mark.parametrize("look", [check, repair], ids=["check", "repair"])
async def test_what_a_progress_raises_ends_it_and_nothing_was_changed(
    look: Callable[..., Any], after: int, tmp_path: Path
) -> None:
    path = tmp_path / "queue.db"
    async with AsyncSQLiteQueue(path, fsync="never") as queue:
        await queue.put_many(range(1000))
    execute(path, "UPDATE queue SET data = x'00' WHERE _id = 7")
    before = state(tmp_path)

    def stop(rows: int, total: int | None) -> None:
        if rows >= after:
            raise InterruptedError(f"{rows} of {total}")

    with pytest.raises(InterruptedError):
        await look(path, progress=stop)
    assert state(tmp_path) == before
