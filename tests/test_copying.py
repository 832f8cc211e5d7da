"""`asyncpq.copy`: what it makes is a queue of one moment, or nothing; what it reads is never changed."""

import asyncio
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncQueue, AsyncSQLiteAckQueue, AsyncSQLiteQueue, CorruptQueue, NotAQueue, QueueLocked, check, copy
from asyncpq import sqlite as databases
from asyncpq.copying import _files, _sources
from tests import busy_queue
from tests.damaged_databases import rows_of
from tests.golden_databases import GOLDEN as DATABASES
from tests.golden_databases import Golden as GoldenDatabase
from tests.golden_dirs import GOLDEN, Golden
from tests.power import mounts
from tests.power.test_full_disk import Filler
from tests.sqlite.processes import ROOT, Process
from tests.sqlite.test_checking import state
from tests.unit.queue_dirs import make, tree

COPY: Final = "import asyncio, sys, asyncpq; asyncio.run(asyncpq.copy(sys.argv[1], sys.argv[2]))"


async def copied(path: Path, target: Path, **options: Any) -> Any:
    """The report, where the source has not changed."""
    before = state(path)
    report = await copy(path, target, **options)
    assert state(path) == before
    assert not target.with_name(target.name + ".partial").exists()
    return report


async def items_of(path: Path) -> list[Any]:
    """All items; the queue has nothing to heal, and is as a close leaves it."""
    report = await check(path)
    assert (report.status, report.heals, report.closed) == ("clean", (), True)
    async with AsyncQueue(path, autosave=True) as queue:
        assert not queue.recovery
        return await queue.get_many(size) if (size := await queue.qsize()) else []


# -- a queue that nobody has open -------------------------------------------------------------------------------------


@pytest.mark.parametrize("golden", GOLDEN, ids=str)
async def test_what_nobody_has_open_is_copied_byte_for_byte(golden: Golden, tmp_path: Path) -> None:
    path = golden.copy(tmp_path)
    options = {} if golden.tells_serializer else {"serializer": golden.serializer}
    report = await copied(path, tmp_path / "copy", **options)
    assert report.items == len(golden.items) - golden.adopted
    assert report.bytes == sum(file.stat().st_size for file in (tmp_path / "copy").iterdir())
    expected = {name: data for name, data in tree(path).items() if name not in golden.strays}
    assert tree(tmp_path / "copy") == expected
    assert report.files == len(expected)


async def test_modes_go_with_the_copy(tmp_path: Path) -> None:
    d = make(tmp_path / "queue", "pickle")
    (d.path / "info").chmod(0o640)
    d.chunk(1).chmod(0o600)
    d.path.chmod(0o750)
    await copied(d.path, tmp_path / "copy")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "copy").iterdir()}
    assert (modes["info"], modes["q00001"], (tmp_path / "copy").stat().st_mode & 0o777) == (0o640, 0o600, 0o750)


async def test_chunks_that_are_consumed_are_left_out(tmp_path: Path) -> None:
    d = make(tmp_path / "queue", "json", consumed=4)
    d.append(0, d.encoded(0))
    await copied(d.path, tmp_path / "copy")
    assert tree(tmp_path / "copy").keys() == {"info", "q00001", "q00002"}


# -- beside a queue that is open --------------------------------------------------------------------------------------


async def test_beside_an_open_queue_the_copy_is_what_a_close_would_leave(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "queue", chunksize=4) as queue:
        await queue.put_many(range(10))
        await queue.get_many(6)
        await queue.task_done()
        report = await copied(tmp_path / "queue", tmp_path / "copy")
        assert (report.kind, report.items, report.starts) == ("file", 4, 1)
    assert tree(tmp_path / "copy") == tree(tmp_path / "queue")
    assert await items_of(tmp_path / "copy") == [6, 7, 8, 9]


