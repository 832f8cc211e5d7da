"""After a power cut anywhere in a script, each policy keeps what it promises: the invariants of `check`.

In `make test` a sample, with the seed in the failure; in `make soak` all scripts, policies, serializers, sizes.
"""

import asyncio
import itertools
import random
import shutil
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from asyncpq import AsyncQueue, fsync
from asyncpq.fsync import Policy
from asyncpq.serializers import NAMES
from tests.crash.check import build, scratch
from tests.crash.explore import Effort, explore, promised
from tests.crash.models import EXT4, MODELS, POSIX, XFS, Disk, Model
from tests.crash.player import Script, record
from tests.crash.scripts import BY_NAME, OLD_SCRIPTS, SCRIPTS, of_steps, random_steps

POLICIES: Final[tuple[Policy, ...]] = (
    fsync.Always(),
    fsync.Rollover(),
    fsync.Interval(seconds=3600),  # no commit but those that a script asks for
    fsync.Interval(seconds=3600, items=2),
    fsync.Never(),
)
LENGTHS: Final = (20, 700, 6000)  # characters
CHUNKSIZES: Final = (1, 3)
SEED: Final = 20260101


def keeps(
    script: Script,
    policy: Policy,
    serializer: str,
    length: int,
    chunksize: int,
    effort: Effort,
    models: Sequence[Model] = MODELS,
) -> None:
    recording = record(script, policy, serializer, length, chunksize)
    for model in models:
        report = explore(recording, model, effort)
        text = "\n".join(report.violations)
        assert not report.violations, f"{report}, {length=} {chunksize=} seed {effort.seed}\n{text}"


def pairs() -> list[tuple[Policy, Script]]:
    return [(policy, script) for policy in POLICIES for script in SCRIPTS]


def named(value: object) -> str:
    if isinstance(value, Script):
        return value.name
    return (
        value.name + "-items" * (getattr(value, "items", None) is not None) if isinstance(value, Policy) else str(value)
    )


def sample() -> list[tuple[Policy, Script]]:
    """`always` with each script, and one of the other policies, in turn."""
    always, *others = POLICIES
    return [(policy, script) for script, other in zip(SCRIPTS, itertools.cycle(others)) for policy in (always, other)]


@pytest.mark.parametrize(("policy", "script"), sample(), ids=named)
def test_a_sample_of_the_states_keeps_the_promise(policy: Policy, script: Script) -> None:
    chance = random.Random(f"{SEED} {named(policy)} {script.name}")
    serializer, length, chunksize = chance.choice(NAMES), chance.choice((20, 20, 700)), chance.choice((1, 3, 3))
    models: Sequence[Model] = [chance.choice(MODELS)]
    if policy.name == "always":  # has few states, whatever the length
        length, models = 6000 if length == 700 else length, MODELS
    effort = Effort(cap=6, healings=1, old_reader=0.1, seed=SEED)
    keeps(script, policy, serializer, length, chunksize, effort, models)


FOUND: Final = (
    ("killed while consuming", fsync.Always(), "pickle", 20, 3),  # opening removed chunks on the word of a cached info
    ("killed before a name is durable", fsync.Always(), "pickle", 20, 1),  # info was there, and its name was not
    ("killed while padding", fsync.Interval(seconds=3600), "json", 700, 3),  # nor the length of info
)


@pytest.mark.parametrize(("script", "policy", "serializer", "length", "chunksize"), FOUND, ids=named)
def test_what_was_found_stays_mended(script: str, policy: Policy, serializer: str, length: int, chunksize: int) -> None:
    """Two deaths in a row: a process is killed, and the power goes after the next one has healed."""
    keeps(BY_NAME[script], policy, serializer, length, chunksize, Effort(cap=60))


