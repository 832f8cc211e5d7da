"""``asyncpq get``: items to stdout, one a line; with --ack each leaves the queue once it was written."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

import asyncpq
from asyncpq.cli import status
from asyncpq.cli.jsonform import NotInJson, write
from asyncpq.cli.opening import healing_told, open_to_get
from asyncpq.cli.options import QUEUE, Failed, Stopped, command, serializer_option, unpickle_option, warn_unpickle
from asyncpq.cli.terminal import quantity, safe, say, write_now
from asyncpq.lane import run

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from asyncpq.sources import Spec


@command("get", "asyncpq get --ack jobs", "asyncpq get --all --ack --text names | xargs -d '\\n' rm")
@click.argument("queue", type=QUEUE, metavar="PATH")
@click.option("-n", "count", type=click.IntRange(min=1), default=1, show_default=True, help="Items, at most.")
@click.option("--all", "every", is_flag=True, help="All that are there.")
@click.option("--ack", is_flag=True, help="Take each out of the queue, once it was written.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait for each item.  [default: 0]")
@click.option("--json/--text", "json", default=True, help="JSON (the default), or texts as they stand.")
@serializer_option
@unpickle_option
def get(
    queue: Spec,
    count: int,
    every: bool,
    ack: bool,
    timeout: float | None,
    json: bool,
    serializer: str | None,
    unpickle: bool,
) -> int:
    """Write the next item, or the next ones, to stdout.

    Without --ack they stay in the queue.  With --ack each is acknowledged after it was written, so whatever ends this
    command, no item is lost.  Exit status 5: there was none.  Pickles are not run, unless --unpickle is given: an item
    that needs a class is refused then, and stays.
    """
    warn_unpickle(unpickle)
    handing = Handing(open_to_get(queue, serializer=serializer, unpickle=unpickle), ack, json, unpickle, timeout)
    try:
        with healing_told():
            asyncio.run(handing.run(None if every else count))
    except KeyboardInterrupt:
        raise Stopped(f"interrupted; {handing.told()}") from None
    if not handing.written:
        say(f"{queue.path} is empty")
        return status.EMPTY
    if not ack:
        say(handing.told())
    return status.OK


@dataclass
class Handing:
    """Items on their way to stdout."""

    queue: Any
    ack: bool
    json: bool
    unpickle: bool
    timeout: float | None
    written: int = 0  # items
    taken: int = 0  # of these, acknowledged

    def told(self) -> str:
        """Say what became of the items."""
        if self.ack:
            return f"{quantity(self.taken, 'item')} taken; the rest is still in the queue"
        return f"{quantity(self.written, 'item')} shown, and still in the queue; --ack takes them out"

    async def run(self, most: int | None) -> None:
        """Write up to *most* items.

        Raises:
            Failed: an item cannot be written; it stays.
            BrokenPipeError: nobody reads any more; what was not written stays.
        """
        async with self.queue:
            try:
                while most is None or self.written < most:
                    await self._one()
            except asyncpq.Empty:
                return

    async def _one(self) -> None:
        item = await self.queue.get(block=bool(self.timeout), timeout=self.timeout or None)
        text = self._text(item)
        await run(asyncio.get_running_loop(), lambda: write_now(text))
        self.written += 1
        if self.ack:
            await self._acknowledge(self.queue.ack(item) if self._answers else self.queue.task_done())

    async def _acknowledge(self, answer: Coroutine[Any, Any, Any]) -> None:
        """Wait for *answer*, also when cancelled: what was written is not to come again."""
        answering = asyncio.ensure_future(answer)
        try:
            await asyncio.shield(answering)
        finally:
            await answering
            self.taken += 1

    @property
    def _answers(self) -> bool:
        """Whether the queue has acknowledgements of its own."""
        return hasattr(self.queue, "kind") and self.queue.kind.acked

    def _text(self, item: Any) -> str:
        if not self.json and type(item) is str:
            return _as_it_stands(item)
        try:
            written = write(item)
        except NotInJson as error:
            raise Failed(f"the next item cannot be written: {error}; it stays in the queue") from None
        if written.needs and not self.unpickle:
            raise Failed(
                f"the next item needs {written.needs}; it stays in the queue: 'asyncpq peek' shows it, and --unpickle "
                f"runs what the pickle says"
            )
        return written.text


def _as_it_stands(text: str) -> str:
    """Return *text*; on a terminal, without what that would obey.

    Raises:
        Failed: it is no line.
    """
    if "\n" in text:
        raise Failed("the next item is a text of several lines; it stays in the queue: leave out --text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Failed("the next item is no text in UTF-8; it stays in the queue: leave out --text") from None
    return safe(text) if sys.stdout.isatty() else text
