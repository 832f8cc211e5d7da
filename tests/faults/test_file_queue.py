"""persist-queue's file queue in use, beside others, and when a call fails: each fault, and that it is not here."""

import asyncio
import errno
import itertools
import os
import queue as standard
import stat
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import (
    AsyncQueue,
    Empty,
    Full,
    QueueClosed,
    QueueLocked,
    QueueReader,
    WrongSerializer,
    fsync,
    serializers,
)
from tests.faults import scenes
from tests.faults.scenes import (
    LETTERS,
    NAMES,
    drained,
    in_a_new_process,
    info_of,
    items_in,
    killed,
    theirs,
    tree,
    write,
)
from tests.faults.watched_files import Call, FullDisk, Watched, queue_on
from tests.stepping import started

POLICIES: Final = ["never", "rollover", "interval", "always"]
every_policy = pytest.mark.parametrize("policy", POLICIES)
every_serializer = pytest.mark.parametrize("name", NAMES)


# -- what is synced -----------------------------------------------------------------------------------------------

STEPS: Final = ("pwrite", "fsync", "fdatasync", "fsync_dir", "rename")
RECORD: Final = ("pwrite", "q00000")
INFO: Final = ("pwrite", "info")
DURABLE: Final = ("fdatasync", "info")
FULL_CHUNK: Final = [RECORD, ("fdatasync", "q00000"), ("fsync_dir", "queue"), INFO, DURABLE]

# What is written and synced before the second put, and the third, which fills the chunk, return.
SECOND: Final = {
    "never": [RECORD, INFO],
    "rollover": [RECORD, INFO],
    "interval": [RECORD, INFO],
    "always": [RECORD, ("fdatasync", "q00000"), INFO, DURABLE],
}
THIRD: Final = {
    "never": [RECORD, INFO],
    "rollover": FULL_CHUNK,
    "interval": [RECORD, INFO],
    "always": FULL_CHUNK,
}


@every_policy
async def test_f01_a_put_is_synced_as_the_policy_says(policy: str, tmp_path: Path) -> None:
    """There, nothing is synced but a chunk that is full: neither info, nor the directory, nor the records before.

    A power cut then takes acknowledged items, or leaves an info that cannot be read.
    """
    files = Watched()
    window = fsync.Interval(3600) if policy == "interval" else policy
    async with queue_on(files, tmp_path / "queue", chunksize=3, fsync=window) as queue:
        await queue.put("a")
        await queue.sync()
        files.calls.clear()
        await queue.put("b")
        assert files.of(*STEPS) == SECOND[policy]
        files.calls.clear()
        await queue.put("c")
        assert files.of(*STEPS) == THIRD[policy]


@every_policy
async def test_f01_a_new_info_is_synced_before_it_gets_its_name(policy: str, tmp_path: Path) -> None:
    """A rename that reaches the disk before the data leaves an empty info."""
    files = Watched()
    async with queue_on(files, tmp_path / "queue", fsync=policy) as queue:
        files.calls.clear()
        await queue.put("a")
        steps = files.of(*STEPS)
    start = steps.index(("fsync", "info.tmp"))
    assert steps[start - 1 : start + 3] == [
        ("pwrite", "info.tmp"),
        ("fsync", "info.tmp"),
        ("rename", "info.tmp"),
        ("fsync_dir", "queue"),
    ]


async def test_f01_the_default_policy_syncs_by_itself_in_its_time(tmp_path: Path) -> None:
    """What is acknowledged stays at risk for a stated time, also when nobody calls any more."""
    loop, durable = asyncio.get_running_loop(), asyncio.Event()

    def before(call: Call) -> None:
        if call.what == ("fdatasync", "info"):
            loop.call_soon_threadsafe(durable.set)

    async with queue_on(Watched(before), tmp_path / "queue", fsync=fsync.Interval(0.01)) as queue:
        await queue.put("a")
        await asyncio.wait_for(durable.wait(), 20)


