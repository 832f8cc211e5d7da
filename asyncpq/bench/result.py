"""What was measured, as data.  Pure.

Result ── machine, options, floor, warnings, notes, advice
└─ Row ── cell, promise, puts, gets, latency, stall, counts, pauses of the garbage collector
"""

from __future__ import annotations

import enum
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpq.bench.plan import Cell, Options

FORMAT: Final = 1  # of the JSON
CURVE: Final = (0.0, *(1 - 10 ** (-step / 8) for step in range(1, 41)))  # the fractions at which latencies are kept
LEAST_P99, LEAST_P999 = 100, 1000  # puts; of fewer, the percentile is only the slowest


class Promise(enum.IntEnum):
    """What is durable when a put returns; the strongest first."""

    EACH = 0
    BUT_LAST = 1
    WINDOW = 2
    SOMETIMES = 3
    NONE = 4

    @property
    def text(self) -> str:
        """Say it."""
        return _PROMISES[self]


_PROMISES: Final = {
    Promise.EACH: "each put is durable when it returns",
    Promise.BUT_LAST: "each put but the last is durable when it returns",
    Promise.WINDOW: "durable a bounded time later",
    Promise.SOMETIMES: "durable when a file is full, or a log is moved",
    Promise.NONE: "nothing is synced",
}


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure of several rounds: the median, the least and the most."""

    median: float
    low: float
    high: float
    rounds: int


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True, slots=True)
class Latency:
    """How long the puts of all rounds took, in seconds; None: too few for this percentile."""

    p50: float
    p99: float | None
    p999: float | None
    longest: float
    puts: int
    curve: tuple[tuple[float, float], ...]  # (fraction of the puts, seconds that they did not exceed)


def latency(seconds: Sequence[float], puts: int, longest: float) -> Latency:
    """Return the percentiles of at least one put: *seconds* of all *puts*, or of an even sample of them."""
    ordered = sorted(seconds)
    count = len(ordered)

    def at(fraction: float) -> float:
        return ordered[min(count - 1, int(count * fraction))]

    # Past its last put, a curve would only be a straight line.
    curve = tuple((fraction, at(fraction)) for fraction in CURVE if (1 - fraction) * count >= 1)
    return Latency(
        at(0.5),
        at(0.99) if count >= LEAST_P99 else None,
        at(0.999) if count >= LEAST_P999 else None,
        longest,
        puts,
        curve,
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted in a run of its own, in which the calls to the system are watched; None: not counted."""

    how: str = ""  # "calls", "strace", "wchar"; "": nothing was counted
    why: str = ""  # what keeps from counting
    puts: int = 0  # that were acknowledged while it was counted
    syncs: int | None = None
    bytes: int | None = None
    at_risk: int | None = None  # the largest number of acknowledged puts that were not durable
    exposed: float | None = None  # seconds: the longest that an acknowledged put was not durable
    advanced: bool = False  # some of them became durable while it was counted

    @property
    def syncs_each(self) -> float | None:
        """Syncs an item."""
        return self.syncs / self.puts if self.syncs is not None and self.puts else None

    @property
    def bytes_each(self) -> float | None:
        """Bytes written an item."""
        return self.bytes / self.puts if self.bytes is not None and self.puts else None


@dataclass(frozen=True, slots=True)
class Pauses:
    """What the garbage collector took, in seconds; it is part of the figures."""

    collections: int = 0
    seconds: float = 0.0
    longest: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One cell, measured."""

    cell: Cell
    promise: Promise
    syncs: str  # what is synced, and when
    puts: Spread  # a second
    gets: Spread  # a second, each marked done
    latency: Latency
    stall: float  # seconds: the longest that the event loop was late
    counts: Counts
    pauses: Pauses


@dataclass(frozen=True, slots=True)
class Floor:
    """What this machine takes for the least, in seconds, measured in the same rounds."""

    writes: dict[int, Spread]  # by size: a bare write
    syncs: dict[int, Spread]  # by size: a bare write and its fdatasync
    hop: Spread  # to a thread and back
    stall: float  # the longest that an idle event loop was late


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured."""

    path: str
    file_system: str
    device: str
    processor: str
    processors: int
    system: str
    python: str
    versions: dict[str, str]
    time: str
    command: str


@dataclass(frozen=True, slots=True)
class Result:
    """Everything."""

    machine: Machine
    options: Options
    floor: Floor
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    advice: str
    seconds: float  # that the whole run took

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data; times in seconds, sizes in bytes."""
        plain = {"format": FORMAT, **asdict(self)}
        for row, made in zip(self.rows, plain["rows"], strict=True):
            made["promise"] = row.promise.name.lower()
            made["name"] = row.cell.name
            made["lost"] = lost(row)
            made["counts"] |= {"syncs_each": row.counts.syncs_each, "bytes_each": row.counts.bytes_each}
        return plain


def two_digits(value: float) -> str:
    """Return two digits of *value*, and zeros: it is not known better than that."""
    if value < 10:
        return f"{value:.2g}"
    step = 10 ** (len(str(int(value))) - 2)
    return f"{round(value / step) * step:,.0f}"


def lost(row: Row) -> str:
    """Say what a power cut can lose, as it was counted."""
    counts = row.counts
    if counts.at_risk is None:
        return "not counted"
    if counts.at_risk == 0:
        return "nothing"
    if row.cell.window and counts.exposed is not None:
        over = "" if counts.advanced else "more than "
        return f"{over}{counts.exposed:.2g} s: {two_digits(counts.exposed * row.puts.median)} items at this rate"
    if not counts.advanced:
        return f"all: none of {counts.puts:,} became durable"
    return "the last item" if counts.at_risk == 1 else f"{counts.at_risk:,} items"
