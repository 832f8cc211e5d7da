"""persist-queue's SQLite queues, and asyncpq's own, as sources: see asyncpq.sqlite.tables for what they look like.

    class             order                           to come
    FIFO, unique      _id                             every row
    FILO              _id, the highest first          every row
    priority          priority, then _id              every row
    ack               _id                             status below 5: not acknowledged (5), not failed (9)

FILO ack is ordered as FILO, unique ack as ack.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncpq.sources.blobs import Reading
from asyncpq.sources.rows import Table
from asyncpq.sources.tables import Candidate, TableSource, Words, as_it_is, serializer_of
from asyncpq.sqlite.tables import ACK, ACKED, FIFO, FILO, FILO_ACK, PRIORITY, UNIQUE, UNIQUE_ACK, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.sources.database import ReadOnly
    from asyncpq.sources.options import Options

__all__ = ["found"]

CLASSES: Final = {
    FIFO: "SQLiteQueue",
    FILO: "FILOSQLiteQueue",
    UNIQUE: "UniqueQ",
    PRIORITY: "PriorityQueue",
    ACK: "SQLiteAckQueue",
    FILO_ACK: "FILOSQLiteAckQueue",
    UNIQUE_ACK: "UniqueAckQ",
}
STATUSES: Final = {0: "put", 1: "given back", 2: "in flight", 5: "acknowledged", 9: "failed"}


def found(tables: dict[str, list[str]]) -> list[Candidate]:
    """Return the queues among *tables*, whose columns are given."""
    candidates = []
    for table, columns in tables.items():
        for kind in CLASSES:
            if tuple(columns) == kind.columns and (table == kind.table or table.startswith(f"{kind.table}_")):
                name = table[len(kind.table) + 1 :] or "default"
                candidates.append(Candidate(name, table, partial(_open, kind, name, table)))
    return candidates


def _open(kind: Kind, name: str, table_name: str, path: Path, database: ReadOnly, options: Options) -> TableSource:
    table = Table(
        name=table_name,
        number="_id",
        data="data",
        more=kind.columns[2:],
        where=f"t.status < {ACKED}" if kind.acked else "1",
        newest_first=kind.newest_first,
        order="t.priority, t._id" if kind.priority else None,
    )
    serializer = serializer_of(database, table, options.serializer)
    reading = Reading(serializer, options.unpickle, options.encoding)
    return TableSource(path, database, table, reading, as_it_is, _words(database, kind, name, table_name))


def _words(database: ReadOnly, kind: Kind, name: str, table: str) -> Words:
    details: dict[str, Any] = {
        "class": CLASSES[kind],
        "name": name,
        # As the one or the other makes it: SQLiteQueue the table queue_default, AsyncSQLiteQueue just queue.
        "layout": "async" if table == kind.table else "sync",
    }
    if kind.acked:
        details["statuses"] = database.counts(table, "status", STATUSES)
    library = "asyncpq" if "asyncpq_format" in database.tables() else "persist-queue"
    return Words("sqlite", f"{library}'s {CLASSES[kind]} {name!r}", details)