@pytest.mark.parametrize("policy", ["rollover", "interval", "always"])
async def test_f01_close_leaves_nothing_unsynced(policy: str, tmp_path: Path) -> None:
    """The exact length of info says "closed", and that nothing has to be verified: so it must be true."""
    files = Watched()
    async with queue_on(files, tmp_path / "queue", chunksize=2, fsync=policy) as queue:
        await queue.put_many(LETTERS[:5])
    steps = files.of(*STEPS, "truncate")
    end = steps.index(("truncate", "info"))
    for name in ("q00000", "q00001", "q00002", "info"):
        last = max(n for n, step in enumerate(steps[:end]) if step == ("pwrite", name))
        assert ("fdatasync", name) in steps[last:end]


# -- a put that fails ---------------------------------------------------------------------------------------------


async def test_f07_an_item_that_cannot_be_serialized_leaves_every_file_as_it_was(tmp_path: Path) -> None:
    """There, pickle writes straight into the chunk: what it had written when it failed stays there."""
    async with AsyncQueue(tmp_path) as queue:
        await queue.put("a")
        before = tree(tmp_path)
        with pytest.raises((AttributeError, TypeError, ValueError), match=r"lambda|pickle"):
            await queue.put(scenes.unpicklable())
        assert tree(tmp_path) == before
        assert await queue.qsize() == 1


async def test_f07b_the_item_after_one_that_failed_comes_back_as_it_was(tmp_path: Path) -> None:
    """There, the left-over opcodes shift pickle's memo: an item comes back with other values, and no error."""
    async with AsyncQueue(tmp_path) as queue:
        with pytest.raises((AttributeError, TypeError, ValueError), match=r"lambda|pickle"):
            await queue.put(scenes.unpicklable())
        await queue.put(["k2", "k2"])
    assert await items_in(tmp_path) == [["k2", "k2"]]
    with theirs(tmp_path) as queue:
        assert queue.get() == ["k2", "k2"]


@every_policy
@pytest.mark.parametrize(
    ("before", "disk"),
    [
        (0, FullDisk("create", "info.tmp")),
        (0, FullDisk("pwrite", "info.tmp")),
        (1, FullDisk("pwrite", "info")),
        (2, FullDisk("pwrite", "info")),
    ],
    ids=["info cannot be made", "first info cannot be written", "in a chunk", "the chunk is full"],
)
async def test_f08_f29_a_put_that_raises_is_not_stored(
    before: int, disk: FullDisk, policy: str, tmp_path: Path
) -> None:
    """There, put raises when info cannot be written, but the item is in the queue, until the next restart.

    The caller tries again, so the item is handled twice; or he does not, and a consumer has it and then has not.
    A temporary file stays, and join returns with the item left.
    """
    async with queue_on(Watched(disk), tmp_path / "queue", chunksize=3, fsync=policy) as queue:
        for item in LETTERS[:before]:
            await queue.put(item)
        await queue.sync()
        known = tree(tmp_path)

        disk.full = True
        with pytest.raises(OSError, match="space") as raised:
            await queue.put("x")
        assert raised.value.errno == errno.ENOSPC
        assert await queue.qsize() == before
        assert tree(tmp_path) == known
        assert await items_in(killed(tmp_path / "queue")) == LETTERS[:before]

        disk.full = False
        await queue.put("x")
        assert await drained(queue) == [*LETTERS[:before], "x"]
        await asyncio.wait_for(queue.join(), 20)
    assert await items_in(tmp_path / "queue") == []


@every_policy
async def test_f08_a_record_that_does_not_fit_is_taken_back(policy: str, tmp_path: Path) -> None:
    """The same where the chunk itself cannot be written: the queue works on when there is room again."""
    disk = FullDisk("pwrite", "q00000")
    async with queue_on(Watched(disk), tmp_path / "queue", fsync=policy) as queue:
        await queue.put("a")
        disk.full = True
        with pytest.raises(OSError, match="space"):
            await queue.put("x")
        assert await queue.get() == "a"
        await queue.task_done()  # a full disk can be drained
        with pytest.raises(Empty):
            await queue.get_nowait()
        disk.full = False
        await queue.put("b")
        assert await drained(queue) == ["b"]


# -- what is committed --------------------------------------------------------------------------------------------


