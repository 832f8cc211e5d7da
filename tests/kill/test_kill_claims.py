"""64 workers, and kill -9 at random: every item is acknowledged, none comes again after its ack returned."""

import asyncio
import os
import random
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from asyncpq import AsyncQueue
from tests import counts
from tests.kill.strace import need_strace

ROOT = Path(__file__).parents[2]
# The calls that are killed at; Python makes none of them before the queue is opened.
CALLS = ("pwrite64", "write", "fdatasync", "fsync", "ftruncate", "unlinkat", "renameat")


def session(folder: Path, policy: str, seed: int, seconds: float | None, at: str = "") -> list[list[str]]:
    """Let a child run, kill it after so many seconds, or at a call such as "fsync:when=3"; return what it said."""
    command = [sys.executable, "-B", "-m", "tests.kill.claiming", str(folder), policy, str(seed)]
    if at:
        call, _, when = at.partition(":")
        kill = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:{when}"]
        command = ["strace", "-f", "-qq", "-o", os.devnull, *kill, *command]
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


@dataclass
class Witness:
    """What the children said, and what has to be there."""

    folder: Path
    items: int
    begun: set[int] = field(default_factory=set)
    acked: set[int] = field(default_factory=set)

    def hear(self, lines: list[list[str]]) -> bool:
        """Take down what a child said; return whether it came to its end."""
        for line in lines:
            if line[0] == "end":
                return True
            item = int(line[1])
            assert item not in self.acked, f"{item} came again after its ack returned"
            (self.begun if line[0] == "b" else self.acked).add(item)
        return False

    def look(self) -> list[int]:
        """Return what is there, which keeps the promise."""
        there = asyncio.run(left(self.folder))
        assert there == sorted(there)
        assert len(there) == len(set(there))
        assert not self.acked.intersection(there), "acknowledged, and it is there again"
        assert set(range(self.items)) - self.begun <= set(there), "nobody acknowledged it, and it is gone"
        return there


def filled(folder: Path, items: int, chunksize: int) -> Witness:
    async def fill() -> None:
        async with AsyncQueue(folder, fsync="never", chunksize=chunksize) as queue:
            await queue.put_many(range(items))

    asyncio.run(fill())
    return Witness(folder, items)


def run(folder: Path, policy: str, items: int, kills: int) -> None:
    witness, chance, ended, number = filled(folder, items, 100), random.Random(policy), False, 0
    while not ended:
        seconds = chance.uniform(0.25, 0.6) if number < kills else None
        ended = witness.hear(session(folder, policy, number, seconds))
        there = witness.look()
        number += 1
    assert there == []


def killed(folder: Path, policy: str, call: str, when: int) -> bool:
    """Kill a child at its call number *when*, compare; False when there was no such call: it came to its end."""
    witness = filled(folder, 40, 3)
    ended = witness.hear(session(folder, policy, 7, None, f"{call}:when={when}"))
    witness.look()
    return not ended


@pytest.mark.no_debug
@pytest.mark.parametrize("policy", ["always", "interval"])
def test_a_kill_at_some_calls_loses_no_acknowledgement(tmp_path: Path, policy: str) -> None:
    need_strace()
    kills = [killed(tmp_path / f"{call}{when}", policy, call, when) for call in CALLS[:4] for when in (1, 4)]
    assert sum(kills) >= 3


@pytest.mark.soak
@pytest.mark.no_debug
@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
def test_a_kill_at_any_call_loses_no_acknowledgement(tmp_path: Path, policy: str) -> None:
    need_strace()
    row: dict[str, int | str] = {}
    for call in CALLS:
        when = 1
        while killed(tmp_path / f"{call}{when}", policy, call, when):
            when += 1
        row[call] = when - 1
    counts.save("kill -9 of 64 claiming workers before each call", policy, row)
    assert row["pwrite64"]


@pytest.mark.parametrize("policy", ["never", "interval", "always"])
def test_kills_while_64_workers_claim(tmp_path: Path, policy: str) -> None:
    run(tmp_path, policy, 3000, 3)


@pytest.mark.soak
@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
def test_50000_items(tmp_path: Path, policy: str) -> None:
    run(tmp_path, policy, 50_000, 20)
