"""The floor of this machine: what the system takes for the least that a queue asks of it."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncpq import threads
from asyncpq.bench.slices import Ticker, item_of
from asyncpq.lane import call_loop, resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Bare", "bare", "floor_of_loop"]

FEWEST: Final = 5  # calls of each, however long they take
BATCH: Final = 64  # writes between two looks at the clock
FILE_BYTES: Final = 64 * 1024 * 1024  # then it is written over from its start


@dataclass(frozen=True, slots=True)
class Bare:
    """Medians of one slice, in seconds."""

    write: float
    sync: float  # a write and its fdatasync


def bare(place: Path, size: int, seconds: float) -> Bare:
    """Return what writes of *size* bytes take in half of so many seconds, and writes with fdatasync in the other."""
    data = item_of(size).encode()
    fd = os.open(place / f"bare{size}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write = _repeated(lambda: _write(fd, data), seconds / 2) / BATCH
        return Bare(write, _repeated(lambda: _synced(fd, data), seconds / 2))
    finally:
        os.close(fd)


def _write(fd: int, data: bytes) -> None:
    if os.lseek(fd, 0, os.SEEK_CUR) > FILE_BYTES:
        os.lseek(fd, 0, os.SEEK_SET)
    for _ in range(BATCH):
        os.write(fd, data)


def _synced(fd: int, data: bytes) -> None:
    os.write(fd, data)
    os.fdatasync(fd)


def _repeated(call: Callable[[], None], seconds: float) -> float:
    taken: list[float] = []
    ends = time.perf_counter() + seconds
    while len(taken) < FEWEST or time.perf_counter() < ends:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


async def floor_of_loop(seconds: float) -> tuple[float, float]:
    """Return the median of a hop to a thread and back, and how late an idle loop was at most; in seconds."""
    taken: list[float] = []
    ends = time.perf_counter() + seconds / 2
    while len(taken) < FEWEST or time.perf_counter() < ends:
        began = time.perf_counter()
        await _hop()
        taken.append(time.perf_counter() - began)
    async with Ticker() as ticker:
        await asyncio.sleep(seconds / 2)
    return statistics.median(taken), ticker.longest


async def _hop() -> None:
    loop = asyncio.get_running_loop()
    back: asyncio.Future[None] = loop.create_future()

    def job() -> None:
        call_loop(loop, resolve, back, None, None)

    threads.pool.submit(job)
    await back
