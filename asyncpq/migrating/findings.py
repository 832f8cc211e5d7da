"""What is found out about the items on their way: how many, what is lost, what cannot be read.  Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import Loss, Unfit, Unreadable
from asyncpq.migrating.values import BECOMES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from asyncpq.errors import MigrationError
    from asyncpq.migrating.judging import Taken

__all__ = ["Findings"]

SHOWN: Final = 10  # places that an error names


@dataclass(slots=True)
class Findings:
    """Counts up to some entry of the source."""

    items: int = 0  # that were taken
    bytes: int = 0  # of their records
    set_aside: int = 0  # places that cannot be read
    losses: dict[str, tuple[int, str]] = field(default_factory=dict)  # kind -> items, place of the first
    places: list[tuple[str, str]] = field(default_factory=list)  # the first that cannot be read: where, why

    def lost(self, kind: str, where: str, items: int = 1) -> None:
        """Count *items* that lose something."""
        count, first = self.losses.get(kind, (0, where))
        self.losses[kind] = count + items, first

    def count(self, taken: Taken) -> None:
        """Count what becomes of a batch."""
        self.items += len(taken.records)
        self.bytes += sum(map(len, taken.records))
        self.set_aside += len(taken.bad)
        for bad in taken.bad[: SHOWN - len(self.places)]:
            self.places.append((bad.where, bad.why))

    def accepted(self, *, lossy: bool) -> bool:
        """Return whether no loss among them has to be refused."""
        return not self.losses or (lossy and all(BECOMES[kind] for kind in self.losses))

    def refusal(self, path: Path, target: str, *, lossy: bool, skip_bad: bool) -> MigrationError | None:
        """Return the error that these findings are, where they are not accepted."""
        if self.set_aside and not skip_bad:
            return Unreadable(path, self.set_aside, self.places)
        refused = [loss for loss in self.as_losses() if not lossy or loss.becomes is None]
        return Unfit(path, target, refused) if refused else None

    def as_losses(self) -> tuple[Loss, ...]:
        """Return the losses, the most frequent first."""
        most_first = sorted(self.losses.items(), key=lambda loss: (-loss[1][0], loss[0]))
        return tuple(Loss(kind, items, BECOMES[kind], where) for kind, (items, where) in most_first)

    def as_json(self) -> dict[str, Any]:
        """Return them for the note."""
        return {
            "items": self.items,
            "bytes": self.bytes,
            "set_aside": self.set_aside,
            "losses": {kind: list(loss) for kind, loss in self.losses.items()},
        }

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Findings:
        """Return what a note says."""
        losses = {kind: (items, where) for kind, (items, where) in said["losses"].items()}
        return cls(said["items"], said["bytes"], said["set_aside"], losses)
