"""What is wrong with a database, for check and for repair: nothing is changed.

the pages are whole        Healthy: what its rows are, one by one
they are not               Faults, or Broken: a database is rebuilt from what can be read, where nobody sees it
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from asyncpq.errors import CorruptDatabase, NotAQueue, SyncFailed
from asyncpq.layout import DATABASE
from asyncpq.sqlite import rows, wal
from asyncpq.sqlite.database import explained
from asyncpq.sqlite.finding import columns, find_queues, named, odd_tables
from asyncpq.sqlite.held import raw
from asyncpq.sqlite.looking import TIMEOUT
from asyncpq.sqlite.rebuilding import Rebuilder
from asyncpq.sqlite.salvage import Salvage
from asyncpq.sqlite.salvaged import Salvaged
from asyncpq.sqlite.tables import FORMAT, quoted
from asyncpq.sqlite.unheld import Claims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.finding import Table
    from asyncpq.sqlite.looking import Look
    from asyncpq.sqlite.pacing import Pace
    from asyncpq.sqlite.rows import Rows

T = TypeVar("T")

FAULTS: Final = 100  # of pages, at most, that are listed


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue of a database whose pages are whole."""

    table: Table
    serializer: Serializer
    rows: Rows
    coming_back: int  # held by nobody who is alive
    held: int  # by somebody who is, in a queue whose rows have no status
    aside: int  # rows that were set aside before


@dataclass(frozen=True, slots=True)
class Healthy:
    """A database whose pages are whole."""

    queues: list[Queue]


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with the pages of a database."""

    found: list[str]  # what SQLite says of them
    refusal: str | None = None  # why it cannot be opened


@dataclass(frozen=True, slots=True)
class Broken:
    """A database with pages that are not whole, and what is made of it."""

    faults: Faults
    salvaged: Salvaged
    rebuilt: Rebuilder


def glance(seen: Look, name: str | None, given: Serializer | None, pace: Pace) -> Healthy | Faults:
    """Return what the rows of the database are, or what is wrong with its pages; *pace* is told how far it is.

    Raises:
        NotAQueue: its pages are whole, and there is no queue in it (called *name*), or a later asyncpq wrote it.
        WrongSerializer: its pages are whole, and the rows are of another serializer than the one given.
        sqlite3.Error: it is busy, or the disk fails; see `asyncpq.sqlite.database.explained`.
    """
    try:
        _check_format(seen)
        faults = _faults(seen.connection) + odd_tables(seen.connection)
        if faults:
            return Faults(faults)
        tables = find_queues(seen.connection, seen.file, name)
        pace.total = sum(rows.count(seen.connection, table) for table in tables)
        return Healthy([_queue(seen, table, given, pace) for table in tables])
    except sqlite3.DatabaseError as error:
        if not isinstance(explained(error, seen.file, TIMEOUT), CorruptDatabase):
            raise
        return Faults([], f"SQLite says: {error}")
    except UnicodeDecodeError:  # Python's, of what SQLite says
        return Faults([], "its schema is damaged")


def examine(seen: Look, name: str | None, given: Serializer | None, pace: Pace) -> Healthy | Broken:
    """Return what is wrong with the database, and what a repair would make of it where its pages are not whole.

    *pace* is told how far it is, where they are.

    Raises:
        NotAQueue, WrongSerializer, sqlite3.Error: as `glance`, also where its pages are not whole.
    """
    found = glance(seen, name, given, pace)
    if isinstance(found, Healthy):
        return found
    with _whole_file(seen) as file, raw(file) as fd, closing(sqlite3.connect("", isolation_level=None)) as scratch:
        return rebuild(fd, scratch, seen.file, found, name, given)


def _check_format(seen: Look) -> None:
    if not columns(seen.connection, "asyncpq_format"):
        return
    version = seen.connection.execute("SELECT max(version) FROM asyncpq_format").fetchone()[0]
    if isinstance(version, int) and version > FORMAT:
        raise NotAQueue(
            seen.file, f"a later asyncpq wrote it (format {version}; this one knows {FORMAT}): update asyncpq"
        )


def _faults(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite finds wrong with the pages and the indexes."""
    found = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({FAULTS})")]
    return [] if found == ["ok"] else [line for text in found for line in text.splitlines() if line[:3] != "***"]


def _queue(seen: Look, table: Table, given: Serializer | None, pace: Pace) -> Queue:
    connection = seen.connection
    some = (row[1] for row in rows.walk(connection, table))
    serializer = rows.find_serializer(seen.file, given, some)
    claims = Claims(connection, table, time.time())
    damaged = f"asyncpq_damaged_{table.table}"
    aside = 0
    if columns(connection, damaged):
        aside = connection.execute(f"SELECT count(*) FROM {quoted(damaged)}").fetchone()[0]
    found = rows.judge(table, serializer, rows.walk(connection, table, pace.read))
    return Queue(table, serializer, found, claims.count(), claims.held(), aside)


def rebuild(
    fd: int, target: sqlite3.Connection, file: str, faults: Faults, name: str | None, given: Serializer | None
) -> Broken:
    """Fill *target* with what can be read from *fd*.

    Raises:
        NotAQueue: nothing of a queue (called *name*) is to be found.
        WrongSerializer: the rows are of another serializer than the one given.
    """
    salvaged = Salvaged(Salvage(fd), in_directory=os.path.basename(file) == DATABASE)
    queues = [found.queue for found in salvaged.tables.values() if found.queue is not None]
    if not queues:
        why = "is no SQLite database" if faults.refusal else "is damaged"
        raise NotAQueue(file, f"{why}, and nothing of a queue can be found in it")
    named(queues, file, name)
    rebuilt = Rebuilder(target, salvaged, file, given)
    rebuilt.run()
    return Broken(faults, salvaged, rebuilt)


@contextmanager
def _whole_file(seen: Look) -> Iterator[str]:
    """Give a file with all pages, those of the log included."""
    if seen.beside:
        with tempfile.TemporaryDirectory(prefix="asyncpq-") as folder:
            copy = os.path.join(folder, "data.db")
            yield copy if _backed_up(seen, copy) else seen.file
    elif seen.read != seen.file:
        with suppress(sqlite3.Error):
            seen.connection.close()  # which puts the log into the copy, if SQLite can
        with open(seen.read, "r+b", buffering=0) as copied:
            wal.fold(seen.read, copied.fileno())
        yield seen.read
    else:
        yield seen.file


def _backed_up(seen: Look, copy: str) -> bool:
    """Copy all pages as SQLite sees them; return whether it could."""
    with closing(sqlite3.connect(copy)) as target:
        target.execute("PRAGMA journal_mode=OFF")
        try:
            seen.connection.backup(target)
        except sqlite3.DatabaseError:
            return False
    return True


def explaining(file: str, work: Callable[[], T]) -> T:
    """Return what *work* returns; what SQLite raises becomes the error that it means."""
    try:
        return work()
    except sqlite3.Error as error:
        failed = explained(error, file, TIMEOUT)
        raise (failed.cause if isinstance(failed, SyncFailed) else failed) from error
