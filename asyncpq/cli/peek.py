"""``asyncpq peek``: items without consuming them; nothing is run, and nothing is changed."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import click

from asyncpq.cli import status
from asyncpq.cli.jsonform import NotInJson, write
from asyncpq.cli.options import QUEUE, command, serializer_option, unpickle_option, warn_unpickle
from asyncpq.cli.progress import meter
from asyncpq.cli.reading import Reading
from asyncpq.cli.show import shown
from asyncpq.cli.terminal import line
from asyncpq.sources import open_source

if TYPE_CHECKING:
    from typing import Any

    from asyncpq.sources import Entry, Source, Spec

WIDTH: Final = 1000  # characters of an item that are shown, unless --full


@command("peek", "asyncpq peek jobs", "asyncpq peek -n 3 --from-end jobs")
@click.argument("queue", type=QUEUE, metavar="PATH")
@click.option("-n", "count", type=click.IntRange(min=1), default=10, show_default=True, help="Items, at most.")
@click.option("--from-end", is_flag=True, help="The last ones, in the order of get.")
@click.option("--full", is_flag=True, help=f"All of an item, and not its first {WIDTH:,} characters.")
@click.option("--json", is_flag=True, help="JSON lines, as export writes them.")
@serializer_option
@unpickle_option
def peek(
    queue: Spec, count: int, from_end: bool, full: bool, json: bool, serializer: str | None, unpickle: bool
) -> int:
    """Show items in the order of get, without consuming them; also beside a live writer.

    Pickled items are shown as plain data, and what needs a class by its name: nothing is run, unless --unpickle is
    given.  Exit status 4: something could not be read, and was left out.
    """
    warn_unpickle(unpickle)
    with open_source(queue, serializer=serializer, unpickle=unpickle, lock=False) as source:
        reading = Reading(source)
        for entry, item in reading.items(_last(source, count) if from_end else _first(source, count)):
            _show(reading, entry, item, json, None if full else WIDTH)
        reading.end()
    return status.DAMAGED if reading.left_out else status.OK


def _show(reading: Reading, entry: Entry, item: Any, json: bool, most: int | None) -> None:
    if not json:
        line(shown(item, most))
        return
    try:
        line(write(item).text)
    except NotInJson as error:
        reading.leave_out(entry, str(error))


def _first(source: Source, count: int) -> list[Entry]:
    entries: list[Entry] = []
    for batch in source.batches():
        entries += batch[: count - len(entries)]
        if len(entries) == count:
            break
    return entries


def _last(source: Source, count: int) -> list[Entry]:
    """Return the last *count* entries: of a file queue from its last chunks, else all are read."""
    start = _chunks_back(source, count)
    entries = list(_tail(source, count, start))
    return entries if start is None or len(entries) == count else list(_tail(source, count, None))


def _tail(source: Source, count: int, after: tuple[int, ...] | None) -> deque[Entry]:
    last: deque[Entry] = deque(maxlen=count)
    done = 0
    with meter("peek", items=source.about.items if after is None else None) as bar:
        for batch in source.batches(after):
            last.extend(batch)
            done += len(batch)
            bar.reach(items=done)
    return last


def _chunks_back(source: Source, count: int) -> tuple[int, ...] | None:
    """Return the first position of the chunk from which on there should be *count* items, and one to spare."""
    details = source.about.details
    size = details.get("chunksize", 0)
    if source.about.kind != "file" or size < 1:
        return None
    chunk = details["head"][0] - count // size - 2
    return (chunk, 0, 0) if chunk > details["tail"][0] else None
