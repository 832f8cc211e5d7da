"""An error at every system call of every operation: what fails is undone or latched, and nothing is left behind."""

import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncQueue, QueueFailed
from asyncpq.files import OSFiles

WRITES: Final = ("pwrite", "create", "open_write", "truncate", "size")
READS: Final = ("open_read", "pread", "list_dir", "open_dir", "lock", "size")
SYNCS: Final = ("fsync", "fdatasync", "fsync_dir", "rename")
CODES: Final = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EMFILE)
SHORT: Final = -1  # instead of an error: a part is written, and the rest meets a full disk
BIG: Final = b"x" * 3000
MANY_CALLS: Final = 60  # no operation here makes so many calls of one kind


class FailsAt(OSFiles):
    """The calls named *name* fail from number *at* on, *times* times; calls are counted from `start` on."""

    def __init__(self, name: str = "", at: int = 0, code: int = 0, times: int = 1) -> None:
        self.name, self.at, self.code, self.times = name, at, code, times
        self.seen = self.hit = 0
        self.on = False
        for method in {*WRITES, *READS, *SYNCS, "unlink"} - {"pwrite"}:
            # What has to be durable is another test's matter: a sync that does not fail is only a call.
            call = os.fstat if "sync" in method else getattr(self, method)
            setattr(self, method, self._wrapped(method, call))
        self.pwrite = self._pwrite  # type: ignore[assignment]

    def start(self) -> None:
        self.on = True

    def _fails(self, method: str) -> bool:
        if not self.on or method != self.name:
            return False
        self.seen += 1
        fails = self.at <= self.seen < self.at + self.times
        self.hit += fails
        return fails

    def _wrapped(self, method: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self._fails(method):
                raise OSError(self.code, os.strerror(self.code))
            return call(*args, **kwargs)

        return wrapped

    def _pwrite(self, fd: int, data: bytes, offset: int, /) -> int:
        # One sector, which is there already, is not written in part.
        if (self.code == SHORT and len(data) == 512) or not self._fails("pwrite"):
            return os.pwrite(fd, data, offset)
        if self.code != SHORT:
            raise OSError(self.code, os.strerror(self.code))
        # The next call is the rest of this write: it finds the disk full.
        self.code = errno.ENOSPC
        self.times += 1
        return os.pwrite(fd, bytes(data[: max(1, len(data) // 2)]), offset)


def tree(path: Path) -> dict[str, bytes]:
    """What the directory says; of info only the record, since the rest of the slot may change."""
    found = {file.name: file.read_bytes() for file in sorted(path.iterdir()) if file.is_file()}
    if "info" in found:
        found["info"] = found["info"][:448].rstrip(b"\0")
    return found


def descriptors(path: Path) -> list[str]:
    """What this process has open there."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith(str(path)):
            found.append(target.removesuffix(" (deleted)"))
    return sorted(found)


async def put(queue: AsyncQueue) -> None:
    await queue.put("new")


async def put_big(queue: AsyncQueue) -> None:
    await queue.put(BIG)


async def roll_over(queue: AsyncQueue) -> None:
    """The head chunk has two of three records."""
    await queue.put("new")
    await queue.put("newer")


async def put_many(queue: AsyncQueue) -> None:
    await queue.put_many(["new", "newer", BIG, "newest"])


async def task_done(queue: AsyncQueue) -> None:
    await queue.get()
    await queue.task_done()


async def reclaim(queue: AsyncQueue) -> None:
    for _ in range(4):
        await queue.get()
    await queue.task_done()


async def sync(queue: AsyncQueue) -> None:
    await queue.sync()


async def compact(queue: AsyncQueue) -> None:
    await queue.put("new")
    while not await queue.empty():
        await queue.get()
    await queue.task_done()
    await queue.compact()


async def clear(queue: AsyncQueue) -> None:
    await queue.clear()


OPERATIONS: Final[dict[str, Callable[[AsyncQueue], Awaitable[None]]]] = {
    operation.__name__: operation
    for operation in (put, put_big, roll_over, put_many, task_done, reclaim, sync, compact, clear)
}
STORED: Final = [f"item-{number}" for number in range(5)]


async def filled(path: Path, policy: str, files: FailsAt, *, fresh: bool = False) -> AsyncQueue:
    """A queue with five items, chunksize 3, whose files fail from now on."""
    queue = AsyncQueue(path, chunksize=3, fsync=policy, inline_limit=1000)
    queue._files = files
    await queue.open()
    if not fresh:
        await queue.put_many(STORED)
    files.start()
    return queue


async def drained(path: Path) -> list[Any]:
    async with AsyncQueue(path) as queue:
        items: list[Any] = []
        while not await queue.empty():
            items += await queue.get_many(100)
        return items


@pytest.mark.parametrize(
    "code",
    [errno.ENOSPC, SHORT, *(pytest.param(code, marks=pytest.mark.soak) for code in CODES if code != errno.ENOSPC)],
    ids=lambda code: errno.errorcode.get(code, "short"),
)
@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
@pytest.mark.parametrize("name", ["put", "put_big", "put_many"])
async def test_a_put_that_does_not_fit_changes_nothing(name: str, policy: str, code: int, tmp_path: Path) -> None:
    """Whichever write fails: what is stored is a prefix, the files say just that, and the next put works."""
    for call in ("pwrite", "create", "open_write"):
        if code == SHORT and call != "pwrite":
            continue
        for fresh in (False, True):
            for at in range(1, MANY_CALLS):
                path = tmp_path / f"{call}-{fresh}-{at}"
                files = FailsAt(call, at, code)
                queue = await filled(path, policy, files, fresh=fresh)
                before, size = tree(path), await queue.qsize()
                error: OSError | None = None
                try:
                    await OPERATIONS[name](queue)
                except OSError as raised:
                    error = raised
                files.on = False
                if not files.hit:
                    await queue.close()
                    break
                if error is not None and not getattr(error, "stored", 0):
                    assert tree(path) == before
                    assert await queue.qsize() == size
                await queue.put("afterwards")
                expected = await queue.qsize()
                await queue.close()
                assert descriptors(path) == []
                found = await drained(path)
                assert len(found) == expected
                assert found[:size] == ([] if fresh else STORED)
                assert found[-1] == "afterwards"
            else:
                pytest.fail("it never ended")


@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
@pytest.mark.parametrize("name", ["task_done", "reclaim", "clear", "compact"])
async def test_a_commit_that_cannot_be_written_changes_nothing(name: str, policy: str, tmp_path: Path) -> None:
    for at in range(1, MANY_CALLS):
        path = tmp_path / str(at)
        files = FailsAt("pwrite", at, errno.ENOSPC)
        queue = await filled(path, policy, files)
        unfinished = queue.stats()["unfinished"]
        with suppress(OSError):
            await OPERATIONS[name](queue)
        files.on = False
        if not files.hit:
            await queue.close()
            return
        assert queue.stats()["unfinished"] in range(unfinished + 2)
        await queue.put("afterwards")
        await queue.close()
        assert descriptors(path) == []
        assert (await drained(path))[-1] == "afterwards"
    pytest.fail("it never ended")


@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
@pytest.mark.parametrize("name", [*OPERATIONS, "close"])
@pytest.mark.parametrize("call", SYNCS)
async def test_a_failed_sync_latches_the_queue(call: str, name: str, policy: str, tmp_path: Path) -> None:
    """Nobody retries: a second sync may answer 0 for pages that are gone.  What was acknowledged is there again."""
    for fresh in (False, True):
        for at in range(1, MANY_CALLS):
            path = tmp_path / f"{fresh}-{at}"
            files = FailsAt(call, at, errno.EIO)
            queue = await filled(path, policy, files, fresh=fresh)
            acknowledged = await queue.qsize()
            failed = False
            try:
                if fresh and name in ("task_done", "reclaim"):
                    await queue.put("so that there is something to get")
                if name != "close" and not (fresh and name == "reclaim"):
                    await OPERATIONS[name](queue)
                await queue.sync()
            except QueueFailed:
                failed = True
            if failed:
                with pytest.raises(QueueFailed):
                    await queue.put("later")
                with pytest.raises(QueueFailed):
                    await queue.get()
                with pytest.raises(QueueFailed):
                    await queue.task_done()
                before = tree(path)
                await queue.close()
                assert tree(path) == before, "close of a failed queue writes nothing"
            else:
                try:
                    await queue.close()
                except QueueFailed:
                    failed = True
            assert descriptors(path) == []
            assert failed == bool(files.hit)
            if name in ("put", "put_big", "roll_over", "put_many", "sync", "close"):
                assert len(await drained(path)) >= acknowledged
            if not files.hit:
                break
        else:
            pytest.fail("it never ended")


@pytest.mark.parametrize("call", ["open_read", "pread"])
async def test_a_read_that_fails_leaves_the_item(call: str, tmp_path: Path) -> None:
    files = FailsAt(call, 1, errno.EIO)
    queue = await filled(tmp_path, "interval", FailsAt())
    await queue.close()
    queue = AsyncQueue(tmp_path)
    queue._files = files
    async with queue:
        files.start()
        with pytest.raises(OSError, match="Input/output error"):
            await queue.get()
        assert await queue.get() == STORED[0]


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("call", sorted({*READS, *WRITES, *SYNCS} - {"rename"}))
async def test_an_opening_that_fails_leaves_nothing(call: str, fresh: bool, tmp_path: Path) -> None:
    """No directory, no file, no descriptor, no lock; and the next opening works."""
    for at in range(1, MANY_CALLS):
        path = tmp_path / str(at)
        if not fresh:
            queue = await filled(path, "interval", FailsAt())
            await queue.close()
        before = tree(path) if path.exists() else None
        files = FailsAt(call, at, errno.EMFILE)
        files.start()
        queue = AsyncQueue(path)
        queue._files = files
        failed = False
        try:
            await queue.open()
        except OSError:
            failed = True
        assert failed == bool(files.hit)
        files.on = False
        if failed:
            assert (tree(path) if path.exists() else None) == before
            assert descriptors(path) == []
        await queue.open()
        await queue.put("afterwards")
        await queue.close()
        assert descriptors(path) == []
        if not failed:
            return
    pytest.fail("it never ended")


async def test_a_chunk_that_cannot_be_removed_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Space is not given back, but nothing is lost and nothing fails."""
    files = FailsAt("unlink", 1, errno.EACCES)
    queue = await filled(tmp_path, "interval", files)
    await queue.put_many(["a", "b", "c"])

    for _ in range(3):
        await queue.get()
    await queue.task_done()
    assert "cannot be removed" in caplog.text
    assert (tmp_path / "q00000").exists()

    for _ in range(3):
        await queue.get()
    await queue.task_done()
    await queue.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["info", "q00002"]
