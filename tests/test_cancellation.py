"""A cancel at every await: nothing is lost, nothing comes twice, nothing is off by one.

by steps    every operation, cancelled after 0, 1, 2, ... steps until it is too late
in a job    cancelled while a worker thread stands in a write or a sync
at random   many tasks, random operations and cancels, against a model (random_rounds.py)
"""

import asyncio
import itertools
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncQueue, QueueClosed
from tests.blocked_files import Blocked, Fast, queue_on
from tests.random_rounds import play, play_with_threads
from tests.stepping import Jobs, Stepped, drained, finished, jobs, settle, started, step, ticks

__all__ = ["jobs"]  # a fixture

POLICIES: Final = ["never", "rollover", "interval", "always"]
ITEMS: Final = ["0", "1", "2", "3", "4"]
MORE: Final = ["5", "6", "7", "8"]
LATER: Final = "later"


@dataclass(frozen=True)
class Outcome:
    """What became of a call that somebody wanted to cancel."""

    value: Any = None  # what it returned
    error: asyncio.CancelledError | None = None

    @property
    def stored(self) -> int:
        # Without the attribute it was cancelled before it began.
        return int(getattr(self.error, "stored", 0)) if self.error else int(self.value)


Call = Callable[[AsyncQueue], Awaitable[Any]]
Possible = Callable[[list[str], Outcome], list[list[str]]]  # the items before -> what may be left


def put(left: list[str], outcome: Outcome) -> list[list[str]]:
    """Whole or not at all."""
    whole = [*left, MORE[0]]
    return [left, whole] if outcome.error else [whole]


def put_many(left: list[str], outcome: Outcome) -> list[list[str]]:
    """A prefix, whose length is told."""
    return [left + MORE[: outcome.stored]]


def get(left: list[str], outcome: Outcome) -> list[list[str]]:
    if outcome.error:
        return [left]
    assert outcome.value == left[0]
    return [left[1:]]


def get_many(left: list[str], outcome: Outcome) -> list[list[str]]:
    if outcome.error:
        return [left]
    assert outcome.value == left[: len(outcome.value)]
    assert outcome.value
    return [left[len(outcome.value) :]]


def clear(left: list[str], outcome: Outcome) -> list[list[str]]:
    return [left, []] if outcome.error else [[]]


def same(left: list[str], outcome: Outcome) -> list[list[str]]:
    return [left]


CALLS: Final[dict[str, tuple[Call, Possible]]] = {
    "open": (lambda queue: queue.open(), same),
    "put": (lambda queue: queue.put(MORE[0]), put),
    "put, with a timeout": (lambda queue: queue.put(MORE[0], timeout=60), put),
    "put of much": (lambda queue: queue.put(MORE[0] + " " * 2_000_000), put),
    "put_many": (lambda queue: queue.put_many(MORE), put_many),
    "get": (lambda queue: queue.get(), get),
    "get, with a timeout": (lambda queue: queue.get(timeout=60), get),
    "get_many": (lambda queue: queue.get_many(4), get_many),
    "peek": (lambda queue: queue.peek(), same),
    "sync": (lambda queue: queue.sync(), same),
    "compact": (lambda queue: queue.compact(), same),
    "clear": (lambda queue: queue.clear(), clear),
}
every_policy = pytest.mark.parametrize("policy", POLICIES)
both = pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])


async def cancelled_after(jobs: Jobs, steps: int, call: Awaitable[Any]) -> Outcome | None:
    """The outcome of *call*, cancelled after so many steps; None: it was done before."""
    task = asyncio.ensure_future(call)
    for number in range(steps):
        if task.done():
            return None
        await step(jobs, number)
    if task.done():
        return None
    task.cancel()
    try:
        return Outcome(await finished(jobs, task))
    except asyncio.CancelledError as error:
        return Outcome(error=error)


async def check(jobs: Jobs, queue: AsyncQueue, possible: list[list[str]]) -> None:
    """The open queue holds one of *possible*, and works on to its end, where nothing is left and nothing counts."""
    await settle(jobs)
    await finished(jobs, queue.put(LATER))
    items = [item.strip() for item in await finished(jobs, drained(queue))]
    assert items in [[*left, LATER] for left in possible]
    if queue.autosave:
        for _ in range(queue.stats()["unfinished"]):
            await queue.task_done()
    await finished(jobs, queue.join())
    with pytest.raises(ValueError, match="too many times"):
        await queue.task_done()
    assert queue.stats()["unfinished"] == queue.stats()["waiting_to_be_stored"] == 0


