"""A look at a database that changes no byte: neither its own, nor a log beside it that was not there.

    beside the database          somebody at work    opened
    a log, or a journal          yes                 read only, as one more reader
    a log, or a journal          no                  a private copy, in which SQLite replays it
    nothing; it is in WAL mode   no                  as immutable: to read only would make a log
    nothing                      yes, or no WAL      read only

Synchronous: for worker threads.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from asyncpq.blocks import copy_bytes
from asyncpq.errors import DatabaseOpen, NotAQueue
from asyncpq.sqlite.held import at_work, close_unneeded, file_key, held, open_here, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOOKS: Final = 5  # beside a writer, until one is found that nothing moved under
TIMEOUT: Final = 10.0  # seconds to wait for a lock
HEADER: Final = 100  # bytes
MAGIC: Final = b"SQLite format 3\0"
_LOG, _JOURNAL = "-wal", "-journal"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Look:
    """An open database that is only read."""

    connection: sqlite3.Connection
    file: str  # the database
    read: str  # the file that is read: the database, or a private copy of it with its log replayed
    beside: bool  # others may change it meanwhile, and see to it that what is read is of one moment
    unfinished: str | None  # what lies beside it and is replayed by the next opening
    at_work: bool | None  # whether a program has it open, as far as locks tell, or this one; None: nobody can tell


def look(file: str, work: Callable[[Look], T]) -> T:
    """Return what *work* makes of the database *file*, which stood still meanwhile.

    Raises:
        NotAQueue: there is none.
        DatabaseOpen: a writer changes it all the time.
        sqlite3.Error: what *work* raises; see `asyncpq.sqlite.database.explained`.
        OSError: it cannot be read.
    """
    for _ in range(LOOKS):
        before = _signature(file)
        try:
            with looking(file) as seen:
                seen.connection.execute("BEGIN")  # so that all that is read is of one moment
                beside, result = seen.beside, work(seen)
        except sqlite3.Error:
            if _signature(file) == before:
                raise
            continue
        if beside or _signature(file) == before:
            return result
    raise DatabaseOpen(file, "a writer that changed it all the time")


def _signature(file: str) -> list[tuple[int, int, int] | None]:
    """Return what differs after a change of the database."""
    found: list[tuple[int, int, int] | None] = []
    for name in (file, file + _LOG, file + _JOURNAL):
        try:
            facts = os.stat(name)
            found.append((facts.st_ino, facts.st_size, facts.st_mtime_ns))
        except FileNotFoundError:
            found.append(None)
    return found


@contextmanager
def looking(file: str) -> Iterator[Look]:
    """Give the open database; see `look`."""
    header = read_header(file)
    unfinished = unfinished_beside(file)
    busy = True if open_here(file) else at_work(file)
    if open_here(file) or (unfinished and busy is not False):
        with _connected(file, "mode=ro") as connection:
            yield Look(connection, file, file, True, None, busy)
    elif unfinished:
        with _private(file) as copy, _connected(copy, "mode=rw") as connection:
            yield Look(connection, file, copy, False, unfinished, busy)
    elif header[18:20] == b"\2\2":
        with _immutable(file) as connection:
            yield Look(connection, file, file, False, None, busy)
    else:
        locks = header[:20] == MAGIC + header[16:18] + b"\1\1"  # whoever reads keeps the writers out
        with _connected(file, "mode=ro") as connection:
            yield Look(connection, file, file, locks, None, busy)


def read_header(file: str) -> bytes:
    """Return the first bytes of *file*.

    Raises:
        NotAQueue: there is none, or it is no regular file.
    """
    try:
        with raw(file) as fd:
            return os.pread(fd, HEADER, 0)
    except FileNotFoundError:
        raise NotAQueue(file, "there is no such file") from None


def unfinished_beside(file: str) -> str | None:
    """Return what lies beside the database and has to be replayed: a log of commits, or the journal of a rollback."""
    with suppress(OSError):
        if os.path.getsize(file + _LOG):
            return _LOG
    with suppress(OSError), open(file + _JOURNAL, "rb") as journal:
        if journal.read(1).strip(b"\0"):  # a journal that is done with has zeros there
            return _JOURNAL
    return None


@contextmanager
def _connected(file: str, how: str) -> Iterator[sqlite3.Connection]:
    connection = connect(file, how)
    try:
        yield connection
    finally:
        connection.close()
        close_unneeded()


@contextmanager
def _immutable(file: str) -> Iterator[sqlite3.Connection]:
    connection = connect(file, "immutable=1&mode=ro")
    with held(file_key(os.stat(file)), connection.close):
        yield connection


def connect(file: str, how: str, timeout: float | None = None) -> sqlite3.Connection:
    """Return a connection to a file that may be anybody's; *how* are parameters of its URI."""
    timeout = TIMEOUT if timeout is None else timeout
    uri = f"file:{quote(os.fsencode(file))}?{how}"
    connection = sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        # The file may be anybody's: what its schema calls is not run.
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA ignore_check_constraints=ON")
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("PRAGMA mmap_size=0")
        connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _private(file: str) -> Iterator[str]:
    """Give the path of a copy with what lies beside it, gone afterwards.

    Raises:
        OSError: there is no room for it where temporary files are made (TMPDIR).
    """
    with tempfile.TemporaryDirectory(prefix="asyncpq-") as folder:
        copy = Path(folder) / "data.db"
        for suffix in ("", _LOG, _JOURNAL):
            with suppress(FileNotFoundError):
                _copy_file(file + suffix, f"{copy}{suffix}")
        yield os.fspath(copy)


def _copy_file(source: str, target: str) -> None:
    with raw(source) as read, open(target, "xb", buffering=0) as made:
        copy_bytes(read, made.fileno(), os.fstat(read).st_size)
