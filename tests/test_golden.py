"""Directories that real releases wrote: read, taken over, continued and handed back."""

import importlib
import logging
import stat
from pathlib import Path
from typing import Any

import persistqueue
import pytest

from asyncpq import AsyncQueue, QueueReader
from tests.golden_dirs import GOLDEN, Golden, digests, listed

every_golden = pytest.mark.parametrize("golden", GOLDEN, ids=str)
ADDED = ["one more", 2, None]  # comes back the same from every serializer


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """All that a reader could have changed: bytes, mode, owner, inode, times of change, of *folder* too."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *folder.iterdir()]:
        facts = path.stat()
        times = facts.st_mtime_ns, facts.st_ctime_ns
        data = path.read_bytes() if stat.S_ISREG(facts.st_mode) else b""
        found[path.name] = (facts.st_ino, facts.st_mode, facts.st_uid, facts.st_gid, *times, data)
    return found


def opened(golden: Golden, path: Path) -> AsyncQueue:
    """A queue on *path*, a copy of *golden*, that finds the serializer out where it can."""
    serializer = None if golden.tells_serializer else golden.serializer
    return AsyncQueue(path, chunksize=golden.chunksize, serializer=serializer)


async def drain(queue: AsyncQueue) -> list[Any]:
    """All items, each done before the next is got."""
    items = []
    while not await queue.empty():
        items.append(await queue.get_nowait())
        await queue.task_done()
    return items


def drained_by_upstream(path: Path, serializer: str) -> list[Any]:
    """What unmodified persist-queue finds in *path*."""
    module = importlib.import_module(f"persistqueue.serializers.{serializer}")
    queue = persistqueue.Queue(str(path), serializer=module)
    items = []
    while not queue.empty():
        items.append(queue.get_nowait())
        queue.task_done()
    return items


def test_all_are_here() -> None:
    """Eight families of releases and serializers, each in eleven states."""
    assert len(GOLDEN) == 88


@every_golden
def test_the_files_are_what_the_release_wrote(golden: Golden) -> None:
    """A checkout that converts line ends would make all the others fail in ways hard to read."""
    assert digests(golden.path) == golden.files


@every_golden
@pytest.mark.parametrize("unpickle", [False, True])
async def test_the_reader_changes_nothing(golden: Golden, unpickle: bool, tmp_path: Path) -> None:
    """All items here are plain data, which is built without unpickling too."""
    path = golden.copy(tmp_path)
    before = state(path)

    async with QueueReader(path, unpickle=unpickle) as reader:
        items = [item async for item in reader]
        assert reader.serializer == golden.serializer or not golden.tells_serializer
        assert reader.chunksize == (golden.chunksize if "info" in golden.files else None)
        assert tuple(reader.tail) == golden.tail
        assert reader.size == len(golden.items)
        assert golden.adopted or tuple(reader.head) == golden.head

    assert listed(items) == golden.items
    assert state(path) == before


@every_golden
async def test_the_queue_finds_the_serializer_and_drains_it(golden: Golden, tmp_path: Path) -> None:
    path = golden.copy(tmp_path)

    async with opened(golden, path) as queue:
        assert await queue.qsize() == len(golden.items)
        assert listed(await drain(queue)) == golden.items
        assert await queue.empty()

    assert {(name, golden.files[name]) for name in golden.strays} <= digests(path).items()


@every_golden
async def test_persist_queue_goes_on_with_what_the_queue_left(golden: Golden, tmp_path: Path) -> None:
    """Also where it could not before: it fails on an info that Python 2 wrote with msgpack."""
    path = golden.copy(tmp_path)
    expected = golden.items + ADDED

    async with opened(golden, path) as queue:
        for item in ADDED:
            await queue.put(item)
        assert listed(await queue.get()) == expected[0]
        await queue.task_done()

    assert listed(drained_by_upstream(path, golden.serializer)) == expected[1:]


@every_golden
async def test_persist_queue_finds_a_drained_queue_empty(golden: Golden, tmp_path: Path) -> None:
    path = golden.copy(tmp_path)

    async with opened(golden, path) as queue:
        await queue.put("so that info is written")
        await drain(queue)

    assert drained_by_upstream(path, golden.serializer) == []


@every_golden
async def test_healing_is_told_once_and_only_where_there_is_some(
    golden: Golden, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = golden.copy(tmp_path)

    with caplog.at_level(logging.WARNING, logger="asyncpq"):
        for _ in range(2):
            async with opened(golden, path):
                pass

    warnings = [record for record in caplog.records if record.name.startswith("asyncpq")]
    assert len(warnings) == golden.has_to_be_healed


@pytest.mark.parametrize("golden", [golden for golden in GOLDEN if not golden.has_to_be_healed], ids=str)
async def test_opening_and_closing_leaves_all_as_it_was(golden: Golden, tmp_path: Path) -> None:
    """But for an info that an older release wrote, which may be written anew with the same meaning."""
    path = golden.copy(tmp_path)

    async with opened(golden, path):
        pass

    before, after = dict(golden.files), digests(path)
    if golden.release != "1.1.0":
        before.pop("info", None)
        after.pop("info", None)
    assert after == before
