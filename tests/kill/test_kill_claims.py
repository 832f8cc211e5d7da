"""64 workers, and kill -9 at random: every item is acknowledged, none comes again after its ack returned."""

import asyncio
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from asyncpq import AsyncQueue

ROOT = Path(__file__).parents[2]


def session(folder: Path, policy: str, seed: int, seconds: float | None) -> list[list[str]]:
    """Let a child run, kill it after so many seconds, and return what it said."""
    command = [sys.executable, "-m", "tests.kill.claiming", str(folder), policy, str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        timer = None if seconds is None else threading.Timer(seconds, child.kill)
        if timer is not None:
            timer.start()
        out, err = child.communicate(timeout=300)
        if timer is not None:
            timer.cancel()
    assert child.returncode in (0, -9), err.decode()
    return [line.split() for line in out.decode().splitlines()]


async def left(folder: Path) -> list[int]:
    """What a reopening would hand out, in order."""
    async with AsyncQueue(folder) as queue:
        return [delivery.item for delivery in await queue.claim_many(70_000)] if await queue.qsize() else []


def run(folder: Path, policy: str, items: int, kills: int) -> None:
    async def fill() -> None:
        async with AsyncQueue(folder, fsync="never", chunksize=100) as queue:
            await queue.put_many(range(items))

    asyncio.run(fill())
    chance = random.Random(policy)
    begun: set[int] = set()
    acked: set[int] = set()
    for number in range(kills + 1):
        ended = False
        for line in session(folder, policy, number, chance.uniform(0.25, 0.6) if number < kills else None):
            if line[0] == "end":
                ended = True
                break
            item = int(line[1])
            assert item not in acked, f"{item} came again after its ack returned"
            (begun if line[0] == "b" else acked).add(item)
        there = asyncio.run(left(folder))
        assert there == sorted(there)
        assert len(there) == len(set(there))
        assert not acked.intersection(there), "acknowledged, and it is there again"
        assert set(range(items)) - begun <= set(there), "nobody acknowledged it, and it is gone"
        if ended:
            break
    assert ended
    assert there == []


@pytest.mark.parametrize("policy", ["never", "interval", "always"])
def test_kills_while_64_workers_claim(tmp_path: Path, policy: str) -> None:
    run(tmp_path, policy, 3000, 3)


@pytest.mark.soak
@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
def test_50000_items(tmp_path: Path, policy: str) -> None:
    run(tmp_path, policy, 50_000, 20)
