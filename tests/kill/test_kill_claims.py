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
from tests.kill.said import Said, dead, left
from tests.kill.strace import need_strace

ROOT = Path(__file__).parents[2]
MEMORY = 16 * 1024  # KiB that a child may take beyond what it has when the queue is open
# The calls that are killed at; Python makes none of them before the queue is opened.
CALLS = ("pwrite64", "write", "fdatasync", "fsync", "ftruncate", "unlinkat", "renameat")


def session(folder: Path, policy: str, seed: int, seconds: float | None, at: str = "") -> list[str]:
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
    return out.decode().splitlines()


@dataclass
class Witness:
    """What the children said, and what has to be there."""

    folder: Path
    items: int
    said: Said = field(default_factory=Said)

    def hear(self, lines: list[str]) -> bool:
        """Take down what a child said; return whether it came to its end."""
        again = {int(line[2:]) for line in lines if line[0] in "bramn" and line[1] == " "} & self.said.done
        assert not again, f"{again} came again after the answer had returned"
        self.said.hear(lines)
        return self.said.ended

    def look(self) -> tuple[list[int], list[int]]:
        """Return what is there, and what is dead; both keep the promise."""
        there, buried = asyncio.run(left(self.folder)), asyncio.run(dead(self.folder))
        self.said.check_order(there)
        assert not self.said.done.intersection(there), "acknowledged, and it is there again"
        assert not self.said.missing(set(range(self.items)), there, buried), "nobody acknowledged it, and it is gone"
        assert self.said.rejected <= set(buried), "rejected, and not among the dead letters"
        return there, buried


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
        there, buried = witness.look()
        number += 1
    assert there == []
    assert witness.said.moved
    assert witness.said.rejected
    assert witness.said.grew < MEMORY
    assert set(range(items)) == witness.said.begun | set(buried)


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


@pytest.mark.parametrize("policy", ["interval", "always"])
def test_kills_while_64_workers_claim(tmp_path: Path, policy: str) -> None:
    run(tmp_path, policy, 2000, 2)


@pytest.mark.soak
@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
def test_50000_items(tmp_path: Path, policy: str) -> None:
    run(tmp_path, policy, 50_000, 20)
