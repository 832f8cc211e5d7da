"""One table, many processes: each item goes to one of them, also when they are killed."""

import asyncio
import random
import signal
import sqlite3
import statistics
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

import asyncpq
from asyncpq import AsyncSQLiteAckQueue, AsyncSQLiteQueue, Empty
from asyncpq.sqlite.tables import ACKED
from tests.sqlite.processes import PATIENCE, Process

ITEMS: Final = [2_000, pytest.param(10_000, marks=pytest.mark.soak)]
NEVER: Final = 3600.0  # seconds until an owner is given up because it says nothing


def place(tmp_path: Path) -> Path:
    folder = tmp_path / "q"
    folder.mkdir()
    return folder


def items_done(folder: Path) -> Counter[int]:
    """What the workers said that they had done, each line whole."""
    words = [line.split() for file in folder.glob("*.said") for line in file.read_text("ascii").splitlines()]
    return Counter(int(word[1]) for word in words if word[0] == "done")


# -- each once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "options"),
    [
        ("AsyncSQLiteQueue", {"auto_commit": True}),
        ("AsyncSQLiteQueue", {"auto_commit": False}),
        ("AsyncSQLiteAckQueue", {}),
    ],
    ids=["auto_commit", "task_done", "ack"],
)
@pytest.mark.parametrize("items", ITEMS)
async def test_each_item_goes_to_one_process(queue: str, options: dict[str, Any], items: int, tmp_path: Path) -> None:
    path = place(tmp_path)
    async with getattr(asyncpq, queue)(path, **options) as ours:
        await ours.put_many(range(items))
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Process(tmp_path / f"{n}.said", queue, path, "take", tasks=2, patience=0.5, options=options)
            )
            for n in range(4)
        ]
        for worker in workers:
            worker.finish()
    assert items_done(tmp_path) == Counter(range(items))
    async with getattr(asyncpq, queue)(path, **options) as ours:
        assert await ours.empty()


class Herd:
    """Workers of an ack queue, of which one after the other is killed and replaced."""

    def __init__(self, folder: Path, path: Path, seed: int) -> None:
        self.folder, self.path, self.random = folder, path, random.Random(seed)
        self.kills = self.started = 0
        self.workers: list[Process] = [self.new() for _ in range(4)]

    def new(self) -> Process:
        self.started += 1
        said = self.folder / f"{self.started}.said"
        options = {"owner_timeout": NEVER}
        return Process(said, "AsyncSQLiteAckQueue", self.path, "take", tasks=2, patience=NEVER, options=options)

    def kill_one(self) -> None:
        """Kill one that is at work; most are killed with items in their hands."""
        busy = [n for n, worker in enumerate(self.workers) if len(worker.lines) > 1]
        if busy:
            number = self.random.choice(busy)
            self.workers[number].kill()
            self.workers[number] = self.new()
            self.kills += 1

    def end(self) -> None:
        for worker in self.workers:
            worker.kill()


async def killing(kills: int, seed: int, tmp_path: Path) -> None:
    path, put, end = place(tmp_path), 0, time.monotonic() + 2 * kills + PATIENCE
    async with AsyncSQLiteAckQueue(path, owner_timeout=NEVER) as queue:
        herd = Herd(tmp_path, path, seed)
        try:
            while herd.kills < kills or await queue.acked_count() < put:
                assert time.monotonic() < end, f"{herd.kills} kills, {put} put, {await queue.acked_count()} answered"
                if herd.kills < kills:
                    if await queue.qsize() < 200:
                        await queue.put_many(range(put, put + 200))
                        put += 200
                    herd.kill_one()
                await asyncio.sleep(herd.random.uniform(0.01, 0.1))
        finally:
            herd.end()
        done = items_done(tmp_path)
        assert max(done.values()) == 1, "an acknowledgement that had returned was given again"
        assert done.keys() <= set(range(put))
        assert len(done) >= put - 2 * kills - 2 * 4, "only what was acknowledged at the moment of a kill goes unsaid"
        rows = await queue.queue()
        assert [row["data"] for row in rows] == list(range(put))
        assert {row["status"] for row in rows} == {ACKED}
        assert await queue.empty()