async def check_disk(jobs: Jobs, path: Path, possible: list[list[str]]) -> None:
    """The directory, opened again, holds one of *possible*, and says so."""
    async with Stepped(jobs, AsyncQueue(path)) as queue:
        assert queue.stats()["unfinished"] == await queue.qsize()
        items = [item.strip() for item in await finished(jobs, drained(queue))]
    assert items in possible


@pytest.fixture
async def stored(tmp_path: Path, jobs: Jobs) -> Path:
    """A directory with five items in chunks of two."""
    path = tmp_path / "stored"
    async with Stepped(jobs, AsyncQueue(path, chunksize=2, fsync="never")) as queue:
        await finished(jobs, queue.put_many(ITEMS))
    return path


def copies(path: Path) -> Callable[[], Path]:
    numbers = count()
    return lambda: Path(shutil.copytree(path, path.with_name(f"copy{next(numbers)}")))


# What the queue has done before, and the policies under which that makes a difference.
STATES: Final = {
    "not open": ["interval"],
    "open": ["interval", "always"],  # the items have to be read
    "written": POLICIES,
    "in a thread": ["interval", "rollover"],  # inline_limit=0
}
GETTING: Final = {"get", "get, with a timeout", "get_many", "peek", "clear", "compact"}
QUICK: Final = [
    (name, policy, autosave, state)
    for state, policies in STATES.items()
    for policy in policies
    for name in CALLS
    for autosave in ([False, True] if name in GETTING else [False])
    if state == "written" or "timeout" not in name
]
ALL: Final = itertools.product(CALLS, POLICIES, [False, True], STATES)


@pytest.mark.parametrize(("name", "policy", "autosave", "state"), QUICK)
async def test_a_cancel_at_every_await(
    name: str, policy: str, autosave: bool, state: str, stored: Path, jobs: Jobs
) -> None:
    await cancelled_everywhere(name, policy, autosave, state, stored, jobs)


@pytest.mark.soak
@pytest.mark.parametrize(("name", "policy", "autosave", "state"), sorted({*ALL} - {*QUICK}))
async def test_a_cancel_at_every_await_of_all(
    name: str, policy: str, autosave: bool, state: str, stored: Path, jobs: Jobs
) -> None:
    await cancelled_everywhere(name, policy, autosave, state, stored, jobs)


async def cancelled_everywhere(name: str, policy: str, autosave: bool, state: str, stored: Path, jobs: Jobs) -> None:
    """Once the queue goes on to be used, once it is closed and opened again."""
    call, possible = CALLS[name]
    copy = copies(stored)
    for steps in count():
        for on_disk in False, True:
            limit = 0 if state == "in a thread" else 65536
            queue = AsyncQueue(copy(), autosave=autosave, fsync=policy, inline_limit=limit)
            async with Stepped(jobs, queue, opens=state != "not open"):
                left = [*ITEMS]
                if state in ("written", "in a thread"):
                    assert await finished(jobs, queue.get()) == left.pop(0)
                    await finished(jobs, queue.task_done())
                    await finished(jobs, queue.put("4b"))
                    left.append("4b")
                outcome = await cancelled_after(jobs, steps, call(queue))
                if outcome and not on_disk:
                    await check(jobs, queue, possible(left, outcome))
            if outcome and on_disk:
                await check_disk(jobs, Path(queue.path), kept(possible(left, outcome), left, outcome, autosave))
        if outcome is None:
            assert steps > 0
            return


def kept(possible: list[list[str]], left: list[str], outcome: Outcome, autosave: bool) -> list[list[str]]:
    """What the disk may hold: without autosave, what was got and not done is there too."""
    if autosave or outcome.error or possible[0] != left[len(left) - len(possible[0]) :] or not possible[0]:
        return possible
    return [left]


@every_policy
async def test_task_done_counts_when_it_commits(policy: str, stored: Path, jobs: Jobs) -> None:
    copy = copies(stored)
    for steps in count():
        path = copy()
        async with Stepped(jobs, AsyncQueue(path, fsync=policy)) as queue:
            await finished(jobs, queue.get_many(3))
            outcome = await cancelled_after(jobs, steps, queue.task_done())
            await settle(jobs)
            unfinished = queue.stats()["unfinished"]
        assert unfinished in (4, 5) if outcome else unfinished == 4
        await check_disk(jobs, path, [ITEMS[3:] if unfinished == 4 else ITEMS])
        if outcome is None:
            return


