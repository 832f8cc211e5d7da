"""Who waits, for what, and in which order: getters, putters and joiners."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncQueue, CorruptRecord, Empty, Full, QueueClosed
from tests.blocked_files import Blocked, queue_on
from tests.stepping import Jobs, Stepped, drained, finished, jobs, settle, started, ticks

__all__ = ["jobs"]  # a fixture

HOUR: Final = 3600.0

both = pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])


async def results(tasks: Sequence[asyncio.Future[Any]]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)


def done(tasks: list[asyncio.Future[Any]]) -> list[bool]:
    return [task.done() for task in tasks]


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


@both
@pytest.mark.parametrize("policy", ["interval", "always"])
async def test_getters_are_served_in_order(autosave: bool, policy: str, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", autosave=autosave, fsync=policy) as queue:
        getters = await started(*(queue.get() for _ in range(50)))
        await asyncio.gather(*(queue.put(number) for number in range(50)))
        assert await results(getters) == list(range(50))


@pytest.mark.parametrize("policy", ["interval", "always"])
async def test_putters_are_served_in_order(policy: str, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", maxsize=1, fsync=policy) as queue:
        putters = await started(*(queue.put(number) for number in range(50)))
        assert await drained_until(queue, 50) == list(range(50))
        await results(putters)


async def drained_until(queue: AsyncQueue, count: int) -> list[Any]:
    items = []
    for _ in range(count):
        items.append(await queue.get(timeout=20))
        await queue.task_done()
    return items


async def used(queue: AsyncQueue) -> None:
    """From now on the loop itself writes, so a put and a get may meet in one turn of it."""
    await queue.put("first")
    await queue.get()
    await queue.task_done()


@both
async def test_nobody_overtakes_a_getter_who_was_let_go_on(autosave: bool, tmp_path: Path) -> None:
    """Between being woken and running there is a turn of the loop in which others may come."""
    async with AsyncQueue(tmp_path / "q", autosave=autosave) as queue:
        await used(queue)
        (first,) = await started(queue.get())
        await queue.put("one")
        await queue.put("two")
        second = await queue.get()
        assert (await first, second) == ("one", "two")


@both
async def test_nobody_takes_what_a_getter_was_promised(autosave: bool, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", autosave=autosave) as queue:
        await used(queue)
        (first,) = await started(queue.get())
        await queue.put("one")
        with pytest.raises(Empty):
            await queue.get_nowait()
        assert await first == "one"


@both
async def test_get_many_leaves_what_others_were_promised(autosave: bool, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", autosave=autosave) as queue:
        await used(queue)
        getters = await started(queue.get(), queue.get())
        await queue.put_many(range(5))
        many = await queue.get_many(10)
        assert sorted([*await results(getters), *many]) == list(range(5))
        assert await results(getters) == [0, 1]
        assert await queue.empty()


async def test_nobody_overtakes_a_putter_who_was_let_go_on(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", maxsize=2) as queue:
        await queue.put_many("ab")
        (first,) = await started(queue.put("c"))
        await queue.get_many(2)
        await queue.put("d")
        await first
        assert await queue.get_many(2) == ["c", "d"]


@pytest.mark.parametrize("many_first", [True, False])
async def test_maxsize_is_never_exceeded(many_first: bool, tmp_path: Path) -> None:
    """Room that was promised to one putter is not there for the many items of another."""
    async with AsyncQueue(tmp_path / "q", maxsize=3) as queue:
        await queue.put_many(range(3))
        calls = [queue.put_many(range(10, 20)), queue.put(3), queue.put(4)]
        putters = await started(*(calls if many_first else reversed(calls)))
        for _ in range(5):
            await queue.get_many(3)
            for _ in range(10):
                await ticks(1)
                assert await queue.qsize() <= 3
        await results(putters)


async def test_nobody_takes_the_room_that_a_putter_was_promised(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", maxsize=1) as queue:
        await queue.put("a")
        (first,) = await started(queue.put("b"))
        assert await queue.get() == "a"
        with pytest.raises(Full):
            await queue.put_nowait("c")
        await first
        assert await queue.get() == "b"


async def test_a_hundred_of_each_kind(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", maxsize=3) as queue:
        gone: list[int] = []

        async def consume() -> None:
            gone.append(await queue.get())
            await queue.task_done()

        getters = [asyncio.ensure_future(consume()) for _ in range(100)]
        await queue.put(-1)
        joiners = await started(*(queue.join() for _ in range(3)))
        joiners += [asyncio.ensure_future(queue.join()) for _ in range(97)]
        putters = [asyncio.ensure_future(queue.put(number)) for number in range(99)]
        assert await results(joiners) == [None] * 100
        assert await results(putters + getters) == [None] * 199
        assert gone == list(range(-1, 99))


# -- timeouts -----------------------------------------------------------------------------------------------


@both
async def test_get_times_out_by_the_clock_of_the_loop(
    autosave: bool, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that is set, by hand or by NTP, ends no wait and lengthens none."""
    async with AsyncQueue(tmp_path / "q", autosave=autosave, fsync="never") as queue:
        (getter,) = await started(queue.get(timeout=HOUR))
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda: 1e12)
            patched.setattr(time, "time_ns", lambda: 10**21)
            clock.advance(HOUR - 60)
            await ticks()
            assert not getter.done()
            patched.setattr(time, "time", lambda: 0.0)
            patched.setattr(time, "time_ns", lambda: 0)
            clock.advance(61)
            await ticks()
            assert getter.done()
        with pytest.raises(Empty, match="no item"):
            await getter


