"""A close that overlaps with an autosave get which is cancelled: the item is not lost."""

import asyncio
from pathlib import Path

import pytest

from asyncpq import AsyncQueue
from tests.stepping import Jobs, jobs  # noqa: F401  # a fixture


async def steps(jobs: Jobs, count: int) -> None:  # noqa: F811
    for _ in range(count):
        jobs.run_one()
        await asyncio.sleep(0)


@pytest.mark.parametrize("between", range(12))
@pytest.mark.parametrize("before", range(8))
@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
async def test_a_cancelled_autosave_get_beside_a_close_loses_nothing(
    policy: str,
    before: int,
    between: int,
    tmp_path: Path,
    jobs: Jobs,  # noqa: F811
) -> None:
    """Its commit may be done already: the tail has to go back before the closing cuts info."""
    queue = AsyncQueue(tmp_path / "q", chunksize=1, fsync=policy, inline_limit=0, autosave=True)
    filling = asyncio.create_task(queue.put_many(["a", "b", "c"]))
    while not filling.done():
        await steps(jobs, 1)
    getting = asyncio.create_task(queue.get())
    await steps(jobs, before)
    closing = asyncio.create_task(queue.close())
    await steps(jobs, between)
    getting.cancel()
    while not (closing.done() and getting.done()):
        await steps(jobs, 1)
    got = [] if getting.cancelled() or getting.exception() else [getting.result()]

    again = AsyncQueue(tmp_path / "q")
    draining = asyncio.create_task(again.get_many(10))
    while not draining.done():
        await steps(jobs, 1)
    ending = asyncio.create_task(again.close())
    while not ending.done():
        await steps(jobs, 1)
    assert got + draining.result() == ["a", "b", "c"]
