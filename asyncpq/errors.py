"""Every exception of asyncpq.

    AsyncpqError
      Empty           nothing to get                     also queue.Empty, asyncio.QueueEmpty
      Full            no room                            also queue.Full, asyncio.QueueFull
      QueueClosed     closed or shut down                also asyncio.QueueShutDown (Python 3.13)
      QueueLocked     somebody else has the directory open
        DatabaseBusy    another program held the database's lock for too long
        DatabaseOpen    another program has the database open
      QueueFailed     a sync failed; reopen the queue
      MixedUse        get and claim on one open queue    also RuntimeError
      WrongContext    another loop, another process      also RuntimeError
      NotInFlight     an answer to an item that this queue does not hold     also ValueError
        AlreadyAnswered a delivery was answered before, or its lease is over
      TooManyOpenFiles the limit on descriptors is reached    also OSError (EMFILE, ENFILE)
      StorageError    the directory or database, or what lies in it
        NotAQueue       this path holds no queue
          SeveralQueues   this database holds several, and none was named
        WrongSerializer written with another serializer
        CorruptQueue    damaged so that opening cannot heal it
          CorruptDatabase   the same of a SQLite database
        WrongSettings   the queue on the server is not what was asked for
        CorruptRecord   one record cannot be read
          CorruptRow      the same of a row of a SQLite queue
          CorruptMessage  the same of a message of a NATS queue
      ServerAway      no answer from the server in time    also ConnectionError
      AccessDenied    the server does not let this login do that    also PermissionError
      RecordTooLarge  more bytes than the server takes     also ValueError
      MigrationError  a queue was not moved; the source is as it was
        Unfit           the target cannot carry some of its items
        Unreadable      some of its items cannot be read
        InTheWay        something has a name that the migration needs
        NeedsGap        old and new cannot be exchanged in one step here
    SyncFailed        inside the engine only: becomes QueueFailed

An item that cannot be serialized raises what its serializer raises; a disk that is full raises OSError.
"""

from __future__ import annotations

import asyncio
import os
import queue
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AccessDenied",
    "AlreadyAnswered",
    "AsyncpqError",
    "CorruptDatabase",
    "CorruptMessage",
    "CorruptQueue",
    "CorruptRecord",
    "CorruptRow",
    "DatabaseBusy",
    "DatabaseOpen",
    "Empty",
    "Full",
    "InTheWay",
    "MigrationError",
    "MixedUse",
    "NeedsGap",
    "NotAQueue",
    "NotInFlight",
    "QueueClosed",
    "QueueFailed",
    "QueueLocked",
    "RecordTooLarge",
    "ServerAway",
    "SeveralQueues",
    "StorageError",
    "TooManyOpenFiles",
    "Unfit",
    "Unreadable",
    "WrongContext",
    "WrongSerializer",
    "WrongSettings",
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


