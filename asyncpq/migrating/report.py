"""What a migration tells: while it is at work, and in the end.  Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asyncpq.errors import Loss

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MigrationReport", "Phase", "Progress"]

Phase = Literal["scan", "build", "verify"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is."""

    phase: Phase
    items: int  # so far
    bytes: int  # of their records
    total: int | None  # items to come in this phase; None: only reading tells


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What `migrate` did."""

    source: Path
    what: str  # the source was, in words
    target: Path
    serializer: str
    queue_class: str | None  # of a SQLite queue: fifo, filo, ...; None: a file queue
    name: str | None  # of a SQLite queue
    chunksize: int | None  # of a file queue
    items: int
    bytes: int  # of the records
    digest: str  # BLAKE2b, 256 bits, of all records in the order of get: `cat q* | b2sum -l 256` in a new file queue
    copied: bool  # records were copied as bytes
    resumed: int  # items of these that an earlier run had stored
    losses: tuple[Loss, ...]  # what was accepted
    set_aside: int  # places of the source that cannot be read
    bad_file: Path | None  # where they are
    backup: Path | None  # what the old one is called now
    notes: tuple[str, ...]  # what else is different, in sentences

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> MigrationReport:
        """Return the report that `as_json` made *said* of."""
        paths = {key: None if said[key] is None else Path(said[key]) for key in ("bad_file", "backup")}
        parts = {
            "source": Path(said["source"]),
            "target": Path(said["target"]),
            "losses": tuple(Loss(**loss) for loss in said["losses"]),
            "notes": tuple(said["notes"]),
        }
        return cls(**(dict(said) | paths | parts))
