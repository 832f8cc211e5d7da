"""The SQLite family: put, get, ack, put_many, unique keys, priorities."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from bench.contenders import ITEM, consume, put
from bench.suites.conftest import Timed

sqlite = pytest.importorskip("asyncpq.sqlite", exc_type=ImportError)

SLICE: Final = 100  # operations of a round
MANY: Final = 1000  # items of a put_many
ROUNDS: Final = 10

Open = Callable[[Any], Any]


@pytest.mark.benchmark(group="SQLite")
@pytest.mark.parametrize("policy", ["never", "interval", "always"])
def test_put(policy: str, timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(sqlite.AsyncSQLiteQueue(tmp_path, fsync=policy))
    timed(lambda: put(queue, SLICE), operations=SLICE, rounds=ROUNDS)


@pytest.mark.benchmark(group="SQLite")
def test_put_many(timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(sqlite.AsyncSQLiteQueue(tmp_path, fsync="never"))
    timed(lambda: queue.put_many([ITEM] * MANY), operations=MANY, rounds=ROUNDS)


@pytest.mark.benchmark(group="SQLite")
def test_get_and_task_done(timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(sqlite.AsyncSQLiteQueue(tmp_path, fsync="never"))
    timed(lambda: consume(queue, SLICE), before=_filled(queue), operations=SLICE, rounds=ROUNDS)


@pytest.mark.benchmark(group="SQLite")
def test_get_and_ack(timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(sqlite.AsyncSQLiteAckQueue(tmp_path, fsync="never"))

    async def work() -> None:
        for _ in range(SLICE):
            await queue.ack(await queue.get())

    timed(work, before=_filled(queue), operations=SLICE, rounds=ROUNDS)


@pytest.mark.benchmark(group="SQLite")
def test_put_unique(timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(sqlite.AsyncUniqueQ(tmp_path, fsync="never"))
    numbers = itertools.count()

    async def work() -> None:
        for number in itertools.islice(numbers, SLICE):
            await queue.put(number)

    timed(work, operations=SLICE, rounds=ROUNDS)


@pytest.mark.benchmark(group="SQLite")
def test_put_and_get_by_priority(timed: Timed, opened: Open, tmp_path: Path) -> None:
    queue = opened(sqlite.AsyncPriorityQueue(tmp_path, fsync="never"))

    async def work() -> None:
        for number in range(SLICE):
            await queue.put(ITEM, number * 7919 % 10)
            await queue.get()

    timed(work, operations=SLICE, rounds=ROUNDS)


def _filled(queue: Any) -> Callable[[], Any]:
    return lambda: queue.put_many([ITEM] * SLICE)
