"""What has to be known beside the figures, in sentences.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncpq.bench.advice import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpq.bench.plan import Cell, Options
    from asyncpq.bench.result import Counts, Row

__all__ = ["notes"]


def notes(options: Options, rows: tuple[Row, ...], rounds: int, failed: dict[Cell, str]) -> Iterator[str]:
    """Yield the notes; *rounds* is how many counted."""
    turns = "1 round" if rounds == 1 else f"{rounds} rounds in turn, every other in reverse"
    warmed = "each queue warmed up by a few puts" if options.quick else "after one to warm up"
    yield (
        f"{turns}, {warmed}; medians, and how far the rounds lie from them; percentiles are over the puts of all rounds"
    )
    yield from _of_windows(options, rows)
    if options.delays != (0.0,):
        yield "a slower sync is only imagined for asyncpq's queues, behind each sync that they ask for themselves"
    yield _of_garbage(rows)
    yield from (f"{cell.name}, {cell.producers} producers: not measured: {why}" for cell, why in failed.items())
    yield from dict.fromkeys(_of_counts(row.cell, row.counts) for row in rows if row.counts.why)


def _of_windows(options: Options, rows: tuple[Row, ...]) -> Iterator[str]:
    windows = {row.cell.window for row in rows} - {0.0}
    if options.quick and windows and max(windows) > options.seconds / options.rounds:
        yield (
            f"--quick times less than the window of {max(windows):g} s: "
            f"the commit at its end is not in the puts a second"
        )


def _of_garbage(rows: tuple[Row, ...]) -> str:
    collections = sum(row.pauses.collections for row in rows)
    taken, longest = sum(row.pauses.seconds for row in rows), max((row.pauses.longest for row in rows), default=0.0)
    if not collections:
        return "garbage was collected before each slice and the collector left on; it had nothing to do"
    return (
        f"garbage was collected before each slice and the collector left on: {collections:,} collections took "
        f"{seconds(taken)} in all, the longest {seconds(longest)}, and are part of the figures"
    )


def _of_counts(cell: Cell, counts: Counts) -> str:
    return f"{cell.name}: {counts.why if counts.how else f'not counted: {counts.why}'}"
