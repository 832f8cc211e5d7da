"""Measuring on a noisy machine: rounds in turn, medians, spread.

round 1   A  B  C      every contender once a round, so that all meet the same weather;
round 2   C  B  A      every other round in reverse order;
...                    ratios are taken within a round, and the median is over the rounds
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

# One measurement: what it measured, by name, in seconds an operation (or another unit that the name says).
Measured = dict[str, float]
Contender = Callable[[], Measured]
Part = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Stopwatch:
    """How long the body of `stopwatch` took."""

    seconds: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Time the body, garbage collected before it and collection left on as in real life."""
    watch = Stopwatch()
    gc.collect()
    began = time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - began


def in_turn(rounds: int, contenders: Mapping[str, Contender], title: str, *, warm_up: bool = True) -> list[Measured]:
    """Measure each contender once a round, after a round that does not count; return the rounds."""
    measured = []
    for number in range(0 if warm_up else 1, rounds + 1):
        order = list(contenders.values())
        if number % 2:
            order.reverse()
        progress(f"{title}: round {number} of {rounds}" if number else f"{title}: warming up")
        together: Measured = {}
        for contender in order:
            together |= contender()
        measured.append(together)
    progress("")
    return measured[1:] if warm_up else measured


async def in_slices(
    slices: int, parts: Mapping[str, Part], middle: Callable[[list[float]], float] = statistics.median
) -> Measured:
    """Run the parts in turn so many times; return the median, or another *middle*, of the seconds that each took."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    gc.collect()
    for _ in range(slices):
        for name, part in parts.items():
            began = time.perf_counter()
            await part()
            taken[name].append(time.perf_counter() - began)
    return {name: middle(seconds) for name, seconds in taken.items()}


def undisturbed(seconds: list[float]) -> float:
    """Return the time of the fastest tenth: what a part takes when nothing comes between."""
    return percentile(seconds, 100)


def ratios(rounds: list[Measured], over: str, under: str) -> list[float]:
    """Return over / under for each round."""
    return [measured[over] / measured[under] for measured in rounds]


def median(rounds: list[Measured], name: str) -> float:
    """Return the median of one figure."""
    return statistics.median(measured[name] for measured in rounds)


def middle_half(values: list[float]) -> tuple[float, float]:
    """Return the quartiles: half of the values lie between them."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def percentile(values: list[float], per_mille: int) -> float:
    """Return the value that so many of a thousand do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * per_mille // 1000)]


def progress(text: str) -> None:
    """Show on a terminal what is being measured."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
