"""What lies at a path, and the functions that fit it."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import asyncpq
from asyncpq.cli.options import Failed
from asyncpq.layout import INFO, chunk_number
from asyncpq.sources.queuelib import INFO as QUEUELIB

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.cli.running import Watch
    from asyncpq.sources import Spec

__all__ = ["bytes_there", "check_queue", "is_file_queue", "repair_queue"]


def is_file_queue(spec: Spec) -> bool:
    """Return whether a file queue lies there, or would be made: what is no database is taken for one.

    Raises:
        Failed: it is a queue of another library, which is only read.
        OSError: it cannot be looked at.
    """
    try:
        names = os.listdir(spec.path)
    except FileNotFoundError:
        return spec.kind != "sqlite"
    except NotADirectoryError:
        return spec.kind == "file"
    if QUEUELIB in names and INFO not in names:  # it has chunks of these names, too
        raise Failed(f"{spec.path} is a queue of queuelib, which can be exported, peeked into and migrated only")
    if spec.kind is not None:
        return spec.kind == "file"
    return not any(name.endswith(".db") for name in names) or any(
        name == INFO or chunk_number(name) is not None for name in names
    )


def bytes_there(spec: Spec) -> int | None:
    """Return the bytes of the files of a file queue; None where there is none."""
    total = 0
    try:
        with os.scandir(spec.path) as entries:
            for entry in entries:
                if entry.name == INFO or chunk_number(entry.name) is not None:
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError:  # whoever opens it says what is wrong
        return None
    return total or None


async def check_queue(spec: Spec, serializer: str | None, watch: Watch) -> Any:
    """Return the report of `asyncpq.check` or `asyncpq.sqlite.check`."""
    if is_file_queue(spec):
        return await asyncpq.check(spec.path, serializer=serializer, progress=watch)
    from asyncpq.sqlite.checking import check

    return await check(spec.path, name=spec.name, serializer=serializer, progress=watch.rows)


async def repair_queue(spec: Spec, serializer: str | None, watch: Watch, *, dry_run: bool) -> tuple[Any, Path | None]:
    """Return the report of a repair, and where a copy of what it changed is: it was made, durably, before."""
    if is_file_queue(spec):
        report = await asyncpq.repair(
            spec.path, serializer=serializer, dry_run=dry_run, copies=not dry_run, progress=watch
        )
        return report, report.copies
    return await _repair_database(spec, serializer, watch, dry_run)


async def _repair_database(spec: Spec, serializer: str | None, watch: Watch, dry_run: bool) -> tuple[Any, Path | None]:
    """See repair_queue; a database whose pages are damaged is kept whole by the repair itself."""
    from asyncpq.sqlite.repairing import repair

    foreseen = await repair(spec.path, name=spec.name, serializer=serializer, dry_run=True, progress=watch.rows)
    watch.go_on()
    if dry_run or not foreseen:
        return foreseen, None
    copy = None if foreseen.rebuilt else await _copy_aside(foreseen.file)
    report = await repair(spec.path, name=spec.name, serializer=serializer)
    return report, report.damaged_file or copy


async def _copy_aside(file: Path) -> Path:
    """Copy the database *file* to FILE.before-repair-N, and return where that is."""
    for number in count(1):
        target = file.with_name(f"{file.name}.before-repair-{number}")
        with suppress(FileExistsError):
            await asyncpq.copy(file, target)
            return target
    raise AssertionError("unreachable")
