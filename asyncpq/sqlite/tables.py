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


class Statements:
    """Every statement on one table, written out once."""

    def __init__(self, kind: Kind, table: str) -> None:
        """Write them for *table*, which exists."""
        t, q = quoted(table), quoted
        self.table, self.kind = table, kind
        self.claims, self.keys, self.damaged = (f"asyncpq_{what}_{table}" for what in ("claims", "keys", "damaged"))
        claims, keys, damaged = q(self.claims), q(self.keys), q(self.damaged)
        ready, unack, order = (q(f"asyncpq_{what}_{table}") for what in ("ready", "unack", "order"))

        # Without INDEXED BY the planner walks the table in the order of _id, over all that is acknowledged.
        source = f"{t} INDEXED BY {ready}" if kind.acked else t
        free = (
            f"status < {UNACK}" if kind.acked else f"NOT EXISTS (SELECT 1 FROM {claims} WHERE id = {t}._id AND owner)"
        )
        by = "priority, _id" if kind.priority else "_id"
        self.order = f"{by} DESC" if kind.newest_first else by
        beyond = "(priority, _id) > (?, ?)" if kind.priority else "_id < ?" if kind.newest_first else "_id > ?"
        row = "_id, data, timestamp" + ", priority" * kind.priority

        # -- making ---------------------------------------------------------------------------------------
        self.setup = [
            f"CREATE TABLE IF NOT EXISTS {claims} (id INTEGER PRIMARY KEY, owner INTEGER, expires REAL, "
            f"attempts INTEGER NOT NULL DEFAULT 0, first REAL, error TEXT)",
            f"CREATE INDEX IF NOT EXISTS {q(self.claims + '_owner')} ON {claims} (owner) WHERE owner IS NOT NULL",
            f"CREATE INDEX IF NOT EXISTS {q(self.claims + '_expires')} ON {claims} (expires) WHERE expires IS NOT NULL",
        ]
        if kind.acked:
            self.setup += [
                f"CREATE INDEX IF NOT EXISTS {ready} ON {t} (_id) WHERE status < {UNACK}",
                f"CREATE INDEX IF NOT EXISTS {unack} ON {t} (_id) WHERE status = {UNACK}",
            ]
        if kind.priority:
            self.setup.append(f"CREATE INDEX IF NOT EXISTS {order} ON {t} (priority, _id)")
        if kind.unique:
            self.setup += [
                f"CREATE TABLE IF NOT EXISTS {keys} (digest BLOB PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID",
                f"CREATE INDEX IF NOT EXISTS {q(self.keys + '_id')} ON {keys} (id)",
            ]
        self.setup_damaged = (
            f"CREATE TABLE IF NOT EXISTS {damaged} (id INTEGER PRIMARY KEY, data BLOB, timestamp FLOAT, why TEXT)"
        )

        # -- putting --------------------------------------------------------------------------------------
        more = ", status" * kind.acked + ", priority" * kind.priority
        values = f", {INITED}" * kind.acked + ", ?" * kind.priority
        self.insert = f"INSERT INTO {t} (data, timestamp{more}) VALUES (?, ?{values})"
        self.restore = (
            f"INSERT OR IGNORE INTO {t} (_id, data, timestamp{', priority' * kind.priority}) "
            f"VALUES (?, ?, ?{', ?' * kind.priority})"
        )
        self.update = f"UPDATE {t} SET data = ? WHERE _id = ?"

        # -- getting --------------------------------------------------------------------------------------
        first = f"SELECT _id FROM {source} WHERE {free} ORDER BY {self.order} LIMIT"
        take = f"UPDATE {t} SET status = {UNACK}" if kind.acked else f"DELETE FROM {t}"
        self.front = f"SELECT {row} FROM {source} WHERE {free} ORDER BY {self.order} LIMIT ?"
        self.front_beyond = f"SELECT {row} FROM {source} WHERE {beyond} AND {free} ORDER BY {self.order} LIMIT ?"
        self.by_id = f"SELECT {row} FROM {t} WHERE _id = ? AND {free}"
        self.take_one = f"{take} WHERE _id = ({first} 1) RETURNING {row}"
        self.take_many = f"{take} WHERE _id IN ({first} ?) RETURNING {row}"
        self.take_id = f"{take} WHERE _id = ? AND {free} RETURNING {row}"
        self.next_id = f"SELECT _id FROM {source} WHERE {beyond} AND {free} ORDER BY {self.order} LIMIT 1"
        self.delete = f"DELETE FROM {t} WHERE _id = ?"
        self.clear = f"DELETE FROM {t}" + f" WHERE status < {ACKED}" * kind.acked
        self.count = f"SELECT COUNT(*) FROM {source} WHERE {free}"
        self.count_left = (
            f"SELECT (SELECT COUNT(*) FROM {source} WHERE {free}) + "
            f"(SELECT COUNT(*) FROM {t} INDEXED BY {unack} WHERE status = {UNACK})"
            if kind.acked
            else f"SELECT COUNT(*) FROM {t}"
        )
        self.rows = f"SELECT {row}{', status' * kind.acked} FROM {t} WHERE {{}} ORDER BY {self.order} LIMIT ?"

        # -- claims ---------------------------------------------------------------------------------------
        self.claim = (
            f"INSERT INTO {claims} (id, owner, expires, attempts, first) VALUES (?, ?, ?, 1, ?) "
            f"ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, expires = excluded.expires, "
            f"attempts = attempts + 1, first = coalesce(first, excluded.first) RETURNING attempts, first"
        )
        self.owner_of = f"SELECT owner FROM {claims} WHERE id = ?"
        self.unclaim = f"DELETE FROM {claims} WHERE id = ?"
        self.let_go = f"UPDATE {claims} SET owner = NULL, expires = ?, error = ? WHERE id = ?"
        self.uncount = f"UPDATE {claims} SET owner = NULL, expires = NULL, attempts = attempts - 1 WHERE id = ?"
        self.let_all_go = (
            f"UPDATE {claims} SET owner = NULL, expires = NULL WHERE owner = ?"
            if kind.acked
            else f"DELETE FROM {claims} WHERE owner = ?"
        )
        self.next_expiry = f"SELECT min(expires) FROM {claims} WHERE expires IS NOT NULL"

        # -- coming back, once a lease or a delay has ended, or an owner is dead ------------------------------
        self.back_expired = f"UPDATE {t} SET status = {READY} WHERE status = {UNACK} AND _id IN " + (
            f"(SELECT id FROM {claims} WHERE expires <= ?)"
        )
        self.expire = (
            f"UPDATE {claims} SET owner = NULL, expires = NULL WHERE expires <= ?"
            if kind.acked
            else f"DELETE FROM {claims} WHERE expires <= ?"
        )
        self.back_owned = f"UPDATE {t} SET status = {READY} WHERE status = {UNACK} AND _id IN " + (
            f"(SELECT id FROM {claims} WHERE owner = ?)"
        )
        self.back_unowned = (
            f"UPDATE {t} SET status = {READY} WHERE _id IN (SELECT _id FROM {t} INDEXED BY {unack} "
            f"WHERE status = {UNACK} AND NOT EXISTS "
            f"(SELECT 1 FROM {claims} WHERE id = {t}._id AND (owner OR expires > ?)))"
        )

        # -- answers --------------------------------------------------------------------------------------
        self.status = f"SELECT status FROM {t} WHERE _id = ?"
        self.set_status = f"UPDATE {t} SET status = ? WHERE _id = ?"
        self.count_status = f"SELECT COUNT(*) FROM {t} WHERE status = ?"
        self.move = f"UPDATE {t} SET _id = ?2 WHERE _id = ?1"
        self.move_claim = f"UPDATE {claims} SET id = ?2 WHERE id = ?1"
        self.move_key = f"UPDATE {keys} SET id = ?2 WHERE id = ?1"
        self.ends = (
            f"SELECT coalesce(min(_id), 1), max(coalesce(max(_id), 0), "
            f"coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0)) FROM {t}"
        )
        self.clear_answered = (
            f"DELETE FROM {t} WHERE _id IN (SELECT _id FROM {t} WHERE status IN ({{}}) ORDER BY _id LIMIT ?)"
        )

        # -- unique ---------------------------------------------------------------------------------------
        self.key_of = f"SELECT {keys}.id FROM {keys} JOIN {t} ON _id = {keys}.id WHERE digest = ?" + (
            f" AND status < {ACKED}" * kind.acked
        )
        self.set_key = f"INSERT OR REPLACE INTO {keys} (digest, id) VALUES (?, ?)"
        self.drop_key = f"DELETE FROM {keys} WHERE id = ?"
        self.same_data = f"SELECT _id{', status' * kind.acked} FROM {t} WHERE data = ?"
        self.without_key = (
            f"SELECT _id, data FROM {t} WHERE _id > ?{f' AND status < {ACKED}' * kind.acked} "
            f"AND NOT EXISTS (SELECT 1 FROM {keys} WHERE id = {t}._id)"
        )
        self.orphans = {
            "claims": f"DELETE FROM {claims} WHERE id NOT IN (SELECT _id FROM {t})",
            "keys": f"DELETE FROM {keys} WHERE id NOT IN (SELECT _id FROM {t})",
        }

        # -- rows that cannot be read -----------------------------------------------------------------------
        self.insert_damaged = f"INSERT OR REPLACE INTO {damaged} (id, data, timestamp, why) VALUES (?, ?, ?, ?)"
