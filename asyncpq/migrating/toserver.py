"""A migration whose target is a queue on a NATS server, from its beginning to its end, in one thread.

scan       where the target may not carry everything: every item, and nothing is written
build      the stream, marked as not whole
verify     read back: count, and every record
place      the mark is taken away, in one step

On any error but a crash what was built is removed; after one, the next migration to this name does that.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncpq.errors import InTheWay, MigrationError
from asyncpq.migrating.badfile import TAKEN, BadFile
from asyncpq.migrating.building import Building
from asyncpq.migrating.identity import identity_of
from asyncpq.migrating.plan import decide
from asyncpq.migrating.report import MigrationReport, Progress
from asyncpq.migrating.sides import notes_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.migrating.ontoserver import StreamTarget
    from asyncpq.migrating.plan import Plan, Wish
    from asyncpq.sources import Source

__all__ = ["migrate_to_server"]

CHANGED = "was changed while it was read; stop who uses it, then migrate again"


class NoPartial:
    """What `Partial` is beside a target on this machine: here only what cannot be read is kept in a file."""

    def __init__(self, aside: Path) -> None:
        """Make nothing yet."""
        self.bad = aside.with_name(f"{aside.name}.made")
        self.path = Path(tempfile.gettempdir()) / "asyncpq-migrate"  # where there is room for what a scan keeps

    def create(self, note: dict[str, Any]) -> None:
        """Note nothing: a stream is not taken up again."""

    def save(self, note: dict[str, Any]) -> None:
        """Note nothing."""

    def discard(self) -> None:
        """Remove what was set aside."""
        with suppress(FileNotFoundError):
            os.unlink(self.bad)


def migrate_to_server(
    wish: Wish, source: Source, target_of: Callable[[Plan], StreamTarget], tell: Callable[[Progress], None]
) -> MigrationReport:
    """Do what is wished; see `migrate`.

    Args:
        wish: the wish.
        source: open.
        target_of: connects to the server.
        tell: called between batches; what it raises ends the migration.
    """
    if wish.skip_bad and os.path.lexists(wish.aside):
        raise InTheWay(wish.aside, TAKEN)
    plan, before = decide(wish, source.about), identity_of(source)
    beside = NoPartial(wish.aside)
    building = Building(wish, plan, source, beside, tell)
    with ExitStack() as stack:
        target = target_of(plan)
        stack.callback(target.close)
        target.refuse()
        spool = stack.enter_context(building.scan()) if building.needs_scan else None
        try:
            building.build(target, {}, None, spool)
            building.verify(target)
            if identity_of(source) != before:
                raise MigrationError(wish.source.path, CHANGED)
            BadFile(beside.bad, building.note["bad"]).place(wish.aside)
            target.place()
        finally:
            beside.discard()
        return _report(wish, plan, source, building, target)


def _report(wish: Wish, plan: Plan, source: Source, building: Building, target: StreamTarget) -> MigrationReport:
    findings = building.findings
    return MigrationReport(
        source=wish.source.path,
        what=source.about.what,
        target=wish.shown,
        serializer=plan.serializer.NAME,
        queue_class=None,
        name=plan.name,
        chunksize=None,
        items=findings.items,
        bytes=findings.bytes,
        digest=target.digest.hexdigest(),
        copied=plan.copies,
        resumed=0,
        losses=findings.as_losses(),
        set_aside=findings.set_aside,
        bad_file=wish.aside if findings.set_aside else None,
        backup=None,
        notes=notes_for(plan, source.about, findings),
    )
