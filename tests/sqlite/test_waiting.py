"""Who waits, for what, and in which order."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

import asyncpq
from asyncpq import AsyncSQLiteQueue, Empty, Full, QueueClosed
from tests.sqlite.test_cancellation import MODES, Mode, jobs
from tests.stepping import Jobs, finished, settle, started, ticks

__all__ = ["jobs"]  # a fixture

HOUR: Final = 3600.0

modes = pytest.mark.parametrize("mode", [MODES["auto_commit"], MODES["task_done"], MODES["ack"]], ids=str)


async def results(tasks: Sequence[asyncio.Future[Any]]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)


async def done_with(mode: Mode, queue: Any, item: Any) -> None:
    await (queue.ack(item) if mode.acked else queue.task_done())


class Clock:
    """The loop's clock, which a test moves on."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + self._ahead)

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(asyncio.get_running_loop(), monkeypatch)


# -- first come, first served -------------------------------------------------------------------------------


@modes
async def test_getters_are_served_in_order(mode: Mode, tmp_path: Path) -> None:
    async with mode.queue(tmp_path / "q") as queue:
        (first,) = await started(queue.get())
        await queue.qsize()  # now it has looked, and waits
        getters = [first, *await started(*(queue.get() for _ in range(29)))]
        await asyncio.gather(*(queue.put(number) for number in range(30)))
        assert await results(getters) == list(range(30))


@modes
async def test_putters_are_served_in_order(mode: Mode, tmp_path: Path) -> None:
    async with mode.queue(tmp_path / "q", maxsize=1) as queue:
        putters = await started(*(queue.put(number) for number in range(30)))
        got = []
        for putter in putters:
            await asyncio.wait_for(putter, 20)
            got.append(await queue.get(timeout=20))
            await done_with(mode, queue, got[-1])
        assert got == list(range(30))


async def test_a_getter_who_has_looked_keeps_the_place(jobs: Jobs, tmp_path: Path) -> None:
    """One who comes while the outcome is on its way to the first one must not get before that."""
    queue = AsyncSQLiteQueue(tmp_path / "q")
    await finished(jobs, queue.open())
    first = asyncio.ensure_future(queue.get())
    await ticks()
    jobs.run_one()
    second = asyncio.ensure_future(queue.get())
    await ticks()
    await finished(jobs, queue.put("one"))
    await settle(jobs)
    served = [first.done(), second.done()]
    await finished(jobs, queue.close())
    await results([first, second])
    assert served == [True, False]


@modes
async def test_a_getter_who_leaves_does_not_hold_up_the_next(mode: Mode, tmp_path: Path) -> None:
    async with mode.queue(tmp_path / "q") as queue:
        first, second = await started(queue.get(), queue.get())
        first.cancel()
        await queue.put("one")
        assert await asyncio.wait_for(second, 20) == "one"


# -- in time ------------------------------------------------------------------------------------------------


@modes
async def test_timeouts_are_by_the_clock_of_the_loop(mode: Mode, clock: Clock, tmp_path: Path) -> None:
    """Not by the clock of the day, which may be set."""
    async with mode.queue(tmp_path / "q", maxsize=1) as queue:
        (getter,) = await started(queue.get(timeout=HOUR))
        clock.advance(HOUR - 10)
        await queue.qsize()
        assert not getter.done()
        clock.advance(11)
        assert isinstance((await results([getter]))[0], Empty)
        await queue.put("one")
        (putter,) = await started(queue.put("two", timeout=HOUR))
        clock.advance(HOUR - 10)
        await queue.qsize()
        assert not putter.done()
        clock.advance(11)
        assert isinstance((await results([putter]))[0], Full)
        assert await queue.qsize() == 1


@modes
async def test_a_negative_timeout_is_refused(mode: Mode, tmp_path: Path) -> None:
    async with mode.queue(tmp_path / "q") as queue:
        for call in (queue.get(timeout=-1), queue.put(1, timeout=-1), queue.peek(timeout=-1)):
            with pytest.raises(ValueError, match="non-negative"):
                await call
        assert await queue.empty()


# -- room ---------------------------------------------------------------------------------------------------


@modes
async def test_a_full_queue_raises_or_lets_wait(mode: Mode, tmp_path: Path) -> None:
    async with mode.queue(tmp_path / "q", maxsize=2) as queue:
        await queue.put_many(["one", "two"])
        assert await queue.full()
        with pytest.raises(Full):
            await queue.put_nowait("three")
        with pytest.raises(Full):
            await queue.put("three", timeout=0.01)
        (putter,) = await started(queue.put("three"))
        assert await queue.get() == "one"
        await results([putter])
        assert await queue.qsize() == 2


@modes
async def test_a_maxsize_below_the_size_lets_nobody_put(mode: Mode, tmp_path: Path) -> None:
    async with mode.queue(tmp_path / "q") as queue:
        await queue.put_many(range(5))
        queue.maxsize = 2
        with pytest.raises(Full):
            await queue.put_nowait(5)
        (putter,) = await started(queue.put(5))
        queue.maxsize = 0
        await results([putter])
        assert await queue.qsize() == 6


@modes
async def test_put_many_goes_in_as_room_comes(mode: Mode, tmp_path: Path) -> None:
    async with mode.queue(tmp_path / "q", maxsize=3) as queue:
        (putter,) = await started(queue.put_many(range(10)))
        got = [await queue.get(timeout=20) for _ in range(10)]
        assert got == list(range(10))
        assert len((await results([putter]))[0]) == 10


# -- the end ------------------------------------------------------------------------------------------------


