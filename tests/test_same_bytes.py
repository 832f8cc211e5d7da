"""The same operations on persist-queue and on asyncpq leave the same bytes, and each goes on with what the other left.

The oracle is persist-queue's synchronous Queue: its AsyncQueue loses items and leaves stale chunks.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Final

import persistqueue.queue
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from asyncpq import AsyncQueue, fsync
from tests.same_bytes_model import CHUNKSIZES, SERIALIZERS, Model, Pair, Way, files_in, values, ways

chunksizes = st.sampled_from(CHUNKSIZES)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    """persist-queue syncs each full chunk, which changes no byte."""
    quick = SimpleNamespace(**vars(os) | {"fsync": lambda fd: None})
    monkeypatch.setattr(persistqueue.queue, "os", quick)


class SameBytes(RuleBasedStateMachine):
    """Random operations on both; every file is compared after each."""

    policies: ClassVar[tuple[fsync.Policy, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.ways = ways(*self.policies)
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.pair: Pair
        self.is_open = self.failed = False

    @initialize(name=st.sampled_from(SERIALIZERS), chunksize=chunksizes, data=st.data())
    def begin(self, name: str, chunksize: int, data: st.DataObject) -> None:
        self.pair = Pair(self.runner, Path(self.folder.name), Model(name, chunksize))
        self.pair.open(data.draw(self.ways), chunksize)
        self.is_open = True

    @rule(data=st.data())
    def put(self, data: st.DataObject) -> None:
        self.pair.put(data.draw(values(self.pair.model.name)))

    @rule(data=st.data())
    def put_many(self, data: st.DataObject) -> None:
        self.pair.put_many(data.draw(st.lists(values(self.pair.model.name), max_size=12)))

    @rule()
    def get(self) -> None:
        self.pair.get()

    @rule(limit=st.integers(1, 12))
    def get_many(self, limit: int) -> None:
        self.pair.get_many(limit)

    @rule()
    def task_done(self) -> None:
        self.pair.task_done()

    @rule()
    def look(self) -> None:
        self.pair.look()

    @rule(chunksize=chunksizes, swap=st.booleans(), data=st.data())
    def close_and_reopen(self, chunksize: int, swap: bool, data: st.DataObject) -> None:
        """The chunksize given here must not count once something was put."""
        way = data.draw(self.ways)
        self.close()
        if swap:
            self.pair.swap()
        self.pair.open(way, chunksize)
        self.is_open = True

    @invariant()
    def same_bytes(self) -> None:
        if self.is_open:
            self.failed = True
            self.pair.check_open()
            self.failed = False

    def close(self) -> None:
        self.is_open = False
        self.pair.close()
        self.pair.check_closed()

    def teardown(self) -> None:
        """Each drains what the other left."""
        try:
            if self.is_open and not self.failed:
                way = self.pair.way
                self.close()
                self.pair.swap()
                self.pair.open(way, chunksize=1)
                self.is_open = True
                self.pair.drain()
                self.close()
        finally:
            if self.is_open:
                self.pair.close()
            self.runner.close()
            self.folder.cleanup()


class Never(SameBytes):
    policies = (fsync.Never(),)


class Interval(SameBytes):
    """The windows that are short let commits in the background come between any two operations."""

    policies = (fsync.Interval(), fsync.Interval(seconds=0.001), fsync.Interval(items=2))


class Rollover(SameBytes):
    policies = (fsync.Rollover(),)


class Always(SameBytes):
    policies = (fsync.Always(),)


def run(machine: type[SameBytes], examples: int, steps: int) -> None:
    checked = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=checked)


@pytest.mark.parametrize(("machine", "examples"), [(Never, 12), (Interval, 12), (Rollover, 6), (Always, 6)])
def test_same_operations_leave_the_same_bytes(machine: type[SameBytes], examples: int) -> None:
    run(machine, examples, steps=25)


@pytest.mark.soak
@pytest.mark.parametrize("machine", [Never, Interval, Rollover, Always])
def test_same_operations_leave_the_same_bytes_at_length(machine: type[SameBytes]) -> None:
    run(machine, 1000, steps=60)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


ITEMS: Final[list[Any]] = [None, "", 0, [], "x" * 65_536, "y" * 140_000, {"key": [1.5, "z"]}, False]


@pytest.mark.parametrize("chunksize", CHUNKSIZES)
@pytest.mark.parametrize("name", SERIALIZERS)
def test_every_serializer_with_every_chunksize(
    runner: asyncio.Runner, tmp_path: Path, name: str, chunksize: int
) -> None:
    pair = Pair(runner, tmp_path, Model(name, chunksize))
    for autosave in (False, True):
        pair.open(Way(autosave, fsync.Never()), chunksize)
        for step, item in enumerate([*ITEMS, *range(4)]):
            pair.put(item)
            pair.check_open()
            if step % 3:
                pair.get()
                pair.check_open()
                pair.task_done()
                pair.check_open()
        pair.close()
        pair.check_closed()
        pair.swap()
    pair.open(Way(autosave=False, policy=fsync.Never()), chunksize)
    pair.drain()
    pair.close()
    pair.check_closed()


# -- the one difference --------------------------------------------------------------------------------------


def outstanding(runner: asyncio.Runner, folder: Path) -> Pair:
    """Chunks of two, five items, three of them got and none done; then a put."""
    pair = Pair(runner, folder, Model("pickle", 2))
    pair.open(Way(autosave=False, policy=fsync.Never()), 2)
    for number in range(5):
        pair.put(number)
    for _ in range(3):
        pair.get()
    assert pair.equal
    pair.check_open()
    pair.put(5)
    return pair


def test_a_put_does_not_commit_the_gets_of_others(runner: asyncio.Runner, tmp_path: Path) -> None:
    """persist-queue's put commits what others got and have not done: they lose it when they are killed."""
    pair = outstanding(runner, tmp_path)
    assert (pair.theirs.tail, pair.ours.tail) == (3, 0)
    assert not (pair.their_path / "q00000").exists()
    assert (pair.our_path / "q00000").exists()
    pair.check_open()
    pair.task_done()
    assert pair.equal
    pair.check_open()
    pair.close()
    pair.check_closed()


