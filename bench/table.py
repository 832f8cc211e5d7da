"""The rows of the table, their goals, and how they are shown: plain, as Markdown, as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench.measure import middle_half

HEADINGS: Final = ("", "measured", "middle half", "bound", "")
GOALS: Final = "goal"
AIMS: Final = "aim, beyond the goals"


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
        return f"{'≥' if self.at_least else '≤'} {self.bound:g} {self.unit}".rstrip()


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
            f"{number(self.value)} {self.goal.unit}".rstrip(),
            f"{number(low)} to {number(high)}",
            str(self.goal),
            "kept" if self.kept else "missed",
        )


@dataclass(slots=True)
class Table:
    """What one case found: rows with goals, the plain figures behind them, and what is aimed at beyond the goals."""

    rows: list[Row] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    aims: list[Row] = field(default_factory=list)  # shown apart; the exit status leaves them out

    def add(self, other: Table) -> None:
        """Append the rows of another table."""
        self.rows += other.rows
        self.figures += other.figures
        self.aims += other.aims


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
    parts = [aligned([(title, *HEADINGS[1:]), *(row.cells() for row in rows)]) for title, rows in titled(table)]
    return "\n\n".join([*parts, aligned(table.figures)])


def markdown(table: Table) -> str:
    """Return the table for a page."""
    parts: list[Sequence[tuple[str, ...]]] = [
        [(title, *HEADINGS[1:]), ("---",) * len(HEADINGS), *(row.cells() for row in rows)]
        for title, rows in titled(table)
    ]
    if table.figures:
        parts.append([("figure", "median"), ("---", "---"), *table.figures])
    return "\n\n".join("\n".join(f"| {' | '.join(cells)} |" for cells in part) for part in parts)


def markdown_rows(rows: Sequence[tuple[str, ...]]) -> str:
    """Return *rows*, the heading first, as a table of a page; what follows the first column stands to the right."""
    heading, *rest = (f"| {' | '.join(cells)} |" for cells in rows)
    return "\n".join([heading, "|---" + "|---:" * (len(rows[0]) - 1) + "|", *rest])


def titled(table: Table) -> list[tuple[str, list[Row]]]:
    """Return the goals and the aims that there are, each with its heading."""
    return [(title, rows) for title, rows in ((GOALS, table.rows), (AIMS, table.aims)) if rows]


def as_dict(table: Table) -> dict[str, Any]:
    """Return everything, each round's value included, for JSON; `loaded` takes it back."""
    return {
        "rows": [asdict(row) | {"value": row.value, "kept": row.kept} for row in table.rows],
        "aims": [asdict(row) | {"value": row.value, "kept": row.kept} for row in table.aims],
        "figures": dict(table.figures),
    }


def loaded(found: Mapping[str, Any]) -> Table:
    """Return the table that `as_dict` made *found* of."""

    def rows(kind: str) -> list[Row]:
        return [Row(row["name"], row["what"], Goal(**row["goal"]), row["values"]) for row in found[kind]]

    return Table(rows("rows"), list(found["figures"].items()), rows("aims"))


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Return *rows* with their columns below each other."""
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
