"""The power fails while 64 workers claim and acknowledge out of order: what each policy promises for acknowledgements.

As in test_power_cuts: the child is stopped, its pipe is read empty, and only then nothing reaches the disk any more.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from asyncpq import AsyncQueue
from tests import counts
from tests.power import mounts
from tests.power.mounts import Disk

ROOT: Final = Path(__file__).parents[2]
CUTS: Final = 20  # of each policy and file system
ITEMS: Final = 2000  # put, durably, before each cut
LONGEST: Final = 0.3  # seconds from the first acknowledgement to the cut

pytestmark = [pytest.mark.soak, pytest.mark.no_debug, pytest.mark.usefixtures("need_disk")]
need_disk = mounts.need_disk


@dataclass
class Tally:
    """What came of all the cuts of one policy on one file system."""

    cuts: int = 0
    acked: int = 0
    again: int = 0  # acknowledged, and came again
    lost: int = 0  # not acknowledged, and gone

    def row(self) -> counts.Row:
        return {
            "cuts": self.cuts,
            "acknowledged items": self.acked,
            "acknowledged and came again": self.again,
            "lost": self.lost,
        }


@dataclass
class Grid:
    """One policy on one file system."""

    disk: Disk
    policy: str
    tally: Tally = field(default_factory=Tally)
    chance: random.Random = field(default_factory=random.Random)

    async def fill(self, folder: Path, first: int) -> set[int]:
        """Put, durably; return all that is there."""
        async with AsyncQueue(folder, chunksize=self.chance.choice((1, 3, 100))) as queue:
            await queue.put_many(range(first, first + ITEMS))
        return set(await self.left(folder))

    async def left(self, folder: Path) -> list[int]:
        """What comes back, in the order of claims; given back again."""
        async with AsyncQueue(folder) as queue:
            return [delivery.item for delivery in await queue.claim_many(70_000)] if await queue.qsize() else []

    def cut(self, number: int) -> None:
        folder = self.disk.root / "queue"
        before = asyncio.run(self.fill(folder, number * ITEMS))
        begun, acked = self._work(folder)
        there = asyncio.run(self.left(folder))
        assert len(there) == len(set(there))
        self.tally.cuts += 1
        self.tally.acked += len(acked)
        self.tally.again += len(acked.intersection(there))
        # Whose ack was begun may be gone: it was on its way.
        self.tally.lost += len(before - begun - set(there))
        assert self.tally.lost == 0, "nobody acknowledged it, and it is gone"
        if self.policy == "always":
            assert self.tally.again == 0, "acknowledged, and it came again"

    def _work(self, folder: Path) -> tuple[set[int], set[int]]:
        """Let a child work for a while, then cut; return whose acknowledgement was begun, and whose had returned."""
        command = [
            sys.executable,
            "-m",
            "tests.kill.claiming",
            str(folder),
            self.policy,
            str(self.chance.random())[2:9],
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            said = child.stdout.fileno()
            heard = os.read(said, 1)  # it works
            time.sleep(self.chance.uniform(0, LONGEST))
            if self.chance.random() < 0.5:
                self.disk.commit_journal()
            stop(child)
            os.set_blocking(said, False)
            while part := read(said):
                heard += part
            self.disk.cut()
            child.kill()
        self.disk.remount()
        return told(heard)


def stop(child: subprocess.Popen[bytes]) -> None:
    """Let it do nothing any more, unless it has ended."""
    if child.poll() is None:
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""


def told(heard: bytes) -> tuple[set[int], set[int]]:
    begun: set[int] = set()
    acked: set[int] = set()
    for line in heard.decode().splitlines():
        what, _, item = line.partition(" ")
        if what in "ab":
            (begun if what == "b" else acked).add(int(item))
    return begun | acked, acked


@pytest.mark.parametrize("kind", mounts.KINDS)
@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
def test_a_power_cut_takes_no_acknowledgement_beyond_the_policy(kind: str, policy: str) -> None:
    with mounts.memory() as folder, mounts.disk(kind, folder) as disk:
        grid = Grid(disk, policy)
        for number in range(CUTS):
            grid.cut(number)
    counts.save(f"power cuts with claims on {disk.kind}", policy, grid.tally.row())
