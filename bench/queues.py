"""`python -m bench.queues DIRECTORY COUNT`: so many open queues in one process, as JSON.

In a process of its own: what it holds is told by the system, and nothing that was measured before is in the figures.

    open     each queue is new                 seconds a queue
    put      one item into each, in turn       seconds an item; the first one, which makes info, is left out
    get      one item out of each, in turn     seconds an item; the fastest tenth of the turns
    idle     300 items went through each, all is durable: bytes resident, and descriptors a queue
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from asyncpq import AsyncQueue
from bench.contenders import CHUNKSIZE, ITEM, folder
from bench.measure import Measured, in_slices, stopwatch, undisturbed
from bench.memory import resident

TURNS: Final = 30
AT_LEAST: Final = 200  # items of a turn: with few queues, several into each
THROUGH: Final = 3 * CHUNKSIZE  # items that go through each queue before it rests
EACH: Final = 2  # descriptors that an idle queue holds; one more while something is not durable
OTHERS: Final = 64  # descriptors of everything else, generously


def descriptors() -> int:
    """Return how many descriptors this process has open; -1 where the system does not tell."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return -1


async def hold(where: Path, count: int) -> Measured:
    """Open so many queues, use each, let all rest; return what that took and takes."""
    path = folder(where)
    queues = [AsyncQueue(path / str(number), chunksize=CHUNKSIZE, fsync="never") for number in range(count)]
    before, held = resident(), descriptors()
    try:
        with stopwatch() as opening:
            for queue in queues:
                await queue.open()
        await _in_turn(queues, 1, put=True)  # which makes info, durably: once in the life of a queue
        putting = await in_slices(TURNS, {"put": lambda: _in_turn(queues, _turns(count), put=True)}, undisturbed)
        getting = await in_slices(TURNS, {"get": lambda: _in_turn(queues, _turns(count), put=False)}, undisturbed)
        await _rest(queues)
        return {
            "open": opening.seconds / count,
            "put": putting["put"] / (_turns(count) * count),
            "get": getting["get"] / (_turns(count) * count),
            "resident": resident(),
            "a queue": (resident() - before) / count,
            "descriptors": (descriptors() - held) / count,
        }
    finally:
        for queue in queues:
            await queue.close()


def _turns(count: int) -> int:
    return -(-AT_LEAST // count)


async def _in_turn(queues: Sequence[AsyncQueue], turns: int, *, put: bool) -> None:
    for _ in range(turns):
        for queue in queues:
            await (queue.put(ITEM) if put else queue.get())


async def _rest(queues: Sequence[AsyncQueue]) -> None:
    for queue in queues:
        await queue.task_done()
        await queue.put_many([ITEM] * THROUGH)
        await queue.get_many(THROUGH)
        await queue.task_done()
        await queue.sync()


def measure(where: Path, count: int) -> Measured:
    """Run this module in a new process, which may open as many files as that takes."""
    command = [sys.executable, "-m", "bench.queues", str(where), str(count)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    measured: Measured = json.loads(done.stdout)
    return measured


def allow(count: int) -> None:
    """Raise this process's limit on open files so far that so many queues may be open.

    Raises:
        SystemExit: the system does not allow it.
    """
    wanted = (EACH + 1) * count + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != hard < wanted:
        sys.exit(f"{count:,} open queues take {wanted:,} descriptors, and no more than {hard:,} are allowed here")
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    allow(int(sys.argv[2]))
    print(json.dumps(asyncio.run(hold(Path(sys.argv[1]), int(sys.argv[2])), debug=False)))
