"""Where the next free row is, when rows that are in flight stay in the table.  Pure.

    passed   every row up to here, in the order of get, is in flight or gone ...
    behind   ... but for these, which came or came back later

So a get neither walks over all that is in flight, nor asks more than once.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncpq.sqlite.tables import Kind

Key = tuple[Any, ...]


class Frontier:
    """The read side of a queue with auto_commit=False."""

    def __init__(self, kind: Kind) -> None:
        """Know nothing: the next row is looked for from the first one on."""
        self._kind = kind
        self.passed: Key | None = None
        self._behind: list[tuple[Key, int]] = []

    def key(self, row: int, priority: Any) -> Key:
        """Return what orders the rows."""
        if self._kind.priority:
            return priority, row
        return (-row,) if self._kind.newest_first else (row,)

    @property
    def arguments(self) -> Key:
        """What `Statements.front_beyond` takes: the place after which to look."""
        assert self.passed is not None
        return (-self.passed[0],) if self._kind.newest_first else self.passed

    def taken(self, row: int, priority: Any) -> None:
        """A row that was looked for beyond `passed` was taken."""
        key = self.key(row, priority)
        # NULL has no place in the order: with one of those, all is looked for from the first row on.
        self.passed = None if None in key else key

    def free(self, row: int, priority: Any) -> None:
        """A row was put, or given back."""
        if self.passed is None:
            return
        key = self.key(row, priority)
        if None in key:
            self.reset()
        elif key <= self.passed:
            heapq.heappush(self._behind, (key, row))

    def next_behind(self) -> int | None:
        """Return the first row behind that may be free, and forget it; None: look beyond."""
        return heapq.heappop(self._behind)[1] if self._behind else None

    def reset(self) -> None:
        """Know nothing any more: others changed the table, or a transaction was rolled back."""
        self.passed = None
        self._behind.clear()
