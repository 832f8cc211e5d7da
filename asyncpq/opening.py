"""Opening a queue: lock, refuse other openers, heal; all of it in one job of a worker thread."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from asyncpq import threads
from asyncpq.directory import open_directory, refuse_other_openers
from asyncpq.engine import Engine
from asyncpq.lane import call_loop, resolve
from asyncpq.layout import INFO, Listing, chunk_name, listing
from asyncpq.recovery import open_queue

if TYPE_CHECKING:
    from asyncpq.files import Files
    from asyncpq.fsync import Policy
    from asyncpq.opened import Opened
    from asyncpq.serializers import Serializer


def open_files(
    files: Files,
    path: Path,
    *,
    serializer: Serializer | None,
    chunksize: int,
    policy: Policy,
    repair: bool,
    lock: bool,
) -> tuple[int, Opened]:
    """Return the locked descriptor of the directory and what lies in it; on an error nothing is left open.

    Raises:
        see `open_directory`, `refuse_other_openers` and `open_queue`.
    """
    dirfd, made = open_directory(files, path, lock=lock)
    try:
        there = listing(files.list_dir(dirfd))
        if lock:
            refuse_openers(files, dirfd, path, there)
        return dirfd, open_queue(
            files, dirfd, path, there, serializer=serializer, chunksize=chunksize, policy=policy, repair=repair
        )
    except BaseException:
        release(files, dirfd)
        files.remove_path(made)
        raise


def refuse_openers(files: Files, dirfd: int, path: Path, there: Listing) -> None:
    """Raise QueueLocked when a program that takes no lock has the queue open.

    persist-queue holds its head and its tail chunk open.
    """
    ends = sorted({there.numbers[0], there.numbers[-1]}) if there.numbers else []
    names = [INFO] * (INFO in there.others) + [chunk_name(number) for number in ends]
    refuse_other_openers(files, dirfd, path, names)


def release(files: Files, dirfd: int) -> None:
    """Give back the lock and the descriptor."""
    with suppress(OSError):
        files.unlock(dirfd)
    files.close(dirfd)


def open_engine(
    files: Files,
    path: Path,
    loop: asyncio.AbstractEventLoop,
    *,
    serializer: Serializer | None,
    chunksize: int,
    policy: Policy,
    repair: bool,
    lock: bool,
    inline_limit: int,
) -> asyncio.Future[Engine]:
    """Return a future of the engine.

    Cancellation: the opening goes on; whoever asked keeps the future.
    """
    future: asyncio.Future[Engine] = loop.create_future()

    def job() -> None:
        try:
            dirfd, opened = open_files(
                files, path, serializer=serializer, chunksize=chunksize, policy=policy, repair=repair, lock=lock
            )
        except BaseException as error:
            call_loop(loop, resolve, future, None, error)
            return
        if not call_loop(loop, opened_now, dirfd, opened):
            release(files, dirfd)

    def opened_now(dirfd: int, opened: Opened) -> None:
        try:
            resolve(future, Engine(files, dirfd, path, opened, policy, loop, inline_limit), None)
        except BaseException as error:
            release(files, dirfd)
            resolve(future, None, error)

    threads.pool.submit(job)
    return future
