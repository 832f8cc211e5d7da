"""How far a look at a database is: rows of all, told by the thread that reads.

progress(0, None)          while SQLite checks its pages
progress(512, 100_000)     behind each page of rows
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pace"]

STEPS: Final = 10_000  # of SQLite's machine, between two calls of a progress

T = TypeVar("T")


class Pace:
    """Tells *progress* how many rows were read, and of how many; what it raises ends the reading."""

    def __init__(self, progress: Callable[[int, int | None], object] | None = None) -> None:
        """Nothing is read."""
        self._progress = progress
        self._rows, self._ended = 0, list[BaseException]()
        self.total: int | None = None

    def watch(self, connection: sqlite3.Connection) -> None:
        """Tell it, too, while SQLite is at work for long."""
        if self._progress is not None:
            connection.set_progress_handler(self._asked, STEPS)

    def _asked(self) -> int:
        """Call the progress; what is not 0 has SQLite give up."""
        try:
            self.read(0)
        except BaseException as error:
            self._ended.append(error)
        return len(self._ended)

    def read(self, rows: int) -> None:
        """Say that so many more rows were read."""
        self._rows += rows
        if self._progress is not None:
            self._progress(self._rows, self.total)

    def run(self, work: Callable[[], T]) -> T:
        """Return what *work* returns, or raise what the progress has raised meanwhile."""
        try:
            return work()
        except sqlite3.OperationalError:
            if self._ended:
                raise self._ended[0] from None
            raise
