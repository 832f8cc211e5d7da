"""A database that is only read: no byte of it changes, and no file appears beside it.

    found                                    opened as
    a rollback journal mode                  mode=ro, with the shared lock that every reader has
    WAL, and no log                          immutable; the file's time and size are compared again at each page
    WAL, and a log with its index            mode=ro; without a live writer the index is not written to (readonly_shm)
    a log without index, or a hot journal    a private copy in the temporary directory, where SQLite may write

What the file holds is not trusted: views, virtual tables and computed columns are no tables here.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from asyncpq.errors import CorruptDatabase, DatabaseBusy, NotAQueue, QueueLocked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ReadOnly", "as_text", "quoted"]

TIMEOUT: Final = 5.0  # seconds that a reader waits for a writer in the middle of a commit
_IOERR_LOCK: Final = 3850
_READONLY: Final = 8
_CANTOPEN: Final = 14


def quoted(name: str) -> str:
    """Return *name* as an identifier of SQL, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def as_text(value: Any) -> Any:
    """Return a *value* of a row with text, which comes as bytes, as str."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class ReadOnly:
    """One connection that reads.

    Args:
        path: of the database; a link is followed.
        lock: read one state of it all the time; False: the newest state at each statement, where SQLite shows it.

    Raises:
        NotAQueue: the file is no database, or no regular file.
        CorruptDatabase: it is damaged.
        DatabaseBusy: a writer held its lock for longer than TIMEOUT.
        QueueLocked: it was changed while it was copied.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, *, lock: bool) -> None:
        self.path, self.lock = path, lock
        self._file = Path(os.path.realpath(path))
        self.wal = False
        self.orders = 0  # temporary tables that were made
        self._seen: tuple[Facts, ...] | None = None  # of files that are read as if nobody could change them
        self._copy: str | None = None  # a directory
        self.connection: sqlite3.Connection
        self.open_elsewhere = _locked(self._file)
        self.connect()

    def connect(self) -> None:
        """Connect, anew where it is open already; see the class."""
        self.close()
        for companion in ("", "-wal", "-journal", "-shm"):
            _refuse_others(Path(f"{self._file}{companion}"))
        try:
            self.connection = self._choose()
        except sqlite3.Error as error:
            self.close()
            raise self.explained(error) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it; once more does nothing."""
        if hasattr(self, "connection"):
            self.connection.close()
        if self._copy is not None:
            shutil.rmtree(self._copy, ignore_errors=True)
            self._copy = None

    # -- how ----------------------------------------------------------------------------------------------

    def _choose(self) -> sqlite3.Connection:
        self._seen = None
        try:
            return self._behind_journal()
        except sqlite3.OperationalError as error:
            code = error.sqlite_errorcode
            if code != _IOERR_LOCK:
                if code & 0xFF in (_READONLY, _CANTOPEN) and self._size("-journal"):
                    return self._of_copy("-journal")
                raise
        self.wal = True
        return self._logged()

    def _behind_journal(self) -> sqlite3.Connection:
        """Read behind a rollback journal; a WAL database fails here with _IOERR_LOCK, before its index is made."""
        found = self._open("mode=ro", "PRAGMA locking_mode=EXCLUSIVE")
        if self.lock:
            return found
        found.close()
        return self._open("mode=ro")

    def _logged(self) -> sqlite3.Connection:
        begin = ("BEGIN",) if self.lock else ()
        if self._size("-shm"):
            if not _locked(Path(f"{self._file}-shm")):
                self._seen = self._facts()  # its writer is gone, and the next one would not see this reader
            with suppress(sqlite3.OperationalError):
                return self._open("mode=ro&readonly_shm=1", *begin)
            if self._size("-wal"):
                self._seen = None
                return self._open("mode=ro", *begin)
        elif self._size("-wal"):
            return self._of_copy("-wal")
        self._seen = self._facts()
        return self._open("mode=ro&immutable=1")

    def _of_copy(self, companion: str) -> sqlite3.Connection:
        """Open a copy of the database with its *companion*, which SQLite has to play back first."""
        self._seen = self._facts()
        self._copy = tempfile.mkdtemp(prefix="asyncpq-")
        target = Path(self._copy) / "copy.db"
        for name in ("", companion):
            shutil.copyfile(f"{self._file}{name}", f"{target}{name}", follow_symlinks=False)
        if self.changed():
            raise self.moving()
        self._seen = None
        return self._open("mode=rw", path=target)

    def _open(self, query: str, *first: str, path: Path | None = None) -> sqlite3.Connection:
        uri = f"file:{quote(os.fspath(path or self._file))}?{query}"
        connection = sqlite3.connect(uri, uri=True, timeout=TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            connection.text_factory = bytes
            for statement in ("PRAGMA trusted_schema=OFF", "PRAGMA cell_size_check=ON", *first):
                connection.execute(statement)
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _size(self, companion: str) -> int:
        with suppress(FileNotFoundError):
            return os.stat(f"{self._file}{companion}").st_size
        return 0

    def _facts(self) -> tuple[Facts, ...]:
        return tuple(_facts(f"{self._file}{companion}") for companion in ("", "-wal"))

    def changed(self) -> bool:
        """Return whether the file was changed under a reader that holds no lock of SQLite's."""
        return self._seen is not None and self._seen != self._facts()

    def moving(self) -> QueueLocked:
        """Return the error for a file that is changed while it is read."""
        return QueueLocked(self.path, "a program that changed it while it was read")

    # -- reading ------------------------------------------------------------------------------------------

    def one(self, sql: str, *values: Any) -> Any:
        """Return the first column of the first row; None where there is no row."""
        row = next(iter(self.rows(sql, *values)), None)
        return None if row is None else row[0]

    def rows(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Yield rows, text as bytes; the statement ends with the iteration."""
        try:
            with closing(self.connection.execute(sql, values)) as cursor:
                yield from cursor
        except sqlite3.Error as error:
            raise self.explained(error) from error

    def run(self, sql: str) -> None:
        """Execute a statement that returns nothing."""
        for _ in self.rows(sql):
            pass

    def counts(self, table: str, column: str, names: Mapping[Any, str]) -> dict[str, int]:
        """Return how many rows of *table* have which value in *column*, by the *names* of the values."""
        sql = f"SELECT {quoted(column)}, count(*) FROM {quoted(table)} GROUP BY 1 ORDER BY 1"
        rows = ((as_text(value), count) for value, count in self.rows(sql))
        return {names.get(value, str(value)): count for value, count in rows}

    def tables(self) -> dict[str, list[str]]:
        """Return the columns of the ordinary tables, none of which is computed; views and virtual tables are none."""
        found: dict[str, list[str]] = {}
        ordinary = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0 ORDER BY name"
        for (name,) in list(self.rows(ordinary)):
            table = as_text(name)
            columns = list(self.rows("SELECT name, hidden FROM pragma_table_xinfo(?)", table))
            if all(hidden == 0 for _, hidden in columns):
                found[table] = [as_text(column) for column, _ in columns]
        return found

    def explained(self, error: sqlite3.Error) -> Exception:
        """Return what *error* means to who wants to read a queue."""
        name = getattr(error, "sqlite_errorname", "") or ""
        if name.startswith("SQLITE_NOTADB"):
            return NotAQueue(self.path, "is a file that is no SQLite database, so it holds no queue")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return DatabaseBusy(self.path, TIMEOUT)
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_FULL")):
            return OSError(f"{self.path}: SQLite cannot read it ({error}, {name}); may you read it, and is there room?")
        return CorruptDatabase(self.path, f"SQLite says: {error}")


Facts = tuple[int, ...] | None


def _facts(file: str) -> Facts:
    """Return what changes with the file; None: there is none."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _locked(file: Path) -> bool | None:
    """Return whether a connection of SQLite's holds a lock on *file*; None: the system does not tell."""
    try:
        facts = os.stat(file)
        lines = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return None
    # 1: POSIX  ADVISORY  READ 4711 fe:01:1234567 128 128
    place = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    return any("POSIX" in parts and place in parts for parts in map(str.split, lines))


def _refuse_others(file: Path) -> None:
    """Raise NotAQueue where *file* is there and is no regular file."""
    try:
        mode = file.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise NotAQueue(file, "is no regular file, so this is no database")
