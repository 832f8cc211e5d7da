"""What is on the disk when: the order of system calls, counts of syncs, and syncs that fail."""

import asyncio
import errno
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncSQLiteAckQueue, AsyncSQLiteQueue, QueueFailed, fsync
from asyncpq.files import FILES
from asyncpq.sqlite import durable
from tests.sqlite.processes import PATIENCE, ROOT

POLICIES: Final = ["never", "rollover", "interval", "always"]

SCRIPT: Final = """
import asyncio, os, sys, time
from asyncpq import AsyncSQLiteQueue, fsync
say = lambda what: os.write(1, (what + "\\n").encode())
async def main():
    async with AsyncSQLiteQueue(sys.argv[1], fsync={policy}) as queue:
        say("begin")
        {body}
        say("end")
asyncio.run(main(), debug=False)
"""


@cache
def lacking() -> str:
    """Why strace cannot be used here; empty when it can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    tried = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, check=False)
    return tried.stderr.decode().strip() if tried.returncode else ""


def traced(folder: Path, policy: str, body: str) -> list[str]:
    """Run *body* under strace; return in order what matters of it: "write" and "sync" of the log, and what it says."""
    if reason := lacking():
        pytest.skip(reason)
    (folder / "q").mkdir()
    script, trace = SCRIPT.format(policy=policy, body=body), folder / "trace"
    calls = "trace=pwrite64,write,fsync,fdatasync"
    subprocess.run(
        ["strace", "-f", "-y", "-o", str(trace), "-e", calls, sys.executable, "-c", script, str(folder / "q")],
        cwd=ROOT,
        env=os.environ | {"PYTHONASYNCIODEBUG": ""},
        timeout=PATIENCE,
        capture_output=True,
        check=True,
    )
    found = [what for line in trace.read_text("utf-8", "replace").splitlines() if (what := _meaning(line))]
    return found[found.index("begin") : found.index("end") + 1]


def _meaning(line: str) -> str:
    """What a line of the trace says; a sync counts where it ends, and a write where it begins."""
    if said := re.search(r'\bwrite\(1<.*?>, "(\w+)\\n"', line):
        return said[1]
    if "-wal>" in line and "pwrite64(" in line:
        return "write"
    if re.search(r"\bf(data)?sync\(\d+<.*-wal>\) += 0", line) or re.search(r"f(data)?sync resumed.*= 0", line):
        return "sync"
    return ""


def test_always_syncs_between_the_write_and_the_acknowledgement(tmp_path: Path) -> None:
    trace = traced(tmp_path, "'always'", "for n in range(5): say('asked'); await queue.put(n); say('stored')")
    for number in range(5):
        asked = [index for index, what in enumerate(trace) if what == "asked"][number]
        stored = [index for index, what in enumerate(trace) if what == "stored"][number]
        between = trace[asked:stored]
        assert "write" in between
        assert "sync" in between[len(between) - 1 - between[::-1].index("write") :]


def test_never_syncs_nothing_at_a_put(tmp_path: Path) -> None:
    """So that the test above finds what `always` does, and not what SQLite does anyway."""
    trace = traced(tmp_path, "'never'", "for n in range(5): await queue.put(n)")
    assert "write" in trace
    assert "sync" not in trace


def test_interval_syncs_in_its_window_though_the_loop_is_busy(tmp_path: Path) -> None:
    body = "await queue.put(1); say('stored'); time.sleep(1.0); say('woken')"
    trace = traced(tmp_path, "fsync.Interval(seconds=0.2)", body)
    assert "sync" in trace[trace.index("stored") : trace.index("woken")]


def test_puts_that_come_together_share_syncs(tmp_path: Path) -> None:
    trace = traced(tmp_path, "'always'", "await asyncio.gather(*(queue.put(n) for n in range(256)))")
    assert 1 <= trace.count("sync") <= 16


async def test_puts_that_come_together_share_commits(tmp_path: Path) -> None:
    async with AsyncSQLiteQueue(tmp_path / "q", fsync="always") as queue:
        before = queue.stats()["commits"]
        await asyncio.gather(*(queue.put(number) for number in range(256)))
        assert 1 <= queue.stats()["commits"] - before <= 16
        assert await queue.qsize() == 256


@pytest.mark.parametrize("limit", [1, 3, 10])
@pytest.mark.parametrize("acked", [False, True], ids=["auto_commit", "ack"])
async def test_never_more_than_items_are_acknowledged_and_not_durable(acked: bool, limit: int, tmp_path: Path) -> None:
    make: Any = AsyncSQLiteAckQueue if acked else AsyncSQLiteQueue
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, queue.stats()["not_durable"])

    async def use(task: int) -> None:
        for number in range(15):
            await queue.put((task, number))
            look()
            item = await queue.get()
            look()
            if acked:
                await queue.ack(item)
                look()

    async with make(tmp_path / "q", fsync=fsync.Interval(seconds=3600, items=limit)) as queue:
        await asyncio.gather(*(use(task) for task in range(8)))
        await queue.put_many(range(50))
        look()
        assert await queue.qsize() == 50
    assert most <= limit


@pytest.mark.parametrize("policy", POLICIES)
async def test_close_makes_all_durable(policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another opener keeps SQLite from moving its log into the file."""
    synced: list[int] = []
    fdatasync = FILES.fdatasync

    def recorded(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        fdatasync(fd)

    monkeypatch.setattr(FILES, "fdatasync", recorded)
    policies: Any = fsync.Interval(seconds=3600) if policy == "interval" else policy
    async with AsyncSQLiteQueue(tmp_path / "q", "other"):
        queue = AsyncSQLiteQueue(tmp_path / "q", fsync=policies)
        await queue.put("item")
        log = (tmp_path / "q-wal").stat().st_ino
        assert synced.count(log) == 0
        waiting = queue.stats()["not_durable"]
        assert waiting == (0 if policy == "always" else 1)
        await queue.close()
        assert queue.stats()["not_durable"] == 0
        assert (log in synced) == (policy != "always")


@pytest.mark.parametrize("acked", [False, True], ids=["auto_commit", "ack"])
async def test_a_failed_sync_latches_the_queue(acked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk has of it is not known, and a second sync may report success for pages that were dropped."""
    make: Any = AsyncSQLiteAckQueue if acked else AsyncSQLiteQueue

    def failing(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    queue = await make(tmp_path / "q", fsync=fsync.Interval(seconds=3600), maxsize=2).open()
    await queue.put_many(["one", "two"])
    waiting = [asyncio.ensure_future(call) for call in (queue.put("three"), queue.join())]
    await asyncio.sleep(0)
    monkeypatch.setattr(FILES, "fdatasync", failing)
    with pytest.raises(QueueFailed):
        await queue.sync()
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 20)
    assert [type(result) for result in results] == [QueueFailed, QueueFailed]
    monkeypatch.undo()
    calls: list[Any] = [queue.get, queue.peek, queue.qsize, queue.sync, queue.clear, lambda: queue.put(1)]
    for call in calls:
        with pytest.raises(QueueFailed):
            await call()
    await queue.close()
    assert not [fd for fd in os.listdir("/proc/self/fd") if str(tmp_path) in _target(fd)]
    async with make(tmp_path / "q") as again:
        assert await again.get_many(5) == ["one", "two"]


async def test_a_sync_that_fails_in_the_background_latches_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits hears of it, though he called nothing that syncs."""

    def failing(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(FILES, "fdatasync", failing)
    queue = await AsyncSQLiteQueue(tmp_path / "q", fsync=fsync.Interval(seconds=0.05)).open()
    await queue.put("one")
    assert await queue.get() == "one"
    with pytest.raises(QueueFailed):
        await asyncio.wait_for(queue.get(), 20)
    await queue.close()


async def test_a_transaction_runs_beside_a_slow_sync_of_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is acknowledged only behind that sync: else two items could be lost where the policy says one."""
    fdatasync, begun, go_on, committed = FILES.fdatasync, threading.Event(), threading.Event(), threading.Event()
    monkeypatch.setattr(durable, "SLOW_SYNC", 0.0)  # every sync is a slow one

    def slow(fd: int) -> None:
        begun.set()
        assert go_on.wait(20)
        fdatasync(fd)

    async with AsyncSQLiteQueue(tmp_path / "q", fsync=fsync.Interval(seconds=3600, items=1)) as queue:
        monkeypatch.setattr(FILES, "fdatasync", slow)
        await queue.put("one")
        assert await asyncio.to_thread(begun.wait, 20)
        database: Any = queue._engine.store.database  # type: ignore[union-attr]
        commit = database.commit

        def told() -> None:
            commit()
            committed.set()

        monkeypatch.setattr(database, "commit", told)
        second = asyncio.create_task(queue.put("two"))
        try:
            assert await asyncio.to_thread(committed.wait, 20)
            assert not second.done()
        finally:
            go_on.set()
        await asyncio.wait_for(second, 20)
        assert queue.stats()["not_durable"] <= 1


async def test_a_sync_that_failed_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the transaction that waited for it either, nor by the close."""
    calls = 0

    def failing_once(fd: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(FILES, "fdatasync", failing_once)
    queue = await AsyncSQLiteQueue(tmp_path / "q", fsync=fsync.Interval(seconds=3600, items=1)).open()
    await queue.put("one")
    with pytest.raises(QueueFailed):
        await queue.put("two")
    await queue.close()
    assert calls == 1


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