async def test_what_is_acknowledged_out_of_order_stays_so_and_attempts_are_kept(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "queue") as queue:
        await queue.put_many("abcd")
        one, two, three, _ = await queue.claim_many(4)
        await three.ack()
        await two.nack(error="no")
        assert (await copied(tmp_path / "queue", tmp_path / "copy")).items == 3
        await one.ack()
    async with AsyncQueue(tmp_path / "copy") as queue:
        found = await queue.claim_many(9)
        assert [(delivery.item, delivery.attempt) for delivery in found] == [("a", 1), ("b", 2), ("d", 1)]


async def test_the_order_and_the_unknown_keys_of_info_are_kept(tmp_path: Path) -> None:
    d = make(tmp_path / "queue", "pickle")
    fields = {"tail": list(d.tail), "by": "hand", "head": list(d.head), "size": 7, "chunksize": 3}
    (d.path / "info").write_bytes(pickle.dumps(fields, 4))
    async with AsyncQueue(d.path) as queue:
        await queue.put("more")
        await copied(d.path, tmp_path / "copy")
    info = pickle.loads((tmp_path / "copy" / "info").read_bytes())
    assert list(info) == list(fields)
    assert (info["by"], info["size"]) == ("hand", 8)


async def test_what_a_killed_queue_never_acknowledged_is_left_out(tmp_path: Path) -> None:
    d = make(tmp_path / "queue", "json")
    d.write_info(mark=("interval", 8))
    d.append(2, b'"not who')
    await copied(d.path, tmp_path / "copy")
    assert (tmp_path / "copy" / "info").read_bytes() == d.record
    assert len(await items_of(tmp_path / "copy")) == 7


@contextmanager
def busy(path: Path, folder: Path, how: str) -> Iterator[None]:
    """A process that puts and acknowledges at full speed."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.busy_queue", str(path), str(folder), how],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        env=os.environ | {"PYTHONASYNCIODEBUG": ""},
    ) as process:
        while busy_queue.put(folder) < 2 * busy_queue.BACKLOG:
            assert process.poll() is None
        yield
        assert process.stdin
        process.stdin.close()
        assert process.wait(30) == 0


async def copies_beside(path: Path, folder: Path, how: str, count: int) -> None:
    """Every copy opens without healing, and has what was put before it and was not acknowledged; no gap, none twice."""
    seen: list[list[int]] = []
    with busy(path, folder, how):
        acked = busy_queue.Acked(folder)
        for number in range(count):
            put = busy_queue.put(folder)
            acked.look()
            target = folder / f"copy{number}"
            report = await copy(path, target)
            items = await items_of(target)
            seen.append(items)
            assert report.items == len(items) > 0
            assert items == sorted(set(items))
            assert not [item for item in items if item in acked]
            assert max(items) >= put - 1
            if how == "task_done":
                assert items == list(range(items[0], items[-1] + 1))
                assert len(items) <= busy_queue.BACKLOG + 2 * busy_queue.GROUP
            # At each moment so many wait: fewer, and something was seen to go of which the successors were not seen.
            assert len(items) >= busy_queue.BACKLOG - busy_queue.GROUP
            shutil.rmtree(target)
    acked.look()
    missing = acked.missing(max(items[-1] for items in seen) + 1)
    for items in seen:
        assert missing.difference(items).isdisjoint(range(items[-1] + 1))


@pytest.mark.parametrize("how", ["task_done", "claims"])
async def test_beside_a_writer_at_full_speed_every_copy_is_of_one_moment(how: str, tmp_path: Path) -> None:
    await copies_beside(tmp_path / "queue", tmp_path, how, 6)


@pytest.mark.soak
@pytest.mark.parametrize("how", ["task_done", "claims"])
async def test_so_it_is_for_many_copies(how: str, tmp_path: Path) -> None:
    await copies_beside(tmp_path / "queue", tmp_path, how, 1000)


@pytest.mark.parametrize("ahead", [1, 128], ids=["one by one", "held open"])
async def test_a_chunk_that_is_consumed_meanwhile_does_not_tear_the_copy(
    ahead: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held open, it is still read; else the copy begins again, and what it has is used."""
    monkeypatch.setattr(_sources, "OPEN_AHEAD", ahead)
    loop, left = asyncio.get_running_loop(), [3]
    async with AsyncQueue(tmp_path / "queue", chunksize=2, autosave=True) as queue:
        await queue.put_many(range(20))

        def consuming(self: _files._Copying, *args: Any) -> None:
            chunk(self, *args)
            if left[0]:
                left[0] -= 1
                asyncio.run_coroutine_threadsafe(queue.get_many(4), loop).result()

        chunk = _files._Copying._chunk
        monkeypatch.setattr(_files._Copying, "_chunk", consuming)
        report = await copy(tmp_path / "queue", tmp_path / "copy")
    items = await items_of(tmp_path / "copy")
    assert items == list(range(items[0], 20))
    assert (report.starts > 1, items[0] > 0) == (ahead == 1, ahead == 1)


