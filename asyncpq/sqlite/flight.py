"""Which task has got which rows, so that its task_done deletes those and nobody else's.  For auto_commit=False."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class Flight:
    """The rows that were got and are not done."""

    def __init__(self) -> None:
        """Hold none."""
        self._of: dict[Any, list[int]] = {}
        self._said = 0  # calls of task_done for rows whose tasks have ended

    def add(self, caller: asyncio.Task[Any] | None, row: int) -> None:
        """*caller* has got *row*."""
        self._of.setdefault(caller, []).append(row)

    def done(self, caller: asyncio.Task[Any] | None) -> list[int]:
        """Return the rows that a task_done of *caller* is for, and forget them."""
        own = self._of.pop(caller, None)
        if own is not None:
            return own
        # Which of those whose task has ended is meant cannot be known: they are done when all of them are.
        ended = [task for task in self._of if task is None or task.done()]
        orphans = [row for task in ended for row in self._of[task]]
        self._said += 1
        if self._said < len(orphans):
            return []
        self._said = 0
        for task in ended:
            del self._of[task]
        return orphans

    def undone(self, caller: asyncio.Task[Any] | None, rows: list[int]) -> None:
        """Take back `done`: the rows could not be deleted."""
        if rows:
            self._of.setdefault(caller, [])[:0] = rows

    def clear(self) -> None:
        """Forget all."""
        self._of.clear()
        self._said = 0
