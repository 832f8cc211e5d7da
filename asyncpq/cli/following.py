"""One look after the other at a queue that others use, and what happened in between.

file queue      put = how far head went;  taken = put - growth       oldest: the time of the tail chunk
SQLite          put = how many ids were given                        oldest: the timestamp of the first row
others          the size alone
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncpq.errors import StorageError
from asyncpq.layout import chunk_name
from asyncpq.sources import open_source
from asyncpq.sources.database import ReadOnly, quoted

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.sources import About, Spec

__all__ = ["Rates", "Sample", "look", "rates"]

LOOKS: Final = 5  # tries to see info and files that belong together


@dataclass(frozen=True, slots=True)
class Sample:
    """What one look saw."""

    at: float  # seconds, by a clock that only goes on
    items: int
    put: int | None  # items ever put; None: that is not known
    bytes_on_disk: int
    chunks: int | None  # files of a file queue
    oldest: float | None  # seconds since the oldest chunk was written to, or the oldest item was put
    open_elsewhere: bool | None


@dataclass(frozen=True, slots=True)
class Rates:
    """Items a second between two samples."""

    put: float
    taken: float


def rates(before: Sample, now: Sample) -> Rates | None:
    """Return what happened between two samples; None where that is not known."""
    seconds = now.at - before.at
    if seconds <= 0 or now.put is None or before.put is None:
        return None
    put = max(0, now.put - before.put)
    taken = max(0, put - (now.items - before.items))
    return Rates(put / seconds, taken / seconds)


def look(spec: Spec) -> Sample:
    """Return what the queue is like at this moment; no lock is taken.

    Raises:
        as `open_source`.
    """
    about = _about(spec)
    put, oldest = None, None
    if about.kind == "file":
        put, oldest = _put(about), _written(spec.path, about.details["tail"][0])
    elif about.kind == "sqlite":
        put, oldest = _rows(spec.path, about)
    return Sample(
        at=time.monotonic(),
        items=about.items or 0,
        put=put,
        bytes_on_disk=about.bytes_on_disk,
        chunks=about.details.get("chunks"),
        oldest=oldest,
        open_elsewhere=about.details.get("open_elsewhere"),
    )


def _about(spec: Spec) -> About:
    for tried in range(LOOKS):
        try:
            with open_source(spec, lock=False) as source:
                return source.about
        except StorageError:  # a writer may have been in the middle of something
            if tried + 1 == LOOKS:
                raise
    raise AssertionError("unreachable")


def _put(about: About) -> int:
    chunk, count, _ = about.details["head"]
    return int(max(0, about.details["chunksize"]) * chunk + count)


def _written(folder: Path, tail: int) -> float | None:
    """Return the seconds since the chunk *tail* was written to, or the one behind it, where that was consumed now."""
    for number in (tail, tail + 1):
        with suppress(FileNotFoundError):
            return max(0.0, time.time() - os.stat(folder / chunk_name(number), follow_symlinks=False).st_mtime)
    return None


def _rows(path: Path, about: About) -> tuple[int | None, float | None]:
    """Return how many rows were ever put, and the seconds since the first that is to come was."""
    table = about.details["table"]
    to_come = "status < 5" if "statuses" in about.details else "1"
    database = ReadOnly(path / "data.db" if path.is_dir() else path, lock=False)
    try:
        put = database.one("SELECT seq FROM sqlite_sequence WHERE name = ?", table)
        first = database.one(f"SELECT timestamp FROM {quoted(table)} WHERE {to_come} ORDER BY _id LIMIT 1")
    finally:
        database.close()
    age = max(0.0, time.time() - first) if isinstance(first, int | float) else None
    return put if isinstance(put, int) else 0, age
