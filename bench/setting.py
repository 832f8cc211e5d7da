"""How much is measured, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Setting:
    """How much to measure, and where."""

    where: Path
    rounds: int
    quick: bool

    def scaled(self, full: int, quick: int) -> int:
        """Return the number for this run."""
        return quick if self.quick else full
