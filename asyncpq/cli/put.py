"""``asyncpq put``: one item a line, from arguments or from stdin."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import click

from asyncpq.cli.lines import batches, length, stdin
from asyncpq.cli.opening import CLASSES, healing_told, open_to_put
from asyncpq.cli.options import QUEUE, Failed, command, put_serializer_option
from asyncpq.cli.progress import meter
from asyncpq.cli.storing import Storing, as_json, as_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpq.sources import Spec


@command("put", """asyncpq put jobs '{"id": 1}' '{"id": 2}'""", "find . -name '*.jpg' | asyncpq put --text jobs")
@click.argument("queue", type=QUEUE, metavar="PATH")
@click.argument("items", nargs=-1, metavar="[ITEM]...")
@click.option("--json/--text", "json", default=True, help="Each item is JSON (the default), or text as it stands.")
@put_serializer_option
@click.option("--chunksize", type=click.IntRange(min=1), help="Items in a file, for a new file queue.  [default: 100]")
@click.option("--class", "kind", type=click.Choice(list(CLASSES)), help="For a new SQLite queue.  [default: fifo]")
@click.option("--priority", type=int, help="For a priority queue: the lowest first.  [default: 0]")
def put(
    queue: Spec,
    items: tuple[str, ...],
    json: bool,
    serializer: str | None,
    chunksize: int | None,
    kind: str | None,
    priority: int | None,
) -> None:
    """Put each ITEM, or each line of stdin where no ITEM is given.

    The queue is made if it is not there.  An item is JSON, in the form that export writes; with --text each is the
    text itself.  Lines are stored as they come.  On return everything is on the disk; a bad line ends it, and what was
    put before it stays.
    """
    opened = open_to_put(queue, serializer=serializer, chunksize=chunksize, kind=kind)
    if priority is not None and not (hasattr(opened, "kind") and opened.kind.priority):
        raise Failed(f"--priority is for priority queues: {queue.path} is none; leave it out")
    options = {} if priority is None else {"priority": priority}
    parse, hint = (as_json, " (text is put with --text)") if json else (as_text, "")
    storing = Storing(opened, parse, "item" if items else "line", hint, **options)
    try:
        with healing_told():
            asyncio.run(_put(opened, storing, items))
    finally:
        storing.warn()


async def _put(queue: Any, storing: Storing, items: tuple[str, ...]) -> None:
    fd = -1 if items else stdin()
    total = None if items else length(fd)
    async with queue:
        with meter("put", bytes=total) as bar:
            await storing.run(_given(items) if items else batches(fd), bar)


async def _given(items: tuple[str, ...]) -> AsyncIterator[list[bytes]]:
    yield [os.fsencode(item) for item in items]