@every_policy
async def test_join_can_be_cancelled(policy: str, stored: Path, jobs: Jobs) -> None:
    async with Stepped(jobs, AsyncQueue(stored, fsync=policy)) as queue:
        for steps in range(6):
            outcome = await cancelled_after(jobs, steps, queue.join())
            assert outcome
            assert outcome.error
        joiners = await started(queue.join(), queue.join())
        await finished(jobs, drained(queue))
        joiners[0].cancel()  # in the turn in which it was let go on
        await finished(jobs, joiners[1])
        with suppress(asyncio.CancelledError):
            await joiners[0]


@every_policy
@both
async def test_a_cancelled_close_goes_on(policy: str, autosave: bool, stored: Path, jobs: Jobs) -> None:
    copy = copies(stored)
    for steps in count(1):  # cancelled before its first step it never began
        path = copy()
        queue = AsyncQueue(path, autosave=autosave, fsync=policy)
        queue._files = Fast()
        await finished(jobs, queue.open())
        await finished(jobs, queue.get())
        await finished(jobs, queue.put(MORE[0]))
        outcome = await cancelled_after(jobs, steps, queue.close())
        with pytest.raises(QueueClosed):
            await queue.put("no")
        await settle(jobs)
        assert not (path / "info").read_bytes().endswith(b"\0")  # exactly persist-queue's record
        await check_disk(jobs, path, [[*ITEMS, MORE[0]][autosave:]])
        if outcome is None:
            return


@every_policy
async def test_a_queue_whose_opening_was_cancelled_can_be_closed(policy: str, stored: Path, jobs: Jobs) -> None:
    for steps in count():
        queue = AsyncQueue(stored, fsync=policy)
        queue._files = Fast()
        outcome = await cancelled_after(jobs, steps, queue.open())
        await finished(jobs, queue.close())
        async with Stepped(jobs, AsyncQueue(stored)) as other:
            assert await other.qsize() == len(ITEMS)
        if outcome is None:
            return


# -- in the turn of the delivery ----------------------------------------------------------------------------------


@every_policy
@both
@pytest.mark.parametrize("call", ["get", "get_many", "peek"])
@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_an_item_that_was_promised_goes_to_the_next(
    policy: str, autosave: bool, call: str, turns: int, tmp_path: Path, jobs: Jobs
) -> None:
    """The put lets the getter go on; before it runs, it is cancelled."""
    async with Stepped(jobs, AsyncQueue(tmp_path / "q", autosave=autosave, fsync=policy)) as queue:
        await finished(jobs, queue.put("before"))
        await finished(jobs, queue.get())
        calls: dict[str, Call] = {"get": get_one, "get_many": lambda q: q.get_many(3), "peek": lambda q: q.peek()}
        first, second = await started(calls[call](queue), queue.get())
        await finished(jobs, queue.put("item"))
        await ticks(turns)
        first.cancel()
        try:
            got = await finished(jobs, first)
        except asyncio.CancelledError:
            got = "peeked"
        if call != "peek" and got != "peeked":
            await finished(jobs, queue.put("another"))
            assert await finished(jobs, second) == "another"
            assert got in ("item", ["item"])
        else:
            assert await finished(jobs, second) == "item"
        assert await queue.empty()
        assert queue.stats()["size"] == 0


def get_one(queue: AsyncQueue) -> Awaitable[Any]:
    return queue.get()


async def test_room_that_was_promised_goes_to_the_next(tmp_path: Path, jobs: Jobs) -> None:
    async with Stepped(jobs, AsyncQueue(tmp_path / "q", maxsize=1)) as queue:
        await finished(jobs, queue.put("a"))
        first, many, second = await started(queue.put("b"), queue.put_many("cd"), queue.put("e"))
        assert await finished(jobs, queue.get()) == "a"
        first.cancel()
        many.cancel()
        await finished(jobs, second)
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await many
        assert cancelled.value.stored == 0  # type: ignore[attr-defined]
        assert await finished(jobs, queue.get()) == "e"
        assert await queue.empty()


async def test_a_task_done_commits_nothing_that_is_still_being_got(tmp_path: Path, jobs: Jobs) -> None:
    """A get_many that has to read has handed nothing out yet: when it is cancelled, all of it comes again."""
    path = tmp_path / "q"
    items = [str(number) * 200_000 for number in range(6)]  # more than is read at a time
    async with Stepped(jobs, AsyncQueue(path, chunksize=2)) as queue:
        await finished(jobs, queue.put_many(items))
    async with Stepped(jobs, AsyncQueue(path)) as queue:
        assert await finished(jobs, queue.get()) == items[0]
        (many,) = await started(queue.get_many(5))
        for _ in range(50):
            if queue.stats()["size"] < 5 and len(jobs):
                break  # it has some, and reads on
            jobs.run_one()
            await ticks(1)
        else:
            pytest.fail("get_many never had to read on")
        done_with = asyncio.ensure_future(queue.task_done())
        await ticks(3)
        many.cancel()
        await ticks(3)
        await finished(jobs, done_with)
        await settle(jobs)
    async with Stepped(jobs, AsyncQueue(path)) as queue:
        assert await finished(jobs, drained(queue)) == items[1:]


