"""`check`: what a database holds, what is damaged in it, and what opening would do; nothing is changed.

clean      opening changes nothing that was stored, and every row can be read
healable   opening heals it by itself: a log is replayed, a transaction undone, what the dead held comes back
damaged    opening refuses, or a get would meet what it cannot read, or would leave rows out: repair
"""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from asyncpq import serializers
from asyncpq.sqlite.blobs import blobs
from asyncpq.sqlite.examining import Broken, Healthy, examine, explaining
from asyncpq.sqlite.finding import database_file
from asyncpq.sqlite.looking import look
from asyncpq.sqlite.pacing import Pace
from asyncpq.sqlite.rows import WORDS
from asyncpq.sqlite.tables import ACKED, FAILED, UNACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.examining import Queue
    from asyncpq.sqlite.looking import Look
    from asyncpq.sqlite.rebuilding import Kept

__all__ = ["DatabaseCheck", "DatabaseDamage", "QueueCheck", "check"]

MOST: Final = 1000  # damaged rows of a queue that are listed one by one
_PAGE: Final = re.compile(r"\b[Pp]age (\d+)")
BESIDE: Final = {
    "-wal": "the log of a program that was killed is put into the database",
    "-journal": "the unfinished transaction of a program that was killed is undone",
}


@dataclass(frozen=True, slots=True)
class DatabaseDamage:
    """What cannot be read, or what no get would find."""

    file: str  # the database
    table: str | None
    row: int | None  # its _id
    offset: int  # bytes, of a page; 0 where it is a row
    length: int  # bytes
    why: str  # never what an item holds


@dataclass(frozen=True, slots=True)
class QueueCheck:
    """One queue of the database."""

    cls: str  # the class of asyncpq that it is of
    name: str
    table: str
    serializer: str
    counts: Mapping[str, int]  # rows by "ready", "in flight", "acknowledged", "failed", "unreadable", "set aside"
    items: int  # that can be read and are not answered
    lost: int  # rows that cannot be read


@dataclass(frozen=True, slots=True)
class DatabaseCheck:
    """What `check` found."""

    path: Path
    file: Path  # the database
    status: Literal["clean", "healable", "damaged"]
    queues: tuple[QueueCheck, ...]
    items: int  # that can be got once the database is opened, or repaired where it is damaged
    lost: int  # rows that cannot be read; of a page that is gone nobody knows how many it held
    damage: tuple[DatabaseDamage, ...]
    heals: tuple[str, ...]  # what opening would heal, or repair where it is damaged, in sentences
    refusal: str | None  # why opening raises CorruptDatabase
    open_elsewhere: bool | None  # whether a program is at work in it, this one included; None: the system does not tell
    bytes_on_disk: int  # of the database and its log

    @property
    def serializer(self) -> str:
        """The name of the serializer; of several queues that differ, the names."""
        return ", ".join(sorted({queue.serializer for queue in self.queues}))


async def check(
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    serializer: Any = None,
    progress: Callable[[int, int | None], object] | None = None,
) -> DatabaseCheck:
    """Read every page and every row of the database at *path*, and return what there is; nothing is changed.

    No byte changes, and no log is left that was not there: a log that a killed program left is replayed in a private
    copy (where temporary files are made), and beside a program that is at work the report is of one moment.  No
    pickle is run: a pickle is built as plain data.

    Args:
        path: the database, or a directory with data.db in it.
        name: of the queue to look at; None: all of them.
        serializer: a name or a module, as for the queues; None: what the rows are of, for each queue.
        progress: called now and then, by the thread that reads, with the rows read and the rows that there are (None
            while its pages are checked); what it raises ends the check.

    Raises:
        NotAQueue: no database, or no queue (of that name) in it; or a later asyncpq wrote it.
        WrongSerializer: the rows are of another serializer.
        DatabaseBusy, QueueLocked: a program holds the lock, or changes it faster than it can be read.
        OSError: it cannot be read, or there is no room for a private copy.

    Cancellation: the thread reads on, and what it finds is dropped.
    """
    given = None if serializer is None else serializers.get(serializer)
    if given is not None:
        blobs(given)  # refuses coroutines
    return await asyncio.to_thread(_check, Path(path), name, given, progress)


def _check(
    path: Path, name: str | None, given: Serializer | None, progress: Callable[[int, int | None], object] | None
) -> DatabaseCheck:
    file = database_file(path)

    def watched(seen: Look) -> DatabaseCheck:
        pace = Pace(progress)
        pace.watch(seen.connection)
        return pace.run(lambda: _report(path, seen, name, given, pace))

    return explaining(file, lambda: look(file, watched))


