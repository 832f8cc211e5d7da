"""``asyncpq repair``: a queue that opens again; copies of what that changes lie beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from asyncpq.cli.kinds import bytes_there, repair_queue
from asyncpq.cli.options import QUEUE, command, json_option, serializer_option
from asyncpq.cli.output import emit
from asyncpq.cli.progress import meter
from asyncpq.cli.running import run_watched
from asyncpq.cli.terminal import line, quantity, safe

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.sources import Spec


@command("repair", "asyncpq repair --dry-run jobs", "asyncpq repair jobs")
@click.argument("queue", type=QUEUE, metavar="PATH")
@click.option("--dry-run", is_flag=True, help="Change nothing, and say what would be done.")
@json_option
@serializer_option
def repair(queue: Spec, dry_run: bool, as_json: bool, serializer: str | None) -> None:
    """Make a queue open again, with every record that can be read.

    What is changed or removed is copied to PATH.before-repair-1 (2, 3, ...) first, and damaged bytes are set aside in
    PATH/damaged.  Of a database, rows that cannot be read go to a table of their own; one whose pages are damaged is
    built anew, and kept as PATH.damaged-1.  No pickle is run.  Ctrl-C leaves the queue as it was as long as nothing is
    changed; then the repair is finished.
    """
    report, before = run_watched(
        meter("repair", bytes=bytes_there(queue)),
        lambda watch: repair_queue(queue, serializer, watch, dry_run=dry_run),
        changes=not dry_run,
    )
    if as_json:
        emit(report, as_it_was=before)
    else:
        _show(report, before)


def _show(report: Any, before: Path | None) -> None:
    if not report:
        line(f"nothing to repair; {quantity(report.kept, 'item')} can be read")
        return
    for sentence in report.actions:
        line(safe(sentence))
    would = "would be " if report.dry_run else ""
    line(f"{quantity(report.kept, 'item')} {would}kept, {report.lost:,} lost")
    if isinstance(report.set_aside, tuple):
        for name in report.set_aside:
            line(f"{would}set aside: {safe(report.path / 'damaged' / name)}")
    if before:
        line(f"as it was: {safe(before)}")