@pytest.mark.soak
@pytest.mark.parametrize("serializer", NAMES)
@pytest.mark.parametrize(("policy", "script"), pairs(), ids=named)
def test_every_state_keeps_the_promise(policy: Policy, script: Script, serializer: str) -> None:
    for length, chunksize in itertools.product(LENGTHS, CHUNKSIZES):
        cap = 400 if length == 20 else 100
        effort = Effort(cap=cap, healings=24, old_reader=0.25, seed=random.randrange(2**32))
        keeps(script, policy, serializer, length, chunksize, effort)


RANDOM: Final = {
    "steps": random_steps(),
    "policy": st.sampled_from(POLICIES),
    "serializer": st.sampled_from(NAMES),
    "length": st.sampled_from(LENGTHS),
    "chunksize": st.sampled_from(CHUNKSIZES),
}


def keeps_random(
    steps: list[tuple[str, int]], policy: Policy, serializer: str, length: int, chunksize: int, cap: int
) -> None:
    keeps(of_steps(steps), policy, serializer, length, chunksize, Effort(cap=cap, healings=2, old_reader=0.2))


@given(**RANDOM)
@settings(
    max_examples=10,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_random_scripts_keep_the_promise(
    steps: list[tuple[str, int]], policy: Policy, serializer: str, length: int, chunksize: int
) -> None:
    keeps_random(steps, policy, serializer, length, chunksize, cap=4)


@pytest.mark.soak
@given(**RANDOM)
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
def test_many_random_scripts_keep_the_promise(
    steps: list[tuple[str, int]], policy: Policy, serializer: str, length: int, chunksize: int
) -> None:
    keeps_random(steps, policy, serializer, length, chunksize, cap=60)


@pytest.mark.parametrize("model", [EXT4, XFS], ids=lambda model: model.name)
@pytest.mark.parametrize("script", OLD_SCRIPTS, ids=named)
def test_what_persist_queue_leaves_opens_or_is_refused_and_repaired(script: Script, model: Model) -> None:
    """It syncs neither info nor the directory; no state may be one that nothing can open."""
    recording = record(script, fsync.Interval(seconds=3600))
    report = explore(recording, model, Effort(cap=20, healings=4, old_reader=0.1))
    assert not report.violations, "\n".join(report.violations)


@pytest.mark.soak
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("serializer", [name for name in NAMES if name != "orjson"])
@pytest.mark.parametrize("policy", [p for p in POLICIES if p.name in ("always", "interval")], ids=named)
@pytest.mark.parametrize("script", OLD_SCRIPTS, ids=named)
def test_every_state_that_persist_queue_leaves_opens_or_is_refused_and_repaired(
    script: Script, policy: Policy, serializer: str, model: Model
) -> None:
    recording = record(script, policy, serializer)
    report = explore(recording, model, Effort(cap=300, healings=24, old_reader=0.2, seed=random.randrange(2**32)))
    assert not report.violations, "\n".join(report.violations)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_queue_itself_delivers_what_was_promised(model: Model) -> None:
    """The explorer opens without an event loop; here is the whole queue, on a few of its states."""
    recording = record(BY_NAME["puts and gets"], fsync.Rollover())
    disk, chance = Disk(model, recording.first, random.Random(SEED)), random.Random(SEED)
    folder, numbers = scratch(), itertools.count()
    try:
        for passed, promise in promised(recording, recording.log):
            for entry in passed:
                disk.do(entry)
            states = list(disk.states(50))
            base = folder / str(next(numbers))
            build(chance.choice(states), base)
            items = asyncio.run(drain(AsyncQueue(base / "queue", chunksize=3, fsync="rollover", repair=model is POSIX)))
            keys = [recording.items[item] for item in items]
            assert promise.there <= set(keys) <= promise.begun - promise.gone
    finally:
        shutil.rmtree(folder)


async def drain(queue: AsyncQueue) -> list[str]:
    async with queue:
        size = await queue.qsize()
        items = await queue.get_many(size) if size else []
        assert len(items) == size
        assert await queue.empty()
        return items
