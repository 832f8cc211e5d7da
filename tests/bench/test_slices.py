"""What is measured is what happened: how fast, how late the loop was, and who is to blame."""

import asyncio
import gc
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncpq.bench import counting, running, slices, whole
from asyncpq.bench.contenders import chosen, make
from asyncpq.bench.contenders.peers import PEERS
from asyncpq.bench.contenders.protocol import Peer
from asyncpq.bench.machine import file_system
from asyncpq.bench.plan import Cell, Options
from asyncpq.bench.result import Pauses, Promise
from asyncpq.bench.running import run
from asyncpq.bench.slices import item_of, measure
from asyncpq.bench.waves import Amount
from asyncpq.bench.workspace import Workspace, workspace

pytestmark = pytest.mark.no_debug

ROUNDS = 2
OPTIONS = Options(("always",), (1,), (20,), kinds=("file",), seconds=0.1, rounds=ROUNDS)
OURS, THEIRS = Cell("asyncpq file", "always", 1, 20, "pickle"), Cell("sqlite3", "", 1, 20, "")


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    with workspace(tmp_path) as made:
        yield made


def keep_the_loop(seconds: float) -> None:
    time.sleep(seconds)


@pytest.fixture(autouse=True)
def _counted_in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "amount", lambda cell, quick, first: Amount(2, 0.1))


class Made:
    """A queue in memory that does what a test asks for."""

    promise, syncs, shares, blocking = Promise.NONE, "nothing", False, False

    def __init__(self, put_takes: float = 0.0, blocks: float = 0.0, fails: bool = False) -> None:
        self.put_takes, self.blocks, self.fails = put_takes, blocks, fails
        self.items: list[str] = []
        self.state: list[str] = []
        self.got = self.most = self.now = 0

    async def open(self) -> None:
        self.state.append("open")

    async def put(self, item: str) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        if self.fails and len(self.items) > 5:
            raise RuntimeError("no more")
        keep_the_loop(self.blocks)
        await asyncio.sleep(self.put_takes)
        self.items.append(item)
        self.now -= 1

    async def get(self) -> None:
        await asyncio.sleep(0)
        self.items.pop()
        self.got += 1

    async def close(self) -> None:
        self.state.append("closed")


@pytest.mark.parametrize("size", [1, 20, 36, 1000])
def test_an_item_has_the_size_that_was_asked_for(size: int) -> None:
    assert len(item_of(size).encode()) == size


async def test_puts_a_second_are_those_of_all_producers() -> None:
    made = Made(put_takes=0.01)
    taken = await measure(made, 4, "item", 0.2, 0.1)
    assert made.most == 4
    assert taken.count == len(taken.latencies)
    assert min(taken.latencies) >= 0.0099
    assert 4 / max(taken.latencies) <= taken.puts * 1.5
    assert taken.puts <= 4 / 0.0099
    assert made.got > 0 < taken.gets


async def test_a_queue_that_keeps_the_loop_is_seen_by_the_stall() -> None:
    taken = await measure(Made(blocks=0.03), 1, "item", 0.05, 0.01)
    assert taken.stall > 0.025


async def test_it_is_closed_after_an_error() -> None:
    made = Made(fails=True)
    with pytest.raises(RuntimeError, match="no more"):
        await measure(made, 2, "item", 5.0, 5.0)
    assert made.state == ["open", "closed"]


async def test_more_is_never_got_than_was_put() -> None:
    made = Made(put_takes=0.01)
    await measure(made, 3, "item", 0.03, 5.0)
    assert made.items == []


async def test_large_items_end_a_slice_before_they_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_BYTES", 4 * 10)
    taken = await measure(Made(put_takes=0.001), 1, "x" * 4, 60.0, 60.0)
    assert taken.count == 10


async def test_of_many_latencies_an_even_sample_is_kept_and_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "KEPT", 4)
    taken = await measure(Made(put_takes=0.001), 1, "item", 0.05, 0.0)
    assert taken.count > 4 >= len(taken.latencies)
    assert taken.longest >= max(taken.latencies)


async def test_the_collector_is_watched_and_left_on() -> None:
    class Collecting(Made):
        async def put(self, item: str) -> None:
            gc.collect()
            await super().put(item)

    taken = await measure(Collecting(put_takes=0.005), 1, "item", 0.02, 0.0)
    assert taken.pauses.collections >= taken.count
    assert taken.pauses.seconds >= taken.pauses.longest > 0
    assert gc.isenabled()
    assert not [one for one in gc.callbacks if type(one).__module__ == slices.__name__]


def test_what_is_measured_goes_in_turn_and_back(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    async def noted(contender: Any, *_: Any) -> slices.Slice:
        order.append(type(contender).__name__)
        return slices.Slice(1.0, 1.0, array("d", [1.0]), 1, 1.0, 0.0, Pauses())

    monkeypatch.setattr(running, "measure", noted)
    monkeypatch.setattr(running, "count_all", lambda *_, **__: {})
    run([OURS, THEIRS], OPTIONS, space, lambda what, done: None)
    assert order == ["PlainSQLite", "OursFile", "OursFile", "PlainSQLite", "PlainSQLite", "OursFile"]


def test_what_another_library_raises_ends_its_cell_and_is_noted(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "make", lambda cell, place: make(cell, place) if cell.policy else Made(fails=True))
    measured = run([OURS, THEIRS], OPTIONS, space, lambda what, done: None)
    assert measured.failed == {THEIRS: "RuntimeError: no more"}
    assert [row.cell for row in measured.rows(space)] == [OURS]


def test_what_asyncpq_raises_ends_the_run(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "make", lambda cell, place: Made(fails=True))
    with pytest.raises(RuntimeError, match="no more"):
        run([OURS], OPTIONS, space, lambda what, done: None)


def test_progress_goes_from_the_start_to_the_end(space: Workspace) -> None:
    told: list[tuple[str, float]] = []
    run([OURS], OPTIONS, space, lambda what, done: told.append((what, done)))
    assert [what.partition(":")[0] for what, _ in told] == ["warming up", "round 1 of 2", "round 2 of 2", "counting"]
    parts = [done for _, done in told]
    assert parts == sorted(parts)
    assert 0 <= parts[0] < parts[-1] <= 1


def test_without_aiosqlite_the_file_queue_is_measured_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "find_spec", lambda name: None)
    options, said = whole._possible(Options())
    assert options.kinds == ("file",)
    assert "pip install 'asyncpq-engine[sqlite]'" in said[0]
    with pytest.raises(ImportError, match="aiosqlite"):
        whole._possible(Options(kinds=("sqlite",)))


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
async def test_each_library_takes_what_it_is_given_and_gives_it_back(peer: type[Peer], tmp_path: Path) -> None:
    if peer.library in chosen([peer.library])[1]:
        pytest.skip(f"{peer.library} is not installed")
    asyncio.get_running_loop().slow_callback_duration = 10.0  # they keep the loop, which is no news
    taken = await measure(peer(tmp_path), 3, item_of(100), 0.02, 30.0)
    assert taken.count >= 3
    assert taken.gets > 0


@pytest.mark.parametrize(("path", "kind"), [("/proc", "proc"), ("/dev/shm", "tmpfs")])
def test_the_file_system_is_that_of_the_path(path: str, kind: str) -> None:
    if not Path(path).is_dir():
        pytest.skip(f"there is no {path}")
    assert file_system(Path(path))[0] == kind
