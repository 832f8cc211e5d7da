"""The database of a SQLite queue, as persist-queue's class leaves it: its table, and asyncpq's number of the format.

PATH            a file, as the async classes have it
PATH/data.db    in a directory, as the sync classes have it; WAL, as they have it

While it is built, a commit is not synced: `sync` commits and syncs the file, and a kill leaves the last commit.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import MigrationError, SyncFailed
from asyncpq.files import FILES
from asyncpq.layout import DATABASE
from asyncpq.migrating.converting import framing
from asyncpq.migrating.system import sync_parent
from asyncpq.migrating.target import NOT_WRITTEN, READ, new_digest
from asyncpq.sources.blobs import frame_of
from asyncpq.sqlite.database import Database, explained
from asyncpq.sqlite.place import make_tables
from asyncpq.sqlite.statements import words
from asyncpq.sqlite.tables import INITED, READY, UNACK, creation, table_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.tables import Kind

__all__ = ["DatabaseTarget"]

TIMEOUT: Final = 5.0  # seconds; nobody else knows of the file
TOGETHER: Final = 400  # rows that one statement inserts
PAGE: Final = 256  # rows that are read at a time


class DatabaseTarget:
    """See Target."""

    def __init__(
        self, path: Path, serializer: Serializer, kind: Kind, name: str, *, in_directory: bool, total: int, now: float
    ) -> None:
        """Make nothing yet.

        Args:
            path: of the file, or of the directory that it is in.
            serializer: of the records.
            kind: of the table.
            name: of the queue.
            in_directory: the database is PATH/data.db.
            total: items that will come; the first of the newest first gets this number.
            now: the time of items that have none, in seconds.
        """
        self.path, self.items, self.digest = path, 0, new_digest()
        self._kind, self._total, self._now = kind, total, now
        self._in_directory, self._file = in_directory, path / DATABASE if in_directory else path
        self._before, self._behind = frame_of(serializer)
        self._frame = framing(serializer)
        self._table = table_names(kind, name, in_directory)[0]
        self._words = words(kind, self._table)
        self._database: Database | None = None
        self._places = f"({', '.join('?' * len(kind.columns))})"
        self._insert = f"INSERT INTO {self._words.t} ({', '.join(kind.columns)}) VALUES "

    @contextmanager
    def _open(self) -> Iterator[Database]:
        """The connection; errors of SQLite are OSErrors, or what they are to a queue."""
        try:
            if self._database is None:
                self._database = Database(os.fspath(self._file), TIMEOUT, full=False)
                self._database.execute("PRAGMA synchronous=OFF")
            yield self._database
        except sqlite3.Error as error:
            meant = explained(error, os.fspath(self._file), TIMEOUT)
            raise (meant.cause if isinstance(meant, SyncFailed) else meant) from error

    def begin(self) -> None:
        """See Target."""
        if self._in_directory:
            os.mkdir(self.path)
        with self._open() as database:
            database.transaction(lambda: make_tables(database, self._kind, self._table, [], new=True))
            database.begin()

    def resume(self, state: dict[str, Any]) -> None:
        """See Target."""
        self.items = state["items"]
        with self._open() as database:
            last = self._number(self.items - 1)
            database.begin()
            beyond = f"_id {'<' if self._kind.newest_first else '>'} ?"
            database.execute(f"DELETE FROM {self._words.t} WHERE {beyond}", (last if self.items else -1,))
            for page in self._pages():
                self.digest.update(b"".join(page))

    def reset(self) -> None:
        """See Target."""
        self.close()
        self.items, self.digest = 0, new_digest()

    def _number(self, index: int) -> int:
        """Return the `_id` of the item that comes as number *index*, from 0."""
        return self._total - index if self._kind.newest_first else index + 1

    def append(self, records: list[bytes], extras: Sequence[Mapping[str, Any]]) -> None:
        """See Target."""
        self.digest.update(b"".join(records))
        first, step = self._number(self.items), -1 if self._kind.newest_first else 1
        numbers = range(first, first + step * len(records), step)
        columns = [numbers, self._blobs(records), *self._beside(extras)]
        self._write(list(chain.from_iterable(zip(*columns, strict=False))), len(records))
        self.items += len(records)

    def _beside(self, extras: Sequence[Mapping[str, Any]]) -> Iterator[Iterable[Any]]:
        """Yield the columns behind `data`; without extras they are the same for all."""
        yield [extra.get("timestamp", self._now) for extra in extras] if extras else repeat(self._now)
        if self._kind.acked:
            back = (READY, UNACK)
            yield [READY if extra.get("status") in back else INITED for extra in extras] if extras else repeat(INITED)
        if self._kind.priority:
            yield [extra.get("priority", 0) for extra in extras] if extras else repeat(0)

    def _write(self, values: list[Any], rows: int) -> None:
        """Insert *values*, many rows by one statement: SQLite notes the highest number once a statement."""
        if not rows:
            return
        width = len(values) // rows
        with self._open() as database:
            for start in range(0, len(values), TOGETHER * width):
                part = values[start : start + TOGETHER * width]
                database.execute(self._insert + ", ".join([self._places] * (len(part) // width)), part)

    def _blobs(self, records: list[bytes]) -> list[bytes]:
        before, behind = self._before, self._behind
        return [record[before : len(record) - behind] for record in records] if before or behind else records

    def sync(self) -> dict[str, Any]:
        """See Target."""
        with self._open() as database:
            database.commit()
            self._sync_file()
            database.begin()
        return {"items": self.items}

    def _sync_file(self) -> None:
        fd = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            FILES.fsync(fd)
        finally:
            os.close(fd)
        sync_parent(self._file)

    def finish(self) -> None:
        """See Target."""
        with self._open() as database:
            last = f"(SELECT coalesce(max(_id), 0) FROM {self._words.t})"
            database.execute(f"UPDATE sqlite_sequence SET seq = {last} WHERE name = ?", (self._table,))
            database.commit()
            if self._in_directory:
                database.execute("PRAGMA journal_mode=WAL")
        self.close()
        self._sync_file()

    def verify(self) -> Iterator[tuple[int, int]]:
        """See Target."""
        self._fetch()
        seen, items, size = new_digest(), 0, 0
        with self._open() as database:
            self._check(database)
            for page in self._pages():
                data = b"".join(page)
                seen.update(data)
                items, size = items + len(page), size + len(data)
                yield items, size
        self.close()
        if (items, seen.digest()) != (self.items, self.digest.digest()):
            raise MigrationError(self._file, NOT_WRITTEN)
        self._check_files()

    def _fetch(self) -> None:
        """Read the file from the disk, in order: SQLite asks for a page at a time, twenty times slower."""
        fd = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            FILES.drop_cache(fd)
            offset = 0
            while piece := FILES.pread(fd, READ, offset):
                offset += len(piece)
        finally:
            os.close(fd)

    def _check(self, database: Database) -> None:
        made = database.execute("SELECT sql FROM sqlite_master WHERE name = ?", (self._table,)).fetchone()
        whole = database.execute("PRAGMA integrity_check(1)").fetchone()
        if made != (creation(self._kind, self._table),) or whole != ("ok",):
            raise MigrationError(self._file, NOT_WRITTEN)

    def _check_files(self) -> None:
        """Refuse what SQLite would leave beside a database that is still open somewhere."""
        left = [name for name in ("-wal", "-shm", "-journal") if os.path.exists(f"{self._file}{name}")]
        if left:
            raise MigrationError(self._file, f"{self._file.name}{left[0]} is there: somebody has opened this database")

    def records(self) -> Iterator[bytes]:
        """See Target."""
        return chain.from_iterable(self._pages())

    def _pages(self) -> Iterator[list[bytes]]:
        """Yield the records, some at a time."""
        with self._open() as database:
            rows = database.execute(f"SELECT data FROM {self._words.t} ORDER BY {self._words.by}")
            while blobs := rows.fetchmany(PAGE):
                yield self._frame([blob for (blob,) in blobs])

    def close(self) -> None:
        """See Target."""
        database, self._database = self._database, None
        if database is not None:
            database.close()
