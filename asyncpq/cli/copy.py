"""``asyncpq copy``: a consistent copy of a queue, also beside a live writer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import asyncpq
from asyncpq.cli.kinds import is_file_queue
from asyncpq.cli.options import QUEUE, Stopped, command, json_option, serializer_option
from asyncpq.cli.output import emit
from asyncpq.cli.progress import meter
from asyncpq.cli.terminal import line, quantity, safe, size

if TYPE_CHECKING:
    from asyncpq.cli.progress import Meter
    from asyncpq.sources import Spec


@command("copy", "asyncpq copy jobs jobs-2024", "asyncpq copy jobs.db backup.db")
@click.argument("queue", type=QUEUE, metavar="PATH")
@click.argument("target", type=click.Path(path_type=Path))
@json_option
@serializer_option
def copy(queue: Spec, target: Path, as_json: bool, serializer: str | None) -> None:
    """Copy the queue at PATH to TARGET, as it is at one moment, also while others use it.

    The copy is built beside TARGET, made durable, and put in place in one step; a TARGET that is there is refused.  Of
    a database all queues are copied.  Ctrl-C leaves no copy.
    """
    is_file_queue(queue)  # refuses what is of another library
    with meter("copy") as bar:
        try:
            report = asyncio.run(_copy(queue, target, serializer, bar))
        except KeyboardInterrupt:
            raise Stopped("interrupted; nothing was changed, and there is no copy") from None
    if as_json:
        emit(report)
    else:
        files = quantity(report.files, "file")
        line(f"{safe(target)}: {quantity(report.items, 'item')}, {size(report.bytes)} in {files}")


async def _copy(queue: Spec, target: Path, serializer: str | None, bar: Meter) -> Any:
    def reached(done: int, total: int) -> None:
        bar.reach(bytes=done, all_bytes=total)

    return await asyncpq.copy(queue.path, target, serializer=serializer, progress=reached)
