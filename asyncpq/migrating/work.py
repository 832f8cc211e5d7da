"""A migration from its beginning to its end, in one thread.

finish     what an earlier run had verified, and did not get to rename
scan       where the target may not carry everything: every item, and nothing is written
build      TARGET.partial, durable every so often            resumed, if source and wishes are the same
verify     read back from the disk: names, sizes, every record
place      the name, in one step

On any error but a crash what was built is removed, and the source is as it was.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import InTheWay, MigrationError
from asyncpq.migrating.badfile import TAKEN, BadFile
from asyncpq.migrating.building import Building
from asyncpq.migrating.directory import DirectoryTarget
from asyncpq.migrating.identity import identity_of, inode
from asyncpq.migrating.partial import Partial
from asyncpq.migrating.placing import Placing
from asyncpq.migrating.plan import decide
from asyncpq.migrating.report import MigrationReport, Progress
from asyncpq.migrating.sides import inherit, notes_for, refuse_in_place, total_of
from asyncpq.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncpq.migrating.plan import Plan, Wish
    from asyncpq.migrating.target import Target
    from asyncpq.sources import Source

__all__ = ["migrate_now"]

LOGIN: Final = ("token", "user", "password", "credentials", "tls")  # of what is said of a server
CHANGED: Final = "was changed while it was read, by a program that takes no lock; stop it, then migrate again"


def migrate_now(wish: Wish, tell: Callable[[Progress], None]) -> MigrationReport:
    """Do what is wished; see `migrate`.

    Args:
        wish: the wish.
        tell: called between batches; what it raises ends the migration.
    """
    if wish.to_server:
        return _to_server(wish, tell)
    partial = Partial(wish.path)
    try:
        note = partial.look()
        if note is not None and (done := _finished(partial, wish, note)) is not None:
            return done
        _refuse_names(wish, resumes=note is not None)
        with _opened(wish) as source:
            plan = decide(wish, source.about)
            if wish.in_place:
                refuse_in_place(source.about)
            return _Migration(wish, plan, source, partial, tell).run(note)
    finally:
        partial.close()


def _opened(wish: Wish) -> Source:
    return open_source(
        wish.source,
        serializer=wish.source_serializer,
        encoding=wish.encoding,
        unpickle=wish.unpickle,
        nats={key: value for key, value in wish.nats.items() if key in LOGIN},
    )


def _to_server(wish: Wish, tell: Callable[[Progress], None]) -> MigrationReport:
    from asyncpq.migrating.ontoserver import StreamTarget  # it needs the extra `nats`
    from asyncpq.migrating.toserver import migrate_to_server

    target = wish.target
    assert target is not None
    with _opened(wish) as source:
        return migrate_to_server(wish, source, lambda plan: StreamTarget(target, plan.serializer.NAME, wish.nats), tell)


def _finished(partial: Partial, wish: Wish, note: dict[str, Any]) -> MigrationReport | None:
    """Finish what an earlier run had begun to rename; return its report if it had the same wish."""
    said = note.get("placing")
    if said is None:
        return None
    backup = Path(said["backup"]) if said["backup"] else None
    renamed = inode(wish.path) == said["new"]
    moved = backup is not None and said["old"] in (inode(partial.queue), inode(backup))
    if not renamed and not moved:
        return None
    _place(partial, Placing(partial, wish.path, backup, gap=True), note)
    return MigrationReport.of(note["report"]) if note["wish"] == wish.as_json() else None


def _place(partial: Partial, placing: Placing, note: dict[str, Any]) -> None:
    placing.finish(note["placing"])
    BadFile(partial.bad, note["bad"]).place(Path(note["aside"]))
    partial.discard()


def _refuse_names(wish: Wish, *, resumes: bool) -> None:
    """Raise InTheWay where a name is taken that will be needed."""
    if wish.in_place and os.path.lexists(wish.backup):
        raise InTheWay(wish.backup, "is there, and the old queue would get this name; move it away")
    if not wish.in_place and os.path.lexists(wish.path) and not _is_empty(wish.path):
        raise InTheWay(wish.path, "is there already, and nothing is written over; name another target")
    if wish.skip_bad and not resumes and os.path.lexists(wish.aside):
        raise InTheWay(wish.aside, TAKEN)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not os.listdir(path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let errors of the system that do not say where say *path*."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


class _Migration:
    """One source on its way to one target."""

    def __init__(
        self, wish: Wish, plan: Plan, source: Source, partial: Partial, tell: Callable[[Progress], None]
    ) -> None:
        """Do nothing yet."""
        self._wish, self._plan, self._source, self._partial = wish, plan, source, partial
        self._building = Building(wish, plan, source, partial, tell)

    def run(self, note: dict[str, Any] | None) -> MigrationReport:
        """Do all of it, or go on with what *note* says."""
        building, before = self._building, identity_of(self._source)
        key = {"wish": self._wish.as_json(), "plan": self._plan.as_json(), "source": before}
        resumes = note is not None and all(note[part] == value for part, value in key.items())
        with ExitStack() as stack:
            spool = stack.enter_context(building.scan()) if building.needs_scan and not resumes else None
            target = self._target()
            stack.callback(target.close)
            try:
                stack.enter_context(_named(self._partial.path))
                building.build(target, key, note if resumes else None, spool)
                building.verify(target)
                self._unchanged(before)
                report = self._report(target)
                if self._wish.in_place:
                    inherit(self._wish.path, self._partial.queue)
            except BaseException:
                target.close()
                self._partial.discard()
                raise
        return self._name_it(building.note, report)

    def _unchanged(self, before: dict[str, Any]) -> None:
        if identity_of(self._source) != before:
            raise MigrationError(self._wish.source.path, CHANGED)

    def _name_it(self, note: dict[str, Any], report: MigrationReport) -> MigrationReport:
        backup = self._wish.backup if self._wish.in_place else None
        placing = Placing(self._partial, self._wish.path, backup, gap=self._wish.gap)
        aside = os.path.abspath(self._wish.aside)
        note = note | {"report": report.as_json(), "placing": placing.begin(), "aside": aside}
        try:
            self._partial.save(note)
            _place(self._partial, placing, note)
        except BaseException:
            if inode(self._partial.queue) == note["placing"]["new"]:  # nothing was renamed
                self._partial.discard()
            raise
        return report

    def _target(self) -> Target:
        plan, queue = self._plan, self._partial.queue
        if plan.kind is None:
            return DirectoryTarget(queue, plan.serializer, plan.chunksize)
        from asyncpq.migrating.database import DatabaseTarget  # it needs sqlite3

        return DatabaseTarget(
            queue,
            plan.serializer,
            plan.kind,
            plan.name,
            in_directory=plan.in_directory,
            total=total_of(self._source) if plan.kind.newest_first else 0,
            now=time.time(),
        )

    def _report(self, target: Target) -> MigrationReport:
        plan, wish, findings = self._plan, self._wish, self._building.findings
        return MigrationReport(
            source=wish.source.path,
            what=self._source.about.what,
            target=wish.shown,
            serializer=plan.serializer.NAME,
            queue_class=plan.class_name,
            name=plan.name if plan.kind else None,
            chunksize=plan.chunksize or None,
            items=findings.items,
            bytes=findings.bytes,
            digest=target.digest.hexdigest(),
            copied=plan.copies,
            resumed=self._building.resumed,
            losses=findings.as_losses(),
            set_aside=findings.set_aside,
            bad_file=wish.aside if findings.set_aside else None,
            backup=wish.shown_backup if wish.in_place else None,
            notes=notes_for(plan, self._source.about, findings),
        )
