"""After a sync that failed nothing is made durable: the second sync of the same file would report success."""

import asyncio
import errno
from pathlib import Path

import pytest

from asyncpq import AsyncQueue, QueueFailed
from asyncpq.fsync import Interval
from tests.blocked_files import Blocked

WINDOW = 0.02  # seconds


class FailsOnce(Blocked):
    """The first fdatasync after `arm` fails, once it has been let pass; every later call succeeds."""

    def __init__(self) -> None:
        super().__init__()
        self.armed = False
        self.later: list[str] = []

    def before(self, call: str, file: str | None = None) -> None:
        super().before(call, file)
        if self.armed and call == "fdatasync":
            self.armed = False
            raise OSError(errno.EIO, "Input/output error")
        if call in ("fdatasync", "fsync", "fsync_dir"):
            self.later.append(call)


async def failing_queue(path: Path) -> tuple[AsyncQueue, FailsOnce]:
    files = FailsOnce()
    queue = AsyncQueue(path, fsync=Interval(WINDOW))
    queue._files = files  # type: ignore[assignment]  # it takes what the log writes
    await queue.put("durable")
    await queue.sync()
    return queue, files


async def test_a_commit_that_was_asked_for_during_one_that_fails_is_not_begun(tmp_path: Path) -> None:
    """Its mark would say that all is on the disk: opening would believe it, and deliver what the cache dropped."""
    queue, files = await failing_queue(tmp_path)
    with files.at("fdatasync"):
        files.armed = True
        await queue.put("dropped")
        first = asyncio.ensure_future(queue.sync())
        await files.is_reached()
        await queue.put("written during the sync")
        second = asyncio.ensure_future(queue.sync())
        await asyncio.sleep(0)
        files.later.clear()
    for sync in (first, second):
        with pytest.raises(QueueFailed):
            await sync
    await asyncio.sleep(2 * WINDOW)
    await queue.close()
    assert files.later == []


async def test_the_deadline_of_what_was_written_during_a_commit_that_fails_begins_no_other(tmp_path: Path) -> None:
    queue, files = await failing_queue(tmp_path)
    with files.at("fdatasync"):
        files.armed = True
        await queue.put("dropped")
        await files.is_reached()
        await queue.put("written during the sync")
        files.later.clear()
    await asyncio.sleep(5 * WINDOW)
    with pytest.raises(QueueFailed):
        await queue.sync()
    await queue.close()
    assert files.later == []
