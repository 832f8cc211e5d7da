"""How far long work is: a bar where stderr is a terminal, else a line every few seconds.

export  ━━━━━━━━━╸━━━━━━━━━━━  41%  410,000 of 1,000,000 items  82.0 MB  512,000/s  0:00:01
export: 410,000 of 1,000,000 items, 82.0 MB, 512,000/s, 1 s left
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from asyncpq.cli.terminal import console, say, size

with suppress(ImportError):  # Windows
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from rich.progress import Progress

__all__ = ["Bar", "Lines", "Meter", "Reached", "meter"]

EVERY: Final = 5.0  # seconds from line to line
REDRAWN: Final = 0.1  # seconds from picture to picture of the bar


@dataclass(slots=True)
class Reached:
    """How far it is.  None: not known, or not counted."""

    what: str
    items: int | None = None
    bytes: int | None = None
    all_items: int | None = None
    all_bytes: int | None = None

    @property
    def part(self) -> float | None:
        """What part is done, from 0 to 1."""
        for done, total in ((self.bytes, self.all_bytes), (self.items, self.all_items)):
            if done is not None and total:
                return min(1.0, done / total)
        return None

    def now(self, items: int | None, bytes: int | None, all_items: int | None, all_bytes: int | None) -> None:
        """Be there."""
        self.items, self.bytes = items, bytes
        self.all_items = all_items or self.all_items
        self.all_bytes = all_bytes or self.all_bytes

    def parts(self, seconds: float) -> list[str]:
        """Return what is known, for people: items, bytes, and how much a second, after *seconds*."""
        told = []
        if self.items is not None:
            of = f" of {self.all_items:,}" if self.all_items is not None else ""
            told.append(f"{self.items:,}{of} items")
        if self.bytes is not None:
            of = f" of {size(self.all_bytes)}" if self.all_bytes is not None else ""
            told.append(f"{size(self.bytes)}{of}")
        passed = max(seconds, 1e-9)
        if self.items is not None:
            told.append(f"{self.items / passed:,.0f}/s")
        elif self.bytes is not None:
            told.append(f"{size(self.bytes / passed)}/s")
        return told or [f"{seconds:.0f} s"]

    def left(self, seconds: float) -> float | None:
        """Return the seconds that are left, when *seconds* have passed."""
        part = self.part
        return seconds * (1 - part) / part if part else None


class Meter(Protocol):
    """To be told how far it is, as often as one likes."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""

    def reach(
        self,
        *,
        items: int | None = None,
        bytes: int | None = None,
        all_items: int | None = None,
        all_bytes: int | None = None,
    ) -> None:
        """Say how many items and bytes are done, in all; *all_...*: how many there are, where that has changed."""


def meter(what: str, *, items: int | None = None, bytes: int | None = None) -> Meter:
    """Return the meter of the work *what*, of so many items and bytes in all; it writes to stderr.

    No bar is drawn where the data goes to the same terminal.
    """
    reached = Reached(what, all_items=items, all_bytes=bytes)
    return Bar(reached) if sys.stderr.isatty() else Lines(reached)


class Lines:
    """A line every few seconds; none for what is done before."""

    def __init__(
        self, reached: Reached, clock: Callable[[], float] = time.monotonic, write: Callable[[object], None] = say
    ) -> None:
        """Measure by *clock*, in seconds."""
        self._reached, self._clock, self._write = reached, clock, write
        self._began = self._last = clock()

    def __enter__(self) -> Self:
        """Begin to measure."""
        self._began = self._last = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write nothing more."""

    def reach(
        self,
        *,
        items: int | None = None,
        bytes: int | None = None,
        all_items: int | None = None,
        all_bytes: int | None = None,
    ) -> None:
        """Say how many items and bytes are done; write a line if it is time."""
        now = self._clock()
        if now - self._last < EVERY:
            return
        self._last = now
        self._reached.now(items, bytes, all_items, all_bytes)
        self._write(self._line(now - self._began))

    def _line(self, seconds: float) -> str:
        parts, left = self._reached.parts(seconds), self._reached.left(seconds)
        if left is not None:
            parts.append(f"{left:.0f} s left")
        return f"{self._reached.what}: {', '.join(parts)}"


class Bar:
    """A bar at the foot of the terminal, redrawn in place, gone when it is done; drawn from the first step on.

    A terminal has room for one: of two commands in a pipe, the first to make a step draws it, and that is the writer.
    """

    def __init__(self, reached: Reached, clock: Callable[[], float] = time.monotonic) -> None:
        """Measure by *clock*, in seconds."""
        self._reached, self._clock = reached, clock
        self._began = self._last = clock()
        self._bar = _picture()
        self._task = self._bar.add_task(reached.what, total=self._total, detail="")
        self._place: int | None = None  # a descriptor of the terminal, locked; -1: somebody else draws there

    @property
    def _total(self) -> float | None:
        """1, the whole; None where nobody knows how much that is."""
        return 1.0 if self._reached.all_bytes or self._reached.all_items else None

    def __enter__(self) -> Self:
        """Begin to measure."""
        self._began = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it away."""
        self._bar.stop()
        if self._place is not None and self._place >= 0:
            os.close(self._place)
            self._place = None

    def reach(
        self,
        *,
        items: int | None = None,
        bytes: int | None = None,
        all_items: int | None = None,
        all_bytes: int | None = None,
    ) -> None:
        """Say how many items and bytes are done."""
        now = self._clock()
        if self._place is None:
            self._place = _place_on_terminal()
            if self._place >= 0:
                self._bar.start()
        elif now - self._last < REDRAWN:
            return
        self._last = now
        self._reached.now(items, bytes, all_items, all_bytes)
        self._show(now - self._began)

    def _show(self, seconds: float) -> None:
        reached = self._reached
        percent = [f"{reached.part:.0%}"] if reached.part is not None else []
        detail = "  ".join(percent + reached.parts(seconds))
        self._bar.update(self._task, total=self._total, completed=reached.part or 0.0, detail=detail)


def _place_on_terminal() -> int:
    """Return a locked descriptor of the terminal; -1 where another bar has it, or there is none."""
    try:
        fd = os.open(os.ttyname(sys.stderr.fileno()), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return -1
    return fd


def _picture() -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
    )
