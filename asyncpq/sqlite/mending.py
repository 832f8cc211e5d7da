"""Repair of a database whose pages are whole: one transaction.

    rows that cannot be read        moved to asyncpq_damaged_<table>
    rows that no get would find     ready again
    what the dead held              ready again

Synchronous: for worker threads.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from asyncpq.sqlite import rows
from asyncpq.sqlite.finding import columns, find_queues
from asyncpq.sqlite.held import close_unneeded
from asyncpq.sqlite.looking import connect
from asyncpq.sqlite.statements import Statements
from asyncpq.sqlite.tables import READY, quoted
from asyncpq.sqlite.unheld import Claims

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.finding import Table

TIMEOUT: Final = 2.0  # seconds to wait for the lock


def mend(file: str, name: str | None, given: Serializer | None) -> None:
    """Mend the rows of *file*; on return that is durable.

    Raises:
        sqlite3.Error: it is locked, or could not be written; nothing was changed.
    """
    with _changing(file) as connection:
        for table in find_queues(connection, file, name):
            some = (row[1] for row in rows.walk(connection, table))
            _Mender(connection, table, rows.find_serializer(file, given, some)).run()


@contextmanager
def _changing(file: str) -> Iterator[sqlite3.Connection]:
    """Give a connection in a transaction which is committed in the end."""
    connection = connect(file, "mode=rw", TIMEOUT)
    try:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    finally:
        connection.close()  # puts the log into the database, and removes it
        close_unneeded()


class _Mender:
    """Mends one table."""

    def __init__(self, connection: sqlite3.Connection, table: Table, serializer: Serializer) -> None:
        self._connection, self._table, self._serializer = connection, table, serializer
        self._execute, self._sql = connection.execute, Statements(table.kind, table.table)
        self._beside = {
            what: bool(columns(connection, f"asyncpq_{what}_{table.table}")) for what in ("claims", "keys", "damaged")
        }

    def run(self) -> None:
        for id, data, *status in rows.walk(self._connection, self._table):
            why = rows.why_unreadable(self._serializer, data)
            if why is not None:
                self._set_aside(id, why, *status)
            elif status and rows.why_stray(self._table, status[0]) is not None:
                self._execute(self._sql.set_status, (READY, id))
        Claims(self._connection, self._table, time.time()).give_back()

    def _set_aside(self, id: int, why: str, *status: Any) -> None:
        if not self._beside["damaged"]:
            self._execute(self._sql.setup_damaged)
            self._beside["damaged"] = True
        if status:
            why += f"; its status was {status[0]!r:.40}"
        damaged, t = quoted(f"asyncpq_damaged_{self._table.table}"), quoted(self._table.table)
        self._execute(
            f"INSERT INTO {damaged} (id, data, timestamp, why) SELECT "
            f"CASE WHEN EXISTS (SELECT 1 FROM {damaged} WHERE id = _id) THEN NULL ELSE _id END, data, timestamp, ? "
            f"FROM {t} WHERE _id = ?",
            (why, id),
        )
        self._execute(self._sql.delete, (id,))
        for what, statement in (("claims", self._sql.unclaim), ("keys", self._sql.drop_key)):
            if self._beside[what]:
                self._execute(statement, (id,))
