"""Every exception of asyncpq.

    AsyncpqError
      Empty           nothing to get                     also queue.Empty, asyncio.QueueEmpty
      Full            no room                            also queue.Full, asyncio.QueueFull
      QueueClosed     closed or shut down                also asyncio.QueueShutDown (Python 3.13)
      QueueLocked     somebody else has the directory open
        DatabaseBusy    another program held the database's lock for too long
      QueueFailed     a sync failed; reopen the queue
      MixedUse        get and claim on one open queue    also RuntimeError
      WrongContext    another loop, another process      also RuntimeError
      NotInFlight     an answer to an item that this queue does not hold     also ValueError
        AlreadyAnswered a delivery was answered before, or its lease is over
      StorageError    the directory or database, or what lies in it
        NotAQueue       this path holds no queue
        WrongSerializer written with another serializer
        CorruptQueue    damaged so that opening cannot heal it
          CorruptDatabase   the same of a SQLite database
        CorruptRecord   one record cannot be read
          CorruptRow      the same of a row of a SQLite queue
    SyncFailed        inside the engine only: becomes QueueFailed

An item that cannot be serialized raises what its serializer raises; a disk that is full raises OSError.
"""

from __future__ import annotations

import asyncio
import queue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import os

__all__ = [
    "AlreadyAnswered",
    "AsyncpqError",
    "CorruptDatabase",
    "CorruptQueue",
    "CorruptRecord",
    "CorruptRow",
    "DatabaseBusy",
    "Empty",
    "Full",
    "MixedUse",
    "NotAQueue",
    "NotInFlight",
    "QueueClosed",
    "QueueFailed",
    "QueueLocked",
    "StorageError",
    "WrongContext",
    "WrongSerializer",
]

# Python 3.13 has asyncio.QueueShutDown; before it, QueueClosed is an AsyncpqError alone.
_ShutDown: Final[type[Exception]] = getattr(asyncio, "QueueShutDown", Exception)


class AsyncpqError(Exception):
    """Base of all errors that asyncpq defines."""


class Empty(AsyncpqError, queue.Empty, asyncio.QueueEmpty):
    """No item was there (in time)."""


class Full(AsyncpqError, queue.Full, asyncio.QueueFull):
    """No room was there (in time); nothing was stored."""


class QueueClosed(AsyncpqError, _ShutDown):  # type: ignore[misc, valid-type]  # a base chosen at run time
    """The queue was closed or shut down; what it stores is on the disk."""


class QueueLocked(AsyncpqError):
    """Somebody else has this directory open; nothing was changed."""

    def __init__(self, path: str | os.PathLike[str], who: str) -> None:
        """*who* is a clause such as 'another asyncpq queue'."""
        self.path, self.who = path, who
        super().__init__(
            f"{path}: {who} has this directory open; close it there first, "
            f"or look at it with asyncpq.QueueReader, which needs no lock"
        )


class DatabaseBusy(QueueLocked):
    """Another program held the lock of the database for longer than the queue waits; nothing was changed."""

    def __init__(self, path: str | os.PathLike[str], seconds: float) -> None:
        """*seconds* is how long the queue waited."""
        self.path, self.who, self.seconds = path, "another program", seconds
        AsyncpqError.__init__(
            self,
            f"{path}: another program kept the database locked for {seconds:g} s; end its transaction, "
            f"or give the queue more time with timeout=",
        )


class QueueFailed(AsyncpqError):
    """The disk reported a failed sync, so what it holds is not known; reopen the queue.

    A second sync may report success for data that was dropped: nothing is retried.
    """

    def __init__(self, path: str | os.PathLike[str], cause: BaseException) -> None:
        """*cause* is the error of the sync, the rename or the removal."""
        self.path, self.cause = path, cause
        super().__init__(
            f"{path}: {cause}; this queue takes no more calls: close it, mend the disk, and open it again "
            f"(opening finds out what is stored)"
        )


