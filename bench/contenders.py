"""What is measured: asyncpq, persist-queue, and what the kernel itself takes for the same bytes.

Each function makes what it needs in a directory of its own, times the part that counts, and returns seconds an
operation.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import persistqueue

from asyncpq import AsyncQueue, fsync
from asyncpq.bench.contenders.ours import SlowFiles
from bench.measure import Measured, in_slices, stopwatch

ITEM: Final = "x" * 21
CHUNKSIZE: Final = 100
INFO: Final = {"chunksize": CHUNKSIZE, "size": 10_000, "tail": [0, 0, 0], "head": [100, 50, 2000]}
SLOT: Final = 512  # bytes of info that asyncpq writes for each put
PROTOCOL: Final = 4  # of the pickles
SLICE: Final = 2 * CHUNKSIZE  # items
MANY: Final = 100  # items of a put_many or a get_many


def folder(where: Path) -> Path:
    """Return a new directory in *where*.

    It is left there until the end of the run: on ext4, files that were just removed make it slow to create others.
    """
    return Path(tempfile.mkdtemp(dir=where))


async def making_files(where: Path, count: int) -> Measured:
    """What the kernel takes to make an empty file: once a chunk, a put pays it."""
    path = folder(where)
    with stopwatch() as making:
        files = [make(path / str(number)) for number in range(count)]
    for file in files:
        os.close(file)
    return {"file": making.seconds / count}


def run(coroutine: Coroutine[Any, Any, Measured]) -> Measured:
    """Run in a loop of its own, without debug mode."""
    return asyncio.run(coroutine, debug=False)


# -- asyncpq --------------------------------------------------------------------------------------------------


async def put(queue: Any, count: int) -> None:
    for _ in range(count):
        await queue.put(ITEM)


async def get(queue: AsyncQueue, count: int) -> None:
    for _ in range(count):
        await queue.get()


async def consume(queue: Any, count: int) -> None:
    for _ in range(count):
        await queue.get()
        await queue.task_done()


async def beside_the_kernel(where: Path, slices: int) -> Measured:
    """Put under `never`, in turn with what no put can do without."""
    path = folder(where)
    with Kernel(path) as kernel:
        async with AsyncQueue(path / "queue", chunksize=CHUNKSIZE, fsync="never") as queue:
            parts = {"put never": lambda: put(queue, SLICE), "kernel": lambda: kernel.put(SLICE)}
            return per_item(await in_slices(slices, parts))


async def put_and_consume(where: Path, slices: int) -> Measured:
    """Put, in turn with get + task_done of what was put, under `never`."""
    async with AsyncQueue(folder(where), chunksize=CHUNKSIZE, fsync="never") as queue:
        parts = {"put": lambda: put(queue, SLICE), "consume": lambda: consume(queue, SLICE)}
        return per_item(await in_slices(slices, parts))


def per_item(measured: Measured) -> Measured:
    """Return seconds an item instead of a slice."""
    return {name: seconds / SLICE for name, seconds in measured.items()}


async def asyncpq_for(where: Path, seconds: float) -> Measured:
    """Put under the default policy for so many seconds, while full chunks and windows are synced."""
    count = 0
    path = folder(where)
    async with AsyncQueue(path, chunksize=CHUNKSIZE) as queue:
        end = time.perf_counter() + seconds
        with stopwatch() as putting:
            while time.perf_counter() < end:
                await put(queue, 1000)
                count += 1000
    return {"put for long": putting.seconds / count}


async def alone_and_many(where: Path, slices: int) -> Measured:
    """Put and get alone, in turn with put_many and get_many of 100, under the default policy."""
    items = [ITEM] * MANY

    async def put_many() -> None:
        for _ in range(SLICE // MANY):
            await many.put_many(items)

    async def get_many() -> None:
        for _ in range(SLICE // MANY):
            await many.get_many(MANY)

    path = folder(where)
    async with (
        AsyncQueue(path / "alone", chunksize=CHUNKSIZE) as alone,
        AsyncQueue(path / "many", chunksize=CHUNKSIZE) as many,
    ):
        putting = await in_slices(slices, {"put alone": lambda: put(alone, SLICE), "put_many": put_many})
        getting = await in_slices(slices, {"get alone": lambda: get(alone, SLICE), "get_many": get_many})
    return per_item(putting | getting)


async def always(where: Path, producers: int, each: int) -> Measured:
    """Put under `always` from so many producers at once."""
    count = producers * each
    path = folder(where)
    async with AsyncQueue(path, chunksize=CHUNKSIZE, fsync=fsync.Always()) as queue:
        before = queue.stats()["syncs"]
        with stopwatch() as putting:
            await asyncio.gather(*(put(queue, each) for _ in range(producers)))
        syncs = queue.stats()["syncs"] - before
    return {f"always {producers}": putting.seconds / count, f"syncs {producers}": syncs / count}


async def backlog(path: Path, count: int) -> None:
    """Make a closed queue of so many items."""
    items = [ITEM] * 1000
    async with AsyncQueue(path, chunksize=CHUNKSIZE, fsync="never") as queue:
        for _ in range(count // len(items)):
            await queue.put_many(items)


async def opening(path: Path) -> Measured:
    """Open it and close it again."""
    queue = AsyncQueue(path)
    with stopwatch() as watch:
        await queue.open()
    await queue.close()
    return {"open": watch.seconds}


async def lag_while_putting(where: Path, producers: int, delay: float, seconds: float) -> list[float]:
    """Return how late the loop was, each millisecond, while producers put under `always` on a slow disk."""
    path = folder(where)
    queue = AsyncQueue(path, chunksize=CHUNKSIZE, fsync="always")
    queue._files = SlowFiles(delay)
    async with queue:
        tasks = [asyncio.create_task(put(queue, 1_000_000_000)) for _ in range(producers)]
        lags = await sampled_lag(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return lags


async def sampled_lag(seconds: float) -> list[float]:
    """Sleep a millisecond again and again; return by how many seconds each sleep was too long."""
    lags = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        await asyncio.sleep(0.001)
        lags.append(time.perf_counter() - began - 0.001)
    return lags


# -- persist-queue --------------------------------------------------------------------------------------------


def new_async(path: Path) -> Any:
    return persistqueue.AsyncQueue(str(path), chunksize=CHUNKSIZE, tempdir=str(path.parent))  # type: ignore[no-untyped-call]


def new_sync(path: Path) -> Any:
    return persistqueue.Queue(str(path), chunksize=CHUNKSIZE, tempdir=str(path.parent))


async def beside_persist_queue(where: Path, slices: int, ours: int, theirs: int) -> Measured:
    """Put, then get + task_done: asyncpq's default policy, in turn with both queues of persist-queue."""
    path = folder(where)
    their_async, their_sync = new_async(path / "async"), new_sync(path / "sync")

    async def put_sync() -> None:
        for _ in range(theirs):
            their_sync.put(ITEM)

    async def consume_sync() -> None:
        for _ in range(theirs):
            their_sync.get()
            their_sync.task_done()

    async with AsyncQueue(path / "ours", chunksize=CHUNKSIZE) as queue:
        putting = {"put": lambda: put(queue, ours), "put async": lambda: put(their_async, theirs), "put sync": put_sync}
        measured = await in_slices(slices, putting)
        getting = {
            "get": lambda: consume(queue, ours),
            "get async": lambda: consume(their_async, theirs),
            "get sync": consume_sync,
        }
        measured |= await in_slices(slices, getting)
    await their_async.close()
    return {name: seconds / (theirs if "sync" in name else ours) for name, seconds in measured.items()}


