"""What is in flight and held by nobody who is alive: the next opening gives it out again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncpq.sqlite.finding import columns
from asyncpq.sqlite.owner import identity, surely_dead
from asyncpq.sqlite.tables import READY, UNACK, quoted

if TYPE_CHECKING:
    import sqlite3

    from asyncpq.sqlite.finding import Table


class Claims:
    """The claims on one table."""

    def __init__(self, connection: sqlite3.Connection, queue: Table, now: float) -> None:
        """Read who is alive."""
        self._connection, self._queue, self._now = connection, queue, now
        self._t, self._claims = quoted(queue.table), quoted(f"asyncpq_claims_{queue.table}")
        self._there = bool(columns(connection, f"asyncpq_claims_{queue.table}"))
        self._alive = ", ".join(map(str, self._owners()))

    def _owners(self) -> list[int]:
        if not columns(self._connection, "asyncpq_owners"):
            return []
        sql = "SELECT id, identity, expires FROM asyncpq_owners WHERE queue = ?"
        here = identity()
        rows = self._connection.execute(sql, (self._queue.table,)).fetchall()
        return [int(id) for id, other, expires in rows if expires > self._now and not surely_dead(str(other), here)]

    @property
    def _held(self) -> str:
        """The ids that stay where they are, as a query."""
        if not self._there:
            return "SELECT NULL WHERE 0"
        now = repr(self._now)
        return (
            f"SELECT id FROM {self._claims} WHERE (owner IN ({self._alive}) AND (expires IS NULL OR expires > {now})) "
            f"OR (owner IS NULL AND expires > {now})"
        )

    def count(self) -> int:
        """Return how many items come back."""
        if self._queue.kind.acked:
            sql = f"SELECT count(*) FROM {self._t} WHERE status = {UNACK} AND _id NOT IN ({self._held})"
        elif self._there:
            sql = (
                f"SELECT count(*) FROM {self._claims} JOIN {self._t} ON _id = id "
                f"WHERE owner IS NOT NULL AND id NOT IN ({self._held})"
            )
        else:
            return 0
        return int(self._connection.execute(sql).fetchone()[0])

    def held(self) -> int:
        """Return how many items those who are alive hold, in a queue whose rows have no status."""
        if not self._there or self._queue.kind.acked:
            return 0
        sql = f"SELECT count(*) FROM ({self._held}) JOIN {self._t} ON _id = id"
        return int(self._connection.execute(sql).fetchone()[0])

    def give_back(self) -> int:
        """Let them come back, inside a transaction; return how many."""
        count = self.count()
        if self._queue.kind.acked:
            self._connection.execute(
                f"UPDATE {self._t} SET status = {READY} WHERE status = {UNACK} AND _id NOT IN ({self._held})"
            )
        if not self._there:
            return count
        unheld = f"owner IS NOT NULL AND id NOT IN ({self._held})"
        if self._queue.kind.acked:  # how often an item was tried is kept
            self._connection.execute(f"UPDATE {self._claims} SET owner = NULL, expires = NULL WHERE {unheld}")
        else:
            self._connection.execute(f"DELETE FROM {self._claims} WHERE {unheld}")
        return count
