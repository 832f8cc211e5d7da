"""Every statement on a table, written out once.  Pure: no connection, no clock, no await."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncpq.sqlite.tables import ACKED, INITED, READY, UNACK, quoted

if TYPE_CHECKING:
    from asyncpq.sqlite.tables import Kind


@dataclass(frozen=True, slots=True)
class Words:
    """What the statements are made of, quoted."""

    t: str
    claims: str
    keys: str
    damaged: str
    ready: str  # indexes
    unack: str
    order: str
    source: str  # where rows are looked for in order
    free: str  # condition: nobody holds it
    beyond: str  # condition: it comes after another one
    row: str  # the columns of a row that is taken
    by: str  # the order of get


def words(kind: Kind, table: str) -> Words:
    """Return the words for *table*."""
    t, claims = quoted(table), quoted(f"asyncpq_claims_{table}")
    ready = quoted(f"asyncpq_ready_{table}")
    by = "priority, _id" if kind.priority else "_id"
    unclaimed = f"NOT EXISTS (SELECT 1 FROM {claims} WHERE id = {t}._id AND owner)"
    return Words(
        t=t,
        claims=claims,
        keys=quoted(f"asyncpq_keys_{table}"),
        damaged=quoted(f"asyncpq_damaged_{table}"),
        ready=ready,
        unack=quoted(f"asyncpq_unack_{table}"),
        order=quoted(f"asyncpq_order_{table}"),
        # Without INDEXED BY the planner walks the table in the order of _id, over all that is acknowledged.
        source=f"{t} INDEXED BY {ready}" if kind.acked else t,
        free=f"status < {UNACK}" if kind.acked else unclaimed,
        beyond="(priority, _id) > (?, ?)" if kind.priority else "_id < ?" if kind.newest_first else "_id > ?",
        row="_id, data, timestamp" + ", priority" * kind.priority,
        by=f"{by} DESC" if kind.newest_first else by,
    )


def literal(text: str) -> str:
    """Return *text* for a template of str.format, which is to leave it as it is."""
    return text.replace("{", "{{").replace("}", "}}")


class Statements:
    """The statements on one table, which exists."""

    def __init__(self, kind: Kind, table: str) -> None:
        """Write them for *table*."""
        self.table, self.kind = table, kind
        w = words(kind, table)
        self._making(w)
        self._putting(w)
        self._getting(w)
        self._claiming(w)
        self._coming_back(w)
        self._answering(w)
        self._telling_apart(w)
        self._setting_aside(w)

    def _making(self, w: Words) -> None:
        kind = self.kind
        by_owner, by_expiry, by_id = (
            quoted(f"asyncpq_{what}_{self.table}") for what in ("claims_owner", "claims_expires", "keys_id")
        )
        self.setup = [
            f"CREATE TABLE IF NOT EXISTS {w.claims} (id INTEGER PRIMARY KEY, owner INTEGER, expires REAL, "
            f"attempts INTEGER NOT NULL DEFAULT 0, first REAL, error TEXT)",
            f"CREATE INDEX IF NOT EXISTS {by_owner} ON {w.claims} (owner) WHERE owner IS NOT NULL",
            f"CREATE INDEX IF NOT EXISTS {by_expiry} ON {w.claims} (expires) WHERE expires IS NOT NULL",
        ]
        if kind.acked:
            self.setup += [
                f"CREATE INDEX IF NOT EXISTS {w.ready} ON {w.t} (_id) WHERE status < {UNACK}",
                f"CREATE INDEX IF NOT EXISTS {w.unack} ON {w.t} (_id) WHERE status = {UNACK}",
            ]
        if kind.priority:
            self.setup.append(f"CREATE INDEX IF NOT EXISTS {w.order} ON {w.t} (priority, _id)")
        if kind.unique:
            self.setup += [
                f"CREATE TABLE IF NOT EXISTS {w.keys} (digest BLOB PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID",
                f"CREATE INDEX IF NOT EXISTS {by_id} ON {w.keys} (id)",
            ]
        self.setup_damaged = (
            f"CREATE TABLE IF NOT EXISTS {w.damaged} (id INTEGER PRIMARY KEY, data BLOB, timestamp FLOAT, why TEXT)"
        )

    def _putting(self, w: Words) -> None:
        kind = self.kind
        more = ", status" * kind.acked + ", priority" * kind.priority
        values = f", {INITED}" * kind.acked + ", ?" * kind.priority
        self.insert = f"INSERT INTO {w.t} (data, timestamp{more}) VALUES (?, ?{values})"
        self.restore = (
            f"INSERT OR IGNORE INTO {w.t} (_id, data, timestamp{', priority' * kind.priority}) "
            f"VALUES (?, ?, ?{', ?' * kind.priority})"
        )
        self.update = f"UPDATE {w.t} SET data = ? WHERE _id = ?"

    def _getting(self, w: Words) -> None:
        kind = self.kind
        first = f"SELECT _id FROM {w.source} WHERE {w.free} ORDER BY {w.by} LIMIT"
        take = f"UPDATE {w.t} SET status = {UNACK}" if kind.acked else f"DELETE FROM {w.t}"
        self.front = f"SELECT {w.row} FROM {w.source} WHERE {w.free} ORDER BY {w.by} LIMIT ?"
        self.front_beyond = f"SELECT {w.row} FROM {w.source} WHERE {w.beyond} AND {w.free} ORDER BY {w.by} LIMIT ?"
        self.by_id = f"SELECT {w.row} FROM {w.t} WHERE _id = ? AND {w.free}"
        self.take_one = f"{take} WHERE _id = ({first} 1) RETURNING {w.row}"
        self.take_many = f"{take} WHERE _id IN ({first} ?) RETURNING {w.row}"
        self.take_id = f"{take} WHERE _id = ? AND {w.free} RETURNING {w.row}"
        self.next_id = f"SELECT _id FROM {w.source} WHERE {w.beyond} AND {w.free} ORDER BY {w.by} LIMIT 1"
        self.delete = f"DELETE FROM {w.t} WHERE _id = ?"
        self.clear = f"DELETE FROM {w.t}" + f" WHERE status < {ACKED}" * kind.acked
        self.count = f"SELECT COUNT(*) FROM {w.source} WHERE {w.free}"
        self.count_left = (
            f"SELECT (SELECT COUNT(*) FROM {w.source} WHERE {w.free}) + "
            f"(SELECT COUNT(*) FROM {w.t} INDEXED BY {w.unack} WHERE status = {UNACK})"
            if kind.acked
            else f"SELECT COUNT(*) FROM {w.t}"
        )
        self.rows = f"SELECT {w.row}{', status' * kind.acked} FROM {literal(w.t)} WHERE {{}} ORDER BY {w.by} LIMIT ?"

    def _claiming(self, w: Words) -> None:
        kind = self.kind
        self.claim = (
            f"INSERT INTO {w.claims} (id, owner, expires, attempts, first) VALUES (?, ?, ?, 1, ?) "
            f"ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, expires = excluded.expires, "
            f"attempts = attempts + 1, first = coalesce(first, excluded.first) RETURNING attempts, first"
        )
        self.owner_of = f"SELECT owner, attempts FROM {w.claims} WHERE id = ?"
        self.unclaim = f"DELETE FROM {w.claims} WHERE id = ?"
        self.let_go = f"UPDATE {w.claims} SET owner = NULL, expires = ?, error = ? WHERE id = ?"
        self.uncount = f"UPDATE {w.claims} SET owner = NULL, expires = NULL, attempts = attempts - 1 WHERE id = ?"
        self.let_all_go = (
            f"UPDATE {w.claims} SET owner = NULL, expires = NULL WHERE owner = ?"
            if kind.acked
            else f"DELETE FROM {w.claims} WHERE owner = ?"
        )
        self.next_expiry = f"SELECT min(expires) FROM {w.claims} WHERE expires IS NOT NULL"

    def _coming_back(self, w: Words) -> None:
        kind = self.kind
        self.back_expired = f"UPDATE {w.t} SET status = {READY} WHERE status = {UNACK} AND _id IN " + (
            f"(SELECT id FROM {w.claims} WHERE expires <= ?)"
        )
        self.leases_over = f"SELECT count(*) FROM {w.claims} WHERE expires <= ? AND owner IS NOT NULL"
        self.expire = (
            f"UPDATE {w.claims} SET owner = NULL, expires = NULL WHERE expires <= ?"
            if kind.acked
            else f"DELETE FROM {w.claims} WHERE expires <= ?"
        )
        self.back_owned = f"UPDATE {w.t} SET status = {READY} WHERE status = {UNACK} AND _id IN " + (
            f"(SELECT id FROM {w.claims} WHERE owner = ?)"
        )
        self.back_unowned = (
            f"UPDATE {w.t} SET status = {READY} WHERE _id IN (SELECT _id FROM {w.t} INDEXED BY {w.unack} "
            f"WHERE status = {UNACK} AND NOT EXISTS "
            f"(SELECT 1 FROM {w.claims} WHERE id = {w.t}._id AND (owner OR expires > ?)))"
        )

    def _answering(self, w: Words) -> None:
        self.status = f"SELECT status FROM {w.t} WHERE _id = ?"
        self.set_status = f"UPDATE {w.t} SET status = ? WHERE _id = ?"
        self.count_status = f"SELECT COUNT(*) FROM {w.t} WHERE status = ?"
        self.move = f"UPDATE {w.t} SET _id = ?2 WHERE _id = ?1"
        self.move_claim = f"UPDATE {w.claims} SET id = ?2 WHERE id = ?1"
        self.move_key = f"UPDATE {w.keys} SET id = ?2 WHERE id = ?1"
        self.ends = (
            f"SELECT coalesce(min(_id), 1), max(coalesce(max(_id), 0), "
            f"coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?), 0)) FROM {w.t}"
        )
        self.clear_answered = (
            f"DELETE FROM {literal(w.t)} WHERE _id IN "
            f"(SELECT _id FROM {literal(w.t)} WHERE status IN ({{}}) ORDER BY _id LIMIT ?)"
        )

    def _telling_apart(self, w: Words) -> None:
        kind = self.kind
        self.key_of = f"SELECT {w.keys}.id FROM {w.keys} JOIN {w.t} ON _id = {w.keys}.id WHERE digest = ?" + (
            f" AND status < {ACKED}" * kind.acked
        )
        self.set_key = f"INSERT OR REPLACE INTO {w.keys} (digest, id) VALUES (?, ?)"
        self.drop_key = f"DELETE FROM {w.keys} WHERE id = ?"
        self.same_data = f"SELECT _id{', status' * kind.acked} FROM {w.t} WHERE data = ?"
        self.without_key = (
            f"SELECT _id, data FROM {w.t} WHERE _id > ?{f' AND status < {ACKED}' * kind.acked} "
            f"AND NOT EXISTS (SELECT 1 FROM {w.keys} WHERE id = {w.t}._id)"
        )
        self.orphans = {
            "claims": f"DELETE FROM {w.claims} WHERE id NOT IN (SELECT _id FROM {w.t})",
            "keys": f"DELETE FROM {w.keys} WHERE id NOT IN (SELECT _id FROM {w.t})",
        }

    def _setting_aside(self, w: Words) -> None:
        self.insert_damaged = f"INSERT OR REPLACE INTO {w.damaged} (id, data, timestamp, why) VALUES (?, ?, ?, ?)"
