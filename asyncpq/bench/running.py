"""The run: rounds in turn, the counting, and the figures of all that.

    warming up   A B C D      half as long; does not count, and --quick leaves it out
    round 1      A B C D      every cell and the floor once a round, so that all meet the same weather;
    round 2      D C B A      every other round in reverse
    counting     A B C D      a run of its own, since watching costs time

A cell whose policy has a window is timed for longer than the window, so that its commit is part of the figures.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from asyncpq.bench.contenders import make
from asyncpq.bench.counting import count_all
from asyncpq.bench.floor import Bare, bare, floor_of_loop
from asyncpq.bench.result import Counts, Floor, Pauses, Row, latency, spread
from asyncpq.bench.slices import Slice, item_of, measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpq.bench.plan import Cell, Options
    from asyncpq.bench.workspace import Workspace

__all__ = ["Measured", "Progress", "run"]

PUTS: Final = 0.6  # the part of a slice in which it puts; it gets in the rest
WINDOWS: Final = 1.1  # so many windows are timed at least, where the policy has one
QUICK_ROUNDS: Final = 6.5  # seconds of a quick run are for the rounds; one begins only if it fits,
QUICK_COUNTS: Final = 6.0  # and so many for the counting


class Progress(Protocol):
    """Is told what is measured."""

    def __call__(self, what: str, done: float, /) -> None:
        """*what* begins; *done* is the part of the run that is over, from 0 to 1."""


@dataclass(slots=True)
class Measured:
    """All that was measured of the floor and of each cell, a value for each round."""

    slices: dict[Cell, list[Slice]] = field(default_factory=dict)
    bare: dict[int, list[Bare]] = field(default_factory=dict)  # by size
    loop: list[tuple[float, float]] = field(default_factory=list)  # a hop, and how late an idle loop was
    failed: dict[Cell, str] = field(default_factory=dict)
    rounds: int = 0
    counts: dict[Cell, Counts] = field(default_factory=dict)

    def floor(self) -> Floor:
        """Return the medians."""
        return Floor(
            {size: spread([one.write for one in bare]) for size, bare in self.bare.items()},
            {size: spread([one.sync for one in bare]) for size, bare in self.bare.items()},
            spread([hop for hop, _ in self.loop]),
            max(late for _, late in self.loop),
        )

    def rows(self, space: Workspace) -> tuple[Row, ...]:
        """Return a row for each cell that did not fail, in the order of the plan."""
        return tuple(self._row(cell, slices, space) for cell, slices in self.slices.items() if cell not in self.failed)

    def _row(self, cell: Cell, slices: list[Slice], space: Workspace) -> Row:
        contender = make(cell, space.path)
        return Row(
            cell,
            contender.promise,
            contender.syncs,
            spread([one.puts for one in slices]),
            spread([one.gets for one in slices]),
            latency(
                [seconds for one in slices for seconds in one.latencies],
                sum(one.count for one in slices),
                max(one.longest for one in slices),
            ),
            max(one.stall for one in slices),
            self.counts.get(cell, Counts()),
            _together([one.pauses for one in slices]),
        )


def _together(pauses: Sequence[Pauses]) -> Pauses:
    return Pauses(
        sum(one.collections for one in pauses),
        sum(one.seconds for one in pauses),
        max(one.longest for one in pauses),
    )


def run(cells: Sequence[Cell], options: Options, space: Workspace, progress: Progress) -> Measured:
    """Measure *cells* in *space*; what another library raises ends its cell, and is noted.

    Raises:
        OSError: the disk does not take it.
        Whatever asyncpq raises.
    """
    rounds = _Rounds(cells, options, space, progress)
    rounds.all()
    measured = rounds.measured
    still = [cell for cell in cells if cell not in measured.failed]
    measured.counts = count_all(
        still,
        space,
        quick=options.quick,
        seconds=QUICK_COUNTS if options.quick else float("inf"),
        told=lambda cell: progress(f"counting: {cell.name}", 0.95),
    )
    return measured


class _Rounds:
    def __init__(self, cells: Sequence[Cell], options: Options, space: Workspace, progress: Progress) -> None:
        self._cells, self._options, self._space, self._progress = cells, options, space, progress
        self._sizes = options.sizes
        self.measured = Measured()

    def all(self) -> None:
        """Go through the rounds, as many as fit."""
        options, began = self._options, time.monotonic()
        if not options.quick:
            self._round(0, counts=False)
        for number in range(1, options.rounds + 1):
            start = time.monotonic()
            self._round(number, counts=True)
            self.measured.rounds = number
            took = time.monotonic() - start
            if options.quick and time.monotonic() + took > began + QUICK_ROUNDS:
                return

    def _round(self, number: int, *, counts: bool) -> None:
        order = list(self._cells) if number % 2 else list(reversed(self._cells))
        self._floor(counts)
        for done, cell in enumerate(order):
            if cell not in self.measured.failed:
                title = f"round {number} of {self._options.rounds}" if counts else "warming up"
                part = (number + done / len(order)) / (self._options.rounds + 1)
                self._progress(f"{title}: {_where(cell)}", part * 0.9)
                self._slice(cell, counts)

    def _slice(self, cell: Cell, counts: bool) -> None:
        puts, gets = self._times(cell, counts)
        with self._space.place() as place:
            try:
                taken = asyncio.run(
                    measure(make(cell, place), cell.producers, item_of(cell.size), puts, gets), debug=False
                )
            except Exception as error:
                if cell.policy or isinstance(error, OSError) or "disk is full" in str(error):
                    raise
                self.measured.failed[cell] = f"{type(error).__name__}: {error}"
                return
        if counts:
            self.measured.slices.setdefault(cell, []).append(taken)

    def _times(self, cell: Cell, counts: bool) -> tuple[float, float]:
        """Return for how many seconds it puts, and gets."""
        slice_ = self._options.seconds / self._options.rounds
        if not counts:
            slice_ /= 2
        puts, gets = slice_ * PUTS, slice_ * (1 - PUTS)
        if cell.window and counts and not self._options.quick:
            puts = max(puts, cell.window * WINDOWS)
        return puts, gets

    def _floor(self, counts: bool) -> None:
        seconds = self._options.seconds / self._options.rounds
        with self._space.place() as place:
            found = {size: bare(place, size, seconds / 2) for size in self._sizes}
        loop = asyncio.run(floor_of_loop(seconds), debug=False)
        if counts:
            self.measured.loop.append(loop)
            for size, one in found.items():
                self.measured.bare.setdefault(size, []).append(one)


def _where(cell: Cell) -> str:
    return f"{cell.name}, {cell.producers} producer{'s' * (cell.producers != 1)}, items of {cell.size:,} bytes"
