"""Cancelled at every step: a put is whole or not there, a get leaves the row, and nothing stays open.

The steps are turns of the loop and jobs of the threads, one after the other: so each call is also cancelled while its
job is about to run, and when it has committed and the loop has not heard of it.
"""

import asyncio
import os
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest

import asyncpq
from asyncpq import Empty, Full, threads
from tests.stepping import STEPS, Jobs, finished, settle, step

HERE: Final = ["one", "two", "three", "four"]  # what is in the queue before the call


def uvloop() -> asyncio.AbstractEventLoop:
    pytest.importorskip("uvloop")
    loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    return loop


LOOPS: Final[dict[str, Callable[[], asyncio.AbstractEventLoop]]] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop}
loops = pytest.mark.parametrize("loop", LOOPS)


@dataclass(frozen=True)
class Mode:
    """How a queue consumes."""

    name: str
    auto_commit: bool = True

    def queue(self, path: Path, **options: Any) -> Any:
        return getattr(asyncpq, self.name)(path, auto_commit=self.auto_commit, fsync="never", **options)

    @property
    def acked(self) -> bool:
        return "Ack" in self.name


MODES: Final = {
    "auto_commit": Mode("AsyncSQLiteQueue"),
    "task_done": Mode("AsyncSQLiteQueue", auto_commit=False),
    "filo": Mode("AsyncFILOSQLiteQueue"),
    "unique": Mode("AsyncUniqueQ"),
    "priority": Mode("AsyncPriorityQueue", auto_commit=False),
    "ack": Mode("AsyncSQLiteAckQueue"),
    "unique ack": Mode("AsyncUniqueAckQ"),
}
# Every mode on asyncio's loop; one of them on the other one, too.
everywhere = pytest.mark.parametrize(
    ("mode", "loop"),
    [(mode, "asyncio") for mode in MODES.values()] + [(MODES["ack"], "uvloop")],
    ids=[*MODES, "ack, uvloop"],
)
mostly = pytest.mark.parametrize(
    ("mode", "loop"),
    [(MODES[name], "asyncio") for name in ("auto_commit", "task_done", "unique ack")] + [(MODES["ack"], "uvloop")],
    ids=["auto_commit", "task_done", "unique ack", "ack, uvloop"],
)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """The jobs of all queues, also those that have a thread of their own."""
    jobs = Jobs()
    monkeypatch.setattr(threads.pool, "submit", jobs.submit)
    monkeypatch.setattr(threads, "Pool", lambda **_: jobs)
    return jobs