@pytest.mark.parametrize("reopened", [False, True])
async def test_what_one_gives_back_and_another_takes_and_gives_back(reopened: bool, tmp_path: Path, jobs: Jobs) -> None:
    """A get_many that reads meets an item that lies before its first one; when it is cancelled, both come again."""
    path = tmp_path / "q"
    items = [str(number) * 200_000 for number in range(6)]  # more than is read at a time
    async with Stepped(jobs, AsyncQueue(path, chunksize=1)) as queue:
        await finished(jobs, queue.put_many(items))
    async with Stepped(jobs, AsyncQueue(path, autosave=True, inline_limit=0)) as queue:
        one, many = await started(queue.get(), queue.get_many(3))
        while queue.stats()["gets"] < 2:  # each has its first item, and the second reads on
            assert jobs.run_read()
            await ticks(3)
        one.cancel()
        await ticks(3)
        while queue.stats()["gets"] < 3:
            assert jobs.run_read()
            await ticks(3)
        many.cancel()
        await settle(jobs)
        assert one.cancelled()
        assert many.cancelled()
        if not reopened:
            assert await finished(jobs, drained(queue)) == items
    async with Stepped(jobs, AsyncQueue(path)) as queue:
        assert not queue.recovery.lost
        assert await finished(jobs, drained(queue)) == (items if reopened else [])


@pytest.mark.parametrize("moves", ["clear", "compact"])
@pytest.mark.parametrize("commits", ["task_done", "get", "get_many", "cancelled get", "cancelled get_many"])
async def test_a_commit_behind_a_clear_brings_nothing_back(
    moves: str, commits: str, tmp_path: Path, jobs: Jobs
) -> None:
    """It was asked for before, with a place that is not in the queue any more when its turn comes."""
    path = tmp_path / "q"
    autosave = commits != "task_done"
    async with Stepped(jobs, AsyncQueue(path, chunksize=4, autosave=autosave)) as queue:
        await finished(jobs, queue.put_many("abc"))
        if moves == "compact":
            await finished(jobs, queue.get_many(3))
            if not autosave:
                await finished(jobs, queue.task_done())
        elif not autosave:
            await finished(jobs, queue.get())
        (moving,) = await started(queue.clear() if moves == "clear" else queue.compact())
        calls: dict[str, Call] = {
            "task_done": lambda q: q.task_done(),
            "get": get_one,
            "get_many": lambda q: q.get_many(2),
        }
        (committing,) = await started(calls[commits.removeprefix("cancelled ")](queue))
        for _ in range(2 * commits.startswith("cancelled")):
            jobs.run_one()
            await ticks(2)
            committing.cancel()
        await settle(jobs)
        assert moving.done()
        await finished(jobs, queue.put("later"))
        await settle(jobs)
        if not committing.done():
            assert await finished(jobs, queue.qsize()) in (0, 1)
        committing.cancel()
        await settle(jobs)
    async with Stepped(jobs, AsyncQueue(path)) as queue:
        assert not queue.recovery
        left = await finished(jobs, drained(queue))
    got = [] if committing.cancelled() or commits == "task_done" else [*committing.result()]
    assert left == ["later"] or ("".join(got), left) == ("later", [])


# -- while a thread is at it ----------------------------------------------------------------------------------------


IN_A_JOB: Final[dict[str, tuple[str, Call, Possible]]] = {
    "put, in its write": ("pwrite", lambda queue: queue.put(MORE[0] + " " * 100_000), put),
    "put, in its sync": ("fdatasync", lambda queue: queue.put(MORE[0]), put),
    "put_many, in its write": ("pwrite", lambda queue: queue.put_many(MORE), put_many),
    "put_many, in its sync": ("fdatasync", lambda queue: queue.put_many(MORE), put_many),
    "put_many, making a chunk": ("create", lambda queue: queue.put_many(MORE), put_many),
    "get, in its read": ("open_read", lambda queue: queue.get(), get),
    "get, in its sync": ("fdatasync", lambda queue: queue.get(), get),
    "get_many, in its read": ("open_read", lambda queue: queue.get_many(3), get_many),
    "get_many, in its sync": ("fdatasync", lambda queue: queue.get_many(3), get_many),
    "peek, in its read": ("open_read", lambda queue: queue.peek(), same),
    "sync": ("fdatasync", lambda queue: queue.sync(), same),
    "clear, in its sync": ("fdatasync", lambda queue: queue.clear(), clear),
    "clear, removing a chunk": ("unlink", lambda queue: queue.clear(), clear),
}


