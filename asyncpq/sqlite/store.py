"""The operations on one table, each inside a transaction that the engine began.  Synchronous.

    take     auto_commit=True    the row is deleted
             auto_commit=False   it stays, with a claim beside it, until `finish`
             ack queues          it stays, in flight, with a claim beside it, until it is answered

Items are decoded before the transaction is committed: what cannot be read stays where it is.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import CorruptDatabase, CorruptRow
from asyncpq.serializers import Damaged
from asyncpq.sqlite.frontier import Frontier
from asyncpq.sqlite.tables import FAILED, READY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncpq.sqlite.blobs import Blobs
    from asyncpq.sqlite.database import Database
    from asyncpq.sqlite.owner import Owner
    from asyncpq.sqlite.statements import Statements

INF: Final = float("inf")
LOOK: Final = 1.0  # seconds, at most, until the death of another process is seen, while anything is done here

logger: Final = logging.getLogger("asyncpq")

Raw = tuple[Any, ...]  # _id, data, timestamp, and for priority queues the priority


@dataclass(frozen=True, slots=True)
class Row:
    """A row that was taken."""

    id: int
    item: Any
    raw: Raw
    attempt: int = 1
    first: float = 0.0  # when it was taken for the first time (time.time); 0: not counted

    @property
    def timestamp(self) -> Any:
        """When it was put, as time.time."""
        return self.raw[2]


class Store:
    """One table."""

    def __init__(
        self, database: Database, sql: Statements, blobs: Blobs, owner: Owner, *, claims: bool, skip: bool
    ) -> None:
        """Change nothing.

        Args:
            database: the connection.
            sql: the statements on the table.
            blobs: decodes.
            owner: this opener.
            claims: what is taken stays in the table, claimed.
            skip: a row that cannot be read is set aside, instead of raised.
        """
        self.database, self.sql, self.blobs, self.owner = database, sql, blobs, owner
        self.claims, self._skip = claims, skip
        self._execute = database.execute
        self._frontier = Frontier(sql.kind) if claims and not sql.kind.acked else None
        self.looks = self._frontier is not None  # what is remembered is only true while nobody else writes
        self.lease: float | None = None  # seconds after which a claim is given out again
        self._version = -1
        self.due = 0.0  # when something may come back (time.time)
        self.came_back = self._came_back_before = 0  # given out again: lease over, or holder dead
        self.healed = False  # there were such at the opening

    def opened(self, now: float) -> None:
        """Give out again what the dead held; in the transaction that opens the table."""
        self._version = self.database.version()
        self.bring_back(now)
        self.healed = self.came_back > 0

    # -- transactions ---------------------------------------------------------------------------------------

    def begin(self, look: bool) -> bool:
        """Begin a transaction; return whether others changed the database since the last one, where *look* asks.

        What may have come back counts as changed, too: whoever waits for it hears of it only here.
        """
        self.database.begin()
        self._came_back_before = self.came_back
        changed = (look or self.looks) and self._look()
        if time.time() >= self.due:
            self.bring_back(time.time())
            return True
        return changed

    def _look(self) -> bool:
        version = self.database.version()
        changed = version != self._version and self._version != -1
        self._version = version
        if changed:
            self.changed_by_others()
        return changed

    def changed_by_others(self) -> None:
        """Forget what is only true while nobody else writes."""
        self.due = min(self.due, time.time() + LOOK)
        if self._frontier is not None:
            self._frontier.reset()

    def rolled_back(self) -> None:
        """Forget what the transaction did."""
        self.database.rollback()
        self.came_back = self._came_back_before
        self.due = 0.0  # what it brought back is not back
        if self._frontier is not None:
            self._frontier.reset()
        self.owner.rolled_back()

    def poll(self) -> tuple[bool, bool]:
        """Return whether others changed the database, and whether something may have come back.

        Outside a transaction.
        """
        changed, due = self._look(), time.time() >= self.due
        if due:
            self.database.transaction(lambda: self.bring_back(time.time()))
        return changed, due

    # -- put ------------------------------------------------------------------------------------------------

    def put(self, rows: Sequence[Raw]) -> list[int | None]:
        """Insert *rows* (data, timestamp, and for priority queues the priority); return their ids."""
        last = self.database.insert(self.sql.insert, rows)
        ids = range(last - len(rows) + 1, last + 1)
        if self._frontier is not None:
            for id, row in zip(ids, rows, strict=True):
                self._frontier.free(id, row[-1])
        return list(ids)

    def update(self, id: int, data: bytes) -> bool:
        """Replace the data of a row; return whether there is such a row."""
        return self._execute(self.sql.update, (data, id)).rowcount > 0

    # -- take -----------------------------------------------------------------------------------------------

    def take(self, limit: int) -> list[Row]:
        """Take up to *limit* rows, in order; what stops it behind the first one is met by the next call.

        Raises:
            CorruptRow: the first one cannot be read.
        """
        taken: list[Row] = []
        while len(taken) < limit:
            found = self._find(limit - len(taken))
            if not found:
                break
            if not self._decode_all(found, taken):
                break
        return taken

    def take_id(self, id: int) -> list[Row]:
        """Take the row *id*, if it is there and free.

        Raises:
            CorruptRow: it cannot be read.
        """
        sql = self.sql.by_id if self._frontier is not None else self.sql.take_id
        taken: list[Row] = []
        self._decode_all(self._execute(sql, (id,)).fetchall(), taken)
        return taken

    def take_after(self, id: int) -> list[Row]:
        """Take the next free row behind *id*; behind the last one, the first."""
        found = self._execute(self.sql.next_id, (id,)).fetchone()
        return self.take(1) if found is None else self.take_id(found[0])

    def peek(self) -> list[Row]:
        """Return the next free row, and leave it."""
        return [Row(raw[0], self.loads(raw), raw) for raw in self._execute(self.sql.front, (1,)).fetchall()]

    def loads(self, raw: Raw) -> Any:
        """Return the item of a row.

        Raises:
            CorruptRow: it cannot be read.
        """
        try:
            return self.blobs.loads(raw[1])
        except Damaged as error:
            raise self._corrupt(raw, error) from error

    def _find(self, limit: int) -> list[Raw]:
        """Take rows as the mode says, without decoding or claiming them."""
        if self._frontier is not None:
            return self._find_unclaimed(limit)
        if limit == 1:
            found = self._execute(self.sql.take_one).fetchall()
        else:
            found = self._execute(self.sql.take_many, (limit,)).fetchall()
        if not found and self._execute(self.sql.front, (1,)).fetchone():
            raise CorruptDatabase(self.database.path, f"table {self.sql.table!r} has rows that are not at their place")
        kind = self.sql.kind
        found.sort(key=(lambda raw: (raw[3], raw[0])) if kind.priority else (lambda raw: raw[0]))
        return found[::-1] if kind.newest_first else found

    def _find_unclaimed(self, limit: int) -> list[Raw]:
        frontier = self._frontier
        assert frontier is not None
        while (id := frontier.next_behind()) is not None:
            found = self._execute(self.sql.by_id, (id,)).fetchall()
            if found:
                return found
        if frontier.passed is None:
            found = self._execute(self.sql.front, (limit,)).fetchall()
        else:
            found = self._execute(self.sql.front_beyond, (*frontier.arguments, limit)).fetchall()
        if found:
            frontier.taken(found[-1][0], found[-1][-1])
        return found

    def _decode_all(self, found: list[Raw], taken: list[Row]) -> bool:
        """Decode and claim *found*; return False where one that cannot be read ends it behind others."""
        for index, raw in enumerate(found):
            try:
                item = self.blobs.loads(raw[1])
            except Damaged as error:
                if self._skip:
                    self._set_aside(raw, str(error))
                    continue
                if not taken:
                    raise self._corrupt(raw, error) from error
                self._put_back(found[index:])
                return False
            taken.append(self._claimed(raw, item))
        return True

    def _claimed(self, raw: Raw, item: Any) -> Row:
        if not self.claims:
            return Row(raw[0], item, raw)
        now = time.time()
        expires = None if self.lease is None else now + self.lease
        values = (raw[0], self.owner.ensure(now), expires, now)
        attempts, first = self._execute(self.sql.claim, values).fetchall()[0]
        if expires is not None and expires < self.due:
            self.due = expires
        return Row(raw[0], item, raw, attempts, first)

    def _corrupt(self, raw: Raw, error: Damaged) -> CorruptRow:
        return CorruptRow(self.database.path, self.sql.table, raw[0], str(error))

    def _set_aside(self, raw: Raw, why: str) -> None:
        logger.warning(
            "%s: table %r, _id %d cannot be read; it is set aside in asyncpq_damaged_%s",
            *(self.database.path, self.sql.table, raw[0], self.sql.table),
        )
        self._execute(self.sql.setup_damaged)
        self._execute(self.sql.insert_damaged, (*raw[:3], why))
        if self.sql.kind.acked:
            self._execute(self.sql.set_status, (FAILED, raw[0]))
        elif self.claims:
            self._execute(self.sql.delete, (raw[0],))

    # -- and back -------------------------------------------------------------------------------------------

    def give_back(self, rows: Iterable[Row]) -> None:
        """Undo that *rows* were taken: their callers never got them."""
        for row in rows:
            if self.sql.kind.acked:
                self._execute(self.sql.uncount, (row.id,))
            elif self.claims:
                self._execute(self.sql.unclaim, (row.id,))
            self._put_back([row.raw])

    def _put_back(self, found: Iterable[Raw]) -> None:
        for raw in found:
            if self.sql.kind.acked:
                self._execute(self.sql.set_status, (READY, raw[0]))
            elif self._frontier is not None:
                self._frontier.free(raw[0], raw[-1])
            else:
                self._execute(self.sql.restore, raw)

    def finish(self, ids: Iterable[int]) -> None:
        """Delete rows that this opener holds (auto_commit=False)."""
        for id in ids:
            if self.holds(id):
                self._execute(self.sql.delete, (id,))
                self._execute(self.sql.unclaim, (id,))

    def holds(self, id: int) -> bool:
        """Return whether row *id* is claimed by this opener."""
        owner = self._execute(self.sql.owner_of, (id,)).fetchone()
        return owner is not None and owner[0] == self.owner.id != 0

    def bring_back(self, now: float) -> None:
        """Give out again what was held too long, or by somebody who is dead, or whose delay has ended."""
        sql, acked = self.sql, self.sql.kind.acked
        if acked:
            self._execute(sql.back_expired, (now,))
        self._came_back(self._execute(sql.leases_over, (now,)).fetchone()[0], "their lease is over")
        self._execute(sql.expire, (now,))
        for owner in self.owner.dead(now):
            if acked:
                self._execute(sql.back_owned, (owner,))
            self._came_back(self._execute(sql.let_all_go, (owner,)).rowcount, "who held them has ended")
            self.owner.bury(owner)
        if self._frontier is not None:
            self._frontier.reset()
        self._next_due()

    def _came_back(self, items: int, why: str) -> None:
        if items:
            self.came_back += items
            logger.warning(
                "%s: table %r: %d of its items are given out again: %s", self.database.path, self.sql.table, items, why
            )

    def _next_due(self) -> None:
        first = self._execute(self.sql.next_expiry).fetchone()[0]
        others = INF if self.owner.next_expiry() == INF else time.time() + LOOK
        self.due = min(INF if first is None else first, others)

    def leave(self) -> None:
        """Let go of all that this opener holds: the others, or the next one, get it."""
        if self.owner.id:
            if self.sql.kind.acked and self.owner.others():
                # They do not look for it by themselves; where there are none, it stays in flight, as persist-queue
                # leaves it.
                self._execute(self.sql.back_owned, (self.owner.id,))
            self._execute(self.sql.let_all_go, (self.owner.id,))
            self.owner.leave()

    # -- all ------------------------------------------------------------------------------------------------

    def count(self) -> int:
        """Return how many rows can be taken."""
        return int(self._execute(self.sql.count).fetchone()[0])

    def count_left(self) -> int:
        """Return how many rows are not done: to be taken, or taken by whomever."""
        return int(self._execute(self.sql.count_left).fetchone()[0])

    def clear(self) -> int:
        """Delete every row that is not answered yet, held by whomever; return how many of them could be taken."""
        free = self.count()
        self._execute(self.sql.clear)
        for table in ("claims", "keys") if self.sql.kind.unique else ("claims",):
            self._execute(self.sql.orphans[table])
        if self._frontier is not None:
            self._frontier.reset()
        return free