def test_a_close_before_task_done_keeps_the_difference(runner: asyncio.Runner, tmp_path: Path) -> None:
    """Ours gives out again what was not done, and so does persist-queue from our directory."""
    pair = outstanding(runner, tmp_path)
    pair.close()
    pair.check_closed()
    pair.swap()
    pair.open(pair.way, 2)
    assert pair.their_queue.get_nowait() == 0
    assert runner.run(pair.our_queue.get_nowait()) == 3
    pair.close()
    pair.check_closed()
    pair.open(pair.way, 2)
    pair.drain()
    pair.close()
    pair.check_closed()


# -- many at once --------------------------------------------------------------------------------------------

POLICIES: Final = ("never", "rollover", "interval", "always")


async def put_one_by_one(queue: AsyncQueue, items: list[Any]) -> None:
    for item in items:
        await queue.put(item)


async def put_all(queue: AsyncQueue, items: list[Any]) -> None:
    assert await queue.put_many(items) == len(items)


async def get_one_by_one(queue: AsyncQueue, count: int) -> list[Any]:
    return [await queue.get() for _ in range(count)]


async def get_all(queue: AsyncQueue, count: int) -> list[Any]:
    got: list[Any] = []
    while len(got) < count:
        got += await queue.get_many(count - len(got))
    return got


@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
@pytest.mark.parametrize("policy", POLICIES)
async def test_many_at_once_are_many_one_by_one(tmp_path: Path, policy: str, autosave: bool) -> None:
    """Chunks of three; the items fill one, end inside one, and are longer than an inline write."""
    one, all_ = tmp_path / "one", tmp_path / "all"
    for folder, put, get in ((one, put_one_by_one, get_one_by_one), (all_, put_all, get_all)):
        async with AsyncQueue(folder, chunksize=3, fsync=policy, autosave=autosave) as queue:
            for items in ([], ["a"], ["b", "c"], ["d" * 70_000, *ITEMS], list(range(7))):
                await put(queue, items)
            assert await get(queue, 5) == ["a", "b", "c", "d" * 70_000, None]
            await queue.task_done()
            assert await get(queue, 4) == ["", 0, [], "x" * 65_536]
    assert files_in(one) == files_in(all_)
    for folder, get in ((one, get_one_by_one), (all_, get_all)):
        async with AsyncQueue(folder, fsync=policy, autosave=autosave) as queue:
            left = ITEMS[5:] if autosave else ITEMS[1:]  # without autosave, what was not done comes again
            assert await get(queue, await queue.qsize()) == [*left, *range(7)]
            await queue.task_done()
    assert files_in(one) == files_in(all_)