async def test_what_the_killed_held_comes_back_at_once(tmp_path: Path) -> None:
    """Nobody waits for owner_timeout, which is an hour here: on the same machine a death is seen."""
    await killing(20, seed=1, tmp_path=tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_what_many_killed_held_comes_back_at_once(tmp_path: Path) -> None:
    await killing(200, seed=2, tmp_path=tmp_path)


async def test_nobody_else_gets_what_is_in_flight(tmp_path: Path) -> None:
    """persist-queue gives it to whoever opens the queue next."""
    path = place(tmp_path)
    async with AsyncSQLiteAckQueue(path) as first:
        await first.put("job")
        job = await first.get()
        async with AsyncSQLiteAckQueue(path) as second:
            with pytest.raises(Empty):
                await second.get(block=False)
            with Process(tmp_path / "said", "AsyncSQLiteAckQueue", path, "obey") as third:
                third.heard(1)
                assert third.ask("get") == "empty"
        await first.ack(job)


@pytest.mark.no_debug
async def test_a_stopped_process_loses_its_items_after_owner_timeout(tmp_path: Path) -> None:
    """And hears of it when it goes on and acknowledges: somebody else has the item."""
    path = place(tmp_path)
    options = {"owner_timeout": 1.0}
    async with AsyncSQLiteAckQueue(path, owner_timeout=1.0) as ours:
        await ours.put("job")
        with Process(tmp_path / "said", "AsyncSQLiteAckQueue", path, "obey", options=options) as theirs:
            theirs.heard(1)
            assert theirs.ask("get") == "got job"
            theirs.process.send_signal(signal.SIGSTOP)
            with pytest.raises(Empty):
                await ours.get(timeout=0.3)
            job = await ours.get(timeout=PATIENCE)
            theirs.process.send_signal(signal.SIGCONT)
            assert theirs.ask("ack") == "NotInFlight"
            await ours.ack(job)
            assert await ours.acked_count() == 1


async def test_a_process_that_lives_keeps_its_items_beyond_owner_timeout(tmp_path: Path) -> None:
    """It gives signs of life, as long as its loop turns."""
    path = place(tmp_path)
    options = {"owner_timeout": 0.8}
    async with AsyncSQLiteAckQueue(path, owner_timeout=0.8) as ours:
        await ours.put("job")
        with Process(tmp_path / "said", "AsyncSQLiteAckQueue", path, "obey", options=options) as theirs:
            theirs.heard(1)
            assert theirs.ask("get") == "got job"
            with pytest.raises(Empty):
                await ours.get(timeout=2.0)
            assert theirs.ask("ack") == "acked"


# -- seen soon ----------------------------------------------------------------------------------------------


@pytest.mark.no_debug
async def test_a_get_that_waits_soon_sees_what_another_process_put(tmp_path: Path) -> None:
    path = place(tmp_path)
    seconds = []
    async with AsyncSQLiteQueue(path) as queue:
        with Process(tmp_path / "said", "AsyncSQLiteQueue", path, "obey") as other:
            other.heard(1)
            for _ in range(20):
                getting = asyncio.ensure_future(queue.get(timeout=PATIENCE))
                await asyncio.sleep(0)
                other.tell("stamp")
                seconds.append((-(await getting) + time.monotonic_ns()) / 1e9)
    print(f"median {statistics.median(seconds):.4f} s, worst {max(seconds):.4f} s")
    assert statistics.median(seconds) < 0.25
    assert max(seconds) < 1.0  # the machine may be busy


@pytest.mark.no_debug
async def test_waiting_costs_next_to_nothing(tmp_path: Path) -> None:
    """About half a percent on a machine at rest; a busy one makes each look dearer, a busy loop would take it all."""
    async with AsyncSQLiteAckQueue(place(tmp_path)) as queue:
        used = []
        for _ in range(3):  # whatever else the process does comes and goes
            began = time.process_time()
            with pytest.raises(Empty):
                await queue.get(timeout=1.0)
            used.append(time.process_time() - began)
        print(f"{min(used):.2%} of a CPU")
        assert min(used) < 0.03


async def test_there_are_never_more_than_maxsize(tmp_path: Path) -> None:
    """Whoever puts: the database itself counts, at each insert."""
    path, maxsize, each = place(tmp_path), 5, 40
    async with AsyncSQLiteQueue(path, maxsize=maxsize) as queue:
        with sqlite3.connect(path / "data.db") as database:
            database.execute("CREATE TABLE counts (rows)")
            database.execute(
                "CREATE TRIGGER counting AFTER INSERT ON queue_default "
                "BEGIN INSERT INTO counts SELECT count(*) FROM queue_default; END"
            )
        database.close()
        with ExitStack() as stack:
            options = {"maxsize": maxsize}
            workers = [
                stack.enter_context(
                    Process(tmp_path / f"{n}.said", "AsyncSQLiteQueue", path, "put", items=each, options=options)
                )
                for n in range(3)
            ]
            got = Counter([await queue.get(timeout=PATIENCE) for _ in range(3 * each)])
            for worker in workers:
                worker.finish()
    assert got == Counter([*range(each)] * 3)
    database = sqlite3.connect(path / "data.db")
    assert database.execute("SELECT max(rows) FROM counts").fetchone() == (maxsize,)
    database.close()


@pytest.mark.parametrize("acked", [False, True], ids=["auto_commit", "ack"])
async def test_join_sees_what_another_process_did(acked: bool, tmp_path: Path) -> None:
    path, name = place(tmp_path), "AsyncSQLiteAckQueue" if acked else "AsyncSQLiteQueue"
    async with getattr(asyncpq, name)(path) as queue:
        await queue.put("job")
        joining = asyncio.ensure_future(queue.join())
        with Process(tmp_path / "said", name, path, "obey") as other:
            other.heard(1)
            assert not joining.done()
            assert other.ask("get") == "got job"
            if acked:
                done, _ = await asyncio.wait({joining}, timeout=0.3)
                assert not done, "it is in flight"
                assert other.ask("ack") == "acked"
            await asyncio.wait_for(joining, PATIENCE)