@modes
async def test_shutdown_lets_what_is_there_be_got(mode: Mode, tmp_path: Path) -> None:
    async with mode.queue(tmp_path / "q", maxsize=1) as queue:
        await queue.put("one")
        (putter,) = await started(queue.put("two"))
        queue.shutdown()
        assert isinstance((await results([putter]))[0], QueueClosed)
        with pytest.raises(QueueClosed):
            await queue.put("three")
        item = await queue.get()
        with pytest.raises(QueueClosed):
            await queue.get()
        await done_with(mode, queue, item)
        await asyncio.wait_for(queue.join(), 20)


@modes
async def test_shutdown_wakes_getters_of_an_empty_queue(mode: Mode, tmp_path: Path) -> None:
    async with mode.queue(tmp_path / "q") as queue:
        getters = await started(queue.get(), queue.peek(), queue.get_many(2))
        queue.shutdown()
        assert [type(result) for result in await results(getters)] == [QueueClosed] * 3


@modes
async def test_shutdown_at_once_wakes_everyone(mode: Mode, tmp_path: Path) -> None:
    async with mode.queue(tmp_path / "q", maxsize=1) as queue:
        await queue.put("one")
        tasks = await started(queue.put("two"), queue.join())
        queue.shutdown(immediate=True)
        assert [type(result) for result in await results(tasks)] == [QueueClosed] * 2
        with pytest.raises(QueueClosed):
            await queue.get()
    async with mode.queue(tmp_path / "q") as queue:
        assert await queue.get() == "one"


@modes
async def test_close_wakes_everyone(mode: Mode, tmp_path: Path) -> None:
    getting = mode.queue(tmp_path / "q")
    async with getting:
        tasks = await started(getting.get(), getting.peek(), getting.get_many(3), getting.get(timeout=HOUR))
    assert [type(result) for result in await results(tasks)] == [QueueClosed] * 4
    putting = mode.queue(tmp_path / "q", maxsize=1)
    async with putting:
        await putting.put("one")
        tasks = await started(putting.put("two"), putting.put_many(["three"]), putting.join())
    assert [type(result) for result in await results(tasks)] == [QueueClosed] * 3
    with pytest.raises(QueueClosed):
        await putting.qsize()


@pytest.mark.parametrize("immediate", [None, True], ids=["close", "shutdown"])
async def test_a_getter_who_looks_at_that_moment_hears_of_the_end(
    immediate: bool | None, jobs: Jobs, tmp_path: Path
) -> None:
    """When he finds nothing he must not go and wait where nobody will wake him."""
    queue = AsyncSQLiteQueue(tmp_path / "q")
    await finished(jobs, queue.open())
    getting = asyncio.ensure_future(queue.get())
    await ticks()
    assert len(jobs) == 1
    if immediate:
        queue.shutdown(immediate=True)
    else:
        closing = asyncio.ensure_future(queue.close())
        await ticks()
        await finished(jobs, closing)
    await settle(jobs)
    served = getting.done()
    getting.cancel()
    outcome = (await asyncio.gather(getting, return_exceptions=True))[0]
    await finished(jobs, queue.close())
    assert served
    assert isinstance(outcome, QueueClosed)


async def test_what_comes_back_is_seen_whoever_brought_it(tmp_path: Path) -> None:
    """Not the look of those who wait may be the first transaction behind the delay, but any other."""
    async with asyncpq.AsyncSQLiteAckQueue(tmp_path / "q") as queue:
        await queue.put("job")
        await queue.nack(await queue.get(), delay=0.1)
        (getting,) = await started(queue.get())
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            await asyncio.gather(*(queue.update("nothing", 1000) for _ in range(20)))
        assert await asyncio.wait_for(getting, 5) == "job"


@modes
async def test_a_put_behind_a_clear_is_counted(mode: Mode, tmp_path: Path) -> None:
    """Both in one transaction: what waits for the item hears of it."""
    async with mode.queue(tmp_path / "q") as queue:
        await queue.put_many(range(5))
        await asyncio.gather(queue.clear(), queue.put("one"))
        assert queue.stats()["size"] == 1
        assert await queue.get() == "one"


@modes
async def test_an_iteration_ends_when_the_queue_does(mode: Mode, tmp_path: Path) -> None:
    async with mode.queue(tmp_path / "q") as queue:
        await queue.put_many(range(3))
        queue.shutdown()
        assert [item async for item in queue] == [0, 1, 2]


@modes
async def test_join_waits_for_what_is_not_done(mode: Mode, tmp_path: Path) -> None:
    async with mode.queue(tmp_path / "q") as queue:
        await asyncio.wait_for(queue.join(), 20)
        await queue.put("one")
        (joining,) = await started(queue.join())
        item = await queue.get()
        await ticks()
        assert not joining.done()
        await done_with(mode, queue, item)
        await results([joining])


async def test_join_does_not_trust_an_old_count(tmp_path: Path) -> None:
    async with asyncpq.AsyncSQLiteAckQueue(tmp_path / "q") as queue:
        await asyncio.wait_for(queue.join(), 20)
        await queue.put("one")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(queue.join(), 0.15)


async def test_join_waits_for_what_is_given_back(tmp_path: Path) -> None:
    async with asyncpq.AsyncSQLiteAckQueue(tmp_path / "q") as queue:
        await queue.put("one")
        (joining,) = await started(queue.join())
        await queue.nack(await queue.get())
        await queue.qsize()
        assert not joining.done()
        await queue.ack(await queue.get())
        await results([joining])
