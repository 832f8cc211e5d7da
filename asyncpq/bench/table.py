"""The figures as tables of text, for a terminal and for a page.  Pure.

One table for each number of producers, size, serializer and delay; in it the strongest promise comes first, so that
the same promise stands beside the same promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncpq.bench.advice import seconds
from asyncpq.bench.result import Promise, lost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpq.bench.plan import Cell
    from asyncpq.bench.result import Floor, Result, Row, Spread

__all__ = ["COLUMNS", "NUMBERS", "SAFETY", "SPEED", "Section", "aligned", "floor_rows", "sections"]

COLUMNS: Final = (
    "queue",
    "puts/s",
    "spread",
    "gets/s",
    "p50",
    "p99",
    "p99.9",
    "syncs/item",
    "bytes/item",
    "stall",
    "a power cut can lose",
)
NUMBERS: Final = COLUMNS[1:-1]
SPEED: Final = (0, 1, 2, 3, 4, 5, 6)  # columns, where all of them are too wide
SAFETY: Final = (0, 7, 8, 9, 10)
FEW: Final = "too few"


@dataclass(frozen=True, slots=True)
class Section:
    """One table: rows by promise."""

    title: str
    groups: tuple[tuple[Promise, tuple[tuple[str, ...], ...]], ...]


def sections(result: Result) -> list[Section]:
    """Return the tables, in the order of the plan."""
    found: dict[str, list[Row]] = {}
    for row in result.rows:
        for title in _titles(row.cell, result):
            found.setdefault(title, []).append(row)
    return [Section(title, _by_promise(rows)) for title, rows in found.items()]


def _titles(cell: Cell, result: Result) -> list[str]:
    """Return where the row stands.  A peer has a serializer of its own, and stands beside the first of ours."""
    serializer = cell.serializer or result.options.serializers[0]
    title = f"{_count(cell.producers)}, items of {cell.size:,} bytes, {serializer}"
    return [f"{title}, each sync {seconds(cell.delay)} slower" if cell.delay else title]


def _count(producers: int) -> str:
    return "1 producer" if producers == 1 else f"{producers:,} producers"


def _by_promise(rows: list[Row]) -> tuple[tuple[Promise, tuple[tuple[str, ...], ...]], ...]:
    return tuple(
        (promise, tuple(cells(row) for row in rows if row.promise == promise))
        for promise in Promise
        if any(row.promise == promise for row in rows)
    )


def cells(row: Row) -> tuple[str, ...]:
    """Return the row under COLUMNS."""
    latency, counts = row.latency, row.counts
    return (
        row.cell.name,
        whole(row.puts.median),
        spread(row.puts),
        whole(row.gets.median),
        seconds(latency.p50),
        FEW if latency.p99 is None else seconds(latency.p99),
        FEW if latency.p999 is None else seconds(latency.p999),
        _each(counts.syncs_each),
        _each(counts.bytes_each),
        seconds(row.stall),
        lost(row),
    )


def aligned(section: Section, columns: Sequence[int] | None = None) -> list[tuple[str, str]]:
    """Return the lines of a table of these columns (None: of all), each with what it is: title, head, promise, row."""
    chosen = range(len(COLUMNS)) if columns is None else columns
    rows = [COLUMNS, *(row for _, group in section.groups for row in group)]
    widths = {column: max(len(row[column]) for row in rows) for column in chosen}

    def made(row: Sequence[str]) -> str:
        shown = (f"{row[i]:>{widths[i]}}" if COLUMNS[i] in NUMBERS else f"{row[i]:<{widths[i]}}" for i in chosen)
        return f"  {'  '.join(shown)}".rstrip()

    lines = [("title", section.title), ("head", made(COLUMNS))]
    for promise, group in section.groups:
        lines += [("promise", promise.text), *(("row", made(row)) for row in group)]
    return lines


def whole(value: float) -> str:
    """Return a rate."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def spread(values: Spread) -> str:
    """Return how far the rounds lie from their median, at most, in percent of it."""
    if values.rounds == 1:
        return "1 round"
    return f"±{max(values.high - values.median, values.median - values.low) / values.median:.0%}"


def _each(value: float | None) -> str:
    if value is None:
        return "not counted"
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"1 in {1 / value:,.0f}"


def floor_rows(floor: Floor) -> list[tuple[str, str, str]]:
    """Return what the bare system takes: what, the median, the least and the most."""
    rows = []
    for size in floor.writes:
        rows.append((f"write of {size:,} bytes", *_timed(floor.writes[size])))
        rows.append((f"write of {size:,} bytes, and fdatasync", *_timed(floor.syncs[size])))
    rows.append(("hop to a thread and back", *_timed(floor.hop)))
    return [*rows, ("idle event loop: longest stall", seconds(floor.stall), "")]


def _timed(values: Spread) -> tuple[str, str]:
    return seconds(values.median), f"{seconds(values.low)} to {seconds(values.high)}"
