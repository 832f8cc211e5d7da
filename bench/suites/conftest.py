"""How the suites measure: whole slices of operations in an event loop, shown as seconds an operation.

round 1   [before]  op op op ... op      one slice of SLICE operations; what comes before it is not timed
round 2   [before]  op op op ... op      the timer counts a slice as one operation: no division is left to the reader
...
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import asyncpq

WARM_UP: Final = 1  # rounds that do not count
Work = Callable[[], Awaitable[object]]


class Timed:
    """One benchmark of a coroutine function."""

    def __init__(self, benchmark: BenchmarkFixture, runner: asyncio.Runner) -> None:
        self.benchmark, self.run = benchmark, runner.run

    def __call__(self, work: Work, *, operations: int, rounds: int, before: Work | None = None) -> None:
        """Time *work*, which does so many *operations*, in so many *rounds*; *before* each of them is not timed."""
        counted(self.benchmark, operations)

        def setup() -> None:
            if before is not None:
                self.run(_awaited(before))
            gc.collect()

        self.benchmark.pedantic(  # type: ignore[no-untyped-call]
            lambda: self.run(_awaited(work)), setup=setup, rounds=rounds, warmup_rounds=WARM_UP, iterations=1
        )


def counted(benchmark: BenchmarkFixture, operations: int) -> None:
    """Let *benchmark* show seconds an operation, where a round does so many of them."""
    benchmark._timer = lambda: time.perf_counter() / operations
    benchmark.extra_info["operations"] = operations


async def _awaited(work: Work) -> None:
    await work()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop without debug mode, which outlives each round."""
    with asyncio.Runner(debug=False) as runner:
        yield runner


@pytest.fixture
def timed(benchmark: BenchmarkFixture, runner: asyncio.Runner) -> Timed:
    return Timed(benchmark, runner)


@pytest.fixture
def opened(runner: asyncio.Runner) -> Iterator[Callable[[Any], Any]]:
    """Open a queue; it is closed when the benchmark is over."""
    queues: list[Any] = []

    def open_now(queue: Any) -> Any:
        queues.append(queue)
        runner.run(queue.open())
        return queue

    yield open_now
    for queue in queues:
        runner.run(queue.close())


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Say whose figures these are: the package that was imported."""
    output_json["package"] = str(Path(asyncpq.__file__).parent)
