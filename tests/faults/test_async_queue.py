"""persist-queue's AsyncQueue: each fault, and that it is not here."""

import asyncio
import itertools
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from persistqueue.serializers import async_pickle  # type: ignore[import-untyped, unused-ignore]

from asyncpq import AsyncQueue, CorruptRecord, Empty, QueueClosed, WrongContext
from tests.faults import scenes
from tests.faults.scenes import (
    LETTERS,
    NAMES,
    TheirAsyncQueue,
    drained,
    items_in,
    killed,
    their_serializer,
    theirs,
    write,
)
from tests.faults.watched_files import SYNCS, FullDisk, Watched, queue_on
from tests.stepping import Jobs, finished, jobs, settle, started, step, ticks

__all__ = ["jobs"]  # a fixture

POLICIES: Final = ["never", "rollover", "interval", "always"]
every_policy = pytest.mark.parametrize("policy", POLICIES)
every_serializer = pytest.mark.parametrize("name", NAMES)


# -- serializers --------------------------------------------------------------------------------------------------


@every_serializer
async def test_a01_what_is_put_with_a_serializer_is_read_with_it(name: str, tmp_path: Path) -> None:
    """There, get unpickles whatever the serializer is: items written as JSON are dropped as damaged, all of them."""
    write(tmp_path, LETTERS[:3], name)
    async with AsyncQueue(tmp_path, serializer=their_serializer(name)) as queue:
        await queue.put_many(LETTERS[3:])
        assert await drained(queue) == LETTERS
        with pytest.raises(Empty):
            await queue.get_nowait()


@every_serializer
async def test_a01b_simple_values_are_no_damage(name: str, tmp_path: Path) -> None:
    """There, every simple JSON value is lost, since none of them is a pickle; `get` says that the queue is empty."""
    values = [None, 0, 1, -1, "", "x", False, True, 1.5, {}, {"a": None}]
    async with AsyncQueue(tmp_path, serializer=name) as queue:
        await queue.put_many(values)
    async with AsyncQueue(tmp_path) as queue:
        got = await drained(queue)
    assert [(value, type(value)) for value in got] == [(value, type(value)) for value in values]


async def test_a10_serializers_of_coroutine_functions_work(tmp_path: Path) -> None:
    """There, the module async_pickle is shipped, and nothing can be stored with it."""
    path = tmp_path / "queue"
    async with AsyncQueue(path, serializer=async_pickle, chunksize=2) as queue:
        await queue.put_many(LETTERS[:2])
        await queue.put(LETTERS[2])
        assert await queue.get() == "a"
        await queue.task_done()
    async with AsyncQueue(path, serializer=async_pickle) as queue:
        assert await drained(queue) == LETTERS[1:3]


async def test_a10_a_serializer_of_the_users_own_may_be_either(tmp_path: Path) -> None:
    async def load(fp: Any) -> Any:
        return (await fp.readline())[:-1].decode()

    async def dump(value: Any, fp: Any) -> None:
        await fp.write(str(value).encode() + b"\n")

    async with AsyncQueue(tmp_path, serializer=SimpleNamespace(dump=dump, load=load)) as queue:
        await queue.put_many(LETTERS)
        assert await drained(queue) == LETTERS


# -- damage -------------------------------------------------------------------------------------------------------


@every_serializer
async def test_a02_one_damaged_record_costs_one_record(name: str, tmp_path: Path) -> None:
    """There, the place to read moves to the end of the chunk: the items behind are lost, and still counted."""
    scenes.damaged(tmp_path, name)
    async with AsyncQueue(tmp_path, on_corrupt="skip") as queue:
        assert await drained(queue) == ["a", "c"]
        assert await queue.qsize() == 0
        with pytest.raises(Empty):
            await queue.get_nowait()


@every_serializer
@pytest.mark.parametrize("autosave", [False, True])
async def test_a16_damage_is_not_emptiness(autosave: bool, name: str, tmp_path: Path) -> None:
    """There, a get that should wait for ever raises Empty at a damaged record, while empty() says False.

    A consumer that ends at Empty leaves the rest of the queue, and nobody hears of the damage.
    """
    scenes.damaged(tmp_path, name)
    async with AsyncQueue(tmp_path, autosave=autosave) as queue:
        assert await queue.get() == "a"
        for call in (queue.get, queue.get_nowait, queue.peek, lambda: queue.get_many(5)):
            with pytest.raises(CorruptRecord):
                await call()
            assert not await queue.empty()


