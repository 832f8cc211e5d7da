"""One opener: who comes second is told so in a sentence, changes nothing, and may come in when the first has gone."""

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from asyncpq import AsyncQueue, QueueLocked, WrongContext
from asyncpq.files import FILES
from tests.blocked_files import Blocked, queue_on
from tests.stepping import drained, started

SECONDS: Final = 20.0
ROOT: Final = Path(__file__).parent.parent
POLICIES: Final = ["never", "rollover", "interval", "always"]
POSIX: Final = hasattr(os, "fork")

pytestmark = pytest.mark.skipif(not POSIX, reason="processes are made and ended the POSIX way here")


def tree(path: Path) -> dict[str, tuple[int, int, str]]:
    """Inode, time of change and content of every file."""
    return {
        str(file.relative_to(path)): (
            file.stat().st_ino,
            file.stat().st_mtime_ns,
            sha256(file.read_bytes()).hexdigest() if file.is_file() else "",
        )
        for file in sorted(path.rglob("*"))
    }


class Process:
    """A Python process that runs *code*, says what it has to say line by line, and waits when it reads a line."""

    def __init__(self, code: str, *arguments: object, options: tuple[str, ...] = ()) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *options, "-c", textwrap.dedent(code), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            # In debug mode a loop that was kept waiting says so, and here a parent waits for its child.
            env={name: value for name, value in os.environ.items() if name != "PYTHONASYNCIODEBUG"},
        )

    def says(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().rstrip("\n")

    def go_on(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=SECONDS)

    def end(self) -> tuple[str, str]:
        """What it says until its end, on stdout and on stderr."""
        return self._process.communicate(timeout=SECONDS)

    @property
    def code(self) -> int | None:
        return self._process.returncode


@contextmanager
def process(code: str, *arguments: object, options: tuple[str, ...] = ()) -> Iterator[Process]:
    running = Process(code, *arguments, options=options)
    try:
        yield running
    finally:
        if running.code is None:
            running.kill()


HOLDER: Final = """
    import asyncio, sys
    from asyncpq import AsyncQueue

    async def main():
        queue = AsyncQueue(sys.argv[1], fsync=sys.argv[2])
        await queue.put("held")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await queue.close()

    asyncio.run(main())
"""

LATECOMER: Final = """
    import asyncio, sys
    from asyncpq import AsyncQueue, AsyncpqError

    async def main():
        try:
            async with AsyncQueue(sys.argv[1]) as queue:
                print("in", await queue.qsize())
        except AsyncpqError as error:
            print(type(error).__name__, error)

    asyncio.run(main())
"""

UPSTREAM: Final = """
    import sys
    import persistqueue

    queue = persistqueue.Queue(sys.argv[1], chunksize=int(sys.argv[2]))
    for number in range(int(sys.argv[3])):
        queue.put(number)
    print("ready", flush=True)
    sys.stdin.readline()
    if queue.qsize():
        assert queue.get() == 0
        queue.task_done()
    queue.put("after")
"""


def latecomer(path: Path) -> str:
    """What another process is told that opens *path*."""
    with process(LATECOMER, path) as other:
        out, err = other.end()
        assert err == ""
    return out.strip()


# -- persist-queue ------------------------------------------------------------------------------------------------


@pytest.fixture
def leases(tmp_path: Path) -> None:
    """Leave out where the system does not tell who has a file open."""
    probe = tmp_path / "probe"
    probe.mkdir()
    with (probe / "info").open("wb"):
        dirfd = os.open(probe, os.O_RDONLY)
        told = not another_has_it_open(dirfd)
        os.close(dirfd)
    if told:
        pytest.skip("no leases here: the system does not tell who has a file open")


def another_has_it_open(dirfd: int) -> bool:
    return not FILES.lease(dirfd, "info")


@pytest.mark.usefixtures("leases")
@pytest.mark.parametrize(("chunksize", "items"), [(100, 3), (2, 5), (1, 4), (100, 0), (2, 2)])
async def test_a_live_persist_queue_process_is_seen(chunksize: int, items: int, tmp_path: Path) -> None:
    """It takes no lock; but it holds the head and the tail chunk open, whatever else it did."""
    path = tmp_path / "q"
    with process(UPSTREAM, path, chunksize, items) as other:
        assert other.says() == "ready", other.end()
        before = tree(path)
        for _ in range(2):
            queue = AsyncQueue(path)
            with pytest.raises(QueueLocked, match=r"another program, such as persist-queue, has this directory open"):
                await queue.open()
            assert tree(path) == before
        other.go_on()
        assert other.end() == ("", "")
    await queue.open()  # the same object, once the other has gone
    assert not queue.recovery
    assert await drained(queue) == [*range(1, items), "after"]
    await queue.close()


# -- a second queue -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_second_queue_in_this_process_is_refused(policy: str, tmp_path: Path) -> None:
    path = tmp_path / "q"
    async with AsyncQueue(path, fsync=policy) as first:
        await first.put("item")
        await first.sync()
        second = AsyncQueue(path)
        before = tree(path)
        for call in second.open, second.get, second.qsize:
            with pytest.raises(
                QueueLocked, match="another asyncpq queue has this directory open; close it there first"
            ):
                await call()
        assert tree(path) == before
        await second.close()
        await first.put("more")
    async with AsyncQueue(path) as third:
        assert await drained(third) == ["item", "more"]


async def test_the_lock_is_of_the_directory_and_not_of_its_name(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q") as first:
        await first.put("item")
        (tmp_path / "link").symlink_to(tmp_path / "q")
        for path in tmp_path / "link", tmp_path / "q" / ".." / "q", os.path.relpath(tmp_path / "q"):
            with pytest.raises(QueueLocked):
                await AsyncQueue(path).open()
        (tmp_path / "q").rename(tmp_path / "moved")
        with pytest.raises(QueueLocked):
            await AsyncQueue(tmp_path / "moved").open()
        async with AsyncQueue(tmp_path / "q") as other:  # another directory by now
            await other.put("of the other")
        await first.put("more")
    async with AsyncQueue(tmp_path / "moved") as queue:
        assert await drained(queue) == ["item", "more"]


@pytest.mark.parametrize("policy", POLICIES)
async def test_another_process_is_refused_until_the_queue_is_closed(policy: str, tmp_path: Path) -> None:
    path = tmp_path / "q"
    async with AsyncQueue(path, fsync=policy) as queue:
        await queue.put("item")
        await queue.sync()
        before = tree(path)
        assert latecomer(path).startswith(f"QueueLocked {path}: another asyncpq queue has this directory open")
        assert tree(path) == before
    assert latecomer(path) == "in 1"


async def test_a_queue_of_another_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "q"
    with process(HOLDER, path, "interval") as holder:
        assert holder.says() == "ready", holder.end()
        queue = AsyncQueue(path)
        with pytest.raises(QueueLocked):
            await queue.open()
        holder.go_on()
        assert holder.end() == ("", "")
    assert await queue.get() == "held"
    await queue.close()


@pytest.mark.parametrize("policy", POLICIES)
async def test_the_lock_goes_with_a_process_that_is_killed(policy: str, tmp_path: Path) -> None:
    path = tmp_path / "q"
    with process(HOLDER, path, policy) as holder:
        assert holder.says() == "ready", holder.end()
        with pytest.raises(QueueLocked):
            await AsyncQueue(path).open()
        holder.kill()
    async with AsyncQueue(path) as queue:
        assert await drained(queue) == ["held"]


# -- fork -----------------------------------------------------------------------------------------------------------


FORK: Final = """
    import asyncio, atexit, gc, os, sys, warnings
    from asyncpq import AsyncQueue, WrongContext

    warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads; it is what is tested here
    path, policy, end = sys.argv[1:]

    async def use(queue, call):
        try:
            await call(queue)
        except WrongContext as error:
            assert "parent process" in str(error), error
        else:
            raise AssertionError("the child was let in")

    def child(queue):
        for call in (
            lambda q: q.put("of the child"), lambda q: q.get(), lambda q: q.task_done(), lambda q: q.qsize(),
            lambda q: q.sync(), lambda q: q.open(), lambda q: q.put_many("ab"), lambda q: q.clear(),
        ):
            asyncio.run(use(queue, call))

    async def main():
        queue = AsyncQueue(path, fsync=policy)
        await queue.put("before")
        pid = os.fork()
        if pid == 0:
            return queue
        assert os.waitpid(pid, 0)[1] == 0
        await queue.put("after")
        assert await queue.get() == "before"
        await queue.task_done()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await queue.close()

    parent = os.getpid()
    loop = asyncio.new_event_loop()
    queue = loop.run_until_complete(main())
    if os.getpid() != parent:
        child(queue)
        if end == "collected":
            del queue
            gc.collect()
        if end == "at exit":
            atexit._run_exitfuncs()
        os._exit(0)  # a loop that is closed here would take the parent's own wake-up with it
    loop.close()
"""


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("end", ["at once", "collected", "at exit"])
async def test_a_child_is_refused_and_the_parent_goes_on(policy: str, end: str, tmp_path: Path) -> None:
    """Whatever the child does, and however it ends: the lock and the files are the parent's."""
    path = tmp_path / "q"
    with process(FORK, path, policy, end, options=("-W", "error::ResourceWarning:asyncpq")) as parent:
        assert parent.says() == "ready", parent.end()
        before = tree(path)
        with pytest.raises(QueueLocked):
            await AsyncQueue(path).open()
        assert tree(path) == before
        parent.go_on()
        assert parent.end() == ("", "")
        assert parent.code == 0
    async with AsyncQueue(path) as queue:
        assert await drained(queue) == ["after"]


FORK_FIRST: Final = """
    import asyncio, os, sys
    from asyncpq import AsyncQueue

    queue = AsyncQueue(sys.argv[1])

    async def main():
        async with queue:
            await queue.put("of the child")

    pid = os.fork()
    if pid == 0:
        asyncio.run(main())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

    async def rest():
        async with queue:
            print(await queue.get())

    asyncio.run(rest())
"""


def test_a_queue_that_is_not_open_may_be_forked(tmp_path: Path) -> None:
    """Each process opens it for itself."""
    with process(FORK_FIRST, tmp_path / "q") as parent:
        assert parent.end() == ("of the child\n", "")


# -- a second loop ----------------------------------------------------------------------------------------------------


@pytest.fixture
def loops() -> Iterator[tuple[asyncio.AbstractEventLoop, asyncio.AbstractEventLoop]]:
    both = asyncio.new_event_loop(), asyncio.new_event_loop()
    yield both
    for loop in both:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


CALLS: Final[dict[str, Callable[[AsyncQueue], object]]] = {
    "put": lambda queue: queue.put("no"),
    "put_many": lambda queue: queue.put_many("no"),
    "get": lambda queue: queue.get(),
    "get_many": lambda queue: queue.get_many(2),
    "peek": lambda queue: queue.peek(),
    "task_done": lambda queue: queue.task_done(),
    "join": lambda queue: queue.join(),
    "qsize": lambda queue: queue.qsize(),
    "empty": lambda queue: queue.empty(),
    "full": lambda queue: queue.full(),
    "sync": lambda queue: queue.sync(),
    "clear": lambda queue: queue.clear(),
    "compact": lambda queue: queue.compact(),
    "open": lambda queue: queue.open(),
    "close": lambda queue: queue.close(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_second_loop_is_refused(
    name: str, tmp_path: Path, loops: tuple[asyncio.AbstractEventLoop, asyncio.AbstractEventLoop]
) -> None:
    one, other = loops
    path = tmp_path / "q"
    queue = AsyncQueue(path)
    one.run_until_complete(queue.put("item"))
    one.run_until_complete(queue.sync())
    before = tree(path)

    async def use() -> None:
        await CALLS[name](queue)  # type: ignore[misc]  # each of them is awaited

    with pytest.raises(WrongContext, match=r"event loop.*that opened it"):
        other.run_until_complete(use())
    assert tree(path) == before
    assert one.run_until_complete(queue.get()) == "item"
    one.run_until_complete(queue.task_done())
    one.run_until_complete(queue.close())

    async def again() -> None:
        async with AsyncQueue(path) as reopened:
            assert await reopened.empty()

    other.run_until_complete(again())


def test_a_queue_made_outside_a_loop_belongs_to_the_one_that_opens_it(tmp_path: Path) -> None:
    queue = AsyncQueue(tmp_path / "q")

    async def use() -> None:
        async with queue:
            await queue.put("item")

    asyncio.run(use())


# -- never closed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_queue_that_is_collected_gives_the_lock_back(policy: str, tmp_path: Path) -> None:
    path = tmp_path / "q"
    queue: AsyncQueue | None = AsyncQueue(path, chunksize=2, fsync=policy)
    assert queue
    await queue.put_many(range(5))
    await queue.get()
    await queue.task_done()
    with pytest.warns(ResourceWarning, match=r"unclosed queue <AsyncQueue '.*q' .*4 items>"):  # noqa: PT031
        queue = None
        gc.collect()
    async with AsyncQueue(path) as again:
        assert await drained(again) == [1, 2, 3, 4]


@pytest.mark.parametrize("policy", ["interval", "always"])
async def test_a_queue_that_is_collected_while_a_thread_is_at_it(policy: str, tmp_path: Path) -> None:
    """The job ends first; then the lock is free, and no descriptor is left."""
    path = tmp_path / "q"
    files = Blocked()
    queue: AsyncQueue | None = queue_on(files, path, fsync=policy)
    assert queue
    await queue.put("item")
    await queue.sync()
    open_before = descriptors(path)
    assert open_before
    with pytest.warns(ResourceWarning, match="unclosed queue"):  # noqa: PT031
        with files.at("fdatasync"):
            (task,) = await started(put_and_sync(queue))
            await files.is_reached()
            task.cancel()
            await asyncio.wait([task])
            del task
            queue = None
            gc.collect()
        await until(lambda: gc.collect() >= 0 and not descriptors(path))
    async with AsyncQueue(path) as again:
        assert await drained(again) == ["item", "more"]


async def put_and_sync(queue: AsyncQueue) -> None:
    await queue.put("more")
    await queue.sync()


def descriptors(path: Path) -> list[str]:
    """What this process has open below *path*."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith(str(path)):
            found.append(target)
    return found


async def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


UNCLOSED: Final = """
    import asyncio, sys, time
    from asyncpq import AsyncQueue, fsync

    path, policy, kind = sys.argv[1:]
    kept = []

    async def main():
        policies = {"long interval": fsync.Interval(3600.0)}
        queue = AsyncQueue(path, chunksize=2, fsync=policies.get(policy, policy))
        if kind == "global":
            kept.append(queue)
        await queue.put_many(range(5))
        await queue.get()
        await queue.task_done()
        if kind == "waiting":
            asyncio.ensure_future(asyncio.wait_for(queue.join(), 100))
            await asyncio.sleep(0)
        if kind == "exit":
            sys.exit(3)

    try:
        asyncio.run(main())
    finally:
        print(time.time(), flush=True)
"""


@pytest.mark.parametrize("policy", [*POLICIES, "long interval"])
@pytest.mark.parametrize("kind", ["local", "global", "waiting", "exit"])
async def test_a_queue_that_was_never_closed_loses_nothing(policy: str, kind: str, tmp_path: Path) -> None:
    """The interpreter ends at once, and says one thing: that the queue was not closed."""
    path = tmp_path / "q"
    with process(UNCLOSED, path, policy, kind, options=("-W", "always::ResourceWarning")) as other:
        out, err = await asyncio.to_thread(other.end)
        ended = time.time()
    assert other.code == (3 if kind == "exit" else 0), err
    assert ended - float(out) < 2
    known = ("unclosed queue", "ResourceWarning: Enable tracemalloc")
    assert [line for line in err.splitlines() if not any(text in line for text in known) and line[:2] != "  "] == []
    assert err.count("ResourceWarning: unclosed queue") <= 1
    async with AsyncQueue(path) as queue:
        assert await drained(queue) == [1, 2, 3, 4]


async def test_an_opening_that_nobody_waited_for_ends_quietly(tmp_path: Path) -> None:
    code = """
        import asyncio, sys
        from asyncpq import AsyncQueue

        async def main():
            task = asyncio.ensure_future(AsyncQueue(sys.argv[1]).open())
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        asyncio.run(main())
    """
    with process(code, tmp_path / "q", options=("-W", "ignore::ResourceWarning")) as other:
        assert await asyncio.to_thread(other.end) == ("", "")
    async with AsyncQueue(tmp_path / "q") as queue:
        assert await queue.empty()