# -- nothing, or all of it --------------------------------------------------------------------------------------------

EXISTING: Final[dict[str, Callable[[Path], object]]] = {
    "a file": lambda path: path.write_bytes(b"x"),
    "a directory": lambda path: path.mkdir(),
    "a link that leads nowhere": lambda path: path.symlink_to("nowhere"),
}


@pytest.fixture(params=["file", "sqlite", "sqlite in a directory"])
async def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A queue of each kind."""
    if request.param == "file":
        return make(tmp_path / "queue", "pickle").path
    path = tmp_path / ("queue.db" if request.param == "sqlite" else "queue/")
    async with AsyncSQLiteQueue(f"{path}/" if request.param.endswith("directory") else path) as queue:
        await queue.put_many(range(7))
    return path


@pytest.mark.parametrize("title", EXISTING)
async def test_a_target_that_is_there_is_not_touched(title: str, source: Path, tmp_path: Path) -> None:
    EXISTING[title](tmp_path / "copy")
    before = state(tmp_path)
    with pytest.raises(FileExistsError, match="is not replaced"):
        await copy(source, tmp_path / "copy")
    assert state(tmp_path) == before


@pytest.mark.parametrize("title", EXISTING)
async def test_a_target_that_comes_meanwhile_is_not_replaced(
    title: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asyncpq import placing

    def late(built: Path, target: Path) -> None:
        EXISTING[title](target)
        rename(built, target)

    rename = placing._rename_new
    monkeypatch.setattr(placing, "_rename_new", late)
    with pytest.raises(FileExistsError):
        await copy(source, tmp_path / "copy")
    assert os.path.lexists(tmp_path / "copy")
    assert not (tmp_path / "copy.partial").exists()


async def test_a_target_within_the_queue_is_refused(source: Path) -> None:
    if source.is_dir():
        before = state(source)
        with pytest.raises(ValueError, match="lies in"):
            await copy(source, source / "copy")
        assert state(source) == before


async def test_what_a_copy_did_not_leave_is_not_discarded(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.partial").mkdir()
    (tmp_path / "copy.partial" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"'thesis\.txt', which was not left by an unfinished copy"):
        await copy(source, tmp_path / "copy")
    assert (tmp_path / "copy.partial" / "thesis.txt").read_text() == "years of work"


async def test_of_two_copies_to_one_target_one_is_made(source: Path, tmp_path: Path) -> None:
    results = await asyncio.gather(*(copy(source, tmp_path / "copy") for _ in range(4)), return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    assert len(failed) == 3
    assert {type(error) for error in failed} <= {QueueLocked, FileExistsError}
    assert (await copy(tmp_path / "copy", tmp_path / "again")).items == 7


async def test_a_cancelled_copy_leaves_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller has the CancelledError only when that is so."""
    from asyncpq.copying import _report

    monkeypatch.setattr(_report, "OFTEN", 0.0)
    copying = asyncio.ensure_future(copy(source, tmp_path / "copy", progress=lambda done, total: copying.cancel()))
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert {path.name for path in tmp_path.iterdir()} in (before, before | {"copy"})


