"""What each fsync policy costs on a disk of yours, and what the power cut of this moment would lose.

python policies.py [DIRECTORY [PUTS]]

A look in one second; `asyncpq bench --quick DIRECTORY` measures properly, and recommends.
"""

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asyncpq import AsyncQueue, fsync

POLICIES: Final = (
    fsync.Never(),
    fsync.Rollover(),
    fsync.Interval(),
    fsync.Interval(seconds=0.05),
    fsync.Interval(items=10),
    fsync.Always(),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What was measured of one policy."""

    seconds: float  # of one put
    shared: float  # the same, for 100 producers at once
    at_risk: int  # items that a power cut would lose now
    syncs: int


async def measure(path: Path, policy: fsync.Policy, puts: int) -> Cost:
    async with AsyncQueue(path, fsync=policy) as queue:
        began = time.perf_counter()
        for number in range(puts):
            await queue.put(number)
        alone = (time.perf_counter() - began) / puts
        at_risk = queue.stats()["not_durable"]
        began = time.perf_counter()
        await asyncio.gather(*(queue.put(number) for number in range(100)))
        shared = (time.perf_counter() - began) / 100
        return Cost(alone, shared, at_risk, queue.stats()["syncs"])


async def main(folder: Path, puts: int) -> None:
    print(f"{'policy':36}{'us a put':>10}{'of 100':>10}{'at risk':>10}{'syncs':>8}")
    for number, policy in enumerate(POLICIES):
        cost = await measure(folder / str(number), policy, puts)
        alone, shared = cost.seconds * 1e6, cost.shared * 1e6
        print(f"{policy!r:36}{alone:10.1f}{shared:10.1f}{cost.at_risk:10}{cost.syncs:8}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as temporary:
        asyncio.run(main(Path(temporary), int(sys.argv[2]) if len(sys.argv) > 2 else 200))
