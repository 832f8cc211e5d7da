"""Which queues a database has.  What tells them apart is the name of the table, and its columns."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncpq.errors import NotAQueue
from asyncpq.layout import DATABASE
from asyncpq.sqlite import tables
from asyncpq.sqlite.tables import Kind, quoted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

CLASSES: Final[dict[str, Kind]] = {
    "AsyncSQLiteQueue": tables.FIFO,
    "AsyncFILOSQLiteQueue": tables.FILO,
    "AsyncUniqueQ": tables.UNIQUE,
    "AsyncPriorityQueue": tables.PRIORITY,
    "AsyncSQLiteAckQueue": tables.ACK,
    "AsyncFILOSQLiteAckQueue": tables.FILO_ACK,
    "AsyncUniqueAckQ": tables.UNIQUE_ACK,
}


OURS: Final[dict[str, tuple[str, ...]]] = {  # tables of our own, by how their names begin, and their columns
    "asyncpq_claims_": ("id", "owner", "expires", "attempts", "first", "error"),
    "asyncpq_damaged_": ("id", "data", "timestamp", "why"),
    "asyncpq_keys_": ("digest", "id"),
    "asyncpq_owners": ("id", "queue", "identity", "expires"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """A queue's table."""

    table: str
    name: str  # of the queue
    cls: str  # the class in asyncpq that it is of

    @property
    def kind(self) -> Kind:
        """What tells its class from the others."""
        return CLASSES[self.cls]


def database_file(path: str | os.PathLike[str]) -> str:
    """Return the file that *path* stands for: itself, or data.db in a directory.

    Raises:
        NotAQueue: there is none, or it is no regular file.
    """
    full = os.fspath(path)
    if not os.path.isdir(full):
        if not os.path.exists(full):
            raise NotAQueue(path, "there is no such file")
        return os.path.realpath(full)  # as SQLite does: the log lies beside the file that a link leads to
    file = os.path.join(full, DATABASE)
    if not os.path.lexists(file):
        raise NotAQueue(path, f"is a directory without {DATABASE}; name the database file in it")
    if os.path.islink(file):
        raise NotAQueue(file, "is a link; name the file that it leads to")
    return file


def as_queue(table: str) -> tuple[str, str] | None:
    """Return class and queue that a table of this name is of; None: it is no queue's."""
    for cls, kind in CLASSES.items():
        if table == kind.table:
            return cls, "default"
        if table.startswith(kind.table + "_"):
            return cls, table[len(kind.table) + 1 :]
    return None


def find_queues(connection: sqlite3.Connection, file: str, name: str | None) -> list[Table]:
    """Return the queues in the database, or the one called *name*.

    Raises:
        NotAQueue: there is none.
        sqlite3.Error: the schema cannot be read.
    """
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    found = [
        Table(table, queue[1], queue[0])
        for (table,) in rows
        if (queue := as_queue(table)) and columns(connection, table) == CLASSES[queue[0]].columns
    ]
    return named(found, file, name)


def odd_tables(connection: sqlite3.Connection) -> list[str]:
    """Return what is wrong with the columns of tables of our own, in sentences."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    return [
        f"table {table!r} has the columns {', '.join(has)}, not {', '.join(should)}"
        for (table,) in rows
        for start, should in OURS.items()
        if table.startswith(start) and (has := columns(connection, table)) != should
    ]


def named(found: list[Table], file: str, name: str | None) -> list[Table]:
    """Return those of *found* that are called *name*; None: all.

    Raises:
        NotAQueue: none is.
    """
    if not found:
        raise NotAQueue(file, "holds no queue: none of its tables is persist-queue's")
    wanted = [table for table in found if name is None or table.name == name]
    if not wanted:
        raise NotAQueue(file, f"holds no queue called {name!r}; it holds {_listed(table.name for table in found)}")
    return wanted


def columns(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """Return the columns of *table*; none: it does not exist."""
    return tuple(row[1] for row in connection.execute(f"PRAGMA table_info({quoted(table)})"))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(set(names))))
