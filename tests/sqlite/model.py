"""What a table of each class holds, as plain Python.

rows      by id: item, status, priority, and which opener holds it
openers   "a", which is always there, and "b"; each with what it has got, in the order of get
"""

import json
import pickle
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from asyncpq.sqlite.tables import ACKED, FAILED, INITED, READY, UNACK, Kind

ANSWERED: Final = (ACKED, FAILED)


@dataclass
class Row:
    item: Any
    priority: int = 0
    status: int = INITED
    holder: str | None = None

    @property
    def answered(self) -> bool:
        return self.status in ANSWERED

    @property
    def free(self) -> bool:
        return self.holder is None and self.status < UNACK


def same(item: Any) -> str:
    """What is equal for items that are the same."""
    return json.dumps(item, sort_keys=True)


def stored(item: Any) -> bytes:
    return pickle.dumps(item, 4)


@dataclass
class Opener:
    """What one queue object counts by itself."""

    flight: list[int] = field(default_factory=list)  # auto_commit=False: rows of tasks that have ended
    said: int = 0
    outstanding: int = 0


class Model:
    """One table."""

    def __init__(self, kind: Kind, auto_commit: bool) -> None:
        self.kind, self.auto_commit = kind, auto_commit
        self.rows: dict[int, Row] = {}
        self.openers = {"a": Opener()}

    # -- looking --------------------------------------------------------------------------------------------

    def in_order(self) -> list[int]:
        return sorted(self.rows, key=lambda id: (self.rows[id].priority, -id if self.kind.newest_first else id))

    def free(self) -> list[int]:
        return [id for id in self.in_order() if self.rows[id].free]

    def listing(self) -> list[tuple[Any, ...]]:
        rows = ((id, self.rows[id]) for id in self.in_order())
        return [
            (id, row.item, *((row.status,) if self.kind.acked else ()), *((row.priority,) * self.kind.priority))
            for id, row in rows
        ]

    def count(self, status: int) -> int:
        return sum(row.status == status for row in self.rows.values())

    def like(self, item: Any) -> int | None:
        """The row of the same item, for unique queues."""
        return next((id for id, row in self.rows.items() if not row.answered and same(row.item) == same(item)), None)

    def equal(self, item: Any) -> int | None:
        """The row of the same bytes, which the table does not take twice."""
        return next((id for id, row in self.rows.items() if stored(row.item) == stored(item)), None)

    # -- put ------------------------------------------------------------------------------------------------

    def refuses(self, item: Any) -> bool:
        return self.kind.unique and self.like(item) is not None

    def put(self, id: int, item: Any, priority: int = 0) -> None:
        if self.kind.unique and (old := self.equal(item)) is not None:
            del self.rows[old]  # answered: it gives way
        assert id not in self.rows
        self.rows[id] = Row(item, priority)

    def update(self, id: int, item: Any) -> bool:
        """Return whether it is taken."""
        if self.kind.unique:
            others = {self.like(item)} | ({self.equal(item)} if id in self.rows else set())
            if others - {None, id}:
                return False
        if id in self.rows:
            self.rows[id].item = item
        return True

    # -- get ------------------------------------------------------------------------------------------------

    def take(self, who: str, ids: Iterable[int]) -> list[Any]:
        items, opener = [], self.openers[who]
        for id in ids:
            row = self.rows[id]
            items.append(row.item)
            opener.outstanding += 1
            if self.kind.acked:
                row.status, row.holder = UNACK, who
            elif self.auto_commit:
                del self.rows[id]
            else:
                row.holder = who
                opener.flight.append(id)
        return items

    def task_done(self, who: str) -> None:
        """By a task that has got nothing, for the rows of tasks that have ended."""
        opener = self.openers[who]
        opener.outstanding -= 1
        if self.auto_commit or not opener.flight:
            return
        opener.said += 1
        if opener.said >= len(opener.flight):
            self.finish(who, opener.flight)
            opener.flight, opener.said = [], 0

    def finish(self, who: str, ids: Iterable[int]) -> None:
        for id in ids:
            if id in self.rows and self.rows[id].holder == who:
                del self.rows[id]

    # -- answers --------------------------------------------------------------------------------------------

    def holds(self, who: str, id: int) -> bool:
        return id in self.rows and self.rows[id].status == UNACK and self.rows[id].holder == who

    def answer(self, who: str, id: int, status: int) -> None:
        self.rows[id].status, self.rows[id].holder = status, None
        self.openers[who].outstanding -= 1

    def move(self, id: int, new: int) -> None:
        assert id == new or new not in self.rows
        self.rows[new] = self.rows.pop(id)

    def clear_answered(self, limit: int | None, keep: int, failed: bool) -> int:
        """Return how many went."""
        statuses = ANSWERED if failed else (ACKED,)
        ids = sorted(id for id, row in self.rows.items() if row.status in statuses)
        count = max(0, len(ids) - keep)
        gone = ids[: count if limit is None else min(limit, count)]
        for id in gone:
            del self.rows[id]
        return len(gone)

    # -- openers --------------------------------------------------------------------------------------------

    def clear(self, who: str) -> None:
        self.rows = {id: row for id, row in self.rows.items() if row.answered}
        self.openers[who] = Opener()

    def close(self, who: str) -> None:
        for row in self.rows.values():
            if row.holder == who:
                row.holder = None
                row.status = READY if self.kind.acked else INITED
        del self.openers[who]

    def open(self, who: str) -> None:
        self.openers[who] = Opener()
