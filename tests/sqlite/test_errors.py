"""What is wrong with a database is said once, with its place and the way out, and what was there stays as it is."""

import errno
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import (
    AsyncPriorityQueue,
    AsyncSQLiteAckQueue,
    AsyncSQLiteQueue,
    CorruptDatabase,
    CorruptRecord,
    CorruptRow,
    DatabaseBusy,
    NotAQueue,
    QueueLocked,
    WrongSerializer,
)
from asyncpq.sqlite.base import SQLiteQueue

PAGE: Final = 4096


async def filled(path: Path, count: int = 2000) -> bytes:
    """Make a closed queue of so many items; return the bytes of its file."""
    async with AsyncSQLiteQueue(path) as queue:
        await queue.put_many(f"item {number}" for number in range(count))
    return path.read_bytes()


def alone(path: Path) -> bool:
    """Whether no log and no shared memory lie beside the file."""
    return sorted(path.parent.glob(f"{path.name}-*")) == []


async def refused(queue: SQLiteQueue, error: type[Exception]) -> str:
    """Open *queue*, which raises *error*; return what it says."""
    with pytest.raises(error) as raised:
        await queue.open()
    await queue.close()
    return str(raised.value)


# -- no database ----------------------------------------------------------------------------------------------

NO_DATABASE: Final[dict[str, bytes]] = {
    "text": b"a letter to somebody\n" * 400,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
    "a database whose first page was overwritten": b"",  # made in the test
    "a pickle": b"\x80\x04\x95\x0a" + b"x" * 500,
}


@pytest.mark.parametrize("what", NO_DATABASE)
async def test_a_file_that_is_no_database_is_refused_and_left_alone(what: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    if NO_DATABASE[what]:
        path.write_bytes(NO_DATABASE[what])
    else:
        data = await filled(path)
        path.write_bytes(b"\xff" * PAGE + data[PAGE:])
    before = path.read_bytes()

    said = await refused(AsyncSQLiteQueue(path), CorruptDatabase)

    assert str(path) in said
    assert ".recover" in said
    assert path.read_bytes() == before
    assert alone(path)


async def test_a_directory_in_the_way_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "queue" / "data.db").mkdir(parents=True)
    said = await refused(AsyncSQLiteQueue(tmp_path / "queue"), NotAQueue)
    assert "data.db" in said
    assert list((tmp_path / "queue" / "data.db").iterdir()) == []


async def test_a_name_in_a_directory_for_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    await filled(path, 1)
    said = await refused(AsyncSQLiteQueue(path, db_file_name="other.db"), NotAQueue)
    assert str(path) in said


# -- another schema -------------------------------------------------------------------------------------------


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


NEWER: Final[dict[str, str]] = {
    "a column more": "ALTER TABLE queue ADD COLUMN weight INTEGER",
    "a later version of our own tables": "UPDATE asyncpq_format SET version = 2",
}


