"""The coroutine: progress on the loop, cancellation, and a loop that never waits for the disk."""

import asyncio
import threading
from pathlib import Path
from typing import Any, Final

import pytest

import asyncpq
from asyncpq import AsyncQueue, Progress, migrate
from tests.migrating.moving import items, names, theirs

VALUES: Final[list[Any]] = [{"n": n, "text": "x" * 200} for n in range(20_000)]


@pytest.fixture
def source(folder: Path) -> Path:
    return theirs(folder / "source", VALUES[:3000], chunksize=500)


async def test_progress_is_told_on_the_loop_for_each_phase(source: Path, folder: Path) -> None:
    told: list[Progress] = []
    loop = asyncio.get_running_loop()

    def progress(at: Progress) -> None:
        assert asyncio.get_running_loop() is loop
        told.append(at)

    report = await migrate(source, folder / "target", serializer="json", progress=progress)
    assert report.items == 3000
    assert list(dict.fromkeys(at.phase for at in told)) == ["scan", "build", "verify"]
    assert {at.total for at in told} == {3000}
    for phase in ("scan", "build", "verify"):
        counts = [(at.items, at.bytes) for at in told if at.phase == phase]
        assert counts == sorted(counts)


async def test_an_error_of_the_callback_ends_the_migration_and_is_raised(source: Path, folder: Path) -> None:
    class Wrong(Exception):
        pass

    gate = threading.Event()

    def progress(at: Progress) -> None:
        gate.set()
        raise Wrong

    with pytest.MonkeyPatch.context() as patch:
        hold_in_build(patch, gate)
        with pytest.raises(Wrong):
            await migrate(source, folder / "target", serializer="json", progress=progress)
    assert names(folder) == ["source"]


def hold_in_build(patch: pytest.MonkeyPatch, gate: threading.Event) -> threading.Event:
    """Let the thread wait for *gate* once the first batch is written; the event that is returned says that it does."""
    from asyncpq.migrating.directory import DirectoryTarget

    append, reached = DirectoryTarget.append, threading.Event()

    def held(target: DirectoryTarget, records: list[bytes], entries: Any) -> None:
        append(target, records, entries)
        reached.set()
        assert gate.wait(30)

    patch.setattr(DirectoryTarget, "append", held)
    return reached


@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancelled_migration_leaves_nothing_and_gives_the_lock_back(
    times: int, source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    reached = hold_in_build(monkeypatch, gate)
    task = asyncio.create_task(migrate(source, folder / "target"))
    await asyncio.to_thread(reached.wait, 30)
    assert "target.partial" in names(folder)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()  # it waits for the thread
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(folder) == ["source"]
    async with AsyncQueue(source) as queue:
        assert await queue.qsize() == 3000


async def test_the_loop_goes_on_while_a_migration_waits(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    reached = hold_in_build(monkeypatch, gate)
    task = asyncio.create_task(migrate(source, folder / "target"))
    await asyncio.to_thread(reached.wait, 30)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    assert (await task).items == 3000


async def test_several_migrations_run_beside_each_other(folder: Path) -> None:
    sources = [theirs(folder / f"source{n}", VALUES[n : n + 500]) for n in range(4)]
    await asyncio.gather(*(migrate(source, folder / f"target{n}") for n, source in enumerate(sources)))
    for n in range(4):
        assert items(folder / f"target{n}") == VALUES[n : n + 500]


async def test_a_source_that_is_open_in_the_same_loop_is_refused(folder: Path) -> None:
    async with AsyncQueue(folder / "source") as queue:
        await queue.put(1)
        with pytest.raises(asyncpq.QueueLocked):
            await migrate(folder / "source", folder / "target")
        assert await queue.get() == 1


async def test_a_report_says_what_became_of_it_as_json_too(source: Path, folder: Path) -> None:
    report = await migrate(source, folder / "target", serializer="json")
    assert asyncpq.MigrationReport.of(report.as_json()) == report
