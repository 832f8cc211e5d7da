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
from tests.kill.said import Said, dead, left
from tests.power import mounts
from tests.power.mounts import Disk

ROOT: Final = Path(__file__).parents[2]
CUTS: Final = 20  # of each policy and file system
ITEMS: Final = 2000  # there, durably, before each cut
LONGEST: Final = 0.3  # seconds from the first acknowledgement to the cut

pytestmark = [pytest.mark.soak, pytest.mark.no_debug, pytest.mark.usefixtures("need_disk")]
need_disk = mounts.need_disk


@dataclass
class Tally:
    """What came of all the cuts of one policy on one file system."""

    cuts: int = 0
    acked: int = 0
    moved: int = 0  # given back at the end
    dead: int = 0  # rejected
    again: int = 0  # acknowledged or rejected, and came again
    lost: int = 0  # not acknowledged, and gone

    def row(self) -> counts.Row:
        return {
            "cuts": self.cuts,
            "acknowledged items": self.acked,
            "moved to the end": self.moved,
            "rejected": self.dead,
            "came again": self.again,
            "lost": self.lost,
        }


@dataclass
class Grid:
    """One policy on one file system."""

    disk: Disk
    policy: str
    tally: Tally = field(default_factory=Tally)
    moved: set[int] = field(default_factory=set)  # to the end, ever
    twice: set[int] = field(default_factory=set)  # those that may be there twice
    chance: random.Random = field(default_factory=random.Random)

    async def fill(self, folder: Path, first: int) -> set[int]:
        """Put, durably, until there are enough; return all that is there."""
        async with AsyncQueue(folder, chunksize=self.chance.choice((1, 3, 100))) as queue:
            await queue.put_many(range(first, first + ITEMS - await queue.qsize()))
        return set(await left(folder))

    def cut(self, number: int) -> None:
        folder = self.disk.root / "queue"
        before = asyncio.run(self.fill(folder, number * ITEMS))
        said = self._work(folder)
        # What was moved, in this session or before, may be there twice where its move was on its way, or not durable.
        self.tally.moved += len(said.moved)
        self.moved |= said.moved
        self.twice |= said.doubled if self.policy == "always" else said.moved
        said.moved, said.doubled = self.moved, self.twice
        there, buried = asyncio.run(left(folder)), asyncio.run(dead(folder))
        said.check_order(there)
        tally = self.tally
        tally.cuts += 1
        tally.acked += len(said.acked)
        tally.dead += len(said.rejected)
        tally.again += len(said.done.intersection(there))
        # Whose ack was begun may be gone: it was on its way.  `never` makes neither moves nor dead letters durable.
        loose = said.moved | said.rejecting if self.policy == "never" else set()
        tally.lost += len(said.missing(before, there, buried) - loose)
        assert tally.lost == 0, "nobody acknowledged it, and it is gone"
        if self.policy == "always":
            assert tally.again == 0, "acknowledged, and it came again"
        if self.policy != "never":
            assert said.rejected <= set(buried), "rejected, and not among the dead letters"

    def _work(self, folder: Path) -> Said:
        """Let a child work for a while, then cut; return what it had said."""
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
            pipe = child.stdout.fileno()
            heard = os.read(pipe, 1)  # it works
            time.sleep(self.chance.uniform(0, LONGEST))
            if self.chance.random() < 0.5:
                self.disk.commit_journal()
            stop(child)
            os.set_blocking(pipe, False)
            while part := read(pipe):
                heard += part
            self.disk.cut()
            child.kill()
        self.disk.remount()
        said = Said()
        said.hear(heard.decode().splitlines())
        return said


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


@pytest.mark.parametrize("kind", mounts.KINDS)
@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
def test_a_power_cut_takes_no_acknowledgement_beyond_the_policy(kind: str, policy: str) -> None:
    with mounts.memory() as folder, mounts.disk(kind, folder) as disk:
        grid = Grid(disk, policy)
        for number in range(CUTS):
            grid.cut(number)
    counts.save(f"power cuts with claims on {disk.kind}", policy, grid.tally.row())