@pytest.mark.parametrize("what", NEWER)
async def test_a_newer_schema_is_refused_and_left_alone(what: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    await filled(path)
    execute(path, NEWER[what])
    before = path.read_bytes()

    said = await refused(AsyncSQLiteQueue(path), NotAQueue)

    assert str(path) in said
    assert "later" in said
    assert path.read_bytes() == before
    assert alone(path)


async def test_a_table_of_another_program_is_not_taken_for_a_queue(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    execute(path, "CREATE TABLE queue (id INTEGER, name TEXT)", "INSERT INTO queue VALUES (1, 'a')")
    before = path.read_bytes()
    said = await refused(AsyncSQLiteQueue(path), NotAQueue)
    assert "_id, data, timestamp" in said
    assert path.read_bytes() == before


# -- another serializer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wrote", "given"), [("json", "msgpack"), ("msgpack", "pickle"), ("pickle", "json")])
async def test_the_serializer_that_fits_is_named(wrote: str, given: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    async with AsyncSQLiteQueue(path, serializer=wrote) as queue:
        await queue.put({"some": ["thing", 1]})
    before = path.read_bytes()

    said = await refused(AsyncSQLiteQueue(path, serializer=given), WrongSerializer)

    assert repr(wrote) in said
    assert path.read_bytes() == before
    async with AsyncSQLiteQueue(path) as queue:  # found out
        assert (await queue.get())["some"][0] == "thing"


# -- locked ---------------------------------------------------------------------------------------------------


@pytest.fixture
def locker(tmp_path: Path) -> Iterator[Callable[[], sqlite3.Connection]]:
    """Hold the lock of the database."""
    connections = []

    def lock() -> sqlite3.Connection:
        connection = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
        connections.append(connection)
        connection.execute("BEGIN IMMEDIATE")
        return connection

    yield lock
    for connection in connections:
        connection.close()


async def test_a_lock_that_another_program_holds_is_waited_for_and_then_named(
    tmp_path: Path, locker: Callable[[], sqlite3.Connection]
) -> None:
    """The queue works on when the lock is free; nothing is lost, nothing twice."""
    path = tmp_path / "queue.db"
    await filled(path, 3)
    async with AsyncSQLiteQueue(path, timeout=0.05) as queue:
        other = locker()
        for call in (queue.put("new"), queue.get(), queue.update("x", 1), queue.put_many([1, 2])):
            with pytest.raises(DatabaseBusy, match=r"0\.05 s") as raised:
                await call
            assert isinstance(raised.value, QueueLocked)
            assert str(path) in str(raised.value)
        other.execute("ROLLBACK")

        assert await queue.put("new") == 4
        assert [await queue.get() for _ in range(4)] == ["item 0", "item 1", "item 2", "new"]


async def test_opening_a_locked_database_says_so(tmp_path: Path, locker: Callable[[], sqlite3.Connection]) -> None:
    path = tmp_path / "queue.db"
    await filled(path, 3)
    locker()
    assert "0.05 s" in await refused(AsyncSQLiteQueue(path, timeout=0.05), DatabaseBusy)


# -- rows that cannot be read ---------------------------------------------------------------------------------


@asynccontextmanager
async def with_a_bad_row(make: Callable[..., SQLiteQueue], table: str, **how: Any) -> AsyncIterator[SQLiteQueue]:
    """A queue of three items whose second row is noise."""
    async with make() as queue:
        await queue.put_many(["a", "b", "c"])
        file = queue._engine.path if queue._engine else ""
    execute(Path(file), f"UPDATE {table} SET data = x'80049558' WHERE _id = 2")
    async with make(**how) as queue:
        yield queue


CLASSES: Final[dict[str, type[SQLiteQueue]]] = {
    "queue_default": AsyncSQLiteQueue,
    "priority_queue_default": AsyncPriorityQueue,
    "ack_queue_default": AsyncSQLiteAckQueue,
}


@pytest.mark.parametrize("table", CLASSES)
async def test_a_row_that_cannot_be_read_stays_and_is_named(table: str, tmp_path: Path) -> None:
    def make(**how: Any) -> SQLiteQueue:
        return CLASSES[table](tmp_path / "queue", db_file_name="data.db", **how)

    async with with_a_bad_row(make, table) as queue:
        assert await queue.get_many(3) == ["a"]  # what stands before it
        for _ in range(2):
            with pytest.raises(CorruptRow) as raised:
                await queue.get()
            assert isinstance(raised.value, CorruptRecord)
            assert (raised.value.table, raised.value.row) == (table, 2)
        assert await queue.qsize() == 2
        assert await queue.get(id=3) == "c"
        await queue.update("mended", 2)
        assert await queue.get() == "mended"


@pytest.mark.parametrize("table", CLASSES)
async def test_with_skip_it_is_set_aside_with_its_bytes(table: str, tmp_path: Path) -> None:
    def make(**how: Any) -> SQLiteQueue:
        return CLASSES[table](tmp_path / "queue", db_file_name="data.db", **how)

    async with with_a_bad_row(make, table, on_corrupt="skip") as queue:
        assert [await queue.get() for _ in range(2)] == ["a", "c"]
        assert await queue.empty()
        if isinstance(queue, AsyncSQLiteAckQueue):
            assert await queue.ack_failed_count() == 1
    connection = sqlite3.connect(tmp_path / "queue" / "data.db")
    kept = connection.execute(f"SELECT id, data FROM asyncpq_damaged_{table}").fetchall()
    connection.close()
    assert kept == [(2, b"\x80\x04\x95\x58")]


# -- damaged pages, full and read-only file systems -------------------------------------------------------------


async def test_a_damaged_page_is_named_when_it_is_met_and_the_file_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    data = await filled(path)
    connection = sqlite3.connect(path)
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'queue'").fetchone()[0]
    connection.close()
    start = (root - 1) * PAGE
    path.write_bytes(data[:start] + b"\xa5" * PAGE + data[start + PAGE :])
    before = path.read_bytes()

    said = await refused(AsyncSQLiteQueue(path), CorruptDatabase)

    assert str(path) in said
    assert path.read_bytes() == before


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB of its own; skipped where mounting is not allowed."""
    where = tmp_path / "mounted"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(where)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def remount(where: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(where)], check=True)


async def put_until_it_fails(queue: SQLiteQueue, stored: list[str]) -> None:
    while True:
        item = f"{len(stored)} " + "x" * 20_000
        await queue.put(item)
        stored.append(item)


async def test_a_full_disk_loses_nothing_and_the_queue_works_on(tmpfs: Path) -> None:
    path = tmpfs / "queue.db"
    stored: list[str] = []
    async with AsyncSQLiteQueue(path, fsync="never") as queue:
        with pytest.raises(OSError, match="No space left") as raised:
            await put_until_it_fails(queue, stored)
        assert raised.value.errno == errno.ENOSPC
        assert raised.value.filename == str(path)
        assert len(stored) > 10
        assert await queue.qsize() == len(stored)

        remount(tmpfs, "size=8m")
        await queue.put("again")
        assert [await queue.get() for _ in stored] == stored
        assert await queue.get() == "again"


async def test_a_read_only_file_system_is_said_to_be_one(tmpfs: Path) -> None:
    path = tmpfs / "queue.db"
    before = await filled(path, 10)
    remount(tmpfs, "ro")

    queue = AsyncSQLiteQueue(path)
    with pytest.raises(OSError, match="read-only") as raised:
        await queue.open()

    assert raised.value.errno == errno.EROFS
    assert raised.value.filename == os.fspath(path)
    assert path.read_bytes() == before
    assert alone(path)
