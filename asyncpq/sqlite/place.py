"""Where the database of a queue is, and which table in it.  What exists wins.

    a directory   DIR/data.db, or db_file_name
    a file        the file
    neither       what persist-queue's class of that name makes: a file for the FIFO, FILO and unique queues,
                  a directory for the others

A directory is made, too, where db_file_name is given or the path ends with /.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from asyncpq.errors import NotAQueue
from asyncpq.layout import DATABASE, INFO, chunk_name
from asyncpq.sqlite.database import MEMORY, sync_directory
from asyncpq.sqlite.tables import FORMAT, creation, table_names

if TYPE_CHECKING:
    from asyncpq.sqlite.database import Database
    from asyncpq.sqlite.tables import Kind


def locate(path: str | os.PathLike[str], kind: Kind, db_file_name: str | None) -> tuple[str, bool]:
    """Return the path of the database file, and whether it lies in a directory of its own."""
    full = os.fspath(path)
    if full == MEMORY:
        return MEMORY, True
    wanted = db_file_name is not None or full.endswith(os.sep)
    _refuse_others(full, db_file_name)
    if os.path.isdir(full) or (not os.path.exists(full) and (wanted or not kind.file_when_new)):
        return os.path.join(full, db_file_name or DATABASE), True
    if db_file_name is not None:
        raise NotAQueue(path, f"is a file, so db_file_name={db_file_name!r} cannot be in it")
    return full, False


def _refuse_others(path: str, db_file_name: str | None) -> None:
    """Refuse to write over, or beside, what is something else.

    Raises:
        NotAQueue: one byte, which is no database; or a file queue.
    """
    if os.path.isdir(path):
        if not os.path.exists(os.path.join(path, db_file_name or DATABASE)) and _holds_a_file_queue(path):
            raise NotAQueue(path, "holds a file queue: open it with AsyncQueue, or give this one a path of its own")
    elif os.path.isfile(path):
        with open(path, "rb") as file:
            first = file.read(2)
        if len(first) == 1:  # SQLite would write over it; of what is longer it says what is wrong
            raise NotAQueue(path, "is no SQLite database; nothing was changed: choose another path")


def _holds_a_file_queue(path: str) -> bool:
    return any(os.path.exists(os.path.join(path, name)) for name in (INFO, chunk_name(0)))


def make_room(file: str) -> None:
    """Make the directory of *file*, durably, unless it is there."""
    folder = os.path.dirname(os.path.abspath(file))
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for folder in reversed(missing):
        try:
            os.mkdir(folder)
        except FileExistsError:
            if not os.path.isdir(folder):
                raise
        sync_directory(folder)


def find_table(database: Database, kind: Kind, name: str, in_directory: bool) -> tuple[str, bool]:
    """Return the name of the table, and whether it has to be made.  Changes nothing.

    Raises:
        NotAQueue: there is one of that name that is not persist-queue's, or a later asyncpq wrote the database.
    """
    check_format(database)
    names = table_names(kind, name, in_directory)
    for table in names:
        columns = database.columns(table)
        if not columns:
            continue
        if tuple(columns) != kind.columns:
            raise NotAQueue(
                database.path,
                f"table {table!r} has the columns {', '.join(columns)}, not {', '.join(kind.columns)}: it is not a "
                f"queue of this class, or a later version wrote it; open it with what made it",
            )
        return table, False
    return names[0], True


def check_format(database: Database) -> None:
    """Raise NotAQueue if a later asyncpq has been here."""
    if not database.columns("asyncpq_format"):
        return
    version = database.execute("SELECT max(version) FROM asyncpq_format").fetchone()[0]
    if version is not None and version > FORMAT:
        raise NotAQueue(
            database.path, f"a later asyncpq wrote it (format {version}; this one knows {FORMAT}): update asyncpq"
        )


def make_tables(database: Database, kind: Kind, table: str, setup: list[str], new: bool) -> None:
    """Make what is missing; inside a transaction."""
    if new and not database.columns(table):
        database.execute(creation(kind, table))
    for statement in setup:
        database.execute(statement)
    database.execute("CREATE TABLE IF NOT EXISTS asyncpq_format (version INTEGER)")
    if database.execute("SELECT count(*) FROM asyncpq_format").fetchone()[0] == 0:
        database.execute("INSERT INTO asyncpq_format VALUES (?)", (FORMAT,))