async def test_a14_a_put_that_raises_is_not_stored_when_many_put_at_once(tmp_path: Path) -> None:
    """There, as in the sync queue, put raises at a full disk and has stored the item.

    Puts that share one commit must not share its error with an item that is stored.
    """
    disk = FullDisk("pwrite", "info")
    async with queue_on(Watched(disk), tmp_path / "queue", fsync="always") as queue:
        await queue.put("a")
        disk.full = True
        outcomes = await asyncio.gather(*map(queue.put, LETTERS[1:5]), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [OSError] * 4
        assert await queue.qsize() == 1
        assert await items_in(killed(tmp_path / "queue")) == ["a"]
        disk.full = False
        await queue.put("f")
        assert await drained(queue) == ["a", "f"]
        await asyncio.wait_for(queue.join(), 20)


# -- reads and syncs ----------------------------------------------------------------------------------------------


@every_serializer
async def test_a03_a_backlog_is_read_about_once(name: str, tmp_path: Path) -> None:
    """There, each get reads the rest of the chunk: 41 MB for 0.9 MB of items in one chunk, and 4 GB in a larger one."""
    write(tmp_path, ["x" * 9_000] * 100, name, chunksize=1000)
    stored = (tmp_path / "q00000").stat().st_size
    files = Watched()
    async with queue_on(files, tmp_path) as queue:
        await drained(queue)
    assert stored <= files.bytes_read < 1.5 * stored


async def test_a03_what_was_just_written_is_not_read(tmp_path: Path) -> None:
    """A consumer that keeps up with the producer needs no read at all."""
    files = Watched()
    async with queue_on(files, tmp_path) as queue:
        files.calls.clear()
        for item in LETTERS:
            await queue.put(item)
            await queue.get()
            await queue.task_done()
        assert files.bytes_read == 0


@every_policy
async def test_a04_syncs_are_really_made(policy: str, tmp_path: Path) -> None:
    """There, none is: aiofiles' files have no fsync, and the AttributeError is passed over."""
    files = Watched()
    async with queue_on(files, tmp_path / "queue", chunksize=2, fsync=policy) as queue:
        await queue.put("a")
        files.calls.clear()
        await queue.put_many(LETTERS[1:])
        assert ("fdatasync" in {name for name, _ in files.syncs}) == (policy in ("rollover", "always"))
        await queue.sync()
        assert {file for name, file in files.syncs if name == "fdatasync"} == {"q00000", "q00001", "q00002", "info"}


async def test_a04_never_syncs_nothing_before_the_end(tmp_path: Path) -> None:
    """The policy that leaves all to the kernel is named so; only opening and close make sure of what they rely on."""
    files = Watched()
    async with queue_on(files, tmp_path / "queue", chunksize=2, fsync="never") as queue:
        await queue.put("a")
        files.calls.clear()
        await queue.put_many(LETTERS[1:])
        await drained(queue)
        assert files.syncs == []


@every_policy
async def test_a11_the_loop_waits_for_no_disk(policy: str, tmp_path: Path) -> None:
    """There, temporary files are made and closed, and files looked for, in the thread of the event loop.

    Here an append and the overwrite of info may go to the page cache from there; what waits for a disk may not.
    """
    files = Watched()
    async with queue_on(files, tmp_path / "queue", chunksize=3, fsync=policy) as queue:
        for item in LETTERS:
            await queue.put(item)
        await queue.put("x" * 100_000)
        await queue.sync()
        await drained(queue)
    assert {call.name for call in files.calls if call.on_loop} & {
        *SYNCS,
        "rename",
        "pread",
        "truncate",
        "list_dir",
    } == (set())
    if policy == "always":
        assert not any(call.on_loop for call in files.calls)


@every_policy
async def test_a11_nothing_is_on_the_loop_where_nothing_may_be(policy: str, tmp_path: Path) -> None:
    """On a network file system even a write to the page cache may take seconds: inline_limit=0 forbids it."""
    files = Watched()
    async with queue_on(files, tmp_path / "queue", chunksize=3, fsync=policy, inline_limit=0) as queue:
        for item in LETTERS:
            await queue.put(item)
        await queue.put_many(LETTERS)
        assert await queue.peek() == "a"
        await drained(queue)
        await queue.put("x")
        await queue.clear()
        await queue.compact()
    assert {call.what for call in files.calls if call.on_loop} == set()


# -- cancellation -------------------------------------------------------------------------------------------------


async def cancelled_after(steps: int, jobs: Jobs, call: Any) -> tuple[bool, Any]:
    """Whether *call* was cancelled after so many steps, and what it returned if it was not."""
    task = asyncio.ensure_future(call)
    for number in range(steps):
        await step(jobs, number)
    task.cancel()
    await ticks()  # the caller hears of it before the job, if one was given, begins
    await settle(jobs)
    return (True, None) if task.cancelled() else (False, task.result())


@pytest.mark.parametrize("inline_limit", [0, 65536])
@every_policy
async def test_a05_a_cancelled_put_is_stored_whole_or_not_at_all(
    policy: str, inline_limit: int, jobs: Jobs, tmp_path: Path
) -> None:
    """There, its bytes stay in the chunk uncounted: the next item cannot be reached, everything is off by one."""
    for steps in itertools.count():
        path = tmp_path / str(steps)
        write(path, ["a"], chunksize=2)
        queue = AsyncQueue(path, fsync=policy, inline_limit=inline_limit)
        await finished(jobs, queue.open())
        was_cancelled, _ = await cancelled_after(steps, jobs, queue.put("b"))
        await finished(jobs, queue.put("c"))
        after_a_kill = killed(path)
        size = await queue.qsize()
        items = await finished(jobs, drained(queue))
        await finished(jobs, queue.join())
        await finished(jobs, queue.close())

        assert items in ([["a", "c"], ["a", "b", "c"]] if was_cancelled else [["a", "b", "c"]])
        assert size == len(items)
        again = AsyncQueue(after_a_kill)
        assert await finished(jobs, again.open()) is again
        assert await finished(jobs, drained(again)) == items
        await finished(jobs, again.close())
        if not was_cancelled:
            break


@pytest.mark.parametrize("how", ["get", "get_many"])
@pytest.mark.parametrize("at_once", [True, False], ids=["got again", "got after a restart"])
@every_policy
async def test_a06_a_cancelled_get_leaves_the_item(
    policy: str, at_once: bool, how: str, jobs: Jobs, tmp_path: Path
) -> None:
    """There, the tail has moved when the cancel comes: the item is gone, and nobody has it.

    The commit may still be running then; whatever it does, neither the tail nor a removed chunk takes the item along.
    """
    for steps in itertools.count():
        path = tmp_path / str(steps)
        write(path, LETTERS[:3], chunksize=1)
        queue = AsyncQueue(path, fsync=policy, autosave=True)
        await finished(jobs, queue.open())
        call = queue.get() if how == "get" else queue.get_many(2)
        was_cancelled, got = await cancelled_after(steps, jobs, call)
        if not at_once:
            await finished(jobs, queue.close())
            queue = AsyncQueue(path, autosave=True)
            await finished(jobs, queue.open())
            assert not queue.recovery
        rest = [await finished(jobs, queue.get()) for _ in range(await queue.qsize())]
        await finished(jobs, queue.close())

        if not was_cancelled:
            assert [*got, *rest] == LETTERS[:3]
            break
        assert rest == LETTERS[:3]
    assert steps > 0


@every_policy
@pytest.mark.parametrize("long", [False, True], ids=["a new info", "an info too long for the slot"])
async def test_a07_a_cancelled_save_leaves_no_file_and_no_descriptor(
    long: bool, policy: str, jobs: Jobs, tmp_path: Path
) -> None:
    """There, each cancelled save leaves a temporary file and an open descriptor, until none can be opened.

    The two cases are those in which info is written as a new file.
    """
    open_before = len(os.listdir("/dev/fd"))
    for steps in itertools.count():
        path = tmp_path / str(steps)
        if long:
            write(path, LETTERS[:1])
            scenes.change_info(path, note="x" * 500)
        queue = AsyncQueue(path, fsync=policy)
        await finished(jobs, queue.open())
        was_cancelled, _ = await cancelled_after(steps, jobs, queue.put("a"))
        left = set(os.listdir(path))
        await finished(jobs, queue.close())

        assert left in ({"q00000"}, {"q00000", "info"})
        assert len(os.listdir("/dev/fd")) == open_before
        if not was_cancelled:
            break
    assert steps > 0


# -- beginning and end --------------------------------------------------------------------------------------------


async def test_a08_close_wakes_who_waits_and_refuses_who_comes(tmp_path: Path) -> None:
    """There, a get that waits is never woken, and a later put fails at an attribute of None."""
    queue = AsyncQueue(tmp_path, maxsize=1)
    (getting,) = await started(queue.get())
    assert await queue.empty()  # it is open, and the getter waits
    await ticks(10)
    await queue.close()
    with pytest.raises(QueueClosed, match="closed"):
        await asyncio.wait_for(getting, 20)
    for call in (queue.put("a"), queue.get(), queue.task_done(), queue.join(), queue.qsize(), queue.sync()):
        with pytest.raises(QueueClosed, match="closed"):
            await call
    await queue.close()


async def test_a08_close_wakes_putters_and_joiners_too(tmp_path: Path) -> None:
    queue = AsyncQueue(tmp_path, maxsize=1)
    await queue.put("a")
    waiting = await started(queue.put("b"), queue.join())
    await queue.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20)
    assert [type(outcome) for outcome in outcomes] == [QueueClosed, QueueClosed]


