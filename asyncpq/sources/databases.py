"""A database with queues of whatever library: one of them is opened, or all are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncpq.sources import diskcache, litequeue, persist_sqlite, queuelib
from asyncpq.sources.database import ReadOnly
from asyncpq.sources.tables import Candidate, called, chosen

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.sources.options import Options
    from asyncpq.sources.protocol import Source

__all__ = ["names", "open_database"]


def _found(database: ReadOnly) -> list[Candidate]:
    tables = database.tables()
    return [one for library in (persist_sqlite, litequeue, diskcache, queuelib) for one in library.found(tables)]


def names(file: Path) -> list[str]:
    """Return the names of the queues in the database *file*: where two have the same, those of their tables.

    Raises:
        NotAQueue: there is none.
        CorruptQueue, OSError: see `open_source`.
    """
    database = ReadOnly(file, lock=False)
    try:
        found = _found(database)
        return called(found) if found else [chosen(database, found, None).name]
    finally:
        database.close()


def open_database(path: Path, file: Path, options: Options) -> Source:
    """Open the queue in the database *file* that *options* names, or the only one; *path* was asked for.

    Raises:
        see `open_source`.
    """
    database = ReadOnly(file, lock=options.lock)
    try:
        return chosen(database, _found(database), options.name).open(path, database, options)
    except BaseException:
        database.close()
        raise