@every_policy
async def test_f09_a_put_does_not_commit_the_gets_of_others(policy: str, tmp_path: Path) -> None:
    """There, put writes the position of the last get into info: what a consumer is at work on counts as done.

    When the process dies, that item is gone.
    """
    async with AsyncQueue(tmp_path / "queue", fsync=policy) as queue:
        await queue.put("a")
        assert await queue.get() == "a"
        await queue.put("b")
        assert info_of(tmp_path / "queue")["size"] == 2
        assert await items_in(killed(tmp_path / "queue")) == ["a", "b"]


async def test_f09_a_put_many_and_a_close_do_not_either(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "queue", chunksize=2) as queue:
        await queue.put_many("ab")
        assert await queue.get_many(2) == ["a", "b"]
        await queue.put_many("cd")
        assert await items_in(killed(tmp_path / "queue")) == ["a", "b", "c", "d"]
    assert await items_in(tmp_path / "queue") == ["a", "b", "c", "d"]


async def test_f10_one_cursor_stands_for_all_consumers(tmp_path: Path) -> None:
    """There, task_done of one worker commits what another is still at work on; so it is here.

    One position is all that the format has.  Who has several workers and may lose nothing needs something
    beside it; until then the rule is pinned: task_done commits all that was got so far.
    """
    async with AsyncQueue(tmp_path / "queue") as queue:
        await queue.put_many("abc")
        assert [await queue.get(), await queue.get()] == ["a", "b"]  # two workers
        await queue.task_done()  # the second one is faster
        assert await items_in(killed(tmp_path / "queue")) == ["c"]
        await queue.task_done()


async def test_f11_task_done_counts_as_in_asyncio_and_commits_only_what_was_got(tmp_path: Path) -> None:
    """There, task_done without a get is accepted, join returns with an item left, and a later call is the one to fail.

    Which get a task_done belongs to cannot be told; asyncio.Queue only counts too.  But it must not cost an item.
    """
    models: list[Any] = [asyncio.Queue(), AsyncQueue(tmp_path / "queue")]
    for queue in models:
        await queue.put("a")
        done = queue.task_done()
        if asyncio.iscoroutine(done):
            await done
        await asyncio.wait_for(queue.join(), 20)
        assert await queue.get() == "a"
        with pytest.raises(ValueError, match="too many"):
            await queue.task_done()

        await queue.put("b")  # the call that failed has counted nothing
        (joining,) = await started(queue.join())
        assert not joining.done()
        joining.cancel()
    assert await items_in(killed(tmp_path / "queue")) == ["a", "b"]
    await models[1].close()


# -- parameters and values ----------------------------------------------------------------------------------------


async def test_f12_maxsize_below_the_size_is_full(tmp_path: Path) -> None:
    """There, the test for full is `==`: with more items than maxsize the queue is never full again."""
    write(tmp_path, LETTERS[:3])
    async with AsyncQueue(tmp_path, maxsize=2) as queue:
        for left in (3, 2):
            assert await queue.full()
            with pytest.raises(Full):
                await queue.put_nowait("x")
            with pytest.raises(Full):
                await queue.put("x", timeout=0)
            assert await queue.qsize() == left
            await queue.get()
        await queue.put_nowait("x")
        assert await queue.full()


@every_serializer
async def test_f13_the_chunksize_that_counts_can_be_seen(name: str, tmp_path: Path) -> None:
    """There, the attribute says what the caller asked for, while chunks are filled as the directory was made."""
    write(tmp_path, LETTERS[:2], name, chunksize=3)
    async with AsyncQueue(tmp_path, chunksize=7) as queue:
        assert queue.chunksize == 3
        await queue.put("c")
        assert (tmp_path / "q00001").exists()
    async with QueueReader(tmp_path) as reader:
        assert reader.chunksize == 3


@every_serializer
async def test_f14_the_serializer_is_found_out_and_a_wrong_one_refused(name: str, tmp_path: Path) -> None:
    """There, nothing says which serializer wrote a directory, and a wrong one gives an error of any kind.

    Or none at once: a wrong reading of info is a wrong place to cut the chunk.
    """
    write(tmp_path, LETTERS, name)
    async with AsyncQueue(tmp_path) as queue:
        assert queue.serializer is serializers.get(name)
    before = tree(tmp_path)
    for given in NAMES:
        if given != name:
            with pytest.raises(WrongSerializer, match=f"serializer='{name}'") as raised:
                await AsyncQueue(tmp_path, serializer=given).open()
            assert (raised.value.given, raised.value.found) == (given, name)
    assert tree(tmp_path) == before


