"""The copy of a SQLite database: SQLite's own backup, in one read transaction, so that all of it is of one moment."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncpq.copying._files import refuse_inside
from asyncpq.copying._report import CopyReport
from asyncpq.files import FILES
from asyncpq.layout import DATABASE
from asyncpq.placing import building, put_in_place
from asyncpq.sqlite.examining import explaining
from asyncpq.sqlite.finding import database_file, find_queues
from asyncpq.sqlite.held import raw
from asyncpq.sqlite.looking import look
from asyncpq.sqlite.tables import ACKED, FAILED, quoted

if TYPE_CHECKING:
    from asyncpq.copying._report import Meter
    from asyncpq.sqlite.looking import Look

STEP: Final = 256  # pages copied between two looks at whether the copy is still wanted
_OURS: Final = (DATABASE, DATABASE + "-journal", DATABASE + "-wal", DATABASE + "-shm")


def copy_database(path: Path, target: Path, meter: Meter) -> CopyReport:
    """See `asyncpq.copy`."""
    file = database_file(path)
    refuse_inside(path, target)
    return explaining(file, lambda: _copy(path, file, target, meter))


def _copy(path: Path, file: str, target: Path, meter: Meter) -> CopyReport:
    look(file, lambda seen: find_queues(seen.connection, file, None))  # what is no queue leaves no trace
    with building(target, _OURS.__contains__) as (partial, made):
        copy = partial / DATABASE
        starts = _backup(file, copy, meter)
        items = look(os.fspath(copy), lambda seen: _count(seen.connection, file))
        _make_durable(path, file, copy, made)
        size = copy.stat().st_size
        put_in_place(partial if path.is_dir() else copy, target)
        return CopyReport(path, target, "sqlite", items, size, 1, starts)


def _backup(file: str, copy: Path, meter: Meter) -> int:
    """Fill *copy*; return how often it was begun."""
    starts = 0

    def work(seen: Look) -> None:
        nonlocal starts
        starts += 1
        copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(copy, isolation_level=None)) as target:
            target.execute("PRAGMA journal_mode=OFF")  # a crash leaves a partial one, which is discarded
            target.execute("PRAGMA synchronous=OFF")
            _copy_pages(seen.connection, target, meter)

    look(file, work)
    return starts


def _copy_pages(source: sqlite3.Connection, target: sqlite3.Connection, meter: Meter) -> None:
    size = int(source.execute("PRAGMA page_size").fetchone()[0])

    def tell(status: int, left: int, total: int) -> None:
        meter.at((total - left) * size, total * size)

    # In a transaction that reads, what the others commit from now on is not seen, and does not start the copy again.
    source.execute("SELECT count(*) FROM sqlite_master").fetchone()
    source.backup(target, pages=STEP, progress=tell)


def _count(connection: sqlite3.Connection, file: str) -> int:
    """Return how many items the queues hold that are not answered."""
    items = 0
    for queue in find_queues(connection, file, None):
        left = f" WHERE status IS NULL OR status NOT IN ({ACKED}, {FAILED})" * queue.kind.acked
        items += connection.execute(f"SELECT count(*) FROM {quoted(queue.table)}{left}").fetchone()[0]
    return items


def _make_durable(path: Path, file: str, copy: Path, made: int) -> None:
    """Sync the copy, which gets the modes of its source."""
    with raw(file) as source, open(copy, "rb") as written:
        FILES.copy_mode(source, written.fileno())
        FILES.fsync(written.fileno())
    if path.is_dir():
        directory = FILES.open_dir(os.fspath(path))
        with suppress(PermissionError):
            FILES.copy_mode(directory, made)
        os.close(directory)
    FILES.fsync_dir(made)
