"""The operations of the acknowledged queues on their table, each inside a transaction."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from asyncpq.errors import NotInFlight
from asyncpq.sqlite.store import Store
from asyncpq.sqlite.tables import FAILED, READY, UNACK
from asyncpq.sqlite.unique import UniqueStore

if TYPE_CHECKING:
    from collections.abc import Sequence


class AckStore(Store):
    """A table with a status."""

    may_resume = True  # opening gives out again what nobody holds

    def opened(self, now: float) -> None:
        """Be known as an opener, and give out again what nobody holds."""
        super().opened(now)
        self.owner.ensure(now)
        if self.may_resume:
            self.resume(now)

    def resume(self, now: float) -> int:
        """Give out again what is in flight and held by nobody, as persist-queue leaves it; return how many."""
        return self._execute(self.sql.back_unowned, (now,)).rowcount

    def answer(self, id: int, status: int, attempt: int | None = None) -> int:
        """End the flight of row *id*; *attempt*: only if it was not given out again since that one.

        Raises:
            NotInFlight: it is not held here.
        """
        self._check_held(id, attempt)
        self._execute(self.sql.set_status, (status, id))
        self._execute(self.sql.unclaim, (id,))
        return id

    def fail(self, id: int, error: str | None, attempt: int | None = None) -> int:
        """End the flight of row *id*, as failed: as `answer`; its attempts and its last error are kept."""
        self._check_held(id, attempt)
        self._execute(self.sql.set_status, (FAILED, id))
        self._execute(self.sql.let_go, (None, error, id))
        return id

    def nack(self, id: int, delay: float, to_end: bool, error: str | None, attempt: int | None = None) -> int:
        """Give row *id* back: as `answer`; return its id, which is a new one with *to_end*."""
        self._check_held(id, attempt)
        expires = time.time() + delay if delay else None
        self._execute(self.sql.let_go, (expires, error, id))
        if expires is None:
            self._execute(self.sql.set_status, (READY, id))
        else:
            self.due = min(self.due, expires)
        return self._move_to_end(id) if to_end else id

    def _move_to_end(self, id: int) -> int:
        first, last = self._execute(self.sql.ends, (self.sql.table,)).fetchone()
        new: int = first - 1 if self.sql.kind.newest_first else last + 1
        self._execute(self.sql.move, (id, new))
        self._execute(self.sql.move_claim, (id, new))
        if new > 0:  # ids are never used again
            self._execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (new, self.sql.table))
        return new

    def _check_held(self, id: int, attempt: int | None) -> None:
        row = self._execute(self.sql.status, (id,)).fetchone()
        if row is None or row[0] != UNACK:
            why = "there is no such row" if row is None else "it was answered or given back before, or its lease ended"
            raise NotInFlight(f"{self.database.path}: table {self.sql.table!r}, _id {id} is not in flight: {why}")
        owner, attempts = self._execute(self.sql.owner_of, (id,)).fetchone() or (None, None)
        if owner not in (None, self.owner.id) or attempt not in (None, attempts):
            raise NotInFlight(
                f"{self.database.path}: table {self.sql.table!r}, _id {id} was given out again, to another queue, "
                f"process or worker, who alone may answer it"
            )

    def clear_answered(self, statuses: Sequence[int], limit: int | None, keep: int) -> int:
        """Delete the oldest answered rows but *keep*, and at most *limit*; return how many."""
        there = sum(self._execute(self.sql.count_status, (status,)).fetchone()[0] for status in statuses)
        count = max(0, there - keep) if limit is None else max(0, min(limit, there - keep))
        sql = self.sql.clear_answered.format(", ".join(map(str, statuses)))
        return self._execute(sql, (count,)).rowcount


class UniqueAckStore(UniqueStore, AckStore):
    """The same, with digests: of what is not answered."""

    def answer(self, id: int, status: int, attempt: int | None = None) -> int:
        """End the flight of row *id*; the same item may be put again."""
        super().answer(id, status, attempt)
        self._execute(self.sql.drop_key, (id,))
        return id

    def fail(self, id: int, error: str | None, attempt: int | None = None) -> int:
        """End the flight of row *id*, as failed; the same item may be put again."""
        super().fail(id, error, attempt)
        self._execute(self.sql.drop_key, (id,))
        return id

    def _move_to_end(self, id: int) -> int:
        new = super()._move_to_end(id)
        self._execute(self.sql.move_key, (id, new))
        return new