def run(loop: str, main: Awaitable[Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(main, 50)

    with asyncio.Runner(debug=True, loop_factory=LOOPS[loop]) as runner:
        return runner.run(bounded())


def nobody_is_in_a_transaction(path: Path, seconds: float = 0.0) -> None:
    """Another connection may write, at once, or when a job that runs is done."""
    other = sqlite3.connect(path / "data.db", timeout=seconds, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    finally:
        other.close()


class Scene:
    """One queue, one call, and the number of the step at which it is cancelled."""

    def __init__(self, jobs: Jobs, path: Path, mode: Mode, **options: Any) -> None:
        self.jobs, self.path, self.mode = jobs, path, mode
        path.mkdir()
        self.queue = mode.queue(path, **options)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Any]:
        await finished(self.jobs, self.queue.open())
        try:
            yield self.queue
        finally:
            await finished(self.jobs, self.queue.close())

    async def cancelled_at(self, number: int, call: Awaitable[Any]) -> tuple[bool, Any]:
        """Whether *call* was done before its step *number* came, and what it returned."""
        task = asyncio.ensure_future(call)
        for n in range(number):
            await step(self.jobs, n)
            if task.done():
                return True, task.result()
        task.cancel()
        with suppress(asyncio.CancelledError):
            for n in range(STEPS):
                if task.done():
                    task.result()
                    # It was done before it heard of it: as if it had not been cancelled.
                    return False, task.result()
                await step(self.jobs, n + number)
            raise AssertionError(f"it never ends: {task!r}")
        await settle(self.jobs)
        return False, None

    async def rest(self) -> list[Any]:
        """All that can be got, in order."""
        items = []
        while await finished(self.jobs, self.queue.qsize()):
            items.append(await finished(self.jobs, self.queue.get(timeout=0)))
        return items


def scenes(jobs: Jobs, tmp_path: Path, mode: Mode, **options: Any) -> Iterator[tuple[int, Scene]]:
    for number in range(200):
        yield number, Scene(jobs, tmp_path / f"{number}", mode, **options)
    raise AssertionError("the call takes more than 200 steps")


def there(mode: Mode) -> list[str]:
    return HERE[::-1] if mode.name == "AsyncFILOSQLiteQueue" else HERE


@everywhere
def test_a_cancelled_put_is_whole_or_not_there(mode: Mode, loop: str, jobs: Jobs, tmp_path: Path) -> None:
    async def main() -> None:
        for number, scene in scenes(jobs, tmp_path, mode):
            async with scene.open() as queue:
                done, _ = await scene.cancelled_at(number, queue.put("one"))
                nobody_is_in_a_transaction(scene.path)
                size = await finished(jobs, queue.qsize())
                assert size in ((1,) if done else (0, 1))
                assert queue.stats()["size"] == size
                assert queue.stats()["waiting_to_be_stored"] == 0
                await finished(jobs, queue.put("two"))
                assert sorted(await scene.rest()) == ["one", "two"][1 - size :]
            if done:
                assert number > 3
                return

    run(loop, main())


@everywhere
@pytest.mark.parametrize("maxsize", [0, 6])
def test_a_cancelled_put_many_says_what_is_stored(
    mode: Mode, maxsize: int, loop: str, jobs: Jobs, tmp_path: Path
) -> None:
    async def main() -> None:
        for number, scene in scenes(jobs, tmp_path, mode, maxsize=maxsize):
            async with scene.open() as queue:
                stored: list[int] = []

                async def put_many(queue: Any = queue, stored: list[int] = stored) -> None:
                    try:
                        stored.append(len(await queue.put_many(HERE)))
                    except asyncio.CancelledError as error:
                        stored.append(error.stored)  # type: ignore[attr-defined]  # put_many promises it
                        raise

                done, _ = await scene.cancelled_at(number, put_many())
                nobody_is_in_a_transaction(scene.path)
                size = await finished(jobs, queue.qsize())
                assert stored == [size] or (number == 0 and not stored and size == 0)
                assert queue.stats()["waiting_to_be_stored"] == 0
                assert sorted(await scene.rest()) == sorted(HERE[:size])
            if done:
                return

    run(loop, main())


GETS: Final[dict[str, Callable[[Any], Awaitable[Any]]]] = {
    "get": lambda queue: queue.get(),
    "get raw": lambda queue: queue.get(raw=True),
    "get_many": lambda queue: queue.get_many(3),
    "get by id": lambda queue: queue.get(id=2),
    "peek": lambda queue: queue.peek(),
}


def items_of(result: Any) -> list[Any]:
    if result is None:
        return []
    if isinstance(result, dict):
        return [result["data"]]
    return result if isinstance(result, list) else [result]


@everywhere
@pytest.mark.parametrize("get", GETS.values(), ids=GETS)
def test_a_cancelled_get_leaves_the_items_in_order(
    get: Callable[[Any], Awaitable[Any]], mode: Mode, loop: str, jobs: Jobs, tmp_path: Path
) -> None:
    async def main() -> None:
        for number, scene in scenes(jobs, tmp_path, mode):
            async with scene.open() as queue:
                await finished(jobs, queue.put_many(HERE))
                done, result = await scene.cancelled_at(number, get(queue))
                await settle(jobs)
                nobody_is_in_a_transaction(scene.path)
                got = [] if get is GETS["peek"] else items_of(result)
                left = [item for item in there(mode) if item not in got]
                assert queue.stats()["unfinished"] == len(got)
                assert queue.stats()["size"] == len(left)
                assert await finished(jobs, queue.qsize()) == len(left)
                assert await scene.rest() == left
            if done:
                assert number > 3
                return

    run(loop, main())


@everywhere
def test_a_cancelled_get_that_waits_takes_nothing(mode: Mode, loop: str, jobs: Jobs, tmp_path: Path) -> None:
    """A put comes in the middle of it, at every step in turn."""

    async def main() -> None:
        for number, scene in scenes(jobs, tmp_path, mode):
            async with scene.open() as queue:
                getting = asyncio.ensure_future(queue.get())
                for n in range(3):
                    await step(jobs, n)
                putting = asyncio.ensure_future(queue.put("one"))
                for n in range(number):
                    await step(jobs, n)
                done = getting.done()
                getting.cancel()
                await finished(jobs, asyncio.wait({getting, putting}))
                await settle(jobs)
                got = [] if getting.cancelled() else [getting.result()]
                assert await scene.rest() == ([] if got else ["one"])
            if done:
                assert got == ["one"]
                return

    run(loop, main())


@loops
def test_a_cancelled_task_done_does_it_or_not(loop: str, jobs: Jobs, tmp_path: Path) -> None:
    """Where it did not, the next one does: nothing is deleted that was not said to be done."""

    async def main() -> None:
        for number, scene in scenes(jobs, tmp_path, MODES["task_done"]):
            async with scene.open() as queue:
                await finished(jobs, queue.put_many(HERE))
                assert await finished(jobs, queue.get()) == "one"
                done, _ = await scene.cancelled_at(number, queue.task_done())
                await settle(jobs)
                nobody_is_in_a_transaction(scene.path)
                if queue.stats()["unfinished"]:
                    await finished(jobs, queue.task_done())
                assert queue.stats()["unfinished"] == 0
            async with Scene(jobs, tmp_path / f"again {number}", scene.mode).open():
                again = scene.mode.queue(scene.path)
                await finished(jobs, again.open())
                assert [await finished(jobs, again.get()) for _ in range(3)] == HERE[1:]
                assert await finished(jobs, again.qsize()) == 0
                await finished(jobs, again.close())
            if done:
                return

    run(loop, main())


ANSWERS: Final[dict[str, Callable[[Any, Any], Awaitable[Any]]]] = {
    "ack": lambda queue, item: queue.ack(item),
    "ack_failed": lambda queue, item: queue.ack_failed(item),
    "nack": lambda queue, item: queue.nack(item),
    "nack to the end": lambda queue, item: queue.nack(item, to_end=True),
}


@loops
@pytest.mark.parametrize("name", ["ack", "unique ack"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_cancelled_answer_is_given_or_not(answer: str, name: str, loop: str, jobs: Jobs, tmp_path: Path) -> None:
    """After it, the item is either still in flight here, and can be acknowledged, or answered for good."""

    async def main() -> None:
        for number, scene in scenes(jobs, tmp_path, MODES[name]):
            async with scene.open() as queue:
                await finished(jobs, queue.put_many(HERE))
                item = await finished(jobs, queue.get())
                done, _ = await scene.cancelled_at(number, ANSWERS[answer](queue, item))
                await settle(jobs)
                nobody_is_in_a_transaction(scene.path)
                status = status_of(scene.path, "one")
                size = await finished(jobs, queue.qsize())
                assert size == (3 if status > 1 else 4)
                assert queue.stats()["size"] == size
                if status == 2:
                    assert not done
                    await finished(jobs, queue.ack(item))
                    assert status_of(scene.path, "one") == 5
                elif answer == "nack":
                    assert await scene.rest() == HERE
            if done:
                return

    run(loop, main())


def status_of(path: Path, item: str) -> int:
    database = sqlite3.connect(path / "data.db")
    try:
        (table,) = database.execute(
            "SELECT name FROM sqlite_master WHERE name IN ('ack_queue_default', 'ack_unique_queue_default')"
        ).fetchone()
        data = f"%{item.encode().hex()}%"
        return int(database.execute(f"SELECT status FROM {table} WHERE lower(hex(data)) LIKE ?", (data,)).fetchone()[0])
    finally:
        database.close()


OTHERS: Final[dict[str, Callable[[Any], Awaitable[Any]]]] = {
    "clear": lambda queue: queue.clear(),
    "update": lambda queue: queue.update("other", 2),
    "shrink": lambda queue: queue.shrink(),
    "sync": lambda queue: queue.sync(),
    "qsize": lambda queue: queue.qsize(),
    "open": lambda queue: queue.open(),
    "close": lambda queue: queue.close(),
    "join": lambda queue: queue.join(),
    "queue": lambda queue: listed(queue),
}


async def listed(queue: Any) -> list[Any]:
    return [row["data"] for row in await queue.queue()]


@mostly
@pytest.mark.parametrize("name", [name for name in OTHERS if name not in ("join", "queue")])
def test_other_calls_that_are_cancelled_do_it_or_not(
    name: str, mode: Mode, loop: str, jobs: Jobs, tmp_path: Path
) -> None:
    async def main() -> None:
        for number, scene in scenes(jobs, tmp_path, mode):
            async with scene.open() as queue:
                await finished(jobs, queue.put_many(HERE))
            scene.queue = scene.mode.queue(scene.path)
            if name != "open":
                await finished(jobs, scene.queue.open())
            done, _ = await scene.cancelled_at(number, OTHERS[name](scene.queue))
            await settle(jobs)
            nobody_is_in_a_transaction(scene.path)
            if name == "close":
                await finished(jobs, scene.queue.close())
                scene.queue = scene.mode.queue(scene.path)
            assert await finished(jobs, scene.queue.qsize()) in ((0, 4) if name == "clear" else (4,))
            size = scene.queue.stats()["size"]
            rest = await scene.rest()
            assert len(rest) == size
            changed = ["other" if item == "two" else item for item in there(mode)]
            assert rest in {
                "clear": ([[]] if done else [[], there(mode)]),
                "update": ([changed] if done else [changed, there(mode)]),
            }.get(name, [there(mode)])
            await finished(jobs, scene.queue.close())
            if done:
                return

    run(loop, main())


# -- real threads -------------------------------------------------------------------------------------------


def descriptors() -> list[str]:
    """What is open, but for pipes and the like."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(name for name in found if "/" in name and not name.startswith("/proc") and "data.db" in name)


def foreign_threads() -> list[threading.Thread]:
    """Those that are not of the pools, whose threads end by themselves."""
    return [thread for thread in threading.enumerate() if not thread.name.startswith("asyncpq")]


async def cancelled_after(number: int, call: Awaitable[Any]) -> tuple[bool, Any]:
    """Let the loop turn *number* times, then cancel."""
    task = asyncio.ensure_future(call)
    for _ in range(number):
        await asyncio.sleep(0)
        if task.done():
            return True, task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        return False, await task
    return False, None


CALLS: Final[dict[str, Callable[[Any], Awaitable[Any]]]] = {
    **GETS,
    **OTHERS,
    "put": lambda queue: queue.put("five"),
    "put_many": lambda queue: queue.put_many("ab"),
}


@mostly
@pytest.mark.parametrize("name", CALLS)
def test_whatever_is_cancelled_nothing_is_left_open(name: str, mode: Mode, loop: str, tmp_path: Path) -> None:
    """No thread, no descriptor and no transaction, with the threads as they are."""
    before = foreign_threads()

    async def main() -> None:
        for number in [*range(10), 30, 100]:
            path = tmp_path / f"{number}"
            path.mkdir()
            queue = mode.queue(path)
            async with queue:
                await queue.put_many(HERE)
                await cancelled_after(number, CALLS[name](queue))
                if name != "close":
                    await queue.qsize()
                    nobody_is_in_a_transaction(path, 5.0)
            assert descriptors() == []
            assert sorted(os.listdir(path)) == ["data.db"], "the last connection takes the log away"

    run(loop, main())
    assert {thread.name for thread in foreign_threads()} <= {thread.name for thread in before}


# -- random rounds ------------------------------------------------------------------------------------------


class Round:
    """Tasks with random operations on one queue, cancelled at random; a round is its seed."""

    def __init__(self, seed: int, path: Path, jobs: Jobs | None) -> None:
        self.random = choose = random.Random(seed)
        self.jobs = jobs
        self.mode = choose.choice([*MODES.values()])
        path.mkdir()
        self.path = path
        self.queue = self.mode.queue(path, maxsize=choose.choice((0, 0, 2, 5)))
        self.stored: list[str] = []
        self.unsure: set[str] = set()  # their puts were cancelled
        self.got: list[str] = []
        self.over = False

    def __repr__(self) -> str:
        return f"{self.mode}, maxsize={self.queue.maxsize}, in steps={self.jobs is not None}, got {self.got}"

    async def play(self) -> None:
        if self.jobs is None:
            await self._play()
            return
        with (
            mock.patch.object(threads.pool, "submit", self.jobs.submit),
            mock.patch.object(threads, "Pool", return_value=self.jobs),
        ):
            await self._play()

    async def _finish(self, waiting: Awaitable[Any]) -> Any:
        return await (asyncio.wait_for(waiting, 20) if self.jobs is None else finished(self.jobs, waiting))

    async def _play(self) -> None:
        choose = self.random
        await self._finish(self.queue.open())
        tasks = [asyncio.ensure_future(self._work(f"{n}", choose.random())) for n in range(choose.randint(2, 7))]
        often = choose.choice((0.0, 0.02, 0.1, 0.3))
        for _ in range(choose.randint(10, 120)):
            if choose.random() < often:
                choose.choice(tasks).cancel()
            if self.jobs is not None and choose.random() < 0.4:
                self.jobs.run_one()
            else:
                await asyncio.sleep(0)
        self.over = True
        for task in tasks:
            task.cancel()
        for outcome in await self._finish(asyncio.gather(*tasks, return_exceptions=True)):
            if not isinstance(outcome, asyncio.CancelledError | None):
                raise outcome
        if self.jobs is not None:
            await settle(self.jobs)
        await self._look()

    async def _work(self, name: str, seed: float) -> None:
        choose = random.Random(seed)
        for number in range(choose.randint(1, 8)):
            operation = choose.choice([self._put, self._put, self._put_many, self._get, self._get, self._get_many])
            try:
                await operation(f"{name}.{number}")
            except asyncio.CancelledError:
                if self.over or choose.random() < 0.4:
                    raise
            except (Empty, Full):
                pass

    async def _put(self, item: str) -> None:
        try:
            await self.queue.put(item, timeout=None if item[-1] in "0246" else 0.0)
        except Full:
            return
        except BaseException:
            self.unsure.add(item)
            raise
        self.stored.append(item)

    async def _put_many(self, name: str) -> None:
        items, stored = [f"{name}.{n}" for n in range(4)], 0
        try:
            stored = len(await self.queue.put_many(items))
        except BaseException as error:
            stored = getattr(error, "stored", 0)
            raise
        finally:
            self.stored += items[:stored]

    async def _get(self, name: str) -> None:
        await self._take(await self.queue.get(block=name[-1] in "0246"))

    async def _get_many(self, name: str) -> None:
        self.got += await self.queue.get_many(3)

    async def _take(self, item: str) -> None:
        self.got.append(item)
        if self.mode.acked and int(item[-1]) % 3:
            await self.queue.ack(item)

    async def _look(self) -> None:
        if self.jobs is None:
            for _ in range(3):  # what runs, what is to be undone then, and that
                await self.queue.sync()
        size = await self._finish(self.queue.qsize())
        stats = self.queue.stats()
        assert stats["waiting_to_be_stored"] == 0
        if self.queue._engine.known:  # else the next get looks
            assert stats["size"] == size
        nobody_is_in_a_transaction(self.path, 5.0 if self.jobs is None else 0.0)
        rest = [await self._finish(self.queue.get(timeout=0)) for _ in range(size)]
        with pytest.raises(Empty):
            await self._finish(self.queue.get(block=False))
        assert not [item for item, times in Counter(self.got + rest).items() if times > 1]
        assert set(self.stored) <= set(self.got + rest) <= set(self.stored) | self.unsure
        await self._finish(self.queue.close())


def play(loop: str, folder: Path, seeds: range, *, in_steps: bool) -> None:
    with asyncio.Runner(debug=True, loop_factory=LOOPS[loop]) as runner:
        for seed in seeds:
            round_ = Round(seed, folder / f"{seed}", Jobs() if in_steps else None)
            try:
                runner.run(round_.play())
            except BaseException as error:
                error.add_note(f"seed {seed}: {round_}")
                raise


@loops
@pytest.mark.parametrize("in_steps", [True, False], ids=["in steps", "with threads"])
def test_each_item_is_delivered_once_whatever_is_cancelled(in_steps: bool, loop: str, tmp_path: Path) -> None:
    play(loop, tmp_path, range(50), in_steps=in_steps)


@loops
@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("in_steps", [True, False], ids=["in steps", "with threads"])
def test_each_item_is_delivered_once_for_long(in_steps: bool, loop: str, tmp_path: Path) -> None:
    play(loop, tmp_path, range(1000, 4000), in_steps=in_steps)