async def test_put_times_out_by_the_clock_of_the_loop(clock: Clock, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", maxsize=1, fsync="never") as queue:
        await queue.put("a")
        (putter,) = await started(queue.put("b", timeout=HOUR))
        clock.advance(HOUR - 60)
        await ticks()
        assert not putter.done()
        clock.advance(61)
        await ticks()
        with pytest.raises(Full, match="maxsize is 1"):
            await putter
        assert await drained(queue) == ["a"]


async def test_peek_and_get_many_time_out(clock: Clock, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", fsync="never") as queue:
        waiting = await started(queue.peek(timeout=HOUR), queue.get_many(3, timeout=HOUR))
        clock.advance(HOUR + 1)
        await ticks()
        assert [type(outcome) for outcome in await results(waiting)] == [Empty, Empty]


@both
async def test_who_has_timed_out_gets_nothing(autosave: bool, clock: Clock, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", autosave=autosave, fsync="never") as queue:
        impatient, patient = await started(queue.get(timeout=1), queue.get())
        clock.advance(2)
        await ticks()
        await queue.put("item")
        assert await patient == "item"
        with pytest.raises(Empty):
            await impatient


@both
@pytest.mark.parametrize("item_first", [True, False], ids=["item first", "timeout first"])
async def test_a_timeout_in_the_turn_of_the_delivery_loses_nothing(
    autosave: bool, item_first: bool, clock: Clock, tmp_path: Path
) -> None:
    async with AsyncQueue(tmp_path / "q", autosave=autosave, fsync="never") as queue:
        await used(queue)
        (getter,) = await started(queue.get(timeout=1))
        if item_first:
            await queue.put("item")
            clock.advance(2)
        else:
            asyncio.get_running_loop().call_later(1, lambda: asyncio.ensure_future(queue.put("item")))
            clock.advance(2)
        await ticks()
        assert item_first == (await results([getter]) == ["item"])
        assert await drained(queue) == ([] if item_first else ["item"])


async def test_a_timeout_covers_the_waiting_and_not_the_commit(clock: Clock, tmp_path: Path) -> None:
    files = Blocked()
    async with queue_on(files, tmp_path / "q", maxsize=5, autosave=True, fsync="always") as queue:
        await queue.put("item")
        for call in queue.get(timeout=1), queue.put("more", timeout=1):
            with files.at("fdatasync"):
                (task,) = await started(call)
                await files.is_reached()
                clock.advance(HOUR)
                await ticks()
                assert not task.done()
            await asyncio.wait_for(task, 20)


@both
async def test_a_timeout_of_zero_takes_what_is_there(autosave: bool, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", maxsize=1, autosave=autosave) as queue:
        with pytest.raises(Empty):
            await queue.get(timeout=0)
        with pytest.raises(Empty):
            await queue.peek(timeout=0)
        with pytest.raises(Empty):
            await queue.get_many(1, timeout=0)
        await queue.put("item", timeout=0)
        with pytest.raises(Full):
            await queue.put("more", timeout=0)
        assert await queue.peek(timeout=0) == "item"
        assert await queue.get(timeout=0) == "item"


@pytest.mark.parametrize("there", [True, False], ids=["item there", "empty"])
async def test_a_negative_timeout_is_refused(there: bool, tmp_path: Path) -> None:
    """As in queue.Queue, whatever there is to get; nothing is stored and nothing is taken."""
    async with AsyncQueue(tmp_path / "q", maxsize=1) as queue:
        if there:
            await queue.put("item")
        calls: list[Callable[[], Any]] = [
            lambda: queue.put("more", timeout=-1),
            lambda: queue.get(timeout=-1),
            lambda: queue.peek(timeout=-1),
            lambda: queue.get_many(1, timeout=-0.5),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
                await call()
        assert await drained(queue) == ["item"] * there


async def test_block_false_needs_no_timeout(tmp_path: Path) -> None:
    """As in queue.Queue, where the timeout of a call that does not wait is ignored."""
    async with AsyncQueue(tmp_path / "q", maxsize=1) as queue:
        await queue.put("item", False, -1)
        with pytest.raises(Full):
            await queue.put("more", block=False, timeout=20)
        assert await queue.get(False, -1) == "item"
        with pytest.raises(Empty):
            await queue.get(block=False, timeout=20)


# -- maxsize ------------------------------------------------------------------------------------------------


async def test_maxsize_below_the_size_is_full_until_there_is_room(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", maxsize=10) as queue:
        await queue.put_many(range(5))
        assert not await queue.full()
        queue.maxsize = 2
        assert await queue.full()
        (putter,) = await started(queue.put(5))
        for _ in range(3):
            await queue.get()
            await ticks()
            assert not putter.done()
            assert await queue.full()
            with pytest.raises(Full):
                await queue.put_nowait("no room")
        await queue.get()
        await putter
        assert await queue.qsize() == 2


async def test_a_directory_with_more_items_than_maxsize_is_full(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q") as queue:
        await queue.put_many(range(5))
    async with AsyncQueue(tmp_path / "q", maxsize=2) as queue:
        assert await queue.full()
        with pytest.raises(Full):
            await queue.put(5, timeout=0)
        assert await drained(queue) == list(range(5))


@pytest.mark.parametrize(("maxsize", "stored"), [(3, 3), (0, 6), (-1, 6)])
async def test_raising_maxsize_lets_putters_go_on(maxsize: int, stored: int, tmp_path: Path, jobs: Jobs) -> None:
    async with Stepped(jobs, AsyncQueue(tmp_path / "q", maxsize=1)) as queue:
        await finished(jobs, queue.put(0))
        putters = await started(*(queue.put(number) for number in range(1, 6)))
        queue.maxsize = maxsize
        await settle(jobs)
        assert await queue.qsize() == stored
        queue.maxsize = 0
        await settle(jobs)
        assert done(putters) == [True] * 5
        assert await finished(jobs, drained(queue)) == list(range(6))


async def test_what_is_on_its_way_takes_room(tmp_path: Path) -> None:
    files = Blocked()
    async with queue_on(files, tmp_path / "q", maxsize=2, fsync="always") as queue:
        with files.at("fdatasync"):
            (first,) = await started(queue.put(0))
            await files.is_reached()
            (second,) = await started(queue.put(1))
            with pytest.raises(Full):
                await queue.put_nowait(2)
            assert done([first, second]) == [False, False]
        await results([first, second])
        assert await queue.qsize() == 2


# -- the end ------------------------------------------------------------------------------------------------


def test_closed_is_what_python_calls_it() -> None:
    shut_down = getattr(asyncio, "QueueShutDown", Exception)
    assert issubclass(QueueClosed, shut_down)


@both
async def test_shutdown_lets_getters_drain_and_refuses_putters(autosave: bool, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", maxsize=2, autosave=autosave) as queue:
        await queue.put_many("ab")
        putter, joiner = await started(queue.put("c"), queue.join())
        queue.shutdown()
        assert [type(outcome) for outcome in await results([putter])] == [QueueClosed]
        for call in queue.put("d"), queue.put_nowait("d"), queue.put_many("d"):
            with pytest.raises(QueueClosed):
                await call
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        for get in queue.get(), queue.get_nowait(), queue.get(timeout=1), queue.get_many(1), queue.peek():
            with pytest.raises(QueueClosed):
                await get
        assert not joiner.done()
        await queue.task_done()
        await queue.task_done()
        await asyncio.wait_for(joiner, 20)
    with pytest.raises(QueueClosed):
        await queue.qsize()


@both
async def test_shutdown_wakes_getters_who_would_wait_for_ever(autosave: bool, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", autosave=autosave) as queue:
        waiting = await started(queue.get(), queue.get(timeout=HOUR), queue.peek(), queue.get_many(3))
        queue.shutdown()
        assert [type(outcome) for outcome in await results(waiting)] == [QueueClosed] * 4


@both
async def test_shutdown_waits_for_what_is_on_its_way(autosave: bool, tmp_path: Path) -> None:
    """A put that was accepted is stored, so it has to be got as well."""
    files = Blocked()
    async with queue_on(files, tmp_path / "q", autosave=autosave, fsync="always") as queue:
        with files.at("fdatasync"):
            putter, one, other = await started(queue.put("item"), queue.get(), queue.get())
            await files.is_reached()
            queue.shutdown()
            await ticks()
            assert done([putter, one, other]) == [False] * 3
        assert await asyncio.wait_for(one, 20) == "item"
        await putter
        assert [type(outcome) for outcome in await results([other])] == [QueueClosed]


async def test_a_shutdown_between_two_waits_of_put_many_ends_it(tmp_path: Path) -> None:
    """It had no room any more, and did not wait yet."""
    async with AsyncQueue(tmp_path / "queue", maxsize=2) as queue:
        putting = asyncio.ensure_future(queue.put_many(range(5)))
        while not await queue.full():
            await ticks(1)
        queue.shutdown()
        with pytest.raises(QueueClosed) as raised:
            await asyncio.wait_for(putting, 20)
        assert raised.value.stored == await queue.qsize() == 2


async def test_an_immediate_shutdown_wakes_everyone_and_leaves_the_items(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", maxsize=2) as queue:
        await queue.put_many("ab")
        waiting = await started(queue.put("c"), queue.join(), queue.put_many("de"))
        queue.shutdown(immediate=True)
        outcomes = await results(waiting)
        assert [type(outcome) for outcome in outcomes] == [QueueClosed] * 3
        assert outcomes[2].stored == 0
        for call in queue.get(), queue.put("d"), queue.peek(), queue.get_many(2), queue.put_many("de"):
            with pytest.raises(QueueClosed):
                await call
    async with AsyncQueue(tmp_path / "q") as queue:
        assert await drained(queue) == ["a", "b"]


@both
async def test_close_wakes_everyone(autosave: bool, tmp_path: Path) -> None:
    queue = AsyncQueue(tmp_path / "q", maxsize=1, autosave=autosave)
    await queue.put("a")
    waiting = await started(queue.put("b"), queue.put("c", timeout=HOUR), queue.join(), queue.put_many("de"))
    assert await queue.get() == "a"
    await ticks()
    assert await queue.get() == "b"
    await ticks()
    assert await queue.get_many(1) == ["c"]
    await ticks()
    assert await queue.get() == "d"
    await ticks()
    assert await queue.get() == "e"
    waiting += await started(queue.get(), queue.get(timeout=HOUR), queue.peek(), queue.get_many(2))
    await queue.close()
    outcomes = await results(waiting)
    assert outcomes[0] is outcomes[1] is None
    assert outcomes[3] == 2
    assert [type(outcome) for outcome in outcomes[2:3] + outcomes[4:]] == [QueueClosed] * 5
    await queue.close()


async def test_async_for_ends_with_the_queue(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q") as queue:
        await queue.put_many("ab")
        seen = []

        async def consume() -> None:
            async for item in queue:
                seen.append(item)
                await queue.task_done()

        (consumer,) = await started(consume())
        await queue.put("c")
        await queue.join()
        assert not consumer.done()
        queue.shutdown()
        await asyncio.wait_for(consumer, 20)
        assert seen == ["a", "b", "c"]
        assert [item async for item in queue] == []
    assert [item async for item in queue] == []


# -- what is left after close: nobody writes to files that are no longer the queue's ----------------------------


@both
async def test_a_getter_woken_in_the_turn_of_the_close_changes_nothing(autosave: bool, tmp_path: Path) -> None:
    queue = AsyncQueue(tmp_path / "q", autosave=autosave)
    await used(queue)
    (getter,) = await started(queue.get())
    await queue.put("item")
    await queue.close()
    outcome = (await results([getter]))[0]
    assert isinstance(outcome, QueueClosed) or (outcome == "item" and not autosave)
    async with AsyncQueue(tmp_path / "q") as queue:
        assert await drained(queue) == ["item"]


async def test_a_putter_woken_in_the_turn_of_the_close_is_refused(tmp_path: Path) -> None:
    queue = AsyncQueue(tmp_path / "q", maxsize=1)
    await queue.put("a")
    one, many = await started(queue.put("b"), queue.put_many("cd"))
    assert await queue.get() == "a"
    await queue.close()
    outcomes = await results([one, many])
    assert [type(outcome) for outcome in outcomes] == [QueueClosed, QueueClosed]
    assert outcomes[1].stored == 0
    async with AsyncQueue(tmp_path / "q") as queue:
        assert await drained(queue) == ["a"]


async def test_an_item_encoded_in_a_thread_while_the_queue_closes_is_refused(tmp_path: Path) -> None:
    """Its put comes back to a queue whose descriptors may be others' by then."""
    queue = AsyncQueue(tmp_path / "q")
    await queue.open()
    putter = asyncio.ensure_future(queue.put("x" * 3_000_000))
    await asyncio.sleep(0)
    await queue.close()
    outcome = (await results([putter]))[0]
    async with AsyncQueue(tmp_path / "q") as queue:
        stored = await drained(queue)
    assert isinstance(outcome, QueueClosed) == (stored == [])


# -- join and task_done ---------------------------------------------------------------------------------------


@both
async def test_join_waits_for_the_items_that_were_there(autosave: bool, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q") as queue:
        await queue.join()
        await queue.put_many("ab")
    async with AsyncQueue(tmp_path / "q", autosave=autosave) as queue:
        joiners = await started(queue.join(), queue.join())
        for expected in "ab":
            await ticks()
            assert done(joiners) == [False, False]
            assert await queue.get() == expected
            await queue.task_done()
        assert await results(joiners) == [None, None]


@both
async def test_task_done_beyond_the_count_is_an_error(autosave: bool, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", autosave=autosave) as queue:
        with pytest.raises(ValueError, match="too many times"):
            await queue.task_done()
        await queue.put("item")
        await queue.get()
        await queue.task_done()
        with pytest.raises(ValueError, match="too many times"):
            await queue.task_done()
        await queue.join()


async def test_task_dones_at_the_same_time_count_once_each(tmp_path: Path) -> None:
    files = Blocked()
    async with queue_on(files, tmp_path / "q", fsync="always") as queue:
        await queue.put_many("ab")
        await queue.get_many(2)
        with files.at("fdatasync"):
            (joiner,) = await started(queue.join())
            calls = await started(*(queue.task_done() for _ in range(3)))
            await files.is_reached()
            assert not joiner.done()
        outcomes = await results(calls)
        assert [type(outcome) for outcome in outcomes] == [type(None), type(None), ValueError]
        await asyncio.wait_for(joiner, 20)


async def test_the_count_falls_when_the_commit_is_done(tmp_path: Path) -> None:
    files = Blocked()
    async with queue_on(files, tmp_path / "q", fsync="always") as queue:
        with files.at("fdatasync"):
            (put,) = await started(queue.put("item"))
            await files.is_reached()
            assert queue.stats()["unfinished"] == 0  # it rises when a put is committed
            put.cancel()
            await ticks()
        await queue.sync()
        assert queue.stats()["unfinished"] == 1  # also if its caller was cancelled
        await queue.get()
        with files.at("fdatasync"):
            (done_with,) = await started(queue.task_done())
            await files.is_reached()
            assert queue.stats()["unfinished"] == 1
        await done_with
        assert queue.stats()["unfinished"] == 0


async def test_an_item_that_was_got_and_not_done_comes_again(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q") as queue:
        await queue.put_many("abc")
        await queue.get()
        await queue.task_done()
        assert await queue.get() == "b"
        await queue.put("d")  # commits the tail as it is, not the read cursor
    async with AsyncQueue(tmp_path / "q") as queue:
        assert queue.stats()["unfinished"] == await queue.qsize() == 3
        assert await drained(queue) == ["b", "c", "d"]


async def test_one_cursor_stands_for_all_consumers(tmp_path: Path) -> None:
    """As in persist-queue: done with the second item says that the first is done too."""
    async with AsyncQueue(tmp_path / "q") as queue:
        await queue.put_many("abc")
        await queue.get()
        await queue.get()
        await queue.task_done()
        assert queue.stats()["unfinished"] == 2
    async with AsyncQueue(tmp_path / "q") as queue:
        assert await drained(queue) == ["c"]


# -- clear, compact, peek, many ---------------------------------------------------------------------------------


@both
async def test_clear_drops_what_is_stored_and_what_is_outstanding(autosave: bool, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", maxsize=5, chunksize=2, autosave=autosave) as queue:
        await queue.put_many(range(5))
        await queue.get()
        await queue.put(5)
        joiner, putter = await started(queue.join(), queue.put(6))
        await queue.clear()
        await asyncio.wait_for(asyncio.gather(joiner, putter), 20)
        assert await drained(queue) == [6]
        await queue.put(7)
        assert await queue.get() == 7
        await queue.clear()
        assert queue.stats()["unfinished"] == 0
        await queue.put(8)
    async with AsyncQueue(tmp_path / "q") as queue:
        assert await drained(queue) == [8]


@both
async def test_clear_while_an_item_is_read_lets_the_getter_wait_on(autosave: bool, tmp_path: Path, jobs: Jobs) -> None:
    """What the getter was promised is gone when its read comes back: that is no damage."""
    async with Stepped(jobs, AsyncQueue(tmp_path / "q")) as queue:
        await finished(jobs, queue.put_many("abc"))
    async with Stepped(jobs, AsyncQueue(tmp_path / "q", autosave=autosave)) as queue:
        getters = await started(queue.get(), queue.get(), queue.get_many(2))
        clearing = asyncio.ensure_future(queue.clear())
        await ticks()
        jobs.run_newest()  # the read still waits for its thread
        await settle(jobs)
        assert done([*getters, clearing]) == [False, False, False, True]
        await finished(jobs, queue.put_many("defg"))
        assert [await finished(jobs, getter) for getter in getters] == ["d", "e", ["f", "g"]]
        assert await queue.empty()


async def test_compact_gives_back_a_chunk_that_was_consumed(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", chunksize=10) as queue:
        await queue.compact()
        await queue.put_many("abc")
        await queue.get_many(3)
        await queue.compact()
        assert chunks(tmp_path / "q") == {"q00000"}  # not committed: the items may have to come again
        await queue.task_done()
        await queue.put("d")
        await queue.compact()
        assert chunks(tmp_path / "q") == {"q00000"}  # there is an item in it
        assert await queue.get() == "d"
        await queue.task_done()
        await queue.compact()
        assert chunks(tmp_path / "q") == {"q00001"}
        (getter,) = await started(queue.get())
        await queue.put("e")
        assert await getter == "e"
    async with AsyncQueue(tmp_path / "q") as queue:
        assert await drained(queue) == ["e"]


def chunks(path: Path) -> set[str]:
    return {file.name for file in path.glob("q*")}


@both
async def test_peek_leaves_the_item(autosave: bool, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", autosave=autosave) as queue:
        with pytest.raises(Empty):
            await queue.peek(block=False)
        (peeker,) = await started(queue.peek())
        await queue.put_many("ab")
        assert await peeker == "a"
        assert [await queue.peek(), await queue.peek(), await queue.qsize()] == ["a", "a", 2]
        assert [await queue.get(), await queue.peek(), await queue.get()] == ["a", "b", "b"]
    async with AsyncQueue(tmp_path / "q", autosave=True) as queue:
        assert await queue.qsize() == (0 if autosave else 2)
        if not autosave:
            assert [await queue.peek(), *await drained(queue)] == ["a", "a", "b"]


async def test_a_peek_that_waits_shares_its_item_with_the_next_getter(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q") as queue:
        peeker, getter = await started(queue.peek(), queue.get())
        await queue.put("item")
        assert await results([peeker, getter]) == ["item", "item"]


@both
async def test_get_many_waits_for_one_and_takes_what_is_there(autosave: bool, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", chunksize=3, autosave=autosave) as queue:
        (many,) = await started(queue.get_many(10))
        await queue.put("a")
        assert await many == ["a"]
        await queue.put_many(range(8))
        assert await queue.get_many(5) == [0, 1, 2, 3, 4]
        assert await queue.get_many(100) == [5, 6, 7]
        with pytest.raises(ValueError, match="at least 1"):
            await queue.get_many(0)
    async with AsyncQueue(tmp_path / "q", autosave=autosave) as queue:
        assert await queue.qsize() == (0 if autosave else 9)
        if not autosave:
            assert await queue.get_many(100) == ["a", *range(8)]


async def test_get_many_goes_on_while_there_is_something_to_read(tmp_path: Path) -> None:
    """Also where the items lie in several chunks, and do not fit in one read."""
    items = [str(number) * 100_000 for number in range(9)]
    async with AsyncQueue(tmp_path / "q", chunksize=2) as queue:
        await queue.put_many(items)
    async with AsyncQueue(tmp_path / "q", autosave=True) as queue:
        assert await queue.get_many(7) == items[:7]
        assert await queue.get_many(7) == items[7:]


@both
@pytest.mark.parametrize("direct", [True, False], ids=["in memory", "reading"])
async def test_get_many_returns_what_lies_before_a_damaged_record(autosave: bool, direct: bool, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", serializer="json", chunksize=10) as queue:
        await queue.put_many(["a", "b", "bad", "c"])
    damage(tmp_path / "q" / "q00000")
    async with AsyncQueue(tmp_path / "q", autosave=autosave) as queue:
        before = [await queue.get()] if direct else []
        assert before + await queue.get_many(10) == ["a", "b"]
        for _ in range(2):
            with pytest.raises(CorruptRecord, match="q00000"):
                await queue.get_many(10)
            with pytest.raises(CorruptRecord):
                await queue.get()
        assert await queue.qsize() == 2
        if not autosave:
            await queue.task_done()
    async with AsyncQueue(tmp_path / "q", autosave=autosave, on_corrupt="skip") as queue:
        assert await queue.get_many(10) == ["c"]
        assert await queue.empty()


def damage(chunk: Path) -> None:
    data = chunk.read_bytes()
    assert data.count(b'"bad"') == 1
    chunk.write_bytes(data.replace(b'"bad"', b"!!!!!"))


@pytest.mark.parametrize("policy", ["interval", "always", "rollover"])
async def test_put_many_goes_in_as_room_comes(policy: str, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", maxsize=3, chunksize=2, fsync=policy) as queue:
        many, after = await started(queue.put_many(range(10)), queue.put(10))
        assert await drained_until(queue, 11) == list(range(11)) or policy
        assert await many == 10
        await after


async def test_put_many_keeps_its_order_and_shares_the_room(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", maxsize=2) as queue:
        one, other = await started(queue.put_many(range(0, 10)), queue.put_many(range(10, 20)))
        items = await drained_until(queue, 20)
        assert await results([one, other]) == [10, 10]
        assert [item for item in items if item < 10] == list(range(10))
        assert [item for item in items if item >= 10] == list(range(10, 20))


@pytest.mark.parametrize("end", ["close", "shutdown", "immediate", "cancel"])
async def test_put_many_that_ends_early_says_how_many_are_stored(end: str, tmp_path: Path, jobs: Jobs) -> None:
    async with Stepped(jobs, AsyncQueue(tmp_path / "q", maxsize=3)) as queue:
        (many,) = await started(queue.put_many(range(10)))
        await settle(jobs)
        await finished(jobs, queue.get())
        await settle(jobs)
        if end == "cancel":
            many.cancel()
        elif end != "close":
            queue.shutdown(immediate=end == "immediate")
        await settle(jobs)
    stored = None
    try:
        await many
    except (QueueClosed, asyncio.CancelledError) as error:
        stored = error.stored  # type: ignore[union-attr]  # put_many promises it
    assert stored == 4
    async with Stepped(jobs, AsyncQueue(tmp_path / "q")) as queue:
        assert await finished(jobs, drained(queue)) == list(range(4))


async def test_put_many_stores_nothing_when_an_item_cannot_be_serialized(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", serializer="json") as queue:
        with pytest.raises(TypeError):
            await queue.put_many(["a", object()])
        assert await queue.put_many([]) == 0
        assert await queue.empty()


# -- the rest of the loop ----------------------------------------------------------------------------------------


class Ticker:
    """Counts the turns that another task gets, and the longest time between two of them."""

    def __init__(self) -> None:
        self.turns = 0
        self.since = 0

    async def run(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


@pytest.mark.parametrize("producers", [1, 100])
@pytest.mark.parametrize("maxsize", [0, 100_000], ids=["no bound", "bound"])
async def test_producers_do_not_starve_the_rest_of_the_loop(producers: int, maxsize: int, tmp_path: Path) -> None:
    """Each put finishes inline; so the turns of others have to come from somewhere: one a millisecond."""
    async with AsyncQueue(tmp_path / "q", maxsize=maxsize, fsync="never") as queue:

        async def produce(count: int) -> None:
            for number in range(count):
                await queue.put(number)

        await others_get_turns(*(produce(4000 // producers) for _ in range(producers)))


@pytest.mark.parametrize("kind", ["get", "task_done", "get_many", "put_many"])
async def test_consumers_do_not_starve_the_rest_of_the_loop(kind: str, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", fsync="never", chunksize=1000) as queue:
        await queue.put_many(range(20_000))

        async def consume() -> None:
            for _ in range(4000):
                if kind == "put_many":
                    await queue.put_many("abc")
                elif kind == "get_many":
                    await queue.get_many(5)
                else:
                    await queue.get()
                    if kind == "task_done":
                        await queue.task_done()

        await others_get_turns(consume())


async def others_get_turns(*work: Any) -> None:
    ticker = Ticker()
    ticking = asyncio.ensure_future(ticker.run())
    await ticks()
    ticker.turns, began = 0, time.monotonic()
    await asyncio.gather(*work)
    took = time.monotonic() - began
    ticking.cancel()
    assert ticker.turns >= 5, f"{ticker.turns} turns"
    assert ticker.turns >= took / 0.02, f"{ticker.turns} turns in {took:.3f} s"
