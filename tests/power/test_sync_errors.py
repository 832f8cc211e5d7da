"""A sync fails, for real: the disk that an image lies on is full, so what the kernel held back cannot be written.

From then on the queue takes no call.  Opened again, in the same kernel whose cache still holds what the disk does not,
it tells what is on the disk: the same as after the file system was unmounted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq.errors import QueueFailed
from asyncpq.fsync import Interval
from tests import counts
from tests.kill.harness import Server, drain
from tests.kill.job import POLICIES, Job
from tests.kill.ledger import Ledger, Outcome
from tests.kill.strace import injected, need_strace
from tests.power import mounts
from tests.power.mounts import MIB, Disk

ROOM: Final = {"ext4": 16 * MIB, "xfs": 96 * MIB}  # of the memory that the sparse image lies in
CHUNKSIZES: Final = (3, 100, 100, 3, 100, 100)  # of the rounds; in every other one there is no room on reopening
SCHEDULER: Final = 0.25  # seconds that a commit may take, or wait for a processor, on a busy machine
SYNCING: Final = [policy for policy in POLICIES if policy != "never"]  # the others never meet the error

need_disk = mounts.need_disk


@contextmanager
def too_small(kind: str) -> Iterator[tuple[Disk, Path]]:
    """A disk whose image can grow no more once the file that is returned too has been filled."""
    with mounts.memory(ROOM[kind]) as folder, mounts.disk(kind, folder) as disk:
        yield disk, folder / "filler"


def fill(file: Path) -> None:
    """Leave no byte free beside *file*."""
    with file.open("ab", buffering=0) as filler:
        for size in (MIB, 4096, 1):
            try:
                while filler.write(bytes(size)):
                    pass
            except OSError:
                continue


def fail(server: Server, job: Job, filler: Path) -> Ledger:
    """Use a queue until a sync fails; everyone is refused from then on."""
    child = server.start(job)
    child.wait_for("P")
    child.listen(0.05)
    fill(filler)
    child.wait_for("X")
    child.wait_for("F")
    ledger = Ledger()
    ledger.hear(child.kill())
    assert ledger.failed, ledger.errors
    assert ledger.ended, ledger.errors
    return ledger


def in_place(job: Job) -> list[Any] | None:
    """What the queue holds when it is opened on the file system that failed; None where that takes no write."""
    try:
        return drain(job)[0]
    except (OSError, QueueFailed):
        return None


def within_promise(job: Job, ledger: Ledger, outcome: Outcome) -> None:
    policy = POLICIES[job.policy]
    if job.policy == "always":
        assert (outcome.lost, outcome.again) == ([], []), f"{job}: {outcome}"
    elif isinstance(policy, Interval):
        oldest = min((ledger.acknowledged[number] for number in outcome.lost), default=ledger.failed)
        assert ledger.failed - oldest <= (policy.seconds + SCHEDULER) * 1e9, f"{job}: {outcome}"
    else:
        assert max(len(outcome.lost), len(outcome.again)) <= job.chunksize, f"{job}: {outcome}"


@pytest.mark.soak
@pytest.mark.no_debug
@pytest.mark.usefixtures("need_disk")
@pytest.mark.parametrize("kind", mounts.KINDS)
@pytest.mark.parametrize("policy", SYNCING)
def test_a_failed_sync_latches_the_queue_and_opening_does_not_trust_the_cache(kind: str, policy: str) -> None:
    row = {"syncs failed": 0, "acknowledged puts": 0, "opened in place": 0, "puts lost": 0, "done and came again": 0}
    for number, chunksize in enumerate(CHUNKSIZES):
        with Server() as server, too_small(kind) as (disk, filler):
            job = Job(str(disk.root / "q"), policy, "msgpack", chunksize, seed=number, calm=True)
            ledger = fail(server, job, filler)
            if number % 2:
                filler.unlink()
            here = in_place(job)
            filler.unlink(missing_ok=True)
            disk.remount()
            items, _ = drain(job)
            assert here is None or here == items
            outcome = ledger.compare(items)
            assert not outcome.wrong, outcome
            within_promise(job, ledger, outcome)
            row["syncs failed"] += 1
            row["acknowledged puts"] += len(ledger.acknowledged)
            row["opened in place"] += here is not None
            row["puts lost"] += len(outcome.lost)
            row["done and came again"] += len(outcome.again)
    counts.save("syncs that fail", f"{policy}, {kind}", dict(row))


@pytest.mark.no_debug
@pytest.mark.parametrize("call", ["fdatasync", "fsync", "renameat"])
@pytest.mark.parametrize("policy", ["always", "interval, 10 items"])
def test_one_failed_sync_at_one_place_latches_the_queue(tmp_path: Path, policy: str, call: str) -> None:
    """The cache holds all here, as no page is dropped by an injected error: so nothing acknowledged may be gone."""
    need_strace()
    when = 1 if call == "renameat" else 3
    job = Job(str(tmp_path / "q"), policy, "json", 3, seed=3, calm=True, hold=True)
    ledger = Ledger()
    with Server() as server:
        child = server.start(job)
        with injected(child, f"{call}:error=EIO:when={when}"):
            child.wait_for("F")
        ledger.hear(child.marks)
    assert ledger.failed, ledger.errors
    assert ledger.ended, ledger.errors
    outcome = ledger.compare(drain(job)[0])
    assert (outcome.wrong, outcome.lost, outcome.again) == ([], [], []), outcome
