"""`copy`: a consistent copy of a queue, also beside a live writer; the source is never changed.

TARGET.partial     built beside the target, then made durable
TARGET             not there, or complete: one rename puts it in place, and never replaces anything
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncpq import serializers
from asyncpq.copying._files import copy_directory, holds_a_file_queue
from asyncpq.copying._report import Cancelled, CopyReport, Meter

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CopyReport", "copy"]


async def copy(
    path: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    serializer: Any = None,
    progress: Callable[[int, int], object] | None = None,
) -> CopyReport:
    """Copy the queue at *path* to *target*, as it is at one moment; on return the copy is complete and durable.

    A file queue's copy is a closed directory with what lies from tail to head; where nobody has the queue open, its
    files are the source's byte for byte.  A database's copy is one file, without a log, with all its tables.  What
    was acknowledged before the call does not come again, and what was put before it is there.  No lock is taken, no
    pickle is run, and memory stays flat.

    Args:
        path: a file queue's directory, a SQLite database, or a directory with data.db in it.
        target: must not be there; its parent directory must.
        serializer: a name or a module, as for AsyncQueue; None: what the directory was written with.
        progress: called by the event loop with the bytes copied and the bytes to copy; the latter may change.

    Raises:
        NotAQueue: *path* holds no queue.
        CorruptQueue: it is damaged so that it would not open; repair it first.
        FileExistsError: *target* is there, or something lies at TARGET.partial that no copy left.
        QueueLocked: another copy to this target is at work, or a consumer is faster than the copy.
        ValueError: *target* lies in the queue's own directory.
        OSError: reading or writing failed, as on a full disk; there is no target.

    Cancellation: what was built is removed before the CancelledError goes on; there is a target only if it was
        complete by then.
    """
    given = None if serializer is None else serializers.get(serializer)
    stop, loop = threading.Event(), asyncio.get_running_loop()

    def tell(done: int, total: int) -> None:
        if progress is not None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(progress, done, total)

    def work() -> CopyReport:
        meter = Meter(stop, tell)
        source, goal = Path(path), Path(target)
        if holds_a_file_queue(source):
            return copy_directory(source, goal, given, meter)
        from asyncpq.copying._database import copy_database  # needs the extra `sqlite`

        return copy_database(source, goal, meter)

    return await _finished(asyncio.ensure_future(asyncio.to_thread(work)), stop)


async def _finished(job: asyncio.Future[CopyReport], stop: threading.Event) -> CopyReport:
    """Return what *job* returns; when cancelled, stop it, and wait until it has tidied up."""
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        stop.set()
        while not job.done():
            with suppress(asyncio.CancelledError, Exception):
                await asyncio.shield(job)
        if job.cancelled() or isinstance(job.exception(), Cancelled):
            raise
        job.exception()
        raise
