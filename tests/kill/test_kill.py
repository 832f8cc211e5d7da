"""A process is killed at any moment: nothing acknowledged is lost, and nothing done comes again.

What the kernel has survives the process.  So this finds a wrong order of writes, a wrong healing, a lie about what is
stored; it cannot find a sync that is missing.
"""

import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pytest

from tests import counts
from tests.kill.harness import Server, drain, drain_a_copy
from tests.kill.job import POLICIES, SERIALIZERS, Job
from tests.kill.ledger import Ledger

CHUNKSIZES: Final = (1, 3, 100)
MEMORY: Final = Path("/dev/shm")
LONGEST: Final = 0.02  # seconds from the opening of the queue, or the first put, to the kill
KILLS: Final = 10  # of each of four directories: what `make test` does
SOAK_KILLS: Final = 200  # of each policy
SOAK_PUTS: Final = 20_000  # acknowledged, in all of a soak run


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A disk, where a kill mostly meets a sync, and memory, where it mostly meets a write."""
    memory = Path(tempfile.mkdtemp(prefix="asyncpq-kill-", dir=MEMORY if MEMORY.is_dir() else tmp_path))
    try:
        yield tmp_path, memory
    finally:
        shutil.rmtree(memory)


@dataclass
class Directory:
    """One directory that is used and killed again and again."""

    server: Server
    job: Job
    random: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    kills: int = 0
    puts: int = 0
    dones: int = 0
    healed: int = 0
    lost: int = 0
    again: int = 0

    def kill(self, after: float | None = None) -> None:
        """Let a child use it, kill that, and compare."""
        seed = self.random.getrandbits(32)
        self.job = replace(self.job, first=self.ledger.next, seed=seed)
        child = self.server.start(self.job)
        # The first kill comes behind an acknowledged put, so that there is one.
        child.wait_for("R" if after is not None else self.random.choice("RP") if self.kills else "P")
        child.listen(self.random.uniform(0, LONGEST) if after is None else after)
        self.ledger.hear(child.kill())
        self.kills += 1

    def compare(self) -> None:
        """Nothing acknowledged is missing, nothing acknowledged as done is there: in place or in a copy."""
        in_place = self.random.random() < 0.5
        path = Path(self.job.path)
        items, healed = drain(self.job) if in_place else drain_a_copy(self.job, path.parent)
        outcome = self.ledger.compare(items)
        assert (outcome.wrong, outcome.lost, outcome.again) == ([], [], []), f"{self.job}: {outcome}"
        self.puts += sum(when > 0 for when in self.ledger.acknowledged.values())
        self.dones += len(self.ledger.done)
        self.healed += bool(healed)
        self.lost += len(outcome.lost)
        self.again += len(outcome.again)
        self.ledger.settle(outcome)


def seeded(*parts: object) -> random.Random:
    return random.Random(":".join(map(str, parts)))


@pytest.mark.no_debug
@pytest.mark.parametrize(
    ("policy", "serializer", "chunksize", "producers"),
    [
        ("always", "pickle", 1, 0),
        ("always", "msgpack", 3, 5),
        ("interval", "json", 100, 0),
        ("rollover", "cbor2", 3, 0),
    ],
)
def test_a_killed_process_loses_nothing_that_was_acknowledged(
    server: Server, places: tuple[Path, Path], policy: str, serializer: str, chunksize: int, producers: int
) -> None:
    job = Job(str(places[chunksize == 1] / "q"), policy, serializer, chunksize, producers=producers)
    directory = Directory(server, job, seeded(policy, time.time_ns()))
    for _ in range(KILLS):
        directory.kill()
        directory.compare()
    assert directory.puts > 0


@pytest.mark.no_debug
@pytest.mark.parametrize("policy", ["never", "always"])
def test_what_was_never_closed_is_right_after_many_kills_in_a_row(server: Server, tmp_path: Path, policy: str) -> None:
    """Healing may be cut short too, and be done again from there: the marks of all the kills must hold together."""
    directory = Directory(server, Job(str(tmp_path / "q"), policy, "orjson", 3), seeded(policy))
    for after in (None, 0, None, 0, 0.001):
        directory.kill(after)
    directory.compare()


@pytest.mark.soak
@pytest.mark.no_debug
@pytest.mark.parametrize("policy", POLICIES)
def test_hundreds_of_kills_lose_nothing(server: Server, places: tuple[Path, Path], policy: str) -> None:
    """All serializers and chunk sizes, one task or several."""
    done: list[Directory] = []
    for number in range(len(SERIALIZERS) * len(CHUNKSIZES) * 2):
        serializer = SERIALIZERS[number % len(SERIALIZERS)]
        chunksize, producers = CHUNKSIZES[number % len(CHUNKSIZES)], (0, 5)[number % 2]
        job = Job(str(places[number % 4 > 0] / str(number)), policy, serializer, chunksize, producers=producers)
        directory = Directory(server, job, seeded(policy, number, time.time_ns()))
        while directory.kills * len(SERIALIZERS) * len(CHUNKSIZES) * 2 < SOAK_KILLS:
            for _ in range(directory.random.choice((1, 1, 1, 3))):
                directory.kill()
            directory.compare()
        done.append(directory)
    counts.save(
        "kill -9 at a random moment",
        policy,
        {
            "kills": sum(directory.kills for directory in done),
            "acknowledged puts": sum(directory.puts for directory in done),
            "acknowledged task_dones": sum(directory.dones for directory in done),
            "openings that healed": sum(directory.healed for directory in done),
            "puts lost": sum(directory.lost for directory in done),
            "done and came again": sum(directory.again for directory in done),
        },
    )
    assert sum(directory.puts for directory in done) >= SOAK_PUTS // len(POLICIES)
