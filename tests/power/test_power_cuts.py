"""The power fails under a real file system: what each policy promises is there when it comes back.

A child uses the queue.  It is stopped, its pipe is read empty, and only then nothing reaches the disk any more: so all
that it said was said before the cut.
"""

import random
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import persistqueue
import pytest
from persistqueue.serializers import cbor2 as pq_cbor2
from persistqueue.serializers import json as pq_json
from persistqueue.serializers import msgpack as pq_msgpack
from persistqueue.serializers import pickle as pq_pickle

from asyncpq.fsync import Interval
from tests import counts
from tests.kill.harness import Child, Server, drain
from tests.kill.job import POLICIES, SERIALIZERS, Job
from tests.kill.ledger import Ledger, Outcome
from tests.power import mounts
from tests.power.mounts import Disk

CUTS: Final = {"always": 40}  # of each file system; the other policies:
FEWER: Final = 20
DIRECTORIES: Final = 5  # one for each serializer, used by turns, across all the cuts
CHUNKSIZES: Final = (1, 3, 100, 3, 100)
LONGEST: Final = 0.25  # seconds from the opening of the queue to the cut, beyond two windows of the policy
SCHEDULER: Final = 0.25  # seconds that a commit may take, or wait for a processor, on a busy machine
OTHERS: Final = {
    "pickle": pq_pickle,
    "msgpack": pq_msgpack,
    "json": pq_json,
    "cbor2": pq_cbor2,
    "orjson": pq_json,
}

pytestmark = [pytest.mark.soak, pytest.mark.no_debug, pytest.mark.usefixtures("need_disk")]
need_disk = mounts.need_disk


@dataclass
class Tally:
    """What came of all the cuts of one policy on one file system."""

    cuts: int = 0
    puts: int = 0
    dones: int = 0
    lost: int = 0
    again: int = 0
    healed: int = 0
    most_lost: int = 0  # in one cut
    most_again: int = 0
    oldest: float = 0.0  # seconds before the cut, of what was acknowledged and is lost
    wrong: list[str] = field(default_factory=list)

    def add(self, ledger: Ledger, outcome: Outcome, stopped: int) -> None:
        self.cuts += 1
        self.puts += sum(when > 0 for when in ledger.acknowledged.values())
        self.dones += len(ledger.done)
        self.lost += len(outcome.lost)
        self.again += len(outcome.again)
        self.most_lost = max(self.most_lost, len(outcome.lost))
        self.most_again = max(self.most_again, len(outcome.again))
        for when in moments(ledger, outcome):
            self.oldest = max(self.oldest, (stopped - when) / 1e9)
        self.wrong += outcome.wrong

    def row(self) -> counts.Row:
        return {
            "cuts": self.cuts,
            "acknowledged puts": self.puts,
            "acknowledged task_dones": self.dones,
            "openings that healed": self.healed,
            "puts lost": self.lost,
            "most in one cut": self.most_lost,
            "done and came again": self.again,
            "oldest loss (s before the cut)": f"{self.oldest:.3f}" if self.lost or self.again else "none",
            "wrong items": len(self.wrong),
        }


def moments(ledger: Ledger, outcome: Outcome) -> Iterator[int]:
    """When that was acknowledged which is lost: the puts, and the first task_done that should have kept an item."""
    yield from (ledger.acknowledged[number] for number in outcome.lost)
    for number in outcome.again:
        yield min(when for done, when in ledger.done.items() if done >= number)


class Grid:
    """One policy on one file system: its directories, and the cuts."""

    def __init__(self, server: Server, disk: Disk, policy: str) -> None:
        self.server, self.disk, self.policy = server, disk, policy
        self.random = random.Random(f"{policy}:{disk.kind}:{time.time_ns()}")
        self.tally = Tally()
        self.jobs = [
            Job(str(disk.root / f"q{i}"), policy, SERIALIZERS[i], CHUNKSIZES[i], producers=(0, 0, 0, 5, 0)[i])
            for i in range(DIRECTORIES)
        ]
        self.ledgers = [Ledger() for _ in self.jobs]

    def cut(self, number: int) -> None:
        """Use a directory, cut the power off, and compare what comes back."""
        at = number % DIRECTORIES
        ledger, calm = self.ledgers[at], self.random.random() < 0.7
        job = replace(self.jobs[at], first=ledger.next, seed=self.random.getrandbits(32), calm=calm)
        child = self.server.start(job)
        child.wait_for(self.random.choice("RP"))
        self._wait(child)
        child.stop()
        child.listen(0)
        stopped = time.monotonic_ns()
        self.disk.cut()
        ledger.hear(child.kill())
        self.disk.remount()
        self._compare(job, ledger, stopped)

    def _wait(self, child: Child) -> None:
        """Listen for a while; sometimes the journal is committed meanwhile, as other programs have it done."""
        child.listen(self.random.uniform(0, LONGEST + 2 * getattr(POLICIES[self.policy], "seconds", 0)))
        if self.random.random() < 0.5:
            self.disk.commit_journal()
            child.listen(self.random.uniform(0, LONGEST / 10))

    def _compare(self, job: Job, ledger: Ledger, stopped: int) -> None:
        other = persist_queue_drains(job) if self.policy == "always" else None
        items, healed = drain(job)
        outcome = ledger.compare(items)
        if other is not None and other != items:
            outcome.wrong.append(f"persist-queue gets {len(other)} other items, not the {len(items)}")
        self.tally.add(ledger, outcome, stopped)
        self.tally.healed += bool(healed)
        assert not outcome.wrong, f"{job}: {outcome}; {healed}"
        self._within_promise(job, ledger, outcome, stopped)
        ledger.settle(outcome)

    def _within_promise(self, job: Job, ledger: Ledger, outcome: Outcome, stopped: int) -> None:
        """Compare with the power cut column of the promises."""
        policy = POLICIES[self.policy]
        if self.policy == "always":
            assert (outcome.lost, outcome.again) == ([], []), f"{job}: {outcome}"
        elif self.policy == "rollover":
            assert max(len(outcome.lost), len(outcome.again)) <= job.chunksize, f"{job}: {outcome}"
        elif isinstance(policy, Interval):
            oldest = min(moments(ledger, outcome), default=stopped)
            assert stopped - oldest <= (policy.seconds + SCHEDULER) * 1e9, f"{job}: {outcome}"
            assert policy.items is None or len(outcome.lost) <= policy.items, f"{job}: {outcome}"


def persist_queue_drains(job: Job) -> list[Any] | None:
    """What unmodified persist-queue gets from a copy of the directory; None where there is none yet."""
    path = Path(job.path)
    if not (path / "info").exists():
        return None
    copy = path.with_name(f"{path.name}-copy")
    shutil.copytree(path, copy)
    try:
        queue = persistqueue.Queue(str(copy), chunksize=job.chunksize, serializer=OTHERS[job.serializer])
        items: list[Any] = []
        with suppress(persistqueue.Empty):
            while True:
                items.append(queue.get_nowait())
        return items
    finally:
        shutil.rmtree(copy)


@pytest.mark.parametrize("kind", mounts.KINDS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_power_cut_takes_no_more_than_the_policy_says(kind: str, policy: str) -> None:
    with mounts.memory() as folder, mounts.disk(kind, folder) as disk, Server() as server:
        grid = Grid(server, disk, policy)
        for number in range(CUTS.get(policy, FEWER)):
            grid.cut(number)
    counts.save(f"power cuts on {disk.kind}", policy, grid.tally.row())
