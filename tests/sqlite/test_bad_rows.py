"""A row that cannot be read is named and stays, or is set aside with its bytes."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncPriorityQueue, AsyncSQLiteAckQueue, AsyncSQLiteQueue, CorruptRecord, CorruptRow
from asyncpq.sqlite.base import SQLiteQueue


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


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
