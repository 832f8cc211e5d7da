"""The phases between opening the source and naming the target.

scan       source -> Judge -> Findings, refused or not; and what was made of the items -> Spool
build      spool, or source -> Judge -> target          durable every DURABLE bytes: then the note says so
verify     target -> digest

After a crash, build goes on behind what the note says, and reads the source.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from asyncpq.errors import AsyncpqError
from asyncpq.migrating.badfile import BadFile
from asyncpq.migrating.findings import Findings
from asyncpq.migrating.judging import Judge
from asyncpq.migrating.report import Progress
from asyncpq.migrating.sides import batches_of, converter_for
from asyncpq.migrating.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from asyncpq.migrating.judging import Taken
    from asyncpq.migrating.plan import Plan, Wish
    from asyncpq.migrating.report import Phase
    from asyncpq.migrating.seen import Seen
    from asyncpq.migrating.target import Target
    from asyncpq.sources import Source

__all__ = ["Building"]

DURABLE: Final = 64 * 1024 * 1024  # bytes of records that a crash may cost


class Beside(Protocol):
    """What lies beside a target that is being built: see Partial."""

    path: Path
    bad: Path

    def create(self, note: dict[str, Any]) -> None:
        """Make it, with this note and nothing else in it."""

    def save(self, note: dict[str, Any]) -> None:
        """Replace the note, durably."""

    def discard(self) -> None:
        """Remove it."""


class Building:
    """What becomes of the items of *source*.

    Args:
        wish: what was wished.
        plan: what is made of it.
        source: open.
        partial: where it is made.
        tell: called between batches; what it raises ends it.
    """

    def __init__(
        self, wish: Wish, plan: Plan, source: Source, partial: Beside, tell: Callable[[Progress], None]
    ) -> None:
        """Do nothing yet."""
        self._wish, self._plan, self._source, self._partial, self._tell = wish, plan, source, partial, tell
        self._converter = converter_for(wish, plan, source)
        self.findings = Findings()
        self.note: dict[str, Any] = {}
        self.resumed = 0  # items that an earlier run had stored
        has_priorities = source.about.details.get("class") == "PriorityQueue"
        self._loses_priorities = has_priorities and not (plan.kind and plan.kind.priority)
        self._tells_apart = plan.kind is not None and plan.kind.unique

    @property
    def needs_scan(self) -> bool:
        """Whether the items have to be looked at before anything is written."""
        loses = not self._converter.lossless or self._loses_priorities or self._tells_apart
        return loses and not self._wish.lossy

    # -- scan ---------------------------------------------------------------------------------------------

    @contextmanager
    def scan(self) -> Iterator[Spool]:
        """Find out what is not accepted, and keep what may be written until the block ends.

        Raises:
            Unfit, Unreadable: it is not accepted.
        """
        findings, spool = Findings(), Spool(self._partial.path)
        try:
            with self._judging(findings, check=True, seen=True) as judge, batches_of(self._source) as batches:
                for batch in batches:
                    taken = judge.take(batch)
                    findings.count(taken)
                    if findings.losses:
                        spool.give_up()
                    spool.keep(taken)
                    self._say("scan", findings.items, findings.bytes)
            self._refuse(findings)
            spool.rewind()
            yield spool
        finally:
            spool.close()

    @contextmanager
    def _judging(self, findings: Findings, *, check: bool, seen: bool) -> Iterator[Judge]:
        with ExitStack() as stack:
            yield Judge(
                self._converter,
                self._source.where,
                findings,
                check=check,
                seen=stack.enter_context(_nothing_seen()) if seen and self._tells_apart else None,
                priorities=self._loses_priorities,
                extras=self._plan.kind is not None and self._source.about.kind != "file",
            )

    def _refuse(self, findings: Findings) -> None:
        wish = self._wish
        error = findings.refusal(wish.source.path, self._plan.serializer.NAME, lossy=wish.lossy, skip_bad=wish.skip_bad)
        if error is not None:
            raise error

    # -- build --------------------------------------------------------------------------------------------

    def build(self, target: Target, key: dict[str, Any], note: dict[str, Any] | None, spool: Spool | None) -> None:
        """Make *target* of all items; on return it is a closed queue, and durable.

        Args:
            target: nothing yet, or what an earlier run has left.
            key: what the note has to say of source and wishes.
            note: of an earlier run with the same; None: there is none.
            spool: what the scan made; None, or not complete: the source is read.

        Raises:
            Unreadable, Unfit: something is not accepted; what was built is removed.
        """
        self.note = key | {"bad": 0}
        after = self._begin(target, note)
        bad = BadFile(self._partial.bad, self.note["bad"])
        if spool is not None and spool.complete:
            for taken in spool:
                self._add(target, bad, taken)
        else:
            self._convert(target, bad, after)
        self.note["bad"] = bad.length
        bad.sync()
        target.finish()

    def _begin(self, target: Target, note: dict[str, Any] | None) -> tuple[int, ...] | None:
        """Make the target, or take up the one of an earlier run; return behind which entry to go on."""
        if note is not None and note.get("after") is not None and _take_up(target, note):
            self.findings = Findings.of(note["findings"])
            self.note |= {part: note[part] for part in ("bad", "after", "state", "digest", "findings")}
            self.resumed = self.findings.items
            return tuple(note["after"])
        self._partial.create(self.note)
        target.begin()
        return None

    def _convert(self, target: Target, bad: BadFile, after: tuple[int, ...] | None) -> None:
        findings, wish = self.findings, self._wish
        with (
            self._judging(findings, check=not self.needs_scan, seen=wish.lossy) as judge,
            batches_of(self._source, after) as batches,
        ):
            judge.saw(target.records())
            for batch in batches:
                taken = judge.take(batch)
                if (taken.bad and not wish.skip_bad) or not findings.accepted(lossy=wish.lossy):
                    findings.count(taken)
                    self._give_up(target, judge, batches)
                self._add(target, bad, taken)

    def _add(self, target: Target, bad: BadFile, taken: Taken) -> None:
        """Append what was taken; make it durable if it is time."""
        target.append(taken.records, taken.extras)
        if taken.bad:
            bad.append(taken.bad)
        before = self.findings.bytes
        self.findings.count(taken)
        self._say("build", self.findings.items, self.findings.bytes)
        if before // DURABLE != self.findings.bytes // DURABLE:
            self._save(target, bad, taken.at)

    def _save(self, target: Target, bad: BadFile, at: tuple[int, ...]) -> None:
        """Make durable what was built, and let the note say so."""
        bad.sync()
        self.note |= {
            "after": list(at),
            "state": target.sync(),
            "digest": target.digest.hexdigest(),
            "findings": self.findings.as_json(),
            "bad": bad.length,
        }
        self._partial.save(self.note)

    def _give_up(self, target: Target, judge: Judge, batches: Iterator[Any]) -> None:
        """Remove what was built, and find out the rest of what is not accepted."""
        target.close()
        self._partial.discard()
        for batch in batches:
            self.findings.count(judge.take(batch))
            self._say("scan", self.findings.items, self.findings.bytes)
        self._refuse(self.findings)

    # -- verify -------------------------------------------------------------------------------------------

    def verify(self, target: Target) -> None:
        """Read the target back.

        Raises:
            MigrationError: it is not what was written.
        """
        for items, size in target.verify():
            self._say("verify", items, size, self.findings.items)

    def _say(self, phase: Phase, items: int, size: int, total: int | None = None) -> None:
        self._tell(Progress(phase, items, size, self._source.about.items if total is None else total))


def _take_up(target: Target, note: dict[str, Any]) -> bool:
    """Return whether what *note* says of the target is there; else it is as if it had not been looked at."""
    try:
        target.resume(note["state"])
        if target.digest.hexdigest() == note["digest"]:
            return True
    except (OSError, AsyncpqError):
        pass
    target.reset()
    return False


@contextmanager
def _nothing_seen() -> Iterator[Seen]:
    from asyncpq.migrating.seen import Seen  # it needs sqlite3

    seen = Seen()
    try:
        yield seen
    finally:
        seen.close()
