"""What cannot be: one clear error that names the thing and the way out, and nothing left behind.

Nothing: no half-made directory, no changed file, no open descriptor, no noise from a destructor.
"""

import asyncio
import errno
import gc
import os
import stat
import subprocess
import sys
import tempfile
import textwrap
import types
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncQueue, CorruptQueue, NotAQueue, QueueClosed, WrongContext, WrongSerializer
from tests.blocked_files import Failing, queue_on
from tests.stepping import drained

ROOT: Final = Path(__file__).parent.parent
NOBODY: Final = 65534  # the user that owns nothing

linux = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are looked up in /proc")


def tree(path: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of everything below *path*."""
    found = {}
    for file in sorted(path.rglob("*")):
        mode = file.lstat().st_mode
        content = os.readlink(file).encode() if stat.S_ISLNK(mode) else b""
        found[str(file.relative_to(path))] = (mode, file.read_bytes() if stat.S_ISREG(mode) else content)
    return found


def descriptors() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue  # that of the listing
    return sorted(target for target in found if target.startswith("/") and not target.startswith("/dev/"))


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """Descriptors are closed; a destructor that says anything is an error of the test (see pyproject.toml)."""
    if sys.platform != "linux":
        yield
        return
    before = descriptors()
    yield
    gc.collect()
    assert descriptors() == before


async def refused(error: type[BaseException], match: str, queue: AsyncQueue) -> BaseException:
    """Opening is refused, again and again and by every call, and nothing in the folder around is changed."""
    folder = Path(queue.path).parent
    before = tree(folder)
    calls: list[Callable[[], Awaitable[Any]]] = [queue.open, lambda: queue.put("item"), queue.get, queue.qsize]
    for call in calls:
        with pytest.raises(error, match=match) as raised:
            await call()
        assert tree(folder) == before
    await queue.close()
    return raised.value


# -- the path ---------------------------------------------------------------------------------------------------


async def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "q"
    path.write_text("mine")
    await refused(NotAQueue, rf"{path}: is no directory; a queue lives in a directory of its own", AsyncQueue(path))


async def test_a_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    queue = AsyncQueue(tmp_path / "file" / "q")
    with pytest.raises(NotAQueue, match=rf"file/q: cannot be made, since {tmp_path / 'file'} is no directory"):
        await queue.open()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("kind", ["dangling link", "fifo", "link to itself"])
async def test_a_path_that_is_something_else(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "q"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere" if kind == "dangling link" else "q")
    with pytest.raises((NotAQueue, OSError), match=r".*q"):
        await asyncio.wait_for(AsyncQueue(path).open(), 10)
    assert os.listdir(tmp_path) == ["q"]


async def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    queue = AsyncQueue(tmp_path / "a" / ("q" * 300))
    error = await refused(OSError, "q" * 300, queue)
    assert isinstance(error, OSError)
    assert error.errno == errno.ENAMETOOLONG
    assert os.listdir(tmp_path) == []


async def test_parents_that_were_made_go_again(tmp_path: Path) -> None:
    queue = AsyncQueue(tmp_path / "a" / "b" / "q", chunksize=0)
    with pytest.raises(ValueError, match="chunksize"):
        await queue.open()
    assert os.listdir(tmp_path) == []


# -- rights -----------------------------------------------------------------------------------------------------


NO_RIGHTS: Final = """
    import asyncio, os, sys
    from asyncpq import AsyncQueue

    # All that is imported later has to be here before the rights to read it are given up.
    asyncio.run(asyncio.to_thread(int))
    os.umask(0)
    folder = sys.argv[1]
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid({nobody})
        os.setuid({nobody})

    async def attempt(path, call):
        before = sorted(os.listdir("/proc/self/fd"))
        try:
            await call(AsyncQueue(path))
        except PermissionError as error:
            assert path in str(error), error
            assert error.filename == path, error
            print(error.strerror)
        except BaseException as error:
            print("unexpected", repr(error))
        assert sorted(os.listdir("/proc/self/fd")) == before

    async def main():
        parent, path = folder + "/parent", folder + "/parent/q"
        os.mkdir(parent)
        os.chmod(parent, 0o555)  # nothing can be made in it
        await attempt(path, lambda queue: queue.open())
        await attempt(path + "/deeper", lambda queue: queue.put(1))
        assert os.listdir(parent) == []
        os.chmod(parent, 0o777)

        async with AsyncQueue(path) as queue:
            await queue.put("item")
        names = sorted(os.listdir(path))
        os.chmod(parent, 0o000)  # cannot be entered
        await attempt(path, lambda queue: queue.get())
        os.chmod(parent, 0o777)
        os.chmod(path, 0o333)  # cannot be listed
        await attempt(path, lambda queue: queue.get())
        os.chmod(path, 0o777)
        assert sorted(os.listdir(path)) == names

        for name in "info", "q00000":
            os.chmod(path + "/" + name, 0o000)
            queue = AsyncQueue(path)
            try:
                async with queue:
                    await queue.get()
                    await queue.task_done()
            except OSError as error:
                assert path + "/" + name in str(error), error
                print("file", os.strerror(error.errno))
            os.chmod(path + "/" + name, 0o666)
        async with AsyncQueue(path) as queue:
            assert await queue.get() == "item"

    asyncio.run(main())
"""


@pytest.fixture
def open_folder() -> Iterator[str]:
    """A folder that everybody can write to, on a way that everybody can go."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield folder


@linux
def test_without_rights(open_folder: str) -> None:
    """In a process of its own, which gives up root's rights where it has them."""
    code = textwrap.dedent(NO_RIGHTS).replace("{nobody}", str(NOBODY))
    command = [sys.executable, "-W", "error", "-c", code, open_folder]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert ended.stderr == ""
    sentence = "no permission to make or to open the directory of this queue; choose another path, or its rights"
    assert ended.stdout.splitlines() == [sentence] * 4 + ["file Permission denied"] * 2
    assert ended.returncode == 0


# -- a full disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("existing", [False, True], ids=["new directory", "empty directory"])
async def test_opening_on_a_full_disk(code: int, existing: bool, tmp_path: Path) -> None:
    path = tmp_path / "q"
    if existing:
        path.mkdir()
    files = Failing(code)
    files.names = {"create"}
    queue = queue_on(files, path)
    error = await refused(OSError, str(path), queue)
    assert isinstance(error, OSError)
    assert error.errno == code
    assert path.exists() == existing
    async with AsyncQueue(path) as again:
        assert await again.empty()


async def test_a_put_that_does_not_fit(tmp_path: Path) -> None:
    """It alone is refused, and the queue works on; what is there can be got from a disk that stays full."""
    files = Failing()
    async with queue_on(files, tmp_path / "q", chunksize=4) as queue:
        await queue.put_many("ab")
        files.names = {"pwrite"}
        with pytest.raises(OSError, match="No space left on device"):
            await queue.put("c")
        with pytest.raises(OSError, match="No space left on device") as raised:
            await queue.put_many("cd")
        assert raised.value.stored == 0  # type: ignore[attr-defined]  # put_many promises it
        assert await queue.get() == "a"
        files.names = set()
        await queue.put("e")
        await queue.task_done()
    async with AsyncQueue(tmp_path / "q") as queue:
        assert not queue.recovery
        assert await drained(queue) == ["b", "e"]


LIMITED: Final = """
    import asyncio, resource, sys
    from asyncpq import AsyncQueue

    async def main():
        async with AsyncQueue(sys.argv[1], fsync=sys.argv[2], chunksize=1000) as queue:
            await queue.put("a" * 1000)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
            stored = 1
            for number in range(10):
                try:
                    await queue.put(str(number) * 1000)
                    stored += 1
                except OSError as error:
                    assert error.errno == 27, error  # EFBIG
            await queue.put("small")
            print(stored, await queue.qsize())

    asyncio.run(main())
"""


@linux
@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
def test_a_file_that_may_not_grow(policy: str, tmp_path: Path) -> None:
    """The system takes a part of the record that does not fit: that part is cut off again."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(LIMITED), str(tmp_path / "q"), policy]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
    assert (ended.stdout, ended.stderr) == ("3 4\n", "")

    async def look() -> list[Any]:
        async with AsyncQueue(tmp_path / "q") as queue:
            assert not queue.recovery
            return await drained(queue)

    assert asyncio.run(look()) == ["a" * 1000, "0" * 1000, "1" * 1000, "small"]


# -- is no queue ------------------------------------------------------------------------------------------------


FOREIGN: Final = {"notes.txt": b"mine", "q1": b"no chunk", "q000001": b"no chunk either", "infos": b"", ".hidden": b"x"}


async def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    """A directory with other files becomes a queue beside them; a queue's own files have names of their own."""
    path = tmp_path / "q"
    (path / "folder").mkdir(parents=True)
    (path / "folder" / "q00000").write_bytes(b"mine")
    for name, content in FOREIGN.items():
        (path / name).write_bytes(content)
    before = tree(path)
    async with AsyncQueue(path, chunksize=2) as queue:
        assert not queue.recovery
        await queue.put_many(range(7))
        await queue.get_many(5)
        await queue.task_done()
        await queue.clear()
        await queue.compact()
    after = tree(path)
    assert {name: after[name] for name in before} == before
    assert {name for name in after if name not in before} == {"info", "q00004"}


@pytest.mark.parametrize("content", [b"", bytes(100), b"not an info at all", b"\x80\x04N.", b"{}\n"])
async def test_an_info_that_is_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "q"
    path.mkdir()
    (path / "info").write_bytes(content)
    (path / "q00000").write_bytes(b"")
    await refused((CorruptQueue, WrongSerializer), r"info.*repair=True", AsyncQueue(path))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["info", "q00000"])
