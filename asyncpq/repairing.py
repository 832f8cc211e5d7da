"""`repair`: a directory that opens, with every record that can be read; what cannot lies in damaged/.

The same as ``AsyncQueue(path, repair=True)``, without a queue afterwards: the directory is left closed.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncpq import fsync, serializers
from asyncpq.checking import CHUNKSIZE, holds_a_queue
from asyncpq.directory import open_directory
from asyncpq.keeping import KeepingFiles
from asyncpq.layout import INFO, listing
from asyncpq.opening import open_files, refuse_openers, release
from asyncpq.recovery import foresee

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.files import OSFiles
    from asyncpq.opened import Opened, Recovery
    from asyncpq.serializers import Serializer

__all__ = ["RepairReport", "repair"]


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What `repair` did, or would do with *dry_run*.  It is true when there was anything to do."""

    path: Path
    dry_run: bool
    serializer: str
    chunksize: int  # records in a chunk; 0 or less: it never rolls over
    kept: int  # items in the queue now
    adopted: int  # of these, items that info did not count
    lost: int  # items that info counted and that could not be read
    set_aside: tuple[str, ...]  # names in the directory 'damaged'; of a dry run, the first that would be tried
    cut: int  # bytes cut off and not set aside: zeros, or a record that was never finished
    removed: tuple[str, ...]  # names of files that were empty, consumed or never finished
    actions: tuple[str, ...]  # all of it in sentences; never what an item holds
    copies: Path | None = None  # the directory with copies of what was changed or removed; None: there are none

    def __bool__(self) -> bool:
        return bool(self.actions)


async def repair(
    path: str | os.PathLike[str],
    *,
    serializer: Any = None,
    dry_run: bool = False,
    copies: bool = False,
    progress: Callable[[int], None] | None = None,
) -> RepairReport:
    """Make the queue at *path* open with every record that can be read; on return that is durable.

    Damaged bytes, and files that do not belong to the queue's order, are set aside in the directory ``damaged``
    first; nothing that is not understood is deleted.  No pickle is run.  Cut short at any point, by a crash or a
    full disk, it can be run again.  Where there is nothing to repair, nothing is written.

    Args:
        path: the directory.
        serializer: a name or a module, as for AsyncQueue; None: what the directory was written with.
        dry_run: change nothing, and return what would be done.
        copies: copy each file that is changed or removed to a new directory beside this one, durably, before.
        progress: called with the bytes read so far, in the thread that reads; what it raises ends the repair as long
            as nothing was changed, and is ignored then.

    Raises:
        NotAQueue: no directory, neither info nor a chunk in it, or one of them is no regular file.
        QueueLocked: somebody has it open.
        WrongSerializer: it was written with another serializer; nothing was changed.
        OSError: reading or writing failed; nothing is lost, repair again.

    Cancellation: the thread finishes what it began, and gives the lock back at its end.
    """
    given = None if serializer is None else serializers.get(serializer)
    files = KeepingFiles(Path(path), progress, keep=copies)
    return await asyncio.to_thread(_foretell if dry_run else _repair, files, Path(path), given)


def _repair(files: KeepingFiles, path: Path, given: Serializer | None) -> RepairReport:
    files.close(holds_a_queue(files, path))
    dirfd, opened = open_files(
        files, path, serializer=given, chunksize=CHUNKSIZE, policy=fsync.get("interval"), repair=True, lock=True
    )
    try:
        if opened.report:
            _leave_closed(files, dirfd, opened)
        told = _told(path, given or opened.serializer, opened.chunksize, opened.size, opened.report, dry_run=False)
        return replace(told, copies=files.copies)
    finally:
        release(files, dirfd)


def _leave_closed(files: OSFiles, dirfd: int, opened: Opened) -> None:
    """Cut info, which is durable, to its record: exactly what persist-queue would have written."""
    if opened.info_slot:
        fd = files.open_write(dirfd, INFO)
        try:
            files.truncate(fd, opened.info_length)
            files.fsync(fd)
        finally:
            files.close(fd)
    files.fsync_dir(dirfd)


def _foretell(files: OSFiles, path: Path, given: Serializer | None) -> RepairReport:
    files.close(holds_a_queue(files, path))
    dirfd, _ = open_directory(files, path, lock=True)
    try:
        refuse_openers(files, dirfd, path, listing(files.list_dir(dirfd)))
        seen = foresee(files, dirfd, path, serializer=given, chunksize=CHUNKSIZE, repair=True)
        found = seen.found
        return _told(path, found.serializer, found.plan.chunksize, seen.records, seen.report, dry_run=True)
    finally:
        release(files, dirfd)


def _told(
    path: Path, serializer: Serializer, chunksize: int, kept: int, report: Recovery, *, dry_run: bool
) -> RepairReport:
    return RepairReport(
        path=path,
        dry_run=dry_run,
        serializer=serializer.NAME,
        chunksize=chunksize,
        kept=kept,
        adopted=report.adopted,
        lost=report.lost,
        set_aside=report.set_aside,
        cut=report.cut,
        removed=report.removed,
        actions=report.messages,
    )
