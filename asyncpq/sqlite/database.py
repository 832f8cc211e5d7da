"""One connection that writes, and what its errors mean.  Synchronous: for one worker thread at a time.

journal      WAL, where the file system can; its log is `<file>-wal`
durable      synchronous=FULL syncs the log in each commit; under NORMAL an fdatasync of the log makes durable
             all that was committed (sqlite.org/pragma.html#pragma_synchronous, sqlite.org/wal.html)
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import CorruptDatabase, DatabaseBusy, NotAQueue, SyncFailed
from asyncpq.files import FILES, open_path, shortage
from asyncpq.latency import Latency

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MEMORY: Final = ":memory:"
LOG_SIZE: Final = 4 * 1024 * 1024  # bytes; SQLite's own checkpoints keep the log at about that (1,000 pages)

_ERROR, _BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 1, 5, 6, 8, 10, 11, 13, 14, 26
_IOERR_SHMSIZE: Final = 4874  # no room for the index of the log, `<file>-shm`
_OTHER_SCHEMA: Final = re.compile("^no such (table|column|index)|has no column|unsupported file format")


def explained(error: sqlite3.Error, path: str, timeout: float) -> BaseException:
    """Return what *error* means to the caller of a queue; SyncFailed where the disk is not to be trusted any more."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (_BUSY, _LOCKED):
        return DatabaseBusy(path, timeout)
    if code in (_CORRUPT, _NOTADB) or (code == _ERROR and _OTHER_SCHEMA.search(str(error))):
        return CorruptDatabase(path, f"SQLite says: {error}")
    if code == _FULL or getattr(error, "sqlite_errorcode", 0) == _IOERR_SHMSIZE:
        return OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}; make room, then try again", path)
    if code == _READONLY or (code == _CANTOPEN and _on_read_only_file_system(path)):
        why = "the database, or its file system, is read-only; make it writable, or copy the file"
        return OSError(errno.EROFS, why, path)
    if (short := missing_descriptor(error, path)) is not None:
        return short
    if code == _IOERR:
        return SyncFailed(OSError(errno.EIO, f"SQLite says: {error}", path))
    if code == _CANTOPEN:
        return NotAQueue(path, f"SQLite cannot open it: {_why_not(path) or error}")
    if isinstance(error, sqlite3.DataError):
        return ValueError(f"{path}: SQLite does not take the item: {error}")
    return error


def missing_descriptor(error: BaseException, path: str) -> OSError | None:
    """Return what tells that *error* came for want of a descriptor; None: it did not."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return shortage(path) if code == _CANTOPEN else None


def _why_not(path: str) -> str | None:
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.stat(folder)
    except FileNotFoundError:
        return f"there is no directory {folder}; make it first"
    except OSError:
        pass  # some directory above it may not be entered
    if os.path.isdir(path):
        return "it is a directory; a database is a file"
    if not os.access(folder, os.W_OK) or (os.path.exists(path) and not os.access(path, os.W_OK)):
        return f"no permission to write to it, or to {folder}, where its log goes; choose another path, or its rights"
    return None


def _on_read_only_file_system(path: str) -> bool:
    """Return whether it is for that reason that SQLite cannot make the log's index."""
    try:
        return bool(os.statvfs(os.path.dirname(os.path.abspath(path))).f_flag & os.ST_RDONLY)
    except (OSError, AttributeError):
        return False


