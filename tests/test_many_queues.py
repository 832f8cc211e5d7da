"""Many queues in one process: what an idle one holds, and what happens when descriptors run out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from asyncpq import AsyncQueue, TooManyOpenFiles
from asyncpq.files import OSFiles
from asyncpq.journal import JOURNAL
from asyncpq.layout import INFO_TEMP

QUEUES: Final = 10
SECONDS: Final = 40


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def child(code: str, *arguments: str) -> str:
    """Run *code* in a process of its own, whose limits may be lowered; return what it printed."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
async def test_an_idle_queue_holds_two_descriptors_also_after_claims_and_full_chunks(
    policy: str, tmp_path: Path
) -> None:
    """The directory, whose lock it holds, and info."""
    queues = [AsyncQueue(tmp_path / str(number), chunksize=3, fsync=policy) for number in range(QUEUES)]
    before = descriptors()
    for number, queue in enumerate(queues):
        await queue.put_many(range(10))
        if number % 2:
            first, second = await queue.claim(), await queue.claim()
            await second.ack()
            await first.ack()
        else:
            await queue.get()
            await queue.task_done()
        await queue.sync()
    held = descriptors() - before
    for queue in queues:
        await queue.close()
    assert held <= 2 * QUEUES
    assert descriptors() == before


OPEN_UNTIL_THE_LIMIT: Final = """
import asyncio, resource, sys
from asyncpq import AsyncQueue, TooManyOpenFiles

folder, policy = sys.argv[1:]
LIMIT = 40

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    queues = []
    try:
        for number in range(LIMIT):
            queue = AsyncQueue(f"{folder}/{number}", chunksize=5, fsync=policy)
            await queue.open()
            await queue.put(0)
            queues.append(queue)
    except TooManyOpenFiles as error:
        await queue.close()
        assert f"RLIMIT_NOFILE={LIMIT}" in str(error), error
        assert "ulimit -n" in str(error), error
        assert isinstance(error, OSError)
    else:
        raise AssertionError("there was no limit")
    await go_on(queues)
    for queue in queues:
        await queue.close()
    print(len(queues))

async def go_on(queues):
    for queue in queues:
        for item in range(1, 4):
            await queue.put(item)
        assert await queue.get() == 0
        await queue.task_done()
        await queue.sync()
    try:  # the chunk is full: the next one finds no descriptor, or one that a sync gave back
        await queues[0].put(4)
    except TooManyOpenFiles:
        await queues[-1].sync()

asyncio.run(main())
"""


@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
async def test_out_of_descriptors_the_queues_that_are_open_go_on_and_keep_every_item(
    policy: str, tmp_path: Path
) -> None:
    """The limit is met while one more queue is opened: the error names it and the way out, and harms no other."""
    opened = int(child(OPEN_UNTIL_THE_LIMIT, str(tmp_path), policy))
    assert opened >= 8
    for number in range(opened):
        async with AsyncQueue(tmp_path / str(number)) as queue:
            assert not queue.recovery
            items = await queue.get_many(10)
            assert items[:3] == [1, 2, 3]
            assert items[3:] in ([], [4])


COMMIT_WITHOUT: Final = """
import asyncio, os, resource, sys
from asyncpq import AsyncQueue, TooManyOpenFiles, fsync

async def main():
    queue = AsyncQueue(sys.argv[1], chunksize=5, fsync=sys.argv[2])
    await queue.put_many(range(23))  # under `never` four full chunks were closed, and have to be opened for a sync
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    spare = []
    try:
        while True:
            spare.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    try:
        await queue.sync()
        print("synced")
    except TooManyOpenFiles as error:
        assert "RLIMIT_NOFILE=64" in str(error), error
        print("refused")
    await queue.put(23)
    if sys.argv[3] == "again":
        os.close(spare.pop())
        await queue.sync()
        assert queue.stats()["not_durable"] == 0
    await queue.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("then", ["again", "close"])
@pytest.mark.parametrize(("policy", "outcome"), [("never", "refused"), ("interval", "synced")])
async def test_a_sync_that_finds_no_descriptor_fails_no_queue_and_may_be_tried_again(
    policy: str, outcome: str, then: str, tmp_path: Path
) -> None:
    """It is no error of the disk: nothing was dropped that a second sync could report as durable."""
    assert child(COMMIT_WITHOUT, str(tmp_path), policy, then).split() == [outcome]
    async with AsyncQueue(tmp_path) as queue:
        assert not queue.recovery
        assert await queue.get_many(100) == list(range(24))


class Short(OSFiles):
    """A process that has no descriptor left while *short*; knows what was synced."""

    def __init__(self) -> None:
        self.short = False
        self.names: dict[int, str] = {}
        self.synced: list[str] = []

    def open_write(self, dirfd: int, name: str) -> int:
        if self.short:
            raise TooManyOpenFiles(24, name, "RLIMIT_NOFILE=3")
        fd = super().open_write(dirfd, name)
        self.names[fd] = name
        return fd

    def create(self, dirfd: int, name: str, mode: int = 0o666) -> int:
        fd = super().create(dirfd, name, mode)
        self.names[fd] = name
        return fd

    def fdatasync(self, fd: int) -> None:
        self.synced.append(self.names[fd])
        super().fdatasync(fd)


async def test_what_could_not_be_opened_is_synced_by_the_next_commit(tmp_path: Path) -> None:
    """Each chunk, before info says that it is durable: a commit that was put off has forgotten none of them."""
    files = Short()
    queue = AsyncQueue(tmp_path, chunksize=5, fsync="never")
    queue._files = files
    async with queue:
        await queue.put_many(range(23))
        await queue.claim()
        await (await queue.claim()).ack()
        files.short = True
        with pytest.raises(TooManyOpenFiles):
            await queue.sync()
        before = queue.stats()["not_durable"]
        files.short = False
        files.synced.clear()
        await queue.sync()
        assert (before, queue.stats()["not_durable"]) == (23, 0)
        assert set(files.synced) == {*(f"q{number:05d}" for number in range(5)), JOURNAL, INFO_TEMP}
        assert files.synced[-1] == INFO_TEMP  # as which info was made, and its descriptor


BACKGROUND: Final = """
import asyncio, os, resource, sys
from asyncpq import AsyncQueue, TooManyOpenFiles, fsync

