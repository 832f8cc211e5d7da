"""Memory does not grow with the backlogs, however many queues are open; no item is lost for it."""

import gc
from pathlib import Path

import pytest

from asyncpq import AsyncQueue
from asyncpq.allowance import TOTAL, Allowance, shared
from asyncpq.buffer import READ_AHEAD, READ_LEAST, RECENT_MAX, RECENT_OWN

LONG = "x" * 8000
ITEMS = 100  # LONG ones: 800 kB a queue
QUEUES = 12


@pytest.fixture
def left() -> int:
    """What is left before the test: others may have left a queue open."""
    gc.collect()
    return shared._left


def test_nobody_gets_more_than_a_quarter_of_what_is_left() -> None:
    allowance = Allowance(1000)
    assert [allowance.take(400), allowance.take(100), allowance.take(400)] == [250, 100, 162]
    allowance.give_back(250 + 100 + 162)
    assert allowance.take(200) == 200


async def test_one_queue_alone_keeps_what_it_may(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path, fsync="never") as queue:
        await queue.put_many([LONG] * (RECENT_MAX // len(LONG) - 10))
        assert queue._engine is not None
        assert len(queue._engine.buffer._recent) == RECENT_MAX // len(LONG) - 10


async def test_many_queues_together_keep_no_more_than_is_allowed_and_deliver_everything(
    tmp_path: Path, left: int
) -> None:
    queues = [AsyncQueue(tmp_path / str(number), chunksize=10, fsync="never") for number in range(QUEUES)]
    for queue in queues:
        for number in range(ITEMS):
            await queue.put(f"{number:04d}{LONG}")
    kept = [queue._engine.buffer._recent_bytes for queue in queues if queue._engine]
    assert len(kept) == QUEUES
    assert sum(kept) <= left + QUEUES * RECENT_OWN
    assert sum(kept) < QUEUES * ITEMS * len(LONG) // 2, "else there was nothing to bound"
    for queue in queues:
        assert [int((await queue.get())[:4]) for _ in range(ITEMS)] == list(range(ITEMS))
    for queue in queues:
        await queue.close()
    assert shared._left == left


async def test_blocks_that_are_read_ahead_become_smaller_as_more_queues_read(tmp_path: Path, left: int) -> None:
    async with AsyncQueue(tmp_path / "0", fsync="never") as queue:
        await queue.put_many([LONG] * ITEMS)
    readers = []
    for number in range(1, 60):
        (tmp_path / str(number)).mkdir()
        for file in (tmp_path / "0").iterdir():
            (tmp_path / str(number) / file.name).write_bytes(file.read_bytes())
        readers.append(AsyncQueue(tmp_path / str(number), fsync="never"))
    for reader in readers:
        assert await reader.get() == LONG
    ahead = [reader._engine.buffer._ahead + READ_LEAST for reader in readers if reader._engine]
    assert ahead[0] == READ_AHEAD
    assert ahead[-1] < READ_AHEAD // 8
    assert sum(ahead) <= left + len(readers) * READ_LEAST
    assert await readers[-1].get_many(ITEMS) == [LONG] * (ITEMS - 1)
    for reader in readers:
        await reader.close()
    assert shared._left == left


async def test_a_queue_that_keeps_up_again_lets_others_have_what_its_burst_took(tmp_path: Path, left: int) -> None:
    async with AsyncQueue(tmp_path, fsync="never") as queue:
        await queue.put_many([LONG] * ITEMS)
        assert shared._left < left
        assert len(await queue.get_many(ITEMS)) == ITEMS
        assert shared._left == left
        await queue.put_many([LONG] * ITEMS)
        for _ in range(ITEMS):
            await queue.get()
        assert shared._left == left


@pytest.mark.filterwarnings("ignore:unclosed queue")
async def test_a_queue_that_is_dropped_lets_others_have_what_it_took(tmp_path: Path, left: int) -> None:
    queue = await AsyncQueue(tmp_path, fsync="never").open()
    await queue.put_many([LONG] * ITEMS)
    assert shared._left < left <= TOTAL
    del queue
    gc.collect()
    assert shared._left == left