class MixedUse(AsyncpqError, RuntimeError):
    """get and claim were used on one open queue."""

    def __init__(self, path: str | os.PathLike[str], call: str, other: str) -> None:
        """*call* was refused, because of *other*."""
        self.path, self.call, self.other = path, call, other
        super().__init__(
            f"{path}: {call}() cannot be used with {other}() on one open queue: one cursor stands for all that was "
            f"got, so a task_done would also acknowledge items that are claimed; close it and open it anew"
        )


class WrongContext(AsyncpqError, RuntimeError):
    """The queue was used from a second event loop or from a forked process."""


class NotInFlight(AsyncpqError, ValueError):
    """This queue does not hold the item: it was answered before, its lease ended, or it was never got here."""


class AlreadyAnswered(NotInFlight):
    """A delivery takes one answer; this one has it, or it was taken back."""

    def __init__(self, answer: str) -> None:
        """*answer* is what became of the delivery, as a participle."""
        self.answer = answer
        super().__init__(f"this delivery was {answer} already: it takes one answer, and the first one counts")


class StorageError(AsyncpqError):
    """Something is wrong with the directory or with what lies in it."""


class NotAQueue(StorageError):
    """This path holds no queue, or cannot hold one."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        """*why* ends the sentence that begins with the path."""
        self.path, self.why = path, why
        super().__init__(f"{path}: {why}")


class WrongSerializer(StorageError):
    """The directory was written with another serializer; nothing was changed."""

    def __init__(self, path: str | os.PathLike[str], given: str, found: str | None) -> None:
        """*given* was asked for, *found* is what fits (None: nothing known does)."""
        self.path, self.given, self.found = path, given, found
        way = (
            f"it was written with {found!r}: pass serializer={found!r}, or none at all"
            if found
            else "no known serializer fits it either: pass the one that wrote it"
        )
        super().__init__(f"{path}: cannot be read with serializer {given!r}; {way}")


class CorruptQueue(StorageError):
    """The directory is damaged in a way that opening does not heal by itself; nothing was changed."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        """*why* names what was found."""
        self.path, self.why = path, why
        super().__init__(
            f"{path}: {why}; asyncpq.check(path) shows what can be read, "
            f"and asyncpq.repair(path), or AsyncQueue(path, repair=True), keeps every record that can"
        )


class CorruptDatabase(CorruptQueue):
    """The database is damaged, or is none; nothing was changed."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        """*why* is what SQLite says of it."""
        self.path, self.why = path, why
        StorageError.__init__(
            self,
            f"{path}: {why}; restore the file from a copy, or save what can be read with the sqlite3 shell's .recover",
        )


class CorruptRecord(StorageError):
    """One record cannot be read; the queue stays where it is."""

    def __init__(self, path: str | os.PathLike[str], offset: int, why: str) -> None:
        """*path* is the chunk file, *offset* the byte in it where the record begins."""
        self.path, self.offset, self.why = path, offset, why
        super().__init__(
            f"{path}: {why} at byte {offset}; asyncpq.check(path) shows what can be read; open the queue with "
            f"on_corrupt='skip' to set the record aside and go on, or mend it with asyncpq.repair(path)"
        )


class CorruptRow(CorruptRecord):
    """One row cannot be read; it stays where it is."""

    def __init__(self, path: str | os.PathLike[str], table: str, row: int, why: str) -> None:
        """*table* and *row* (its `_id`) name the place in the database *path*."""
        self.path, self.table, self.row, self.why = path, table, row, why
        StorageError.__init__(
            self,
            f"{path}: table {table!r}, _id {row}: {why}; open the queue with on_corrupt='skip' to set such rows "
            f"aside and go on, or replace this one with update(item, {row})",
        )


class SyncFailed(Exception):
    """A sync or a rename failed, or a change could not be undone: what the disk holds is not known.

    Never leaves the engine, which latches the queue and raises QueueFailed.
    """

    def __init__(self, cause: OSError) -> None:
        """Keep *cause*, the error of the operating system."""
        self.cause = cause
        super().__init__(str(cause))