class DatabaseOpen(QueueLocked):
    """Somebody has this database open, which has to be alone for that; nothing was changed."""

    def __init__(self, path: str | os.PathLike[str], who: str) -> None:
        """*who* is a clause such as 'another program'."""
        self.path, self.who = path, who
        AsyncpqError.__init__(
            self,
            f"{path}: {who} has this database open; close it there first, "
            f"or look at it with asyncpq.sqlite.check, which needs no lock",
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


class TooManyOpenFiles(AsyncpqError, OSError):
    """This process, or the system, may open no more files; nothing was changed, and every open queue goes on."""

    def __init__(self, errno: int, path: str | os.PathLike[str], limit: str) -> None:
        """*limit* is a clause that names it, and how to raise it."""
        self.path, self.limit = path, limit
        super().__init__(
            errno,
            f"too many open files: {limit}; or close queues and other files that are not needed "
            f"(an open queue takes two descriptors, three while something is not durable)",
            str(path),
        )


class StorageError(AsyncpqError):
    """Something is wrong with the directory or with what lies in it."""


class NotAQueue(StorageError):
    """This path holds no queue, or cannot hold one."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        """*why* ends the sentence that begins with the path."""
        self.path, self.why = path, why
        super().__init__(f"{path}: {why}")


class SeveralQueues(NotAQueue):
    """This database holds several queues, and none of them was named."""

    def __init__(self, path: str | os.PathLike[str], names: list[str], missing: str | None = None) -> None:
        """*names* are those that are there; *missing* was asked for and is not."""
        self.names, self.missing = names, missing
        found = f"no queue {missing!r} in it, but" if missing is not None else "several queues in it:"
        shown = ", ".join(map(repr, names[:20])) + f" and {len(names) - 20} more" * (len(names) > 20)
        super().__init__(path, f"there is {found} {shown}; say which one: sqlite:{os.fspath(path)}#{names[0]}")


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
            f"{path}: {why}; asyncpq.sqlite.check(path) shows what can be read, "
            f"and asyncpq.sqlite.repair(path) keeps every row that can",
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


class CorruptMessage(CorruptRecord):
    """One message cannot be read; it stays where it is."""

    def __init__(self, path: str | os.PathLike[str], sequence: int, why: str) -> None:
        """*path* is the address of the queue, *sequence* the message's number in the stream."""
        self.path, self.sequence, self.why = path, sequence, why
        StorageError.__init__(
            self,
            f"{path}: message {sequence}: {why}; open the queue with dead_letters= to have such messages moved there, "
            f"or with the serializer that wrote it",
        )


class WrongSettings(StorageError):
    """A queue of this name is there with other settings; nothing was changed."""

    def __init__(
        self, path: str | os.PathLike[str], differences: Sequence[tuple[str, object, object]], mend: str
    ) -> None:
        """*differences* are settings, what they are, and what was asked for; *mend* is a clause."""
        self.path, self.differences = path, tuple(differences)
        shown = ", ".join(f"{name} is {there!r}, not {asked!r}" for name, there, asked in differences)
        super().__init__(f"{path}: the queue is there, but {shown}; {mend}")


class ServerAway(AsyncpqError, ConnectionError):
    """The server could not be reached, or did not answer in time."""

    def __init__(self, path: str | os.PathLike[str], seconds: float, why: str, *, sent: bool, storing: bool) -> None:
        """*why* is a clause; *sent*: the request left; *storing*: it was to store an item."""
        self.path, self.seconds, self.why, self.sent = path, seconds, why, sent
        fate = {
            (False, True): "; nothing was sent, so the item is not stored",
            (True, True): "; the item may or may not be stored: putting it again may store it twice",
        }.get((sent, storing), "")
        super().__init__(
            f"{path}: no answer within {seconds:g} s ({why}){fate}; look whether the server runs and the network is "
            f"up: the queue goes on by itself as soon as it is, or give it more time with timeout="
        )


class AccessDenied(AsyncpqError, PermissionError):
    """The server does not accept this login, or does not let it do this; nothing was changed."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        """*why* is what the server says."""
        self.path, self.why = path, why
        super().__init__(f"{path}: {why}; check token, user and password, credentials, tls, and what this user may do")


class RecordTooLarge(AsyncpqError, ValueError):
    """A record has more bytes than fit into a message; nothing was stored."""

    def __init__(self, path: str | os.PathLike[str], size: int, limit: int, which: str) -> None:
        """*which* names the limit, in bytes."""
        self.path, self.size, self.limit, self.which = path, size, limit, which
        super().__init__(
            f"{path}: the record of this item has {size:,} bytes, and {which} allows {limit:,}; "
            f"raise that limit, or store large data elsewhere and put its name"
        )


class MigrationError(AsyncpqError):
    """A queue was not moved: the source is as it was, and there is no target."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        """*why* ends the sentence that begins with the path."""
        self.path, self.why = path, why
        super().__init__(f"{path}: {why}")


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that a target does not carry."""

    kind: str  # such as "tuples"
    items: int  # that have it
    becomes: str | None  # None: it is never accepted
    where: str  # the first of them lies; never what it holds

    def __str__(self) -> str:
        items = "1 item" if self.items == 1 else f"{self.items:,} items"
        way = f", which would become {self.becomes}" if self.becomes else ""
        return f"{self.kind} in {items} (the first: {self.where}){way}"


class Unfit(MigrationError):
    """The target cannot carry all items as they are."""

    def __init__(self, path: str | os.PathLike[str], serializer: str, losses: Sequence[Loss]) -> None:
        """*losses* is what *serializer* does not carry, with the number of items and the place of one."""
        self.serializer, self.losses = serializer, tuple(losses)
        kinds = "; ".join(str(loss) for loss in losses)
        hopeless = [loss.kind for loss in losses if loss.becomes is None]
        way = (
            f"choose another serializer: {' and '.join(hopeless)} cannot be carried at all"
            if hopeless
            else "accept that with lossy=True (--lossy), or choose another serializer"
        )
        super().__init__(path, f"{serializer} cannot carry every item as it is: {kinds}. There is no target; {way}")


class Unreadable(MigrationError):
    """Some items of the source cannot be read."""

    def __init__(self, path: str | os.PathLike[str], count: int, places: Sequence[tuple[str, str]]) -> None:
        """*places* are the first of *count*: where, and why."""
        self.count, self.places = count, tuple(places)
        shown = "; ".join(f"{where}: {why}" for where, why in places)
        more = f"; and {count - len(places)} more" if count > len(places) else ""
        super().__init__(
            path,
            f"{count} {'place' if count == 1 else 'places'} cannot be read: {shown}{more}. "
            f"There is no target; set them aside with skip_bad=True (--skip-bad), or repair the queue first",
        )


class InTheWay(MigrationError):
    """Something has a name that the migration needs; it was left alone."""


class NeedsGap(MigrationError):
    """Old and new cannot be exchanged in one step on this file system."""

    def __init__(self, path: str | os.PathLike[str], backup: str | os.PathLike[str]) -> None:
        """*path* is the queue, *backup* what the old one will be called."""
        self.backup = backup
        super().__init__(
            path,
            f"this system cannot exchange two names in one step, so for a moment nothing would be at this path (a "
            f"crash there leaves the queue at {backup} until the migration is called again); accept that with "
            f"gap=True (--gap), or migrate to another path",
        )


class SyncFailed(Exception):
    """A sync or a rename failed, or a change could not be undone: what the disk holds is not known.

    Never leaves the engine, which latches the queue and raises QueueFailed.
    """

    def __init__(self, cause: OSError) -> None:
        """Keep *cause*, the error of the operating system."""
        self.cause = cause
        super().__init__(str(cause))