@pytest.mark.parametrize("kind", ["folder", "fifo", "link"])
async def test_a_file_of_the_queue_that_is_none(name: str, kind: str, tmp_path: Path) -> None:
    """Opening waits for nobody at the other end, and follows no link out of the directory."""
    path = tmp_path / "q"
    async with AsyncQueue(path) as queue:
        await queue.put("item")
    (path / name).rename(tmp_path / "elsewhere")
    if kind == "folder":
        (path / name).mkdir()
    elif kind == "fifo":
        os.mkfifo(path / name)
    else:
        (path / name).symlink_to(tmp_path / "elsewhere")
    await asyncio.wait_for(refused(NotAQueue, rf"{path}/{name}.*is no", AsyncQueue(path)), 10)


# -- arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        (
            {"fsync": "sometimes"},
            ValueError,
            "fsync='sometimes' is no policy; there are: 'never', 'rollover', 'interva",
        ),
        ({"fsync": 1.0}, TypeError, r"fsync= takes a name or a policy such as asyncpq.fsync.Interval\(0.2\), not 1.0"),
        ({"serializer": "yaml"}, ValueError, "there is no serializer 'yaml'; there are pickle, json"),
        ({"serializer": types.SimpleNamespace(dump=print)}, AttributeError, "needs 'dump' and 'load'"),
        ({"serializer": types.SimpleNamespace(load=print)}, AttributeError, "needs 'dump' and 'load'"),
        ({"serializer": object()}, AttributeError, "needs 'dump' and 'load'"),
        ({"on_corrupt": "ignore"}, ValueError, "on_corrupt is 'raise' or 'skip', not 'ignore'"),
        ({"tempdir": "/nowhere/at/all"}, ValueError, "tempdir='/nowhere/at/all'.*leave it out"),
    ],
)
def test_arguments_are_looked_at_when_the_queue_is_made(
    options: dict[str, Any], error: type[Exception], match: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=match):
        AsyncQueue(tmp_path / "q", **options)
    gc.collect()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("existing", [False, True], ids=["new", "there"])
