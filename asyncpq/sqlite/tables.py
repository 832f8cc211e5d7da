"""The database, as tables and SQL.  Pure: no connection, no clock, no await.

    DIR/data.db     queue_<name>              as persist-queue's SQLiteQueue has it
    FILE            queue, queue_<name>       as its AsyncSQLiteQueue has it; the first one for "default"

    class           table                columns beside _id, data, timestamp    order of get
    FIFO            queue                                                       _id
    FILO            filo_queue                                                  _id, the highest first
    unique          unique_queue         UNIQUE (data)                          _id
    priority        priority_queue       priority                               priority, then _id
    ack             ack_queue            status                                 _id
    FILO ack        ack_filo_queue       status                                 _id, the highest first
    unique ack      ack_unique_queue     status, UNIQUE (data)                  _id

    status          0 put   1 given back   2 in flight   5 acknowledged   9 failed

Tables of our own, which persist-queue never looks at; <table> is one of those above:

    asyncpq_claims_<table>    id, owner, expires, attempts, first, error    who holds an item, and what became of it
    asyncpq_owners            owner, expires                                which openers are alive
    asyncpq_keys_<table>      digest, id                                    unique items, by their canonical form
    asyncpq_damaged_<table>   id, data, timestamp, why                      rows that were set aside
    asyncpq_format            version                                       of these tables

Source of the layout: what persist-queue 1.1.0 creates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FORMAT: Final = 1  # of our own tables

INITED, READY, UNACK, ACKED, FAILED = 0, 1, 2, 5, 9  # persist-queue's status numbers


@dataclass(frozen=True, slots=True)
class Kind:
    """What tells the seven classes apart."""

    table: str  # without the name of the queue
    newest_first: bool = False
    unique: bool = False
    priority: bool = False
    acked: bool = False
    file_when_new: bool = False  # what persist-queue's class of this name makes for a path that is not there

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table, in order."""
        more = ("status",) * self.acked + ("priority",) * self.priority
        return ("_id", "data", "timestamp", *more)

    @property
    def shown(self) -> tuple[str, ...]:
        """The keys of a row that is looked at: as get(raw=True) names them."""
        return ("pqid", *self.columns[1:])


FIFO: Final = Kind("queue", file_when_new=True)
FILO: Final = Kind("filo_queue", newest_first=True, file_when_new=True)
UNIQUE: Final = Kind("unique_queue", unique=True, file_when_new=True)
PRIORITY: Final = Kind("priority_queue", priority=True)
ACK: Final = Kind("ack_queue", acked=True)
FILO_ACK: Final = Kind("ack_filo_queue", newest_first=True, acked=True)
UNIQUE_ACK: Final = Kind("ack_unique_queue", unique=True, acked=True)


def quoted(name: str) -> str:
    """Return *name* as an identifier of SQL, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def table_names(kind: Kind, name: str, in_directory: bool) -> list[str]:
    """Return the names that the table may have, the one for a new table first."""
    of_sync, of_async = f"{kind.table}_{name}", kind.table
    if name != "default":
        return [of_sync]
    return [of_sync, of_async] if in_directory else [of_async, of_sync]


def creation(kind: Kind, table: str) -> str:
    """Return the statement that makes the table, with persist-queue's columns."""
    more = ", status INTEGER" * kind.acked + ", priority INTEGER" * kind.priority + ", UNIQUE (data)" * kind.unique
    return f"CREATE TABLE {quoted(table)} (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT{more})"
