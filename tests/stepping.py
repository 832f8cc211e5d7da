"""Time in steps: a turn of the event loop, or one job of the worker threads, whichever the test wants next.

a caller ── await ── job given ── job done ── loop hears of it ── caller goes on
         ^         ^            ^           ^                  ^
         places where a test can stop, look, and cancel
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import pytest

from asyncpq import AsyncQueue, threads
from tests.blocked_files import Fast

STEPS: Final = 10_000  # more than anything here takes


class Jobs:
    """Stands in for the pool of threads: jobs wait until a test runs them, on the loop's own thread."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, job: Callable[[], None]) -> None:
        self._waiting.append(job)

    def run_one(self) -> bool:
        """Run the job that has waited longest, from begin to end."""
        if not self._waiting:
            return False
        self._waiting.popleft()()
        return True

    def run_newest(self) -> None:
        """Run the job that came last: jobs of different lanes may overtake each other."""
        self._waiting.pop()()

    def run_read(self) -> bool:
        """Run the first job that is not one of the writing lane (see Lane.pump)."""
        read = next((job for job in self._waiting if not isinstance(job, partial)), None)
        if read is None:
            return False
        self._waiting.remove(read)
        read()
        return True


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """The jobs of all queues, to be run by the test."""
    jobs = Jobs()
    monkeypatch.setattr(threads.pool, "submit", jobs.submit)
    return jobs


async def ticks(count: int = 10) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def step(jobs: Jobs, number: int) -> None:
    """An even step is a turn of the loop, an odd one a job."""
    if number % 2:
        jobs.run_one()
    else:
        await asyncio.sleep(0)


async def settle(jobs: Jobs) -> None:
    """Go on until nothing is left to do."""
    idle = 0
    while idle < 8:
        idle = 0 if jobs.run_one() else idle + 1
        await asyncio.sleep(0)


async def finished(jobs: Jobs, waiting: Awaitable[Any]) -> Any:
    """What *waiting* returns, with all the steps that it takes."""
    task = asyncio.ensure_future(waiting)
    for number in range(STEPS):
        if task.done():
            return task.result()
        await step(jobs, number)
    task.cancel()
    raise AssertionError(f"it never ends: {task!r}")


class Stepped:
    """`async with`, in steps."""

    def __init__(self, jobs: Jobs, queue: AsyncQueue, *, opens: bool = True) -> None:
        self._jobs, self._queue, self._opens = jobs, queue, opens
        queue._files = Fast()

    async def __aenter__(self) -> AsyncQueue:
        if self._opens:
            await finished(self._jobs, self._queue.open())
        return self._queue

    async def __aexit__(self, *_: object) -> None:
        await finished(self._jobs, self._queue.close())


async def started(*calls: Awaitable[Any]) -> list[asyncio.Future[Any]]:
    """Tasks of *calls*, each begun before the next, and all of them waiting."""
    tasks: list[asyncio.Future[Any]] = []
    for call in calls:
        tasks.append(asyncio.ensure_future(call))
        await ticks(3)
    return tasks


async def drained(queue: AsyncQueue) -> list[Any]:
    """All items of an open queue, each done before the next is got; there are as many as it says."""
    size = await queue.qsize()
    items = []
    while not await queue.empty():
        items.append(await queue.get_nowait())
        if not queue.autosave:
            await queue.task_done()
    assert len(items) == size
    return items