def test_a_tempdir_on_another_file_system(existing: bool, tmp_path: Path) -> None:
    here = tmp_path.stat().st_dev
    others = [folder for folder in ("/dev/shm", os.path.dirname(__file__)) if os.path.isdir(folder)]
    other = next((folder for folder in others if os.stat(folder).st_dev != here), None)
    if other is None:
        pytest.skip("no second file system to be had")
    path = tmp_path / "new" / "q"
    if existing:
        path.mkdir(parents=True)
    with pytest.raises(ValueError, match=rf"tempdir='{other}' has to be on the file system of {path}; leave it out"):
        AsyncQueue(path, tempdir=other)
    assert path.exists() == existing


async def test_a_tempdir_on_the_same_file_system_is_not_needed(tmp_path: Path) -> None:
    (tmp_path / "temp").mkdir()
    async with AsyncQueue(tmp_path / "new" / "q", tempdir=tmp_path / "temp") as queue:
        await queue.put("item")
        assert os.listdir(tmp_path / "temp") == []


@pytest.mark.parametrize("chunksize", [0, -1, -100])
async def test_a_new_directory_needs_a_chunksize(chunksize: int, tmp_path: Path) -> None:
    path = tmp_path / "q"
    queue = AsyncQueue(path, chunksize=chunksize)
    await refused(ValueError, f"a new queue needs a chunksize of at least 1, not {chunksize}", queue)
    assert os.listdir(tmp_path) == []
    async with AsyncQueue(path, chunksize=3) as new:
        await new.put("item")
    async with AsyncQueue(path, chunksize=chunksize) as existing:  # which keeps its own
        assert existing.chunksize == 3
        assert await existing.get() == "item"


