"""The mistakes that a newcomer makes first: each message says what, where, and how to mend it."""

import asyncio
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import (
    AsyncQueue,
    AsyncSQLiteAckQueue,
    AsyncSQLiteQueue,
    CorruptDatabase,
    NotAQueue,
    QueueLocked,
    WrongContext,
    WrongSerializer,
)

ROOT: Final = Path(__file__).parents[2]
QUEUES: Final[list[Callable[[Path], Any]]] = [lambda path: AsyncQueue(path / "q"), lambda path: AsyncSQLiteQueue(path)]


def run(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of somebody's in *folder*, with every warning shown."""
    return subprocess.run(
        [sys.executable, "-W", "default", "-c", code, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONASYNCIODEBUG": ""},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


# -- await ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", QUEUES, ids=["file", "sqlite"])
async def test_an_answer_that_was_not_awaited_is_neither_true_nor_a_number(
    make: Callable[[Path], Any], tmp_path: Path
) -> None:
    """`while not queue.empty()` would never begin, `if queue.full()` always be so, and Python says it much later."""
    uses: dict[str, Callable[[Any], Any]] = {
        "empty": lambda value: not value,
        "full": lambda value: 1 if value else 0,
        "qsize": lambda value: value > 0,
    }
    async with make(tmp_path) as queue:
        for name, use in uses.items():
            with pytest.raises(TypeError, match=rf"{name}\(\) was not awaited: write 'await queue.{name}\(\)'"):
                use(getattr(queue, name)())
        for use in (lambda v: v == 0, lambda v: range(v), lambda v: v - 1, int, lambda v: v <= 3):
            with pytest.raises(TypeError, match=r"write 'await queue.qsize\(\)'"):
                use(queue.qsize())


async def test_what_is_refused_when_it_is_not_awaited_is_a_coroutine_like_others(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path) as queue:
        await queue.put(1)
        calls: list[Awaitable[Any]] = [
            asyncio.create_task(queue.qsize()),
            asyncio.wait_for(queue.qsize(), 5),
            asyncio.gather(queue.qsize(), queue.full()),
        ]
        assert [await call for call in calls] == [1, 1, [1, False]]
        pending = asyncio.create_task(queue.qsize())
        assert "qsize" in repr(pending), "Python 3.12 asks whether a task has a coroutine, to show it"
        assert await pending == 1
        call = queue.empty()
        assert call in [call]
        assert asyncio.iscoroutine(call)
        assert "AsyncQueue.empty" in repr(call)
        assert await call is False
        cancelled = asyncio.create_task(queue.qsize())
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled


@pytest.mark.parametrize(
    ("line", "name", "words"),
    [
        ("queue.put(1)", "put", []),
        ("queue.close()", "close", []),
        ("queue.empty()", "empty", []),
        ("print(queue.get()['url'])", "get", ["'coroutine' object is not subscriptable"]),
    ],
)
def test_a_forgotten_await_is_named_by_python(line: str, name: str, words: list[str], tmp_path: Path) -> None:
    code = f"""
import asyncio
from asyncpq import AsyncQueue

async def main():
    async with AsyncQueue("jobs") as queue:
        {line}

asyncio.run(main())
"""
    ran = run(code, tmp_path)
    assert re.search(rf"RuntimeWarning: coroutine '\w+\.{name}' was never awaited", ran.stderr)
    assert all(word in ran.stderr for word in words)


# -- async ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", QUEUES, ids=["file", "sqlite"])
async def test_what_cannot_wait_names_what_can(make: Callable[[Path], Any], tmp_path: Path) -> None:
    queue = make(tmp_path)
    with pytest.raises(TypeError, match="is entered with 'async with', inside an 'async def' function"), queue:
        pass
    for use in (iter, list, sorted):
        with pytest.raises(TypeError, match="is read with 'async for', inside an 'async def' function"):
            use(queue)
    with pytest.raises(TypeError, match=r"has no len\(\): use 'await queue.qsize\(\)'"):
        len(queue)
    assert queue, "a queue is true, empty or not, as it always was"


async def test_deliveries_and_receive_name_it_too(tmp_path: Path) -> None:
    queue = AsyncQueue(tmp_path)
    deliveries: Any = queue.deliveries()
    receiving: Any = queue.receive()
    with pytest.raises(TypeError, match="Deliveries is read with 'async for'"):
        iter(deliveries)
    with pytest.raises(TypeError, match="Receiving is entered with 'async with'"), receiving:
        pass


# -- close ----------------------------------------------------------------------------------------------------

FORGETFUL: Final = """
import asyncio
from asyncpq import AsyncQueue

async def main():
    queue = AsyncQueue("jobs")
    await queue.put(1)
    {}

asyncio.run(main())
"""


@pytest.mark.parametrize("keep", ["", "global kept; kept = queue"], ids=["dropped", "kept until the end"])
def test_a_forgotten_close_loses_nothing_and_is_told(keep: str, tmp_path: Path) -> None:
    ran = run(FORGETFUL.format(keep), tmp_path)
    assert ran.returncode == 0
    assert "ResourceWarning: unclosed queue <AsyncQueue 'jobs'" in ran.stderr
    assert "what it acknowledged is stored" in ran.stderr
    assert "use 'async with', or 'await queue.close()'" in ran.stderr
    again = run("import asyncio; from asyncpq import AsyncQueue; " + DRAIN, tmp_path)
    assert (again.stdout, again.stderr) == ("1\n", "")


DRAIN: Final = """
async def main():
    async with AsyncQueue("jobs") as queue:
        print(await queue.get())
        await queue.task_done()

asyncio.run(main())
"""


# -- where ----------------------------------------------------------------------------------------------------


async def test_a_second_process_is_told_who_and_what_to_do(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "jobs") as queue:
        await queue.put(1)
        ran = await asyncio.to_thread(run, "import asyncio; from asyncpq import AsyncQueue; " + DRAIN, tmp_path)
    assert ran.returncode == 1
    assert "QueueLocked: jobs: another asyncpq queue has this directory open; close it there first" in ran.stderr
    assert "asyncpq.QueueReader, which needs no lock" in ran.stderr


async def test_a_second_queue_in_one_process_is_told_the_same(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path) as queue:
        with pytest.raises(QueueLocked, match="close it there first"):
            await AsyncQueue(queue.path).put(1)


@pytest.mark.parametrize("make", [AsyncQueue, AsyncSQLiteQueue])
@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        (None, TypeError, r"the path of a queue is a str or a pathlib.Path, .* not None"),
        (3, TypeError, "not 3"),
        ("", ValueError, "the path of the queue is empty; name a directory, such as 'jobs'"),
    ],
)
def test_what_is_no_path_is_refused_at_once(path: Any, error: type[Exception], words: str, make: Any) -> None:
    with pytest.raises(error, match=words):
        make(path)


async def test_a_path_to_a_file_names_both_ways_out(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("notes")
    with pytest.raises(NotAQueue, match=r"is no directory; .*: choose another path \(a SQLite database is opened"):
        await AsyncQueue(file).open()
    assert file.read_text() == "notes"


@pytest.mark.parametrize("text", ["x", "not a database", "not a database at all, and longer than a header"])
async def test_a_file_that_is_no_database_is_not_written_over(text: str, tmp_path: Path) -> None:
    """SQLite takes one byte for an empty database."""
    file = tmp_path / "file"
    file.write_text(text)
    with pytest.raises(
        (NotAQueue, CorruptDatabase), match=r"is no SQLite database; nothing was changed|is not a database"
    ):
        await AsyncSQLiteQueue(file).open()
    assert file.read_text() == text


async def test_a_missing_parent_is_made_or_named(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "a" / "b" / "jobs") as queue:
        await queue.put(1)
    with pytest.raises(NotAQueue, match=rf"there is no directory {tmp_path / 'c'}; make it first"):
        await AsyncSQLiteQueue(tmp_path / "c" / "jobs.db").open()


async def test_the_other_kind_of_queue_is_named_and_nothing_is_put_beside_it(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "file") as queue, AsyncSQLiteAckQueue(tmp_path / "rows") as rows:
        await queue.put(1)
        await rows.put(1)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NotAQueue, match="file: holds a file queue: open it with AsyncQueue"):
        await AsyncSQLiteAckQueue(tmp_path / "file").open()
    with pytest.raises(NotAQueue, match="rows: holds a SQLite queue: open it with AsyncSQLiteQueue"):
        await AsyncQueue(tmp_path / "rows").open()
    assert sorted(tmp_path.rglob("*")) == before


NOBODY: Final = """
import asyncio, encodings.idna, os, sys
import asyncpq
asyncpq.AsyncQueue, asyncpq.AsyncSQLiteQueue  # imported while they can be read
if os.geteuid() == 0:
    os.setuid(65534)

async def main(kind):
    try:
        await getattr(asyncpq, kind)(sys.argv[1]).open()
    except (OSError, asyncpq.AsyncpqError) as error:
        print(type(error).__name__, error)

for kind in ("AsyncQueue", "AsyncSQLiteQueue"):
    asyncio.run(main(kind))
"""


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["read-only", "not to be entered"])
def test_no_permission_says_where_and_what_to_do(mode: int) -> None:
    with tempfile.TemporaryDirectory() as parent:  # pytest's own are for nobody but their owner
        Path(parent).chmod(0o755)
        folder = Path(parent, "theirs")
        folder.mkdir(mode=mode)
        ran = run(NOBODY, ROOT, str(folder / "jobs"))
    lines = ran.stdout.splitlines()
    assert len(lines) == 2, ran.stderr
    assert "no permission to make or to open the directory of this queue; choose another path" in lines[0]
    assert f"no permission to write to it, or to {folder}" in lines[1]
    assert all(str(folder) in line for line in lines)


