"""What a copy says, while it is made and afterwards."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

OFTEN: Final = 0.05  # seconds, at least, between two calls of a progress callback


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What `copy` made."""

    path: Path
    target: Path
    kind: Literal["file", "sqlite"]
    items: int  # from tail to head as info says, or in the tables, that are not acknowledged
    bytes: int  # of the copy
    files: int
    starts: int  # 1: at once; more: chunks were consumed before they were copied, or a writer was in the way


class Cancelled(Exception):
    """Whoever waited for the copy waits no more."""


class Meter:
    """Counts what is copied, and ends it when nobody waits any more."""

    def __init__(self, stop: threading.Event, tell: Callable[[int, int], None]) -> None:
        """Count from nothing; *tell* is given what is done and what is to be done."""
        self._stop, self._tell = stop, tell
        self._done = self._total = 0
        self._told = 0.0

    def start(self, total: int) -> None:
        """Begin, or begin anew: *total* bytes are to be copied."""
        self._done, self._total = 0, total
        self.add(0)

    def add(self, copied: int) -> None:
        """Count *copied* bytes.

        Raises:
            Cancelled: nobody waits for the copy.
        """
        if self._stop.is_set():
            raise Cancelled
        self._done += copied
        now = time.monotonic()
        if now - self._told >= OFTEN or self._done >= self._total:
            self._told = now
            self._tell(self._done, self._total)

    def at(self, done: int, total: int) -> None:
        """Be at *done* of *total* bytes; raises as `add`."""
        self._done, self._total = 0, total
        self.add(done)
