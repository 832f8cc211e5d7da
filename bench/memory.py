"""`python -m bench.memory DIRECTORY ITEMS`: the memory that putting and draining so many items takes, in bytes.

In a process of its own, so that nothing that was measured before is in the figures.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from pathlib import Path

from asyncpq import AsyncQueue
from bench.contenders import CHUNKSIZE, ITEM, folder
from bench.measure import Measured

UNIT = 1 if sys.platform == "darwin" else 1024  # bytes; what ru_maxrss counts in


def resident() -> int:
    """Return the bytes that are resident now, or the most that were, where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return peak()
    return pages * resource.getpagesize()


def peak() -> int:
    """Return the most bytes that were resident at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


async def gained(where: Path, count: int) -> int:
    """Put so many, then drain; return by how much the peak lies above what an open, used queue takes."""
    async with AsyncQueue(folder(where), chunksize=CHUNKSIZE) as queue:
        await put_and_drain(queue, CHUNKSIZE)
        before = resident()
        await put_and_drain(queue, count)
        return peak() - before


async def put_and_drain(queue: AsyncQueue, count: int) -> None:
    for _ in range(count):
        await queue.put(ITEM)
    for _ in range(count):
        await queue.get()
        await queue.task_done()


def measure(where: Path, count: int) -> Measured:
    """Run this module in a new process."""
    command = [sys.executable, "-m", "bench.memory", str(where), str(count)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return {"memory": int(done.stdout)}


if __name__ == "__main__":
    print(asyncio.run(gained(Path(sys.argv[1]), int(sys.argv[2])), debug=False))