def _report(path: Path, seen: Look, name: str | None, given: Serializer | None, pace: Pace) -> DatabaseCheck:
    found = examine(seen, name, given, pace)
    heals = [BESIDE[seen.unfinished]] if seen.unfinished else []
    damage: list[DatabaseDamage]
    if isinstance(found, Healthy):
        queues = [told(queue) for queue in found.queues]
        damage = [one for queue in found.queues for one in _row_damage(seen.file, queue)]
        heals += sentences(found)
    else:
        queues = [told_kept(kept) for kept in found.rebuilt.kept if name in (None, kept.queue.name)]
        damage = list(_page_damage(seen.file, found))
        heals += rebuilding_sentences(found)
    return DatabaseCheck(
        path=path,
        file=Path(seen.file),
        status="damaged" if damage else "healable" if heals else "clean",
        queues=tuple(queues),
        items=sum(queue.items for queue in queues),
        lost=sum(queue.lost for queue in queues),
        damage=tuple(damage),
        heals=tuple(heals),
        refusal=found.faults.refusal if isinstance(found, Broken) else None,
        open_elsewhere=seen.at_work,
        bytes_on_disk=_size(seen.file) + _size(seen.file + "-wal"),
    )


def told(queue: Queue) -> QueueCheck:
    """Return a queue of a database whose pages are whole, for a report."""
    counts = dict(queue.rows.counts)
    if queue.held:
        counts["ready"] -= queue.held
        counts[WORDS[UNACK]] = queue.held
    if queue.aside:
        counts["set aside"] = queue.aside
    lost = len(queue.rows.unreadable)
    answered = counts.get(WORDS[ACKED], 0) + counts.get(WORDS[FAILED], 0)
    items = queue.rows.counts.total() - lost - answered
    return QueueCheck(queue.table.cls, queue.table.name, queue.table.table, queue.serializer.NAME, counts, items, lost)


def told_kept(kept: Kept) -> QueueCheck:
    """Return a queue that was salvaged, for a report."""
    lost = kept.unread + len(kept.set_aside)
    counts = dict(kept.counts) | ({"unreadable": lost} if lost else {})
    return QueueCheck(kept.queue.cls, kept.queue.name, kept.queue.table, kept.serializer, counts, kept.items, lost)


def _row_damage(file: str, queue: Queue) -> Iterator[DatabaseDamage]:
    """Yield what is wrong with rows: the first MOST, and how many there are more."""
    name, table = os.path.basename(file), queue.table.table
    bad = queue.rows.unreadable + queue.rows.stray
    for row, why in bad[:MOST]:
        yield DatabaseDamage(name, table, row, 0, 0, why)
    if len(bad) > MOST:
        yield DatabaseDamage(name, table, None, 0, 0, f"and {len(bad) - MOST} more rows like these")


def _page_damage(file: str, found: Broken) -> Iterator[DatabaseDamage]:
    name, size = os.path.basename(file), found.salvaged.salvage.header.page_size
    if found.faults.refusal is not None:
        yield DatabaseDamage(name, None, None, 0, size, found.faults.refusal)
    for fault in found.faults.found:
        page = _PAGE.search(fault)
        at = (int(page[1]) - 1) * size if page else 0
        yield DatabaseDamage(name, None, None, at, size if page else 0, fault)
    for table in found.salvaged.tables.values():
        for page_number in sorted({bad for tree in table.trees for bad in tree.bad}):
            why = f"page {page_number} is none of a table: its rows are lost, or found elsewhere"
            yield DatabaseDamage(name, table.name, None, (page_number - 1) * size, size, why)
    for kept in found.rebuilt.kept:
        for row, why in (kept.set_aside + kept.stray)[:MOST]:
            yield DatabaseDamage(name, kept.queue.table, row, 0, 0, why)


def sentences(found: Healthy) -> list[str]:
    """Return what opening, or repair, does with the rows of a database whose pages are whole."""
    said: list[str] = []
    for queue in found.queues:
        table = queue.table.table
        if queue.rows.unreadable:
            said.append(f"{table}: {len(queue.rows.unreadable)} rows that cannot be read are set aside")
        if queue.rows.stray:
            said.append(f"{table}: {len(queue.rows.stray)} rows that no get would find are ready again")
        if queue.coming_back:
            said.append(f"{table}: {queue.coming_back} items in flight that nobody holds are ready again")
    return said


def rebuilding_sentences(found: Broken) -> list[str]:
    """Return what repair does with a database that has damaged pages."""
    rebuilt, salvaged = found.rebuilt, found.salvaged
    said = ["the database is rebuilt from the pages that can be read; the damaged one is kept beside it"]
    for kept in rebuilt.kept:
        table = kept.queue.table
        said.append(f"{table}: {kept.counts.total()} rows are kept")
        for count, what in (
            (len(kept.set_aside), "rows that cannot be read are set aside"),
            (kept.unread, "cells hold no row: they are lost"),
            (len(kept.stray), "rows that no get would find are ready again"),
            (kept.given_back, "items in flight are ready again"),
        ):
            if count:
                said.append(f"{table}: {count} {what}")
    bad = sum(len(tree.bad) for table in salvaged.tables.values() for tree in table.trees)
    if bad:
        said.append(f"{bad} pages of the tables cannot be read: the rows that only they held are lost")
    if rebuilt.unknown:
        said.append(f"{rebuilt.unknown} rows whose table is not known are set aside in asyncpq_damaged_unknown")
    said += [f"the name of a table is lost: its rows are in {name!r} now" for name in salvaged.guessed]
    return said + rebuilt.notes


def _size(file: str) -> int:
    with suppress(FileNotFoundError):
        return os.path.getsize(file)
    return 0
