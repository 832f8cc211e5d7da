"""A full disk: only the put that does not fit is refused, and the queue can be drained to the last item.

A short write, half a record, a chunk that cannot be made, an info that has to be written all the same: each file
system does it in its own way.
"""

import asyncio
import errno
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncQueue
from tests import counts
from tests.kill.job import POLICIES, item
from tests.power import mounts
from tests.power.mounts import MIB

ROOM: Final = 384 * 1024  # bytes that are free when the queue begins
LIMIT: Final = 16 * 1024  # bytes of a file, for the limit of the process
GIVE_UP: Final = 12  # refusals in a row: nothing fits any more
FULL: Final = (errno.ENOSPC, errno.EDQUOT)
FILE_SYSTEMS: Final = ("tmpfs", *mounts.KINDS)


class Filler:
    """A file that takes what the queue leaves."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)

    def fill(self) -> None:
        """Leave no byte free."""
        for size in (MIB, 4096, 512, 1):
            try:
                while self._file.write(bytes(size)) == size:
                    pass
            except OSError as error:
                if error.errno not in FULL:
                    raise

    def give(self, room: int) -> None:
        self._file.truncate(max(0, self._file.seek(0, 2) - room))
        self._file.seek(0, 2)

    def close(self) -> None:
        self._file.close()


@contextmanager
def nearly_full(kind: str) -> Iterator[tuple[Path, Filler]]:
    """A file system with ROOM bytes free."""
    with ExitStack() as stack:
        folder = stack.enter_context(mounts.memory(8 * MIB if kind == "tmpfs" else 0))
        root = folder if kind == "tmpfs" else stack.enter_context(mounts.disk(kind, folder)).root
        filler = Filler(root / "filler")
        stack.callback(filler.close)
        (root / "q").mkdir()
        filler.fill()
        filler.give(ROOM)
        yield root, filler


async def put_until_full(queue: AsyncQueue, first: int) -> tuple[list[int], int]:
    """Put until nothing fits, not even small items; return the numbers of those stored, and of refusals."""
    stored: list[int] = []
    number, refused, in_a_row = first, 0, 0
    while in_a_row < GIVE_UP:
        try:
            await queue.put(item(number))
        except OSError as error:
            if error.errno not in FULL:
                raise
            refused, in_a_row = refused + 1, in_a_row + 1
        else:
            stored.append(number)
            in_a_row = 0
        number += 1
    return stored, refused


async def put_together(queue: AsyncQueue, first: int) -> list[int]:
    """Put at once, so that they share a commit, items that fit and items that do not; return those stored."""
    numbers = list(range(first, first + 8))
    results = await asyncio.gather(*(queue.put(item(n)) for n in numbers), return_exceptions=True)
    failures = [result for result in results if result is not None]
    assert all(isinstance(failure, OSError) and failure.errno in FULL for failure in failures), failures
    return [n for n, result in zip(numbers, results, strict=True) if result is None]


async def drain(queue: AsyncQueue, filler: Filler) -> list[Any]:
    """Get and mark as done, one by one; what this frees is taken at once, so that the disk stays full."""
    items = []
    while not await queue.empty():
        items.append(await queue.get())
        await queue.task_done()
        if len(items) % 5 == 0:
            filler.fill()
    return items


async def fill_and_drain(root: Path, filler: Filler, policy: str, chunksize: int) -> tuple[int, int]:
    """Return how many items were stored, and how many were refused."""
    path = root / "q"
    async with AsyncQueue(path, chunksize=chunksize, serializer="msgpack", fsync=POLICIES[policy]) as queue:
        stored, refused = await put_until_full(queue, 0)
        filler.fill()
        stored += await put_together(queue, 10_000)
        assert await queue.qsize() == len(stored)
        half = len(stored) // 2
        items = [await queue.get() for _ in range(half)]
        await queue.task_done()
    filler.fill()
    # Opened, and info made writable in place, with no byte free.
    async with AsyncQueue(path, fsync=POLICIES[policy]) as queue:
        assert not queue.recovery
        items += await drain(queue, filler)
        assert items == [item(number) for number in stored]
        filler.give(ROOM)
        await queue.put("there is room again")
        assert await queue.get() == "there is room again"
    return len(stored), refused


def need(kind: str) -> None:
    if reason := mounts.no_tmpfs() or (kind != "tmpfs" and mounts.lacking(kind)):
        pytest.skip(reason)


@pytest.mark.no_debug
@pytest.mark.parametrize("policy", ["always", "interval"])
def test_a_full_memory_disk_refuses_what_does_not_fit_and_is_drained(policy: str) -> None:
    need("tmpfs")
    with nearly_full("tmpfs") as (root, filler):
        stored, refused = asyncio.run(fill_and_drain(root, filler, policy, 20), debug=False)
    assert min(stored, refused) > 0


@pytest.mark.soak
@pytest.mark.no_debug
@pytest.mark.parametrize("kind", FILE_SYSTEMS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_full_disk_refuses_what_does_not_fit_and_is_drained(kind: str, policy: str) -> None:
    need(kind)
    stored = refused = 0
    for chunksize in (1, 3, 100):
        with nearly_full(kind) as (root, filler):
            more = asyncio.run(fill_and_drain(root, filler, policy, chunksize), debug=False)
        stored, refused = stored + more[0], refused + more[1]
    counts.save("items on a full disk", policy, {f"drained from {kind}": stored, f"refused on {kind}": refused})


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond *limit* bytes: a short write, then EFBIG.  Python ignores SIGXFSZ."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
@pytest.mark.parametrize("many", [False, True], ids=["put", "put_many"])
async def test_a_chunk_that_may_not_grow_refuses_what_does_not_fit(tmp_path: Path, policy: str, many: bool) -> None:
    """The limit cuts a record in two: what was written of it is cut off, and a shorter one still fits there."""
    long, short = "x" * 700, "x"
    async with AsyncQueue(tmp_path / "q", chunksize=1000, serializer="json", fsync=policy) as queue:
        with file_size_limit(LIMIT):
            stored = await _put_long(queue, long, many)
            await queue.put(short)
            with pytest.raises(OSError, match="too large"):
                await queue.put(long)
        assert stored == LIMIT // (len(long) + 3)
        assert (tmp_path / "q" / "q00000").stat().st_size == stored * (len(long) + 3) + len(short) + 3
        await queue.put("after")
        wanted = [long] * stored + [short, "after"]
        assert [await queue.get() for _ in range(await queue.qsize())] == wanted
    async with AsyncQueue(tmp_path / "q", fsync=policy) as queue:
        assert not queue.recovery
        assert [await queue.get() for _ in range(await queue.qsize())] == wanted


async def _put_long(queue: AsyncQueue, long: str, many: bool) -> int:
    """Put until one does not fit; return how many are stored."""
    if many:
        with pytest.raises(OSError, match="too large") as caught:
            await queue.put_many([long] * 100)
        return int(caught.value.stored)  # type: ignore[attr-defined]  # put_many promises it
    for number in range(100):
        try:
            await queue.put(long)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            return number
    raise AssertionError("the limit was not met")