# -- the kernel -----------------------------------------------------------------------------------------------


class Kernel:
    """What no put can do without: pickle, os.write, pickle of info, os.pwrite of as many bytes."""

    def __init__(self, path: Path) -> None:
        self._chunk, self._info = make(path / "chunk"), make(path / "info")

    async def put(self, count: int) -> None:
        dumps, write, pwrite, chunk, info = pickle.dumps, os.write, os.pwrite, self._chunk, self._info
        for _ in range(count):
            write(chunk, dumps(ITEM, PROTOCOL))
            pwrite(info, dumps(INFO, PROTOCOL).ljust(SLOT, b"\0"), 0)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._chunk)
        os.close(self._info)


async def the_kernel(where: Path, seconds: float) -> Measured:
    """The kernel's own cost for so many seconds."""
    count = 0
    with Kernel(folder(where)) as kernel:
        end = time.perf_counter() + seconds
        with stopwatch() as writing:
            while time.perf_counter() < end:
                await kernel.put(1000)
                count += 1000
    return {"kernel for long": writing.seconds / count}


def bare_sync(where: Path, count: int) -> Measured:
    """One write of a record's bytes and one fdatasync."""
    record = pickle.dumps(ITEM, PROTOCOL)
    path = folder(where)
    chunk = make(path / "chunk")
    try:
        with stopwatch() as writing:
            for _ in range(count):
                os.write(chunk, record)
                os.fdatasync(chunk)
    finally:
        os.close(chunk)
    return {"bare": writing.seconds / count}


def make(path: Path) -> int:
    """Return the descriptor of a new file."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