async def test_a09_every_method_opens_the_queue(tmp_path: Path) -> None:
    """There, join on a queue with stored items returns at once, and task_done raises, until somebody puts or gets."""
    write(tmp_path, LETTERS[:3])
    queue = AsyncQueue(tmp_path)
    joining = asyncio.ensure_future(queue.join())
    for _ in range(3):
        await queue.task_done()
        assert not joining.done()
        await queue.get()
    await asyncio.wait_for(joining, 20)
    await queue.close()


async def test_a12_a_clean_end_leaves_what_was_not_done(tmp_path: Path) -> None:
    """There, what was got since the last task_done comes again after a clean end of `async with`; so it is here.

    Leaving the block says nothing about the work: an exception in it, or a cancel, leaves it too.
    """
    async with AsyncQueue(tmp_path) as queue:
        await queue.put_many("abc")
        await queue.get()
        await queue.task_done()
        assert await queue.get() == "b"
    assert await items_in(tmp_path) == ["b", "c"]

    async with AsyncQueue(tmp_path, autosave=True) as queue:
        assert await queue.get() == "b"
    assert await items_in(tmp_path) == ["c"]


async def test_a13_a_second_loop_is_refused(tmp_path: Path) -> None:
    """There, the documentation says thread-safe: of three threads with a loop each, two get an error and one hangs."""
    async with AsyncQueue(tmp_path) as queue:
        await queue.put("a")

        def elsewhere(call: Any) -> None:
            async def called() -> None:
                await call()

            with pytest.raises(WrongContext, match="event loop"):
                asyncio.run(called())

        for call in (queue.get, lambda: queue.put("b"), queue.task_done, queue.join, queue.qsize, queue.close):
            await asyncio.to_thread(elsewhere, call)
        assert await drained(queue) == ["a"]


