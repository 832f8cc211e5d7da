"""What a long measuring is at: a bar with a text where stderr is a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from asyncpq.cli.terminal import console, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["stages"]

EVERY: Final = 5.0  # seconds from line to line


@contextmanager
def stages(name: str) -> Iterator[Callable[[str, float], None]]:
    """Give a function to be told what begins, and which part of all is done, from 0 to 1."""
    if sys.stderr.isatty():
        with _bar(name) as told:
            yield told
    else:
        yield _lines(name)


def _lines(name: str) -> Callable[[str, float], None]:
    last = time.monotonic()

    def told(what: str, done: float) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            say(f"{name}: {done:.0%}, {what}")

    return told


@contextmanager
def _bar(name: str) -> Iterator[Callable[[str, float], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(name, markup=False),
        BarColumn(20),
        TextColumn("{task.percentage:>3.0f}%", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, done: bar.update(task, description=what, completed=done)
