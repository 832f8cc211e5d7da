"""The file queue: each call alone, a chunk that fills, opening, each policy, group commits."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncQueue
from bench.contenders import ITEM, consume, get, put
from bench.suites.conftest import Timed

SLICE: Final = 1000  # operations of a round; ten chunks
ROUNDS: Final = 50
MANY: Final = 100  # items of a put_many, of a get_many
BACKLOG: Final = 100_000  # items of the queue that is opened
DURABLE: Final = 20  # puts of a producer under `always`, in a round
PRODUCERS: Final = (1, 16, 256)
POLICIES: Final = ("never", "rollover", "interval", "always")

Open = Callable[[Any], Any]


@pytest.mark.benchmark(group="put")
def test_put(timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(AsyncQueue(tmp_path, fsync="never"))
    timed(lambda: put(queue, SLICE), operations=SLICE, rounds=ROUNDS)


@pytest.mark.benchmark(group="put")
def test_put_many(timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(AsyncQueue(tmp_path, fsync="never"))
    items = [ITEM] * MANY

    async def work() -> None:
        for _ in range(SLICE // MANY):
            await queue.put_many(items)

    timed(work, operations=SLICE, rounds=ROUNDS)


@pytest.mark.benchmark(group="put")
def test_rollover(timed: Timed, opened: Open, tmp_path: Path) -> None:
    """Each put fills a chunk and makes the next one's file."""
    queue = opened(AsyncQueue(tmp_path, chunksize=1, fsync="never"))
    timed(lambda: put(queue, MANY), operations=MANY, rounds=ROUNDS)


@pytest.mark.benchmark(group="get")
def test_get(timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(AsyncQueue(tmp_path, fsync="never"))
    timed(lambda: get(queue, SLICE), before=_filled(queue), operations=SLICE, rounds=ROUNDS)


@pytest.mark.benchmark(group="get")
def test_get_many(timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(AsyncQueue(tmp_path, fsync="never"))

    async def work() -> None:
        for _ in range(SLICE // MANY):
            await queue.get_many(MANY)

    timed(work, before=_filled(queue), operations=SLICE, rounds=ROUNDS)


@pytest.mark.benchmark(group="get")
def test_get_and_task_done(timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(AsyncQueue(tmp_path, fsync="never"))
    timed(lambda: consume(queue, SLICE), before=_filled(queue), operations=SLICE, rounds=ROUNDS)


@pytest.mark.benchmark(group="get")
def test_task_done(timed: Timed, opened: Open, tmp_path: Path) -> None:
    """All is got before; each task_done writes the tail where it is."""
    queue = opened(AsyncQueue(tmp_path, fsync="never"))

    async def before() -> None:
        await queue.put_many([ITEM] * SLICE)
        await get(queue, SLICE)

    async def work() -> None:
        for _ in range(SLICE):
            await queue.task_done()

    timed(work, before=before, operations=SLICE, rounds=ROUNDS)


@pytest.mark.benchmark(group="get")
def test_claim_and_ack(timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(AsyncQueue(tmp_path, fsync="never"))
    if not hasattr(queue, "claim"):
        pytest.skip("a revision without claims")

    async def work() -> None:
        for _ in range(SLICE):
            await (await queue.claim()).ack()

    timed(work, before=_filled(queue), operations=SLICE, rounds=ROUNDS)


def _filled(queue: AsyncQueue) -> Callable[[], Any]:
    return lambda: queue.put_many([ITEM] * SLICE)


@pytest.mark.benchmark(group="open")
def test_open_a_new_directory(timed: Timed, tmp_path: Path) -> None:
    """What opens a queue before anything was put; making the directory and its durable name included."""

    async def before() -> None:
        await asyncio.to_thread(shutil.rmtree, tmp_path / "queue", ignore_errors=True)

    timed(partial(_open_and_close, tmp_path / "queue"), before=before, operations=1, rounds=ROUNDS)


@pytest.mark.benchmark(group="open")
def test_open_a_closed_backlog(timed: Timed, tmp_path: Path) -> None:
    async def fill() -> None:
        async with AsyncQueue(tmp_path, fsync="never") as queue:
            await queue.put_many([ITEM] * BACKLOG)

    timed.run(fill())
    timed(partial(_open_and_close, tmp_path), operations=1, rounds=ROUNDS)


async def _open_and_close(path: Path) -> None:
    async with AsyncQueue(path):
        pass


@pytest.mark.benchmark(group="policies")
@pytest.mark.parametrize("policy", POLICIES)
def test_put_under(policy: str, timed: Timed, opened: Open, tmp_path: Path) -> None:
    count = DURABLE if policy == "always" else SLICE
    queue = opened(AsyncQueue(tmp_path, fsync=policy))
    timed(lambda: put(queue, count), operations=count, rounds=ROUNDS)


@pytest.mark.benchmark(group="group commit")
@pytest.mark.parametrize("producers", PRODUCERS)
def test_put_durably_by_producers(producers: int, timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(AsyncQueue(tmp_path, fsync="always"))

    async def work() -> None:
        await asyncio.gather(*(put(queue, DURABLE) for _ in range(producers)))

    timed(work, operations=producers * DURABLE, rounds=10)
