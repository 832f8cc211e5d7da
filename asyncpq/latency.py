"""How long syncs take: a count, a sum, the longest, and a histogram.  Pure: who syncs takes the time.

    bounds   0.1 ms   0.25   0.5   1   2.5   5   10   25   50   100   250   1 s   inf
    counts   those that took at most so long, and longer than the bound before

Written by one thread at a time, read by any: each number by itself is right, and they are not of one moment.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import Final

__all__ = ["BOUNDS", "Latency"]

# Seconds.  A disk with a battery syncs in 0.1 ms, an SSD in one, a hard disk in ten; a network may take longer.
BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, float("inf"))


class Latency:
    """What was counted so far."""

    __slots__ = ("_counts", "count", "longest", "seconds")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.count = 0
        self.seconds = self.longest = 0.0
        self._counts = [0] * len(BOUNDS)

    def add(self, seconds: float) -> None:
        """Count one that took so long."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.count += 1
        self.seconds += seconds
        self.longest = max(self.longest, seconds)

    def histogram(self) -> dict[float, int]:
        """Return, for each bound in seconds, how many took at most so long; the last bound is infinity."""
        return dict(zip(BOUNDS, accumulate(self._counts), strict=True))

    def stats(self) -> dict[str, int | float | dict[float, int]]:
        """Return the part of a queue's `stats()` that is about syncs."""
        return {
            "syncs": self.count,
            "sync_seconds": self.seconds,
            "sync_seconds_max": self.longest,
            "sync_histogram": self.histogram(),
        }