class Database:
    """The writing connection."""

    def __init__(self, path: str, timeout: float, *, full: bool) -> None:
        """Connect; *full*: each commit is durable.

        Raises:
            sqlite3.Error: see `explained`.
        """
        self.path, self.timeout, self._full = path, timeout, full
        self.connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
        self.execute: Callable[..., sqlite3.Cursor] = self.connection.execute
        self.executemany: Callable[..., sqlite3.Cursor] = self.connection.executemany
        self.wal = False
        self._log: int | None = None  # descriptor of the log
        self.commits = 0
        self.latency = Latency()  # of each sync that is not part of a commit

    def look(self) -> None:
        """Read the schema: raises if it is no database.  Changes nothing."""
        self.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def has_another_journal(self) -> bool:
        """Return whether there is a database already, whose journal mode `prepare` will change in the file."""
        pages: int = self.execute("PRAGMA page_count").fetchone()[0]
        return pages > 0 and str(self.execute("PRAGMA journal_mode").fetchone()[0]) != "wal"

    def prepare(self) -> None:
        """Set the journal mode and how commits are synced."""
        if self.path != MEMORY:
            self.wal = self.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal"
        self.execute(f"PRAGMA synchronous={'FULL' if self._full else 'NORMAL'}")

    def columns(self, table: str) -> list[str]:
        """Return the columns of *table*; none: it does not exist."""
        return [name for (name,) in self.execute("SELECT name FROM pragma_table_info(?)", (table,))]

    def version(self) -> int:
        """Return a number that changes when another connection has committed."""
        return int(self.execute("PRAGMA data_version").fetchone()[0])

    # -- transactions ---------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a transaction that may write, once nobody else writes."""
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit."""
        self.execute("COMMIT")
        self.commits += 1

    def rollback(self) -> None:
        """End the transaction, if there is one, without a trace."""
        if self.connection.in_transaction:
            with suppress(sqlite3.Error):  # SQLite has rolled back by itself
                self.execute("ROLLBACK")

    def transaction(self, work: Callable[[], Any]) -> Any:
        """Return what *work* returns, committed."""
        self.begin()
        try:
            result = work()
            self.commit()
        except BaseException:
            self.rollback()
            raise
        return result

    def insert(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert *rows*, in order; return the `_id` of the last: those before it count up to it."""
        if len(rows) == 1:
            return self.execute(sql, rows[0]).lastrowid or 0
        self.executemany(sql, rows)
        return int(self.execute("SELECT last_insert_rowid()").fetchone()[0])

    # -- durable --------------------------------------------------------------------------------------------

    def grow_log(self) -> None:
        """Make the log as long as it will be, so that a sync need not write the file's size, too.

        A transaction that is rolled back after it spilled into the log leaves it long and the database as it was.
        Measured on ext4: 310 us a durable commit before, 137 after.
        """
        if not self.wal or (os.path.exists(self.path + "-wal") and os.path.getsize(self.path + "-wal") >= LOG_SIZE):
            return
        self.execute("PRAGMA cache_size=10")
        with suppress(sqlite3.Error):  # no room: then commits are slower
            self.execute("BEGIN IMMEDIATE")
            self.execute("CREATE TABLE asyncpq_growing (data)")
            self.execute("INSERT INTO asyncpq_growing VALUES (zeroblob(?))", (LOG_SIZE,))
        self.rollback()
        self.execute("PRAGMA cache_size=-2000")

    def open_log(self) -> None:
        """Open the log, where there is one: a sync may then not fail for want of a descriptor.

        Raises:
            TooManyOpenFiles: see there.
        """
        if self.wal and self._log is None:
            with suppress(FileNotFoundError):
                self._log = open_path(self.path + "-wal")

    def sync(self) -> None:
        """Make durable all that was committed; what comes behind a rollback journal is.

        Raises:
            SyncFailed: the disk did not take it.
        """
        if not self.wal:
            return
        began = time.monotonic()
        try:
            self.open_log()
            if self._log is None:
                return  # nothing was written since the last one closed, and that one synced all
            FILES.fdatasync(self._log)
        except OSError as error:
            raise SyncFailed(error) from error
        self.latency.add(time.monotonic() - began)

    def shrink(self) -> None:
        """Give back the space of what was deleted, in the file and in the log.

        Raises:
            DatabaseBusy: somebody reads or writes for too long.
            sqlite3.Error: see `explained`.
        """
        self.execute("VACUUM")
        if self.wal and self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise DatabaseBusy(self.path, self.timeout)

    def close(self) -> None:
        """Close the connection; the last one puts the log into the file."""
        if self._log is not None:
            os.close(self._log)
            self._log = None
        self.connection.close()


def sync_directory(path: str) -> None:
    """Make durable that *path* has the name it has."""
    descriptor = FILES.open_dir(os.path.dirname(os.path.abspath(path)))
    try:
        FILES.fsync_dir(descriptor)
    finally:
        os.close(descriptor)
