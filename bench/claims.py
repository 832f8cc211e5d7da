"""`python -m bench.claims`: what claim and ack cost beside get and task_done; goals as ratios of one run."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from asyncpq import AsyncQueue

ROUNDS: Final = 7
ITEMS: Final = 20_000  # by one worker
WORKERS: Final = 256
DURABLE: Final = 10_240  # items under `always`
GOAL_ONE: Final = 1.5  # claim + ack over get + task_done, at most
GOAL_MANY: Final = 8.0  # acks in the time of one bare write + fdatasync, at least


async def one_worker(queue: AsyncQueue, *, claims: bool) -> float:
    """Return the seconds that one worker takes for ITEMS items."""
    await queue.put_many(range(ITEMS))
    began = time.perf_counter()
    if claims:
        for _ in range(ITEMS):
            await (await queue.claim()).ack()
    else:
        for _ in range(ITEMS):
            await queue.get()
            await queue.task_done()
    return time.perf_counter() - began


async def many_workers(queue: AsyncQueue) -> float:
    """Return the seconds an ack takes, by WORKERS workers under `always`; the claim included."""
    await queue.put_many(range(DURABLE))

    async def work() -> None:
        for _ in range(DURABLE // WORKERS):
            await (await queue.claim()).ack()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(WORKERS)))
    return (time.perf_counter() - began) / DURABLE


def bare(path: Path) -> float:
    """Return the seconds of a write of 512 bytes and its fdatasync."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        took = []
        for _ in range(500):
            began = time.perf_counter()
            os.pwrite(fd, bytes(512), 0)
            os.fdatasync(fd)
            took.append(time.perf_counter() - began)
        return statistics.median(took)
    finally:
        os.close(fd)


def measured(work: Callable[[AsyncQueue], Awaitable[float]], fsync: str) -> float:
    """Return what *work* returns with a new queue."""

    async def run(folder: str) -> float:
        async with AsyncQueue(folder, fsync=fsync) as queue:
            return await work(queue)

    with tempfile.TemporaryDirectory(prefix="asyncpq-bench-") as folder:
        return asyncio.run(run(folder))


def main() -> int:
    """Measure, print, and return 1 when a goal is missed."""
    one, many = [], []
    for _ in range(ROUNDS):
        got = measured(lambda queue: one_worker(queue, claims=False), "interval")
        claimed = measured(lambda queue: one_worker(queue, claims=True), "interval")
        one.append(claimed / got)
        print(f"one worker: get + task_done {got / ITEMS * 1e6:.1f} us, claim + ack {claimed / ITEMS * 1e6:.1f} us")
        ack = measured(many_workers, "always")
        with tempfile.TemporaryDirectory(prefix="asyncpq-bench-") as folder:
            sync = bare(Path(folder) / "file")
        many.append(sync / ack)
        print(f"{WORKERS} workers, always: claim + ack {ack * 1e6:.1f} us, bare write + fdatasync {sync * 1e6:.1f} us")
    ratio, acks = statistics.median(one), statistics.median(many)
    print(f"claim + ack / get + task_done: {ratio:.2f} (goal: at most {GOAL_ONE})")
    print(f"acks in one bare write + fdatasync: {acks:.1f} (goal: at least {GOAL_MANY})")
    return 0 if ratio <= GOAL_ONE and acks >= GOAL_MANY else 1


if __name__ == "__main__":
    sys.exit(main())