@pytest.mark.parametrize("name", IN_A_JOB)
@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
async def test_a_cancel_while_a_thread_is_at_it(name: str, again: bool, tmp_path: Path) -> None:
    """The job always finishes, whatever becomes of its caller; everything before it in the lane is right, too."""
    stop, call, possible = IN_A_JOB[name]
    files = Blocked()
    autosave = name.startswith("get") and stop == "fdatasync"
    path = tmp_path / "q"
    async with queue_on(files, path, chunksize=2, fsync="always") as queue:
        await queue.put_many(ITEMS)
    async with queue_on(files, path, autosave=autosave, fsync="always") as queue:
        if stop != "open_read":
            await queue.peek()
        outcome = Outcome()
        with files.at(stop):
            (task,) = await started(call(queue))
            await files.is_reached()
            for _ in range(1 + again):
                task.cancel()
                await ticks()
            others = await started(queue.put("later"))
        try:
            outcome = Outcome(await asyncio.wait_for(task, 20))
        except asyncio.CancelledError as error:
            outcome = Outcome(error=error)
        assert outcome.error
        await others[0]
        left = [item.strip() for item in await drained(queue)]
        assert left in [[*one, "later"] for one in possible(ITEMS, outcome)]
        assert queue.stats()["waiting_to_be_stored"] == 0
    async with AsyncQueue(path) as queue:
        assert await queue.empty()


async def test_a_sync_while_a_chunk_fills(tmp_path: Path) -> None:
    """Under `never` a full chunk is closed at once, but not while it is being synced."""
    files = Blocked()
    async with queue_on(files, tmp_path / "q", chunksize=3, fsync="never") as queue:
        await queue.put_many("ab")
        with files.at("fdatasync"):
            (syncing,) = await started(queue.sync())
            await files.is_reached()
            await queue.put_many("cd")
        await asyncio.wait_for(syncing, 20)
        await queue.sync()
        assert await drained(queue) == [*"abcd"]


async def test_a_call_in_the_turn_in_which_the_opening_ends(stored: Path, jobs: Jobs) -> None:
    calls: list[Call] = [
        get_one,
        lambda q: q.put("more"),
        lambda q: q.get_many(2),
        lambda q: q.peek(),
        lambda q: q.close(),
    ]
    for call in calls:
        queue = AsyncQueue(stored)
        (opening,) = await started(queue.open())
        jobs.run_one()
        calling = asyncio.ensure_future(call(queue))
        await finished(jobs, calling)
        assert isinstance(opening.exception(), QueueClosed | None)
        await finished(jobs, queue.close())


async def test_a_read_that_ends_after_the_close(stored: Path, jobs: Jobs) -> None:
    """By then its descriptor may be another directory's."""
    async with Stepped(jobs, AsyncQueue(stored)) as queue:
        getters = await started(queue.get(), queue.get_many(2), queue.peek())
        closing = asyncio.ensure_future(queue.close())
        await ticks()
        jobs.run_newest()
        await settle(jobs)
        assert closing.done()
        outcomes = await asyncio.gather(*getters, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [QueueClosed] * 3


@pytest.mark.parametrize("name", ["open", "close"])
async def test_open_and_close_go_on_in_their_thread(name: str, tmp_path: Path) -> None:
    files = Blocked()
    queue = queue_on(files, tmp_path / "q", fsync="always")
    if name == "open":
        with files.at("list_dir"):
            (task,) = await started(queue.open())
            await files.is_reached()
            task.cancel()
            await ticks()
        await queue.put("item")
        await queue.close()
    else:
        await queue.put("item")
        with files.at("truncate"):
            (task,) = await started(queue.close())
            await files.is_reached()
            task.cancel()
            await ticks()
        await queue.close()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with AsyncQueue(tmp_path / "q") as queue:
        assert await drained(queue) == ["item"]


# -- at random ------------------------------------------------------------------------------------------------------


LOOPS: Final = ["asyncio", "uvloop"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", [play, play_with_threads])
def test_random_rounds(loop: str, kind: Callable[[str, Path, range], None], tmp_path: Path) -> None:
    kind(loop, tmp_path, range(80))


@pytest.mark.soak
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", [play, play_with_threads])
def test_ten_thousand_random_rounds(loop: str, kind: Callable[[str, Path, range], None], tmp_path: Path) -> None:
    """Ten thousand on each loop, half of them in steps and half with real threads."""
    kind(loop, tmp_path, range(1000, 6000))
