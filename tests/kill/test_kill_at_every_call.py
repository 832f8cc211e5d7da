"""A process is killed before each write, sync, rename, removal, truncation and creation, one after the other.

strace counts the calls of each thread by itself: "when=3" is the third of whichever thread gets to its third first.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests import counts
from tests.kill.harness import Server, drain, drain_a_copy
from tests.kill.job import Job
from tests.kill.ledger import Ledger
from tests.kill.strace import injected, need_strace

# Each call, and how many of it the script of `make test` tries: every so many, from the first on.
CALLS: Final = {
    "pwrite64": 17,
    "fdatasync": 9,
    "fsync": 3,
    "ftruncate": 2,
    "unlinkat": 4,
    "renameat": 1,
    "openat": 13,
}
STEPS: Final = 45  # of the script: enough to roll over, to remove chunks, to close and open again
SEED: Final = 7
SAMPLE: Final = (("always", "pickle"), ("rollover", "json"))
SOAK: Final = (
    ("never", "json"),
    ("rollover", "msgpack"),
    ("interval", "cbor2"),
    ("interval, 10 items", "orjson"),
    ("always", "pickle"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    need_strace()
    with Server() as running:
        yield running


def killed(server: Server, job: Job, call: str, when: int) -> bool:
    """Kill a child before its call number *when*, compare; False when there was no such call: it came to its end."""
    ledger = Ledger()
    child = server.start(replace(job, hold=True))
    with injected(child, f"{call}:signal=SIGKILL:when={when}"):
        child.wait_for("F")
    ledger.hear(child.marks)
    if not ledger.ready and not Path(job.path).exists():
        return True  # killed before there was anything
    copied = drain_a_copy(job, Path(job.path).parent)[0]
    items, _ = drain(job)
    assert items == copied
    outcome = ledger.compare(items)
    assert (outcome.wrong, outcome.lost, outcome.again) == ([], [], []), f"{call} {when} of {job}: {outcome}"
    return not ledger.ended


@pytest.mark.no_debug
@pytest.mark.parametrize(("policy", "serializer"), SAMPLE)
def test_a_kill_at_some_calls_loses_nothing(server: Server, tmp_path: Path, policy: str, serializer: str) -> None:
    kills = 0
    for call, every in CALLS.items():
        for when in (1, 1 + every):
            job = Job(str(tmp_path / f"{call}{when}"), policy, serializer, 3, seed=SEED, steps=STEPS)
            kills += killed(server, job, call, when)
    assert kills >= len(CALLS)


@pytest.mark.soak
@pytest.mark.no_debug
@pytest.mark.parametrize(("policy", "serializer"), SOAK)
@pytest.mark.parametrize("producers", [0, 3])
def test_a_kill_at_any_call_loses_nothing(
    server: Server, tmp_path: Path, policy: str, serializer: str, producers: int
) -> None:
    row: dict[str, int | str] = {}
    for call in CALLS:
        steps = 5 if producers else STEPS
        job = Job(str(tmp_path), policy, serializer, 3, seed=SEED, steps=steps, producers=producers)
        when = 1
        while killed(server, replace(job, path=str(tmp_path / f"{call}{when}")), call, when):
            when += 1
        row[call] = when - 1
    counts.save("kill -9 before each call", f"{policy}, {producers or 'one'} task{'s' * (producers > 0)}", row)
    assert row["pwrite64"]
