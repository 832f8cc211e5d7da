"""``asyncpq check``: every record is read, and what is damaged is listed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from asyncpq.cli import status
from asyncpq.cli.kinds import bytes_there, check_queue
from asyncpq.cli.options import QUEUE, Failed, command, json_option, serializer_option
from asyncpq.cli.output import emit, facts, listed, table
from asyncpq.cli.progress import meter
from asyncpq.cli.running import run_watched
from asyncpq.cli.terminal import line, quantity, safe, size
from asyncpq.errors import QueueLocked

if TYPE_CHECKING:
    from asyncpq.sources import Spec

STATUSES: Final = {"clean": status.OK, "healable": status.HEALABLE, "damaged": status.DAMAGED}
STYLES: Final = {"clean": "bold green", "healable": "bold yellow", "damaged": "bold red"}
SHOWN: Final = 50  # rows of the table, unless --all


@command("check", "asyncpq check jobs", "asyncpq check --json sqlite:jobs.db#mail")
@click.argument("queue", type=QUEUE, metavar="PATH")
@json_option
@serializer_option
@click.option("--all", "every", is_flag=True, help=f"List all damage, not only the first {SHOWN} places.")
def check(queue: Spec, as_json: bool, serializer: str | None, every: bool) -> int:
    """Read every record, and list what is damaged, where, and how many items can be read.

    Nothing is changed, no lock is taken and no pickle is run.  Exit status 0: clean; 3: opening heals it by itself;
    4: damaged, and `asyncpq repair` makes it right.
    """
    try:
        report = run_watched(
            meter("check", bytes=bytes_there(queue)), lambda watch: check_queue(queue, serializer, watch)
        )
    except QueueLocked as error:
        way = f"stop its writer, or check a copy: asyncpq copy {queue.path} COPY"
        raise Failed(f"{queue.path}: {error.who} was in the way; {way}") from error
    if as_json:
        emit(report, serializer=report.serializer)
    else:
        _show(queue, report, every)
    return STATUSES[report.status]


def _show(queue: Spec, report: Any, every: bool) -> None:
    if report.damage:
        _damage(report, every)
    facts(
        {
            "status": report.status,
            "can be read": quantity(report.items, "item"),
            "lost": f"{quantity(report.lost, 'item')} that info counts" if report.lost else None,
            "serializer": report.serializer,
            "on disk": size(report.bytes_on_disk),
            "open elsewhere": {True: "yes", False: "no", None: None}[report.open_elsewhere],
        },
        STYLES[report.status],
    )
    for one in getattr(report, "queues", ()):
        counts = ", ".join(f"{count:,} {word}" for word, count in one.counts.items() if count)
        line(f"queue {safe(one.name)}: {one.cls}, table {safe(one.table)}: {counts or 'empty'}")
    listed("what repair does:" if report.status == "damaged" else "what opening heals:", report.heals)
    if report.status == "damaged":
        line(f"'asyncpq repair {safe(queue.path)}' keeps every item that can be read")


def _damage(report: Any, every: bool) -> None:
    shown = report.damage if every else report.damage[:SHOWN]
    rows = [(*_place(one), f"{one.length:,}", one.why) for one in shown]
    table(("file", "where", "bytes", "what is wrong"), rows, right=("bytes",))
    if len(shown) < len(report.damage):
        line(f"and {len(report.damage) - len(shown):,} more; --all lists them")


def _place(one: Any) -> tuple[str, str]:
    """Return the file, or the table, and where in it."""
    table, row = getattr(one, "table", None), getattr(one, "row", None)
    if row is not None:
        return str(table), f"row {row:,}"
    return str(table or one.file), f"byte {one.offset:,}"
