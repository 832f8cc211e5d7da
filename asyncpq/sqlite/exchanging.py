"""Repair of a database with damaged pages: a new one is built beside it, and takes its place in one step.

    1  nobody has it open: SQLite's own locks, and the kernel's knowledge of open files (Linux)
    2  its log is put into it                              as the next opening would
    3  FILE.repaired    everything that can be read        verified, durable
    4  FILE.damaged-1   a second name of the damaged one   durable
    5  FILE.repaired becomes FILE

Cut anywhere, FILE is the old database or the new one, and the next repair begins anew.

Synchronous: for worker threads.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from asyncpq.errors import DatabaseOpen
from asyncpq.files import FILES
from asyncpq.sqlite import wal
from asyncpq.sqlite.database import sync_directory
from asyncpq.sqlite.examining import rebuild
from asyncpq.sqlite.held import at_work, close_unneeded, open_here, raw
from asyncpq.sqlite.looking import connect, unfinished_beside
from asyncpq.sqlite.tables import quoted

with suppress(ImportError):  # Windows has no fcntl, and locks files that are open
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.examining import Broken, Faults

REPAIRED: Final = ".repaired"
DAMAGED: Final = ".damaged-"
_LOCK_AT, _LOCK_BYTES = 0x40000000, 512  # SQLite's pending, reserved and shared bytes


def refuse_openers(file: str) -> None:
    """Raise DatabaseOpen where anybody has the database open, as far as the system tells."""
    close_unneeded()
    if open_here(file):
        raise DatabaseOpen(file, "this process")
    if at_work(file):
        raise DatabaseOpen(file, "another program")
    dirfd = FILES.open_dir(os.path.dirname(os.path.abspath(file)))
    try:
        if not FILES.lease(dirfd, os.path.basename(file)):
            raise DatabaseOpen(file, "another program")
    finally:
        FILES.close(dirfd)


def exchange(file: str, faults: Faults, name: str | None, given: Serializer | None) -> tuple[Broken, str]:
    """Put a rebuilt database in the place of *file*; return what it is made of, and the name of the damaged one.

    Raises:
        DatabaseOpen: somebody has it open; nothing was changed.
        NotAQueue, WrongSerializer: see `asyncpq.sqlite.examining.rebuild`.
        sqlite3.Error, OSError: the new one could not be written; the old one is there.
    """
    _undo_transaction(file)
    with _locked(file) as fd:
        if unfinished_beside(file) == "-journal":
            raise DatabaseOpen(file, "another program")
        wal.fold(file, fd)
        with suppress(FileNotFoundError):
            os.unlink(file + "-shm")
        repaired = file + REPAIRED
        try:
            made = _build(repaired, file, fd, faults, name, given)
            damaged = _keep(file)
            os.rename(repaired, file)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(repaired)
            raise
        sync_directory(file)
    return made, damaged


def _undo_transaction(file: str) -> None:
    """Let SQLite undo what a killed program has not committed, where a journal says so."""
    if unfinished_beside(file) == "-journal":
        with closing(connect(file, "mode=rw", 0)) as connection, suppress(sqlite3.DatabaseError):
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


@contextmanager
def _locked(file: str) -> Iterator[int]:
    """Give a descriptor of the database, with SQLite's own exclusive lock."""
    with raw(file, os.O_RDWR) as fd:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCK_BYTES, _LOCK_AT)
        except (BlockingIOError, PermissionError):
            raise DatabaseOpen(file, "another program") from None
        yield fd


def _build(repaired: str, file: str, fd: int, faults: Faults, name: str | None, given: Serializer | None) -> Broken:
    with suppress(FileNotFoundError):
        os.unlink(repaired)  # of a repair that was cut short
    with closing(sqlite3.connect(repaired, isolation_level=None)) as target:
        target.execute("PRAGMA journal_mode=OFF")
        target.execute("PRAGMA synchronous=OFF")
        made = rebuild(fd, target, file, faults, name, given)
        _verify(target, made)
    written = os.open(repaired, os.O_RDWR | os.O_CLOEXEC)
    try:
        FILES.copy_mode(fd, written)
        FILES.fsync(written)
    finally:
        os.close(written)
    return made


def _verify(target: sqlite3.Connection, made: Broken) -> None:
    """Raise where the new database is not what it should be."""
    found = target.execute("PRAGMA integrity_check").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"the rebuilt database is not whole: {found}")
    for kept in made.rebuilt.kept:
        count = target.execute(f"SELECT count(*) FROM {quoted(kept.queue.table)}").fetchone()[0]
        if count != kept.counts.total():
            raise sqlite3.DatabaseError(f"the rebuilt table {kept.queue.table!r} has {count} rows")


def _keep(file: str) -> str:
    """Give the damaged database a second name, durably; return it."""
    for number in itertools.count(1):
        name = f"{file}{DAMAGED}{number}"
        try:
            os.link(file, name, follow_symlinks=False)
        except FileExistsError:
            if not os.path.samefile(file, name):
                continue  # of an earlier repair; one that was cut short has left its own
        sync_directory(file)
        return name
    raise AssertionError("numbers do not end")
