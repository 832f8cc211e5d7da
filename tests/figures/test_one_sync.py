"""The experiment with a commit journal does what it says: else its figures would be those of something else."""

import shutil
from pathlib import Path

import pytest

from asyncpq import AsyncQueue
from bench import one_sync
from bench.contenders import CHUNKSIZE

STORED = 3 * CHUNKSIZE // 2
MORE = 2 * CHUNKSIZE


async def cut(path: Path, aside: Path) -> Path:
    """Return what a power cut may leave: everything as it was durable at first, and the journal as it was synced."""
    async with AsyncQueue(path, chunksize=CHUNKSIZE, fsync="always") as queue:
        await queue.put_many(range(STORED))
        shutil.copytree(path, aside)
        instead = one_sync.journal_of(queue, path)
        for item in range(STORED, STORED + MORE):
            await queue.put(item)
        assert (instead.journal.syncs, queue.stats()["not_durable"]) == (MORE, MORE)
        instead.settle()
        shutil.copy(path / one_sync.NAME, aside)
        instead.journal.close()
    return aside


async def items(path: Path) -> list[int]:
    async with AsyncQueue(path) as queue:
        return await queue.get_many(10 * CHUNKSIZE)


async def test_the_journal_brings_back_each_put_whose_commit_was_one_sync(tmp_path: Path) -> None:
    left = await cut(tmp_path / "queue", tmp_path / "left")
    assert one_sync.replay(left) == MORE
    assert await items(left) == list(range(STORED + MORE))
    assert await items(tmp_path / "queue") == list(range(STORED + MORE))


async def test_a_reader_that_knows_no_journal_misses_them(tmp_path: Path) -> None:
    """What it would cost: persist-queue, and an older asyncpq, see the last durable commit only."""
    left = await cut(tmp_path / "queue", tmp_path / "left")
    assert await items(left) == list(range(STORED))


@pytest.mark.parametrize("at", [5, 30, 100])
async def test_a_torn_entry_ends_what_is_replayed(at: int, tmp_path: Path) -> None:
    left = await cut(tmp_path / "queue", tmp_path / "left")
    whole = (left / one_sync.NAME).read_bytes()
    start = whole.rindex(one_sync.MAGIC)
    torn = bytearray(whole)
    torn[start + at] ^= 0xFF
    (left / one_sync.NAME).write_bytes(torn)
    assert one_sync.replay(left) == MORE - 1
    assert await items(left) == list(range(STORED + MORE - 1))


async def test_a_half_is_used_again_only_when_chunks_and_info_are_durable_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_sync, "SIZE", 8192)
    monkeypatch.setattr(one_sync, "HALF", 4096)
    async with AsyncQueue(tmp_path, chunksize=CHUNKSIZE, fsync="always") as queue:
        await queue.put(0)
        instead = one_sync.journal_of(queue, tmp_path)
        before = queue.stats()["commits"]
        for item in range(1, 200):
            await queue.put(item)
            assert queue.stats()["not_durable"] < 8192 // 100
        instead.settle()
        assert queue.stats()["commits"] - before >= 3
        instead.journal.close()