async def test_a_copy_that_is_cancelled_in_its_middle_is_gone_when_its_caller_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = make(tmp_path / "queue", "pickle", items=300)
    loop, left = asyncio.get_running_loop(), [20]

    def cancelling(self: _files._Copying, *args: Any) -> None:
        chunk(self, *args)
        left[0] -= 1
        if not left[0]:
            loop.call_soon_threadsafe(copying.cancel)
            while not self._meter._stop.wait(30):
                raise AssertionError("the cancellation does not arrive")

    chunk = _files._Copying._chunk
    monkeypatch.setattr(_files._Copying, "_chunk", cancelling)
    copying = asyncio.ensure_future(copy(d.path, tmp_path / "copy"))
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert [path.name for path in tmp_path.iterdir()] == ["queue"]


async def test_progress_ends_with_all_bytes(source: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    report = await copy(source, tmp_path / "copy", progress=lambda done, total: told.append((done, total)))
    await asyncio.sleep(0)
    assert told[-1][0] == told[-1][1] == report.bytes
    assert all(0 <= done <= total for done, total in told)


@pytest.mark.parametrize(("module", "call"), [("os", "fsync"), ("ctypes", "CDLL")])
async def test_a_crash_before_any_call_leaves_no_target_or_all_of_it(
    module: str, call: str, source: Path, tmp_path: Path
) -> None:
    """The process ends before the first, the second, ... call; the next copy discards what it left."""
    before, built = state(source), tmp_path / "copy"
    for number in range(1, 30):
        code = (
            f"import asyncio, ctypes, os, sys\nleft, real = {number}, {module}.{call}\n"
            f"def dies(*a, **k):\n    global left\n    left -= 1\n    os._exit(9) if not left else None\n"
            f"    return real(*a, **k)\n{module}.{call} = dies\n"
        ) + COPY
        command = [sys.executable, "-c", code, str(source), str(built)]
        await asyncio.to_thread(subprocess.run, command, cwd=ROOT)
        assert state(source) == before
        if built.exists():
            break
    assert number > 1
    assert (await copied(built, tmp_path / "again")).items == 7
    shutil.rmtree(tmp_path / "copy.partial", ignore_errors=True)  # of a file that was put in place just before


@pytest.mark.soak
async def test_kills_at_random_leave_no_target_or_all_of_it(tmp_path: Path) -> None:
    make(tmp_path / "queue", "pickle", items=3000)
    for number in range(60):
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", COPY, str(tmp_path / "queue"), str(tmp_path / "copy")], cwd=ROOT
        )
        try:
            process.wait(0.15 + number * 0.01)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if (tmp_path / "copy").exists():
            assert tree(tmp_path / "copy") == tree(tmp_path / "queue")
            shutil.rmtree(tmp_path / "copy")
    assert (await copied(tmp_path / "queue", tmp_path / "copy")).items == 2999


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
@pytest.mark.parametrize("kind", ["file", "sqlite"])
async def test_a_full_disk_leaves_no_target(kind: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(mounts.memory(2 * mounts.MIB))
        if kind == "file":
            path = make(tmp_path / "queue", "pickle", items=600).path
        else:
            path = tmp_path / "queue.db"
            async with AsyncSQLiteQueue(path) as queue:
                await queue.put_many(["x" * 1000] * 300)
        filler = Filler(folder / "filler")
        filler.fill()
        filler.give(64 * 1024)
        stack.callback(filler.close)
        with pytest.raises(OSError, match="No space left on device"):
            await copy(path, folder / "copy")
        assert [file.name for file in folder.iterdir()] == ["filler"]


# -- what is no queue, or means harm ----------------------------------------------------------------------------------


async def test_what_is_no_queue_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a text\n" * 1000)
    (tmp_path / "empty").mkdir()
    execute_nothing = sqlite3.connect(tmp_path / "other.db")
    execute_nothing.execute("CREATE TABLE notes (text)")
    execute_nothing.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    for name in ("nothing", "text", "empty", "other.db"):
        with pytest.raises((NotAQueue, CorruptQueue)):
            await copy(tmp_path / name, tmp_path / "copy")
        assert sorted(path.name for path in tmp_path.iterdir()) == names


async def test_a_damaged_queue_is_not_copied_as_if_it_were_whole(tmp_path: Path) -> None:
    d = make(tmp_path / "queue", "pickle")
    (d.path / "info").write_bytes(b"")
    with pytest.raises(CorruptQueue, match=r"asyncpq\.repair"):
        await copied(d.path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["info", "q00001", "acked"])
@pytest.mark.parametrize("what", ["link", "pipe", "directory"])
async def test_only_regular_files_are_read(what: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret" * 100)
    d = make(tmp_path / "queue", "pickle")
    (d.path / name).unlink(missing_ok=True)
    if what == "link":
        (d.path / name).symlink_to(tmp_path / "secret")
    elif what == "pipe":
        os.mkfifo(d.path / name)
    else:
        (d.path / name).mkdir()
    with pytest.raises((CorruptQueue, OSError)):
        await copied(d.path, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["queue", "secret"]


async def test_a_pickle_is_copied_and_not_run(tmp_path: Path) -> None:
    class Touches:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (os.fspath(tmp_path / "touched"), "w")

    async with AsyncQueue(tmp_path / "queue") as queue:
        await queue.put(Touches())
    await copied(tmp_path / "queue", tmp_path / "copy")
    assert not (tmp_path / "touched").exists()


# -- databases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("golden", DATABASES, ids=str)
async def test_a_database_is_copied_with_all_its_rows(golden: GoldenDatabase, tmp_path: Path) -> None:
    place = golden.copy(tmp_path)
    before = state(place.database)
    report = await copy(place.database, tmp_path / "copy.db")
    assert state(place.database) == before
    assert (report.kind, report.items, report.files) == ("sqlite", len(golden.items), 1)
    assert rows_of(tmp_path / "copy.db") == rows_of(place.database)


async def test_beside_writers_of_other_processes_a_database_is_copied_as_of_one_moment(tmp_path: Path) -> None:
    """All rows up to one id, and none behind it; one file, without a log."""
    path = tmp_path / "queue.db"
    async with AsyncSQLiteQueue(path):
        pass
    with ExitStack() as stack:
        writers = [
            stack.enter_context(Process(tmp_path / f"said{number}", "AsyncSQLiteQueue", path, "put", items=2500))
            for number in range(2)
        ]
        for writer in writers:
            writer.heard(1)
        counts = []
        for number in range(8):
            target = tmp_path / f"copy{number}.db"
            counts.append((await copy(path, target)).items)
            assert [row for _, row in sorted(rows_of(target))] == list(range(1, counts[-1] + 1))
        for writer in writers:
            writer.finish()
    assert counts == sorted(counts)
    assert (await databases.check(tmp_path / "copy7.db")).status == "clean"
    assert (await copy(path, tmp_path / "last.db")).items == 5000


async def test_the_log_that_a_killed_process_left_is_in_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    async with AsyncSQLiteAckQueue(path) as queue:
        await queue.put(1)
    with Process(tmp_path / "said", "AsyncSQLiteAckQueue", path, "obey") as worker:
        worker.heard(1)
        worker.tell("stamp")
        assert worker.ask("get") == "got 1"
        worker.kill()
    before = state(path)
    assert (await copy(path, tmp_path / "copy")).items == 2
    assert state(path) == before
    assert [file.name for file in (tmp_path / "copy").iterdir()] == ["data.db"]
    with closing(sqlite3.connect(tmp_path / "copy" / "data.db")) as connection:
        assert connection.execute("SELECT status FROM ack_queue_default").fetchall() == [(2,), (0,)]