# -- the layout ---------------------------------------------------------------------------------------------------


async def test_a15_three_queues_share_one_directory(tmp_path: Path) -> None:
    """There, with pickle, sync and async queue can go on with each other's directories; here with both of them."""
    path = tmp_path / "queue"
    path.mkdir()
    expected: list[str] = []
    for number in range(3):
        with theirs(path, chunksize=2) as sync:
            sync.put(f"sync {number}")
        async with TheirAsyncQueue(str(path)) as their_async:
            await their_async.put(f"async {number}")
        async with AsyncQueue(path) as queue:
            assert not queue.recovery
            await queue.put(f"here {number}")
        expected += [f"{who} {number}" for who in ("sync", "async", "here")]

    # Each takes three.
    with theirs(path) as sync:
        got = [sync.get() for _ in range(3)]
        sync.task_done()
    async with TheirAsyncQueue(str(path)) as their_async:
        got += [await their_async.get() for _ in range(3)]
        await their_async.task_done()
    async with AsyncQueue(path) as queue:
        assert not queue.recovery
        got += await drained(queue)
    assert got == expected
    with theirs(path) as sync:
        assert sync.qsize() == 0


@every_serializer
async def test_a15_the_sync_queue_and_this_one_share_every_serializer(name: str, tmp_path: Path) -> None:
    write(tmp_path, LETTERS[:2], name, chunksize=2)
    async with AsyncQueue(tmp_path) as queue:
        await queue.put_many(LETTERS[2:4])
        assert await queue.get() == "a"
        await queue.task_done()
    write(tmp_path, LETTERS[4:], name, consumed=1)
    assert await items_in(tmp_path) == LETTERS[2:]