# -- what -----------------------------------------------------------------------------------------------------


async def test_a_wrong_serializer_names_the_right_one(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path, serializer="json") as queue:
        await queue.put(1)
    with pytest.raises(WrongSerializer, match="it was written with 'json': pass serializer='json', or none at all"):
        await AsyncQueue(tmp_path, serializer="msgpack").open()
    with pytest.raises(ValueError, match="there is no serializer 'yaml'; there are pickle, json"):
        AsyncQueue(tmp_path, serializer="yaml")


async def test_the_json_module_stands_for_the_serializer_json(tmp_path: Path) -> None:
    """Python's own writes text, which no file of a queue takes."""
    async with AsyncQueue(tmp_path, serializer=json) as queue:
        await queue.put({"a": 1})
        assert await queue.get() == {"a": 1}
    assert (tmp_path / "q00000").read_bytes() == b'{"a": 1}\n'


@pytest.mark.parametrize("serializer", ["pickle", "json", "orjson", "msgpack", "cbor2"])
@pytest.mark.parametrize("kind", [AsyncQueue, AsyncSQLiteQueue])
async def test_an_item_that_cannot_be_serialized_names_queue_and_serializer(
    kind: Any, serializer: str, tmp_path: Path
) -> None:
    """The error is the serializer's own; the note says where it came from.  The item is not shown."""
    async with kind(tmp_path / "q", serializer=serializer) as queue:
        for put in (queue.put, lambda item: queue.put_many([1, item])):
            with pytest.raises(Exception, match=r".") as raised:
                await put((lambda: "secret",))
            (note,) = raised.value.__notes__
            assert note.startswith(f"{tmp_path / 'q'}: nothing was stored: serializer {serializer!r} does not take")
            assert "secret" not in note
        assert await queue.qsize() == 0


# -- when -----------------------------------------------------------------------------------------------------


def test_a_second_asyncio_run_is_told_that_the_first_has_ended(tmp_path: Path) -> None:
    queue = AsyncQueue(tmp_path)
    asyncio.run(queue.put(1))
    for call in (queue.get, queue.close):
        with pytest.raises(WrongContext, match=r"has ended, as it does with each asyncio.run; open, use and close a"):
            asyncio.run(call())
    with pytest.warns(ResourceWarning, match="unclosed queue"):  # noqa: PT031
        del queue, call
        gc.collect()


async def test_another_loop_is_told_to_make_a_queue_of_its_own(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path) as queue:

        def elsewhere() -> None:
            with pytest.raises(WrongContext, match=r"belongs to another event loop, .* make a new one here"):
                asyncio.run(queue.put(1))

        await asyncio.to_thread(elsewhere)