async def main():
    queue = await AsyncQueue(sys.argv[1], fsync=fsync.Interval(seconds=0.05)).open()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    await queue.put("a")
    spare = []
    try:
        while True:
            spare.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    stored = ["a"]
    try:
        while True:  # until the window is over, and its commit cannot open what a killed process left unsynced
            await queue.put(len(stored))
            stored.append(len(stored))
    except TooManyOpenFiles as error:
        assert "q0000" in str(error) and "q00003" not in str(error), error
    os.close(spare.pop())
    os.close(spare.pop())
    while True:
        try:
            await queue.put("b")
            break
        except TooManyOpenFiles:
            await asyncio.sleep(0)
    await queue.sync()
    await queue.close()
    print(len(stored) + 1)

asyncio.run(main())
"""


async def test_a_commit_in_the_background_without_a_descriptor_is_made_good_when_there_is_one(tmp_path: Path) -> None:
    """Until then a put says so: what was acknowledged would else not be durable in time, and nobody would know."""
    child(KILLED, str(tmp_path))
    stored = int(child(BACKGROUND, str(tmp_path)))
    async with AsyncQueue(tmp_path) as queue:
        assert not queue.recovery
        items = await queue.get_many(300_000)
    assert items[:201_000] == list(range(201_000))
    assert (len(items), items[-1]) == (201_000 + stored, "b")


KILLED: Final = """
import asyncio, os, sys
from asyncpq import AsyncQueue

async def main():
    queue = await AsyncQueue(sys.argv[1], chunksize=100_000, fsync="never").open()
    await queue.put_many(range(201_000))
    os._exit(0)

asyncio.run(main())
"""


async def test_sqlite_queues_out_of_descriptors_say_so(tmp_path: Path) -> None:
    """SQLite itself says `unable to open database file` only."""
    pytest.importorskip("aiosqlite")
    opened = int(child(OPEN_SQLITE, str(tmp_path)))
    from asyncpq import AsyncSQLiteQueue

    for number in range(opened):
        async with AsyncSQLiteQueue(tmp_path / f"{number}.db") as queue:
            assert [await queue.get(), await queue.get()] == [0, 1]


OPEN_SQLITE: Final = """
import asyncio, resource, sys
from asyncpq import AsyncSQLiteQueue, TooManyOpenFiles

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    queues = []
    try:
        for number in range(64):
            queue = AsyncSQLiteQueue(f"{sys.argv[1]}/{number}.db", fsync="interval")
            await queue.put(0)
            queues.append(queue)
    except TooManyOpenFiles as error:
        assert "RLIMIT_NOFILE=64" in str(error), error
    else:
        raise AssertionError("there was no limit")
    for queue in queues:
        await queue.put(1)
        await queue.sync()
        await queue.close()
    print(len(queues))

asyncio.run(main())
"""


def test_the_error_of_a_missing_descriptor_is_an_oserror_with_its_path_and_number() -> None:
    error = TooManyOpenFiles(24, Path("jobs"), "RLIMIT_NOFILE=3")
    assert (error.errno, error.filename, error.path, error.limit) == (24, "jobs", Path("jobs"), "RLIMIT_NOFILE=3")
