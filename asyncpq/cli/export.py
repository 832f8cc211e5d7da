"""``asyncpq export``: all items to stdout, as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from asyncpq.cli import status
from asyncpq.cli.jsonform import NotInJson, write
from asyncpq.cli.options import QUEUE, command, serializer_option, unpickle_option, warn_unpickle
from asyncpq.cli.progress import meter
from asyncpq.cli.reading import Reading
from asyncpq.cli.terminal import line, quantity, say
from asyncpq.sources import open_source

if TYPE_CHECKING:
    from asyncpq.sources import Entry, Source, Spec


@command("export", "asyncpq export jobs > jobs.jsonl", "asyncpq export jobs | jq .url")
@click.argument("queue", type=QUEUE, metavar="PATH")
@serializer_option
@unpickle_option
@click.option(
    "--encoding", metavar="CODEC", help="Of Python 2's byte strings: a codec, or 'bytes'.  [default: latin-1]"
)
def export(queue: Spec, serializer: str | None, unpickle: bool, encoding: str | None) -> int:
    """Write the items to stdout in the order of get, one a line; the queue stays as it is.

    JSON has no bytes, tuples, sets or NaN: {"$bytes": "<base64>"}, {"$tuple": [...]}, ... stand for them, and import
    reads them.  Pickles are not run, unless --unpickle is given: what needs a class is written as {"$class": ...}, and
    import refuses it.  Exit status 4: something could not be read, and was left out.
    """
    warn_unpickle(unpickle)
    with open_source(queue, serializer=serializer, unpickle=unpickle, encoding=encoding, lock=False) as source:
        exporting = Exporting(source)
        exporting.run()
    return status.DAMAGED if exporting.reading.left_out else status.OK


class Exporting:
    """A source on its way to stdout."""

    def __init__(self, source: Source) -> None:
        """Write nothing yet."""
        self.source, self.reading = source, Reading(source)
        self._items = self._bytes = 0
        self._classes: dict[str, int] = {}

    def run(self) -> None:
        """Write all items, and say on stderr what import will not take."""
        with meter("export", items=self.source.about.items) as bar:
            bar.reach(items=0, bytes=0)  # before a reader of stdout draws its own
            for batch in self.source.batches():
                self._batch(batch)
                bar.reach(items=self._items, bytes=self._bytes)
        self.reading.end()
        if self._classes:
            names = ", ".join(sorted(self._classes)[:5])
            say(f"{quantity(sum(self._classes.values()), 'item')} with a class, which import refuses: {names}")

    def _batch(self, batch: list[Entry]) -> None:
        for entry, item in self.reading.items(batch):
            try:
                written = write(item)
            except NotInJson as error:
                self.reading.leave_out(entry, str(error))
                continue
            line(written.text)
            if written.needs:
                self._classes[written.needs] = self._classes.get(written.needs, 0) + 1
        self._items += len(batch)
        self._bytes += sum(len(entry.blob) for entry in batch)
