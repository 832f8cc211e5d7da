"""What opening, or a repair, would find and do: the same decisions, and nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from asyncpq import fsync
from asyncpq.errors import CorruptQueue
from asyncpq.layout import chunk_name
from asyncpq.recovery.acks import load, match
from asyncpq.recovery.chunks import Chunks
from asyncpq.recovery.opening import Opening, full_names
from asyncpq.recovery.rewrite import reported
from asyncpq.recovery.verify import stretches, verify

if TYPE_CHECKING:
    from asyncpq.files import Files
    from asyncpq.opened import Recovery
    from asyncpq.recovery.opening import Found
    from asyncpq.recovery.verify import Verified
    from asyncpq.serializers import Serializer


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A directory, what would be healed in it, and every record from tail to head, looked at."""

    found: Found
    refusal: str | None  # why opening raises CorruptQueue; what is foreseen then is the repair
    verified: tuple[Verified, ...]
    acked: int  # records that are acknowledged, out of order: get() leaves them out
    report: Recovery  # what opening, or the repair, would report

    @property
    def right(self) -> bool:
        """Whether get() can read every record, and no other lies between them."""
        return all(one.right for one in self.verified)

    def repaired(self) -> Foreseen:
        """Return what a repair would do where opening has nothing to heal: the same, and the damage."""
        names = tuple(f"{one.name}.{place.start}" for one in self.verified for place in one.places)
        return replace(self, report=reported(self.report, self.verified, names))

    @property
    def records(self) -> int:
        """Records that can be read, once it is repaired."""
        return sum(one.records for one in self.verified)


def foresee(
    files: Files,
    dirfd: int,
    path: Path | str,
    *,
    serializer: Serializer | None,
    chunksize: int,
    repair: bool,
) -> Foreseen:
    """Return what opening would do, and with *repair* what that would.

    Raises:
        As `open_queue`; CorruptQueue never.
    """
    with full_names(Path(path)):
        opening = Opening(files, dirfd, Path(path), chunksize, fsync.get("interval"), repair)
        refusal = None
        try:
            found = opening.find(serializer)
        except CorruptQueue as error:
            refusal = error.why
            opening.repair = repair = True
            found = opening.find(serializer)
        chunks = Chunks(files, dirfd, found.serializer, found.chunks.numbers, holes=False)
        verified = tuple(verify(one, chunks, found.serializer) for one in stretches(found.plan, chunks))
        aside = [f"{chunk_name(at.chunk)}.{at.offset}" for at in found.plan.copies]
        aside += [chunk_name(number) for number in found.plan.moves]
        plan = found.plan
        acked = 0
        if found.journal and not plan.renames:
            acked = len(match(load(files, dirfd), chunks, plan.tail, plan.head).acked)
        seen = Foreseen(found, refusal, verified, acked, opening.report(found, tuple(aside)))
        return seen if seen.right or not repair else seen.repaired()
