"""``asyncpq import``: JSON lines from stdin, in the form that export writes."""

from __future__ import annotations

import asyncio
import os
import tempfile
from typing import TYPE_CHECKING, Any

import click

from asyncpq.cli.jsonform import NotOurForm
from asyncpq.cli.lines import batches, length, stdin
from asyncpq.cli.opening import CLASSES, healing_told, open_to_put
from asyncpq.cli.options import QUEUE, Failed, Stopped, command, put_serializer_option
from asyncpq.cli.progress import meter
from asyncpq.cli.storing import Storing, as_json
from asyncpq.cli.terminal import quantity, say

if TYPE_CHECKING:
    from asyncpq.sources import Spec


@command("import", "asyncpq import jobs < jobs.jsonl", "asyncpq export old | asyncpq import --serializer json new")
@click.argument("queue", type=QUEUE, metavar="PATH")
@click.option("--check", is_flag=True, help="Read all lines first, and store nothing if one of them is bad.")
@put_serializer_option
@click.option("--chunksize", type=click.IntRange(min=1), help="Items in a file, for a new file queue.  [default: 100]")
@click.option("--class", "kind", type=click.Choice(list(CLASSES)), help="For a new SQLite queue.  [default: fifo]")
def importing(queue: Spec, check: bool, serializer: str | None, chunksize: int | None, kind: str | None) -> None:
    """Put the items of stdin, one a line, as JSON in the form that export writes.

    The queue is made if it is not there.  A bad line, or Ctrl-C, ends it: what came before is stored, and the message
    says up to which line.
    """
    fd = stdin()
    if check:
        fd = asyncio.run(_checked(fd))
    opened = open_to_put(queue, serializer=serializer, chunksize=chunksize, kind=kind)
    storing = Storing(opened, as_json)
    try:
        with healing_told():
            asyncio.run(_import(opened, storing, fd))
    finally:
        storing.warn()
    say(f"{quantity(storing.stored - storing.there_already, 'item')} stored in {queue.path}")


async def _import(queue: Any, storing: Storing, fd: int) -> None:
    async with queue:
        with meter("import", bytes=length(fd)) as bar:
            await storing.run(batches(fd), bar)


async def _checked(fd: int) -> int:
    """Return a file of the lines of *fd*, all of which are good; it stands at the first.

    Raises:
        Failed: one is not.
        Stopped: it was cancelled.
    """
    total = length(fd)
    start = os.lseek(fd, 0, os.SEEK_CUR) if total is not None else 0
    if total is not None:
        await _check(fd, total, None)
        os.lseek(fd, start, os.SEEK_SET)
        return fd
    with tempfile.TemporaryFile(buffering=0) as spool:
        await _check(fd, None, spool.fileno())
        spool.seek(0)
        return os.dup(spool.fileno())


async def _check(fd: int, total: int | None, spool: int | None) -> None:
    """Read all lines, and keep them in the file *spool* where they cannot be read again."""
    lines = done = 0
    try:
        with meter("check", bytes=total) as bar:
            async for batch in batches(fd):
                for number, line in enumerate(batch, lines + 1):
                    _check_line(number, line)
                data = b"".join(line + b"\n" for line in batch)
                lines, done = lines + len(batch), done + len(data)
                if spool is not None:
                    await asyncio.to_thread(_write, spool, data)
                bar.reach(items=lines, bytes=done)
    except asyncio.CancelledError:
        raise Stopped("interrupted; nothing was stored") from None


def _check_line(number: int, line: bytes) -> None:
    try:
        as_json(line)
    except NotOurForm as error:
        raise Failed(f"line {number:,}: {error}; nothing was stored") from error


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
