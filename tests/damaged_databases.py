"""Databases with damaged pages: where each row lies while all is well, and ways to damage what lies there."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpq
from asyncpq.sqlite import pages
from asyncpq.sqlite.finding import as_queue
from asyncpq.sqlite.salvage import Salvage

Rows = dict[tuple[str, int], tuple[Any, ...]]  # by table and _id: data, timestamp, and what the class has more


@dataclass(frozen=True)
class Map:
    """Where the rows lie."""

    data: bytes  # of the file
    page_size: int
    rows: Rows
    pages: dict[tuple[str, int], frozenset[int]]  # of a row: its leaf, and the pages that its payload goes on on
    trunks: frozenset[int]  # pages that name those of the free list

    @property
    def count(self) -> int:
        return len(self.data) // self.page_size

    def untouched(self, *damaged: int) -> Rows:
        """The rows of which nothing lies on these pages."""
        return {key: row for key, row in self.rows.items() if self.pages[key].isdisjoint(damaged)}


def rows_of(database: Path) -> Rows:
    """What SQLite finds in the tables of queues."""
    with closing(sqlite3.connect(database)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            (table, row[0]): row[1:]
            for table in tables
            if as_queue(table)
            for row in connection.execute(f'SELECT * FROM "{table}"')
        }


def mapped(database: Path) -> Map:
    """Where the rows of *database*, which is whole, lie."""
    fd = os.open(database, os.O_RDONLY)
    try:
        salvage = Salvage(fd)
        roots = {
            row[1]: row[3] for _, row in salvage.rows(salvage.schema) if row and row[0] == "table" and as_queue(row[1])
        }
        where = {
            (table, cell.row): frozenset({leaf, *overflow(salvage, cell)})
            for table, root in roots.items()
            for leaf in salvage.tree(root).leaves
            for cell in pages.cells(salvage.page(leaf), salvage.header, leaf)
            if cell is not None
        }
        trunks = frozenset(free_trunks(salvage))
    finally:
        os.close(fd)
    rows = rows_of(database)
    assert rows.keys() == where.keys()
    return Map(database.read_bytes(), salvage.header.page_size, rows, where, trunks)


def overflow(salvage: Salvage, cell: pages.Cell) -> list[int]:
    found, number = [], cell.overflow
    while number:
        found.append(number)
        number = int.from_bytes(salvage.page(number)[:4], "big")
    return found


def free_trunks(salvage: Salvage) -> list[int]:
    found, number = [], salvage.header.trunk
    while number:
        found.append(number)
        number = int.from_bytes(salvage.page(number)[:4], "big")
    return found


def integrity(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


async def fill(folder: Path, *, items: int = 150, page_size: int = 1024) -> Path:
    """A database of six queues on small pages: trees of two levels, long rows, a free list with old rows on it."""
    database = folder / "data.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA page_size={page_size}")
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text)")  # somebody else's
        connection.execute("INSERT INTO notes VALUES (7, 'mine')")
        connection.commit()
    async with (
        asyncpq.AsyncSQLiteQueue(folder, fsync="never") as fifo,
        asyncpq.AsyncSQLiteQueue(folder, "mail", fsync="never") as mail,
        asyncpq.AsyncFILOSQLiteQueue(os.path.join(folder, ""), fsync="never") as filo,
        asyncpq.AsyncSQLiteAckQueue(folder, fsync="never") as ack,
        asyncpq.AsyncUniqueQ(os.path.join(folder, ""), fsync="never") as unique,
        asyncpq.AsyncPriorityQueue(folder, fsync="never") as priority,
    ):
        for queue in (fifo, mail, filo, ack, unique):
            who = f"{type(queue).__name__} {queue.name}"
            await queue.put_many(f"{who} {n} " + "x" * (n % 97 * (20 if n % 13 == 0 else 1)) for n in range(items))
        for urgency in range(3):
            await priority.put_many([f"{urgency}: {n}" for n in range(items // 3)], urgency)
        for _ in range(items // 10):
            await ack.ack(await ack.get())
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA secure_delete=OFF")  # as most systems have it: what is deleted lies there still
        for table in ("queue_default", "queue_mail"):
            connection.execute(f"DELETE FROM {table} WHERE _id <= ?", (items // 3,))
        connection.commit()
    return database


Damage = Callable[[bytes], bytes]  # of a page


def flipped(at: int) -> Damage:
    return lambda page: page[:at] + bytes([page[at] ^ 0x41]) + page[at + 1 :]


PAGES: Final[dict[str, Damage]] = {
    "zeros": lambda page: bytes(len(page)),
    "ones": lambda page: b"\xff" * len(page),
    "noise": lambda page: bytes((n * 131 + 17) % 251 for n in range(len(page))),
    "the first bytes": lambda page: b"\xff" * 8 + page[8:],
    "the type of the page": flipped(0),
    "the count of cells": flipped(4),
    "a pointer to a cell": flipped(9),
    "the last half": lambda page: page[: len(page) // 2] + b"\x5a" * (len(page) - len(page) // 2),
}