# -- another serializer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["pickle", "json", "msgpack", "cbor2"])
@pytest.mark.parametrize("given", ["pickle", "json", "msgpack", "cbor2"])
async def test_a_directory_of_another_serializer(written: str, given: str, tmp_path: Path) -> None:
    path = tmp_path / "q"
    async with AsyncQueue(path, serializer=written) as queue:
        await queue.put({"a": 1})
    if given != written:
        match = (
            f"cannot be read with serializer '{given}'; it was written with '{written}': pass serializer='{written}'"
        )
        await refused(WrongSerializer, match, AsyncQueue(path, serializer=given))
    async with AsyncQueue(path) as queue:
        assert await queue.get() == {"a": 1}
        assert queue.serializer
        assert written == queue.serializer.NAME


# -- after the end, and elsewhere ---------------------------------------------------------------------------------


CALLS: Final[dict[str, Callable[[AsyncQueue], Awaitable[Any]]]] = {
    "put": lambda queue: queue.put("no"),
    "put_nowait": lambda queue: queue.put_nowait("no"),
    "put_many": lambda queue: queue.put_many("no"),
    "get": lambda queue: queue.get(),
    "get_nowait": lambda queue: queue.get_nowait(),
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
}


@pytest.mark.parametrize("was_open", [True, False], ids=["was open", "never open"])
async def test_use_after_close(was_open: bool, tmp_path: Path) -> None:
    path = tmp_path / "q"
    queue = AsyncQueue(path)
    if was_open:
        await queue.put("item")
    await queue.close()
    before = tree(tmp_path)
    for name, call in CALLS.items():
        with pytest.raises(QueueClosed, match=rf"{path}: the queue (was|is) closed.*AsyncQueue\(path\)"):
            await call(queue)
        assert tree(tmp_path) == before, name
    with pytest.raises(QueueClosed):
        async with queue:
            pass
    await queue.close()
    assert path.exists() == was_open
    assert "closed" in repr(queue)


def test_use_from_a_second_loop(tmp_path: Path) -> None:
    """Also when the first one has ended: what was written is there for a new queue."""
    path = tmp_path / "q"
    queue = AsyncQueue(path)
    first = asyncio.new_event_loop()
    first.run_until_complete(queue.put("item"))

    async def use(call: Callable[[AsyncQueue], Awaitable[Any]]) -> None:
        await call(queue)

    for call in *CALLS.values(), lambda queue: queue.close():
        with pytest.raises(WrongContext, match="event loop"):
            asyncio.run(use(call))
    first.run_until_complete(queue.close())
    first.close()

    async def again() -> None:
        async with AsyncQueue(path) as reopened:
            assert await reopened.get() == "item"

    asyncio.run(again())


def test_a_loop_that_goes_on_in_another_thread(tmp_path: Path) -> None:
    """The queue goes with it; and the thread that it left is refused in a loop of its own."""
    queue, loop = AsyncQueue(tmp_path / "q"), asyncio.new_event_loop()
    loop.run_until_complete(queue.put("first"))
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(loop.run_forever)
        try:
            asyncio.run_coroutine_threadsafe(queue.put("second"), loop).result(20)
            with pytest.raises(WrongContext, match="event loop"):
                asyncio.run(queue.put("of another loop"))
            assert asyncio.run_coroutine_threadsafe(queue.get_many(10), loop).result(20) == ["first", "second"]
        finally:
            loop.call_soon_threadsafe(loop.stop)
            running.result(20)
    loop.run_until_complete(queue.close())
    loop.close()


def test_a_loop_that_was_closed_before_the_queue(tmp_path: Path) -> None:
    path = tmp_path / "q"
    queue: AsyncQueue | None = AsyncQueue(path)
    assert queue
    asyncio.run(queue.put("item"))
    with pytest.raises(WrongContext):
        asyncio.run(queue.close())
    with pytest.warns(ResourceWarning, match="unclosed queue"):  # noqa: PT031
        queue = None
        gc.collect()

    async def again() -> None:
        async with AsyncQueue(path) as reopened:
            assert await reopened.get() == "item"

    asyncio.run(again())
    wait_for_threads(path)


def wait_for_threads(path: Path) -> None:
    """Let the worker thread close what the queue left to it."""
    for _ in range(100_000):
        if not any(target.startswith(str(path)) for target in descriptors()):
            return


@pytest.mark.parametrize("item", [lambda: None, object(), {1: {2, 3}}], ids=["function", "object", "set"])
async def test_an_item_that_cannot_be_serialized(item: Any, tmp_path: Path) -> None:
    path = tmp_path / "q"
    async with AsyncQueue(path, serializer="json", fsync="always") as queue:
        await queue.put("before")
        before = tree(path)
        for call in queue.put(item), queue.put_many(["good", item]), queue.put(item, timeout=1):
            with pytest.raises(TypeError, match="serializable"):
                await call
        assert tree(path) == before
        await queue.put("after")
        assert await drained(queue) == ["before", "after"]
