"""One slice: a queue is opened, put to and got from for a while, and closed; in an event loop of its own.

open   one wave of puts   garbage collected   puts until the time is over   gets, the same   close
(warm-up)                              └── the loop's ticks and the collector's pauses are watched ──┘
"""

from __future__ import annotations

import asyncio
import gc
import time
from array import array
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from asyncpq.bench.result import Pauses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpq.bench.contenders.protocol import Contender

__all__ = ["Slice", "Ticker", "item_of", "measure", "wave"]

TICK: Final = 0.001  # seconds from tick to tick, and the longest that a blocking contender keeps the loop
SLICE_BYTES: Final = 64 * 1024 * 1024  # of items that a slice puts at most: large items fill a disk soon
KEPT: Final = 200_000  # latencies of a slice: enough for its percentiles, and a long run does not fill the memory
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice measured."""

    puts: float  # a second
    gets: float  # a second
    latencies: array[float]  # seconds, of each put, or of as many as are kept, evenly from first to last
    count: int  # puts
    longest: float  # seconds
    stall: float  # seconds
    pauses: Pauses


def item_of(size: int) -> str:
    """Return an item of so many bytes, which every contender takes: text of ASCII letters."""
    return (LETTERS * (size // len(LETTERS) + 1))[:size]


async def measure(contender: Contender, producers: int, item: str, put_seconds: float, get_seconds: float) -> Slice:
    """Return what *contender* does in so many seconds of puts, and of gets, by so many tasks at once.

    It is closed on return, also after an error or a cancellation.
    """
    latencies: array[float] = array("d")
    await contender.open()
    try:
        await wave(contender, item, producers)
        gc.collect()
        with _watched() as pauses:
            async with Ticker() as ticker:
                put_took = await _put(contender, producers, item, put_seconds, latencies)
                got, get_took = await _get(contender, producers, len(latencies) + producers, get_seconds)
    finally:
        await contender.close()
    return Slice(
        puts=len(latencies) / put_took,
        gets=got / get_took,
        latencies=latencies[:: len(latencies) // KEPT + 1],
        count=len(latencies),
        longest=max(latencies),
        stall=ticker.longest,
        pauses=pauses.so_far(),
    )


async def wave(contender: Contender, item: str, producers: int) -> None:
    """Put one item by each producer, at once."""
    await asyncio.gather(*(contender.put(item) for _ in range(producers)))


async def _put(contender: Contender, producers: int, item: str, seconds: float, latencies: array[float]) -> float:
    """Put for so many seconds; return how long that took."""
    most = max(1, SLICE_BYTES // len(item))
    began = time.perf_counter()
    ends = began + seconds

    async def produce() -> None:
        put, clock, note, turn = contender.put, time.perf_counter, latencies.append, 0.0
        while len(latencies) < most:
            start = clock()
            await put(item)
            end = clock()
            note(end - start)
            if end >= ends:
                return
            if contender.blocking and end >= turn:
                await asyncio.sleep(0)
                turn = clock() + TICK

    await asyncio.gather(*(produce() for _ in range(producers)))
    return time.perf_counter() - began


async def _get(contender: Contender, consumers: int, there: int, seconds: float) -> tuple[int, float]:
    """Get for so many seconds, or until nothing is left; return how many, and how long that took."""
    left = there
    began = time.perf_counter()
    ends = began + seconds

    async def consume() -> None:
        nonlocal left
        get, clock, turn = contender.get, time.perf_counter, 0.0
        while left > 0:
            left -= 1
            await get()
            if (now := clock()) >= ends:
                return
            if contender.blocking and now >= turn:
                await asyncio.sleep(0)
                turn = clock() + TICK

    await asyncio.gather(*(consume() for _ in range(consumers)))
    return there - left, time.perf_counter() - began


class Ticker:
    """Looks at the loop each millisecond: how late was it at most?"""

    def __init__(self) -> None:
        """Look at nothing yet."""
        self.longest = 0.0  # seconds

    async def __aenter__(self) -> Ticker:
        """Begin to tick."""
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *error: object) -> None:
        """Tick no more, once what has kept the loop until now was noticed."""
        await asyncio.sleep(2 * TICK)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(TICK)
            self.longest = max(self.longest, time.perf_counter() - began - TICK)


@dataclass(slots=True)
class _Collector:
    """Is called by the garbage collector before and after each collection."""

    began: float = 0.0
    taken: list[float] = field(default_factory=list)

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self.began = time.perf_counter()
        else:
            self.taken.append(time.perf_counter() - self.began)

    def so_far(self) -> Pauses:
        return Pauses(len(self.taken), sum(self.taken), max(self.taken, default=0.0))


@contextmanager
def _watched() -> Iterator[_Collector]:
    collector = _Collector()
    gc.callbacks.append(collector)
    try:
        yield collector
    finally:
        gc.callbacks.remove(collector)
