"""`repair`: a database that opens, with every row that can be read; what cannot is set aside."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asyncpq import serializers
from asyncpq.sqlite.blobs import blobs
from asyncpq.sqlite.checking import BESIDE, QueueCheck, rebuilding_sentences, sentences, told, told_kept
from asyncpq.sqlite.examining import Broken, Faults, Healthy, examine, explaining, glance
from asyncpq.sqlite.exchanging import exchange, refuse_openers
from asyncpq.sqlite.finding import database_file
from asyncpq.sqlite.looking import look
from asyncpq.sqlite.mending import mend
from asyncpq.sqlite.pacing import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.looking import Look

__all__ = ["DatabaseRepair", "repair"]

logger: Final = logging.getLogger("asyncpq")


@dataclass(frozen=True, slots=True)
class DatabaseRepair:
    """What `repair` did, or would do with *dry_run*.  It is true when there was anything to do."""

    path: Path
    file: Path  # the database
    dry_run: bool
    queues: tuple[QueueCheck, ...]  # as they were found
    kept: int  # items in the queues now
    lost: int  # rows that cannot be read; of a page that is gone nobody knows how many it held
    set_aside: int  # rows moved to the tables asyncpq_damaged_<table>
    given_back: int  # items that were in flight and are ready again
    rebuilt: bool  # from the pages that can be read
    damaged_file: Path | None  # where the damaged database is kept, if it was rebuilt; None in a dry run
    actions: tuple[str, ...]  # all of it in sentences; never what an item holds

    def __bool__(self) -> bool:
        return bool(self.actions)

    @property
    def serializer(self) -> str:
        """The name of the serializer; of several queues that differ, the names."""
        return ", ".join(sorted({queue.serializer for queue in self.queues}))


async def repair(
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    serializer: Any = None,
    dry_run: bool = False,
    progress: Callable[[int, int | None], object] | None = None,
) -> DatabaseRepair:
    """Make the database at *path* open with every row that can be read; on return that is durable.

    Where only rows are damaged, they are moved to the table ``asyncpq_damaged_<table>``, and what was in flight and
    is held by nobody who is alive is ready again: one transaction.  Where pages are, or the database cannot be
    opened, a new one is built from what can be read, with ids, statuses, priorities and timestamps as they were; it
    takes the place of the damaged one, which is kept as ``FILE.damaged-1``.  No pickle is run.  A crash at any moment
    leaves the old database or the new one.  Where there is nothing to repair, nothing is written.

    Args:
        path: the database, or a directory with data.db in it.
        name: of the queue whose rows are to be mended; None: of all.  A database is rebuilt with all its queues.
        serializer: a name or a module, as for the queues; None: what the rows are of, for each queue.
        dry_run: change nothing, and return what would be done.
        progress: called now and then, by the thread that reads, with the rows read and the rows that there are (None
            while the pages are checked); what it raises ends the repair before anything is changed.

    Raises:
        NotAQueue: no database, or no queue (of that name) in it; or a later asyncpq wrote it.
        DatabaseOpen, DatabaseBusy: somebody has it open; nothing was changed.
        WrongSerializer: the rows are of another serializer; nothing was changed.
        OSError: reading or writing failed, as on a full disk; nothing is lost, repair again.

    Cancellation: the thread finishes what it began.
    """
    given = None if serializer is None else serializers.get(serializer)
    if given is not None:
        blobs(given)  # refuses coroutines
    done = await asyncio.to_thread(_repair, Path(path), name, given, dry_run, Pace(progress))
    if done and not dry_run:
        logger.warning("%s: repaired: %s", done.file, "; ".join(done.actions))
    return done


def _repair(path: Path, name: str | None, given: Serializer | None, dry_run: bool, pace: Pace) -> DatabaseRepair:
    file = database_file(path)
    see = examine if dry_run else glance

    def watched(seen: Look) -> tuple[Healthy | Faults | Broken, str | None]:
        pace.watch(seen.connection)
        return pace.run(lambda: see(seen, name, given, pace)), seen.unfinished

    def work() -> DatabaseRepair:
        refuse_openers(file)
        found, unfinished = look(file, watched)
        beside = [BESIDE[unfinished]] if unfinished else []
        if isinstance(found, Healthy):
            actions = (*beside, *sentences(found))
            if actions and not dry_run:
                mend(file, name, given)
            return _mended(path, file, found, actions, dry_run)
        damaged = None
        if isinstance(found, Faults):
            found, damaged = exchange(file, found, name, given)
        return _rebuilt(path, file, name, found, (*beside, *rebuilding_sentences(found)), damaged, dry_run)

    return explaining(file, work)


def _mended(path: Path, file: str, found: Healthy, actions: tuple[str, ...], dry_run: bool) -> DatabaseRepair:
    queues = tuple(told(queue) for queue in found.queues)
    lost = sum(queue.lost for queue in queues)
    return DatabaseRepair(
        path=path,
        file=Path(file),
        dry_run=dry_run,
        queues=queues,
        kept=sum(queue.items for queue in queues),
        lost=lost,
        set_aside=lost,
        given_back=sum(queue.coming_back for queue in found.queues),
        rebuilt=False,
        damaged_file=None,
        actions=actions,
    )


def _rebuilt(
    path: Path,
    file: str,
    name: str | None,
    found: Broken,
    actions: tuple[str, ...],
    damaged: str | None,
    dry_run: bool,
) -> DatabaseRepair:
    kept = [kept for kept in found.rebuilt.kept if name in (None, kept.queue.name)]
    queues = tuple(map(told_kept, kept))
    return DatabaseRepair(
        path=path,
        file=Path(file),
        dry_run=dry_run,
        queues=queues,
        kept=sum(queue.items for queue in queues),
        lost=sum(queue.lost for queue in queues),
        set_aside=sum(len(one.set_aside) for one in kept) + found.rebuilt.unknown,
        given_back=sum(one.given_back for one in kept),
        rebuilt=True,
        damaged_file=None if damaged is None else Path(damaged),
        actions=actions,
    )