# What comes back where it is not what was put; an exception: put refuses it.  Nothing: it comes back as it was.
CHANGED: Final[dict[str, dict[str, Any]]] = {
    "pickle": {},
    "json": {"tuple": [1, 2], "int keys": {"1": 2}, "bytes": TypeError, "set": TypeError},
    "orjson": {"tuple": [1, 2], "int keys": TypeError, "bytes": TypeError, "set": TypeError, "2**64": TypeError},
    "msgpack": {"list": (1, 2), "int keys": ValueError, "set": TypeError, "2**64": OverflowError},
    "cbor2": {"tuple": [1, 2]},
}
VALUES: Final[dict[str, Any]] = {
    "list": [1, 2],
    "tuple": (1, 2),
    "int keys": {1: 2},
    "bytes": b"\0\xff",
    "set": {1},
    "2**64": 2**64,
    "nothing": None,
    "text": "\u00e4\0\n",
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("name", CHANGED)
async def test_f15_what_a_serializer_changes_is_known(name: str, value: str, tmp_path: Path) -> None:
    """There, a change of serializer changes types, and msgpack stores what it will not read (a dict with int keys).

    Types are each format's own affair, so the table is the promise; an item that cannot come back is refused.
    """
    expected = CHANGED[name].get(value, VALUES[value])
    async with AsyncQueue(tmp_path, serializer=name) as queue:
        if isinstance(expected, type):
            with pytest.raises(expected):
                await queue.put(VALUES[value])
            assert await queue.qsize() == 0
        else:
            await queue.put(VALUES[value])
            got = await queue.get()
            assert (got, type(got)) == (expected, type(expected))


async def test_f22_it_closes_and_its_errors_are_what_they_were(tmp_path: Path) -> None:
    """There, a queue cannot be closed, `except queue.Empty` stopped working, and a negative timeout is let through.

    The last only where there is no bound, so that a mistake shows when somebody sets one.
    """
    assert issubclass(Empty, standard.Empty)
    assert issubclass(Empty, asyncio.QueueEmpty)
    assert issubclass(Full, standard.Full)
    assert issubclass(Full, asyncio.QueueFull)
    for maxsize in (0, 1):
        queue = AsyncQueue(tmp_path, maxsize=maxsize)
        with pytest.raises(ValueError, match="non-negative"):
            await queue.put("a", timeout=-1)
        with pytest.raises(ValueError, match="non-negative"):
            await queue.get(timeout=-1)
        await queue.close()
        with pytest.raises(QueueClosed):
            await queue.get()


async def test_f23_no_file_is_made_outside_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, a new info may be written in another directory first, and what stays there after a crash is not found."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: pytest.fail("a temporary file"))
    files = Watched()
    async with queue_on(files, tmp_path / "queue", tempdir=elsewhere) as queue:
        await queue.put("a")
    assert {file for name, file in files.of("create")} == {"q00000", "info.tmp"}
    assert list(elsewhere.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a second file system that is always there")
def test_f23_a_tempdir_on_another_file_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="file system"):
        AsyncQueue(tmp_path / "queue", tempdir="/proc")
    assert not (tmp_path / "queue").exists()


async def test_f24_a_clock_that_is_set_back_does_not_lengthen_a_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, timeouts are measured with the wall clock: set back by an hour, it makes every one an hour longer."""
    wall = itertools.count(time.time(), -3600)
    async with AsyncQueue(tmp_path, maxsize=1) as queue, asyncio.timeout(20):
        monkeypatch.setattr(time, "time", lambda: next(wall))
        with pytest.raises(Empty):
            await queue.get(timeout=0.02)
        await queue.put("a")
        with pytest.raises(Full):
            await queue.put("b", timeout=0.02)


@every_serializer
async def test_f26_a_drained_queue_can_give_its_space_back(name: str, tmp_path: Path) -> None:
    """There, the chunk in use keeps every byte until it is full, however long the queue is empty."""
    async with AsyncQueue(tmp_path, serializer=name) as queue:
        await queue.put_many(["x" * 10_000] * 5)
        await drained(queue)
        assert (tmp_path / "q00000").stat().st_size > 50_000
        await queue.compact()
        assert sum(len(data) for data in tree(tmp_path).values()) < 1000
        await queue.put("a")
    with theirs(tmp_path, name) as queue:
        assert (queue.qsize(), queue.get()) == (1, "a")


# -- files and other openers --------------------------------------------------------------------------------------


async def test_f19_info_keeps_its_mode(tmp_path: Path) -> None:
    """There, each save makes info 0600 while chunks follow the umask: a queue shared by a group locks the group out."""
    old = os.umask(0o002)
    try:
        async with AsyncQueue(tmp_path) as queue:
            await queue.put("a")
        assert [modes(tmp_path, name) for name in ("info", "q00000")] == [0o664, 0o664]
        (tmp_path / "info").chmod(0o660)
        async with AsyncQueue(tmp_path) as queue:
            await queue.put("b")
            await queue.get()
            await queue.task_done()
        assert modes(tmp_path, "info") == 0o660
    finally:
        os.umask(old)


def modes(path: Path, name: str) -> int:
    return stat.S_IMODE((path / name).stat().st_mode)


async def test_f17_a_second_queue_on_the_directory_is_refused(tmp_path: Path) -> None:
    """There, each of two queues goes on with its own idea of head and size: of three items one is left."""
    async with AsyncQueue(tmp_path) as one:
        await one.put("a")
        with pytest.raises(QueueLocked, match="another asyncpq queue has this directory open"):
            await AsyncQueue(tmp_path).open()
        other = "import asyncio, sys, asyncpq; asyncio.run(asyncpq.AsyncQueue(sys.argv[1]).put('b'))"
        _, errors = in_a_new_process(other, tmp_path)
        assert "another asyncpq queue has this directory open" in errors
        await one.put("c")
    async with AsyncQueue(tmp_path) as one:
        assert await drained(one) == ["a", "c"]


async def test_f31_a_look_cuts_nothing(tmp_path: Path) -> None:
    """There, only opening has a size to tell, and opening truncates what another process is just writing."""
    write(tmp_path, LETTERS)
    with (tmp_path / "q00000").open("ab") as chunk:
        chunk.write(b"half a rec")
    before = tree(tmp_path)
    async with QueueReader(tmp_path) as reader:
        assert (reader.size, [item async for item in reader]) == (6, LETTERS)
    assert tree(tmp_path) == before


async def test_f31_a_look_at_an_open_queue_disturbs_nobody(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path) as queue, QueueReader(tmp_path) as reader:
        for count, item in enumerate(LETTERS, 1):
            await queue.put(item)
            before = tree(tmp_path)
            await reader.refresh()
            assert (reader.size, tree(tmp_path)) == (count, before)
        assert await drained(queue) == LETTERS


FORK: Final = """
import asyncio, os, sys
from asyncpq import AsyncQueue

async def refusal(call):
    try:
        await call
    except RuntimeError as error:
        return str(error)

def child(run):
    for call in (queue.get, lambda: queue.put("child"), queue.task_done):
        answer = run(refusal(call()))
        assert answer and ("parent process" in answer or "another event loop" in answer), answer

def in_a_fork(run):
    pid = os.fork()
    if pid == 0:
        try:
            child(run)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)

async def parent():
    await queue.put("d")
    print(*[await queue.get() for _ in range(3)])
    await queue.task_done()
    await queue.close()

loop = asyncio.new_event_loop()
queue = AsyncQueue(sys.argv[1])
loop.run_until_complete(queue.put_many(["a", "b", "c"]))
assert loop.run_until_complete(queue.get()) == "a"
in_a_fork(loop.run_until_complete)
in_a_fork(asyncio.run)
loop.run_until_complete(parent())
loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_f33_a_forked_child_is_refused(tmp_path: Path) -> None:
    """There, parent and child share the offsets of the open files: one gets the other's item, the other EOFError."""
    assert in_a_new_process(FORK, tmp_path) == ("b c d\n", "")
    assert await items_in(tmp_path) == []
