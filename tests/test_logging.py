"""The logger `asyncpq` tells what happens to a queue, and never what an item holds."""

import asyncio
import contextlib
import errno
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

import asyncpq
from asyncpq import AsyncQueue, AsyncSQLiteAckQueue, AsyncSQLiteQueue, CorruptRecord, QueueFailed
from tests.test_errors import FailsAt

SECRET: Final = "correct-horse-battery-staple"
ITEM: Final = {"password": SECRET}

pytestmark = pytest.mark.no_debug  # asyncio's own debug messages show what its callbacks are called with


async def healing(path: Path) -> None:
    """A torn record behind the head, and zeros."""
    await filled(path)
    with (path / "q00000").open("ab") as chunk:
        chunk.write(b'{"password": "' + SECRET.encode())
    await drained(path)


async def setting_aside(path: Path) -> None:
    """A damaged record with whole ones behind it."""
    await filled(path)
    file = path / "q00000"
    file.write_bytes(file.read_bytes().replace(b'{"', b'}"', 1))
    async with AsyncQueue(path, on_corrupt="skip") as queue:
        assert await queue.get() == ITEM


async def raising(path: Path) -> None:
    """The same, raised to a caller who logs it."""
    await filled(path)
    file = path / "q00000"
    file.write_bytes(file.read_bytes().replace(b'{"', b'}"', 1))
    async with AsyncQueue(path) as queue:
        with pytest.raises(CorruptRecord) as raised:
            await queue.get()
    logging.getLogger("asyncpq").error("caught", exc_info=raised.value)


async def repairing(path: Path) -> None:
    await filled(path)
    file = path / "q00000"
    file.write_bytes(file.read_bytes().replace(b'{"', b'}"', 1))
    assert await asyncpq.repair(path)


async def failing_syncs(path: Path) -> None:
    queue = AsyncQueue(path)
    queue._files = files = FailsAt("fdatasync", 1, errno.EIO)
    await queue.open()
    await queue.put(ITEM)
    files.start()
    with pytest.raises(QueueFailed):
        await queue.sync()
    await queue.close()
    await drained(path)


async def dead_letters(path: Path) -> None:
    async with AsyncQueue(path, dead_letters=path / "dead", max_attempts=1, lease=0.01) as queue:
        await queue.put_many([ITEM] * 3)
        await (await queue.claim()).reject(ValueError(SECRET))
        await (await queue.claim()).nack(error=SECRET)
        with contextlib.suppress(RuntimeError):
            async with queue.receive():
                raise RuntimeError(SECRET)


async def ending_leases(path: Path) -> None:
    async with AsyncQueue(path, lease=0.01) as queue:
        await queue.put(ITEM)
        await queue.claim()
        await queue.claim()


async def rows(path: Path) -> None:
    async with AsyncSQLiteAckQueue(path, lease=0.05, max_attempts=2, on_corrupt="skip") as queue:
        await queue.put_many([ITEM] * 4)
        engine = queue._engine
        assert engine is not None
        engine.store.database.execute("UPDATE ack_queue_default SET data = ? WHERE _id = 1", (SECRET.encode(),))
        await (await queue.claim()).reject(ValueError(SECRET))
        await (await queue.claim()).nack(error=SECRET)
        await queue.claim_many(2)
        await queue.claim()


async def broken_rows(path: Path) -> None:
    async with AsyncSQLiteQueue(path / "q.db") as queue:
        await queue.put_many([ITEM] * 2)
        engine = queue._engine
        assert engine is not None
        engine.store.database.execute("UPDATE queue SET data = ? WHERE _id = 1", (SECRET.encode(),))
    await asyncpq.sqlite.repair(path / "q.db")


async def refused_items(path: Path) -> None:
    async with AsyncQueue(path, serializer="json") as queue:
        with pytest.raises(TypeError) as raised:
            await queue.put({SECRET: {SECRET}})
    logging.getLogger("asyncpq").error("caught", exc_info=raised.value)


async def moving(path: Path) -> None:
    await filled(path / "old")
    await asyncpq.migrate(path / "old", path / "new", serializer="msgpack")
    await asyncpq.copy(path / "new", path / "copy")
    await drained(path / "copy")


async def filled(path: Path) -> None:
    async with AsyncQueue(path, serializer="json") as queue:
        await queue.put_many([ITEM] * 3)


async def drained(path: Path) -> None:
    async with AsyncQueue(path) as queue:
        while await queue.qsize():
            await queue.get()
        await queue.task_done()


PATHS: Final[dict[Callable[[Path], Awaitable[None]], tuple[int, str]]] = {
    healing: (logging.WARNING, "cut"),
    setting_aside: (logging.WARNING, "in chunk 0 at byte 0 cannot be read; it is set aside in damaged/"),
    raising: (logging.INFO, "opened with fsync=interval: 3 items"),
    repairing: (logging.WARNING, "set aside"),
    failing_syncs: (logging.ERROR, "Input/output error; this queue takes no more calls"),
    dead_letters: (logging.WARNING, "goes to the dead letters after 1 attempts: ValueError"),
    ending_leases: (logging.WARNING, "1 items are given out again: their lease of 0.01 s is over"),
    rows: (logging.WARNING, "items are given out again: their lease is over"),
    broken_rows: (logging.WARNING, "repaired: "),
    refused_items: (logging.INFO, "closed"),
    moving: (logging.INFO, "opened with fsync="),
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
async def test_it_is_told_and_no_item_is_shown(
    path: Callable[[Path], Awaitable[None]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever becomes of an item: its bytes are in no record of any logger, nor in a traceback that is logged."""
    caplog.set_level(logging.DEBUG)
    await path(tmp_path)
    await asyncio.sleep(0)
    level, text = PATHS[path]
    ours = [record for record in caplog.records if record.name == "asyncpq"]
    assert any(record.levelno == level and text in record.getMessage() for record in ours), caplog.text
    formatter = logging.Formatter()
    shown = [formatter.format(record) + repr(vars(record)) for record in caplog.records]
    assert shown
    assert not [text for text in shown if SECRET in text]


@pytest.mark.parametrize("state", ["made", "open", "closed"])
async def test_no_repr_shows_an_item(state: str, tmp_path: Path) -> None:
    queue: Any = AsyncQueue(tmp_path)
    if state != "made":
        await queue.put(ITEM)
        delivery = await queue.claim()
        assert SECRET not in repr(delivery)
    if state == "closed":
        await queue.close()
    assert SECRET not in repr(queue)
    await queue.close()


def test_nothing_is_printed_where_nobody_configured_logging(tmp_path: Path) -> None:
    """logging prints warnings by itself where a logger has no handler at all."""
    code = "import asyncpq, logging; logging.getLogger('asyncpq').warning('healed')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")
