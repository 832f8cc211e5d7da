"""``asyncpq tail``: a live queue, followed as a reader: size, rates in and out, how old the oldest chunk is.

jobs  1,234 items  56.0/s in  12.0/s out  104.2 kB in 13 chunks  oldest 3 min 12 s  open elsewhere
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from asyncpq.cli.following import look, rates
from asyncpq.cli.options import QUEUE, command
from asyncpq.cli.terminal import console, line, quantity, safe, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.cli.following import Sample
    from asyncpq.sources import Spec


@command("tail", "asyncpq tail jobs", "asyncpq tail --interval 10 -n 6 jobs >> jobs.log")
@click.argument("queue", type=QUEUE, metavar="PATH")
@click.option(
    "--interval", type=click.FloatRange(min=0.05), default=1.0, show_default=True, help="Seconds from look to look."
)
@click.option("-n", "count", type=click.IntRange(min=1), help="Looks; then it ends.  [default: until Ctrl-C]")
def tail(queue: Spec, interval: float, count: int | None) -> None:
    """Follow a queue that others use: size, rates in and out, age of the oldest chunk.

    The line is refreshed in place on a terminal; else each look is a line.  No lock is taken, and nothing is changed.
    Ctrl-C ends it, with exit status 0.
    """
    with ExitStack() as stack:
        show = _live(stack) if sys.stdout.isatty() else _plain
        try:
            _follow(queue, show, interval, count)
        except KeyboardInterrupt:  # the way to end it
            return


def _follow(queue: Spec, show: Callable[[str], None], interval: float, count: int | None) -> None:
    before = look(queue)
    show(_line(queue, before, before))
    looks, due = 1, before.at
    while count is None or looks < count:
        due = max(due + interval, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        now = look(queue)
        show(_line(queue, before, now))
        before, looks = now, looks + 1


def _line(queue: Spec, before: Sample, now: Sample) -> str:
    name = f"{queue.path}#{queue.name}" if queue.name else str(queue.path)
    parts = [safe(name), quantity(now.items, "item")]
    if (rate := rates(before, now)) is not None:
        parts += [f"{rate.put:,.1f}/s in", f"{rate.taken:,.1f}/s out"]
    chunks = f" in {quantity(now.chunks, 'chunk')}" if now.chunks is not None else ""
    parts.append(f"{size(now.bytes_on_disk)}{chunks}")
    if now.oldest is not None and now.items:
        parts.append(f"oldest {_age(now.oldest)}")
    if now.open_elsewhere:
        parts.append("open elsewhere")
    return "  ".join(parts)


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _plain(text: str) -> None:
    line(text)
    sys.stdout.flush()


def _live(stack: ExitStack) -> Callable[[str], None]:
    """Return what writes a line over the one before."""
    from rich.live import Live
    from rich.text import Text

    live = stack.enter_context(Live(console=console(), auto_refresh=False))
    return lambda text: live.update(Text(text), refresh=True)
