"""The rows of the table, their goals, and how they are shown: plain, as Markdown, as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench.measure import middle_half

HEADINGS: Final = ("what", "measured", "middle half", "goal", "")


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that the median has to keep."""

    bound: float
    unit: str  # "x" is a ratio
    at_least: bool = False

    def kept(self, value: float) -> bool:
        """Return whether *value* keeps the bound."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Row:
    """One goal and what was measured, a value for each round."""

    name: str
    what: str
    goal: Goal
    values: list[float]

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def kept(self) -> bool:
        """Whether the goal is."""
        return self.goal.kept(self.value)

    def cells(self) -> tuple[str, ...]:
        """Return the row under HEADINGS."""
        low, high = middle_half(self.values)
        return (
            self.what,
            f"{number(self.value)} {self.goal.unit}",
            f"{number(low)} to {number(high)}",
            str(self.goal),
            "ok" if self.kept else "missed",
        )


@dataclass(slots=True)
class Table:
    """What one case found: rows with goals, and the plain figures behind them."""

    rows: list[Row] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other: Table) -> None:
        """Append the rows of another table."""
        self.rows += other.rows
        self.figures += other.figures


def number(value: float) -> str:
    """Return three digits of *value*, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def microseconds(seconds: float) -> str:
    """Return a duration as text."""
    return f"{number(seconds * 1e6)} us"


def plain(table: Table) -> str:
    """Return the table for a terminal."""
    return f"{_aligned([HEADINGS, *(row.cells() for row in table.rows)])}\n\n{_aligned(table.figures)}"


def markdown(table: Table) -> str:
    """Return the table for a page."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in table.rows)]
    figures = [("figure", "median"), ("---", "---"), *table.figures]
    return "\n\n".join("\n".join(f"| {' | '.join(cells)} |" for cells in part) for part in (rows, figures))


def as_json(table: Table, conditions: dict[str, Any]) -> str:
    """Return everything, each round's value included."""
    rows = [asdict(row) | {"value": row.value, "kept": row.kept} for row in table.rows]
    return json.dumps({"conditions": conditions, "rows": rows, "figures": dict(table.figures)}, indent=1)


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
