"""A new database with everything that was salvaged.

    rows of a queue              as they were: _id, data, timestamp, status, priority
    rows that cannot be read     in asyncpq_damaged_<table>, with the reason
    what was in flight           ready again: nobody holds it any more
    leaves of several tables     in asyncpq_damaged_unknown
    asyncpq_claims, _damaged     as they were, without owners; the other tables of ours are made by the next opening
    other tables, views, ...     as their SQL says

Synchronous: for worker threads.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from asyncpq.sqlite.finding import OURS
from asyncpq.sqlite.rows import WORDS, find_serializer, why_stray, why_unreadable
from asyncpq.sqlite.statements import Statements
from asyncpq.sqlite.tables import ACKED, FAILED, FORMAT, INITED, READY, UNACK, creation, quoted

if TYPE_CHECKING:
    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.finding import Table
    from asyncpq.sqlite.salvaged import Found, Salvaged

UNKNOWN: Final = "unknown"  # in the name of the table for rows whose table is not known
LEAST: Final = 1_000_000  # bytes of a value; no value is longer than the file, or than this
_MAKING: Final = (1, 2, 7, 8, 18, 20, 23, 27, 31)  # SQLite's codes for making tables, indexes, views and triggers
_CLAIMS, _DAMAGED = "asyncpq_claims_", "asyncpq_damaged_"


@dataclass(slots=True)
class Kept:
    """What became of the rows of one queue."""

    queue: Table
    serializer: str
    counts: Counter[str] = field(default_factory=Counter)  # kept, by status in words
    set_aside: list[tuple[int, str]] = field(default_factory=list)  # _id, why
    stray: list[tuple[int, str]] = field(default_factory=list)  # _id, why; kept, and ready
    given_back: int = 0
    unread: int = 0  # cells that are none

    @property
    def items(self) -> int:
        """Rows that are not answered."""
        return self.counts.total() - self.counts[WORDS[ACKED]] - self.counts[WORDS[FAILED]]


class Rebuilder:
    """Fills an empty database."""

    def __init__(self, connection: sqlite3.Connection, salvaged: Salvaged, file: str, given: Serializer | None) -> None:
        """Write nothing yet."""
        self._connection, self._salvaged, self._file, self._given = connection, salvaged, file, given
        self._execute = connection.execute
        self.kept: list[Kept] = []
        self.unknown = 0  # rows whose table is not known
        self.notes: list[str] = []  # what could not be kept, in sentences

    def run(self) -> None:
        """Write everything.

        Raises:
            WrongSerializer: the rows are of another serializer than the one given; nothing is kept.
            sqlite3.Error: it could not be written.
        """
        tables = self._salvaged.tables
        self._execute(f"PRAGMA page_size={self._salvaged.salvage.header.page_size}")
        self._distrust()
        self._execute("BEGIN")
        for found in tables.values():
            if found.queue is not None:
                self._queue(found, found.queue)
        for found in tables.values():
            if found.queue is None and not found.name.startswith("sqlite_"):
                self._other(found)
        self._unknown()
        for name, sql in self._salvaged.others:
            self._schema(name, sql)
        self._sequence()
        self._execute("CREATE TABLE IF NOT EXISTS asyncpq_format (version INTEGER)")
        self._execute("DELETE FROM asyncpq_format")
        self._execute("INSERT INTO asyncpq_format VALUES (?)", (FORMAT,))
        self._execute("COMMIT")

    def _distrust(self) -> None:
        """Let the SQL of a hostile schema compute as little as possible."""
        self._execute("PRAGMA trusted_schema=OFF")
        self._execute("PRAGMA ignore_check_constraints=ON")
        size = self._salvaged.salvage.pages * self._salvaged.salvage.header.page_size
        self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(size, LEAST))

    # -- queues ---------------------------------------------------------------------------------------------

    def _queue(self, found: Found, queue: Table) -> None:
        rows = self._salvaged.rows(found)
        serializer = find_serializer(self._file, self._given, (row[1] for _, row in rows if row and len(row) > 1))
        sql, kept = Statements(queue.kind, queue.table), Kept(queue, serializer.NAME)
        self._execute(creation(queue.kind, queue.table))
        for statement in sql.setup:
            self._execute(statement)
        for id, row in self._salvaged.rows(found):
            if row is None:
                kept.unread += 1
            else:
                self._row(kept, sql, serializer, (id, *_padded(row, len(queue.kind.columns))[1:]))
        self.kept.append(kept)

    def _row(self, kept: Kept, sql: Statements, serializer: Serializer, row: tuple[Any, ...]) -> None:
        queue, more = kept.queue, row[3:]
        why = why_unreadable(serializer, row[1])
        if why is not None:
            self._set_aside(kept, sql, row, why)
            return
        status = more[0] if queue.kind.acked else INITED
        stray = why_stray(queue, status)
        if stray is not None:
            kept.stray.append((row[0], stray))
        new = READY if stray is not None or status == UNACK else status
        values = (*row[:3], new) if queue.kind.acked else row
        try:
            self._execute(f"INSERT INTO {quoted(queue.table)} VALUES ({_marks(values)})", _bound(values))
        except sqlite3.IntegrityError:
            self._set_aside(kept, sql, row, "there is another row of this _id, or of the same data")
            return
        kept.given_back += status == UNACK
        kept.counts[WORDS[new]] += 1

    def _set_aside(self, kept: Kept, sql: Statements, row: tuple[Any, ...], why: str) -> None:
        more = "".join(f"; its {name} was {value!r:.40}" for name, value in _named(kept.queue, row))
        self._execute(sql.setup_damaged)
        id = self._free_id(sql, row[0])
        self._execute(sql.insert_damaged, _bound((id, row[1], row[2], why + more)))
        kept.set_aside.append((row[0], why))

    def _free_id(self, sql: Statements, id: int) -> int | None:
        """Return *id*, or None for the next one where it is taken."""
        return None if self._is_taken(_DAMAGED + sql.table, id) else id

    def _is_taken(self, table: str, id: int) -> bool:
        return self._execute(f"SELECT 1 FROM {quoted(table)} WHERE id = ?", (id,)).fetchone() is not None

    def _unknown(self) -> None:
        made = f"CREATE TABLE IF NOT EXISTS {_DAMAGED}{UNKNOWN} (id INTEGER, data BLOB, timestamp FLOAT, why TEXT)"
        self._salvaged.salvage.new_pass()
        for tree in self._salvaged.unknown:
            self._execute(made)
            for id, row in self._salvaged.salvage.rows(tree):
                if row is not None:
                    more = "".join(f"; with {value!r:.40}" for value in row[3:])
                    why = "which of the tables it is of is not known" + more
                    self._execute(
                        f"INSERT INTO {_DAMAGED}{UNKNOWN} VALUES (?, ?, ?, ?)",
                        _bound((id, *_padded(row, 3)[1:], why)),
                    )
                    self.unknown += 1

    # -- other tables ---------------------------------------------------------------------------------------

    def _other(self, found: Found) -> None:
        ours = found.name.startswith("asyncpq_")
        if ours and not found.name.startswith((_CLAIMS, _DAMAGED)):
            return  # made anew by the next opening
        if ours and not _as_ours(found):
            self.notes.append(f"table {found.name!r} has other columns than it should: it is made anew")
            return
        if not found.trees:
            self.notes.append(f"table {found.name!r} is not kept: only tables with row ids can be read here")
            return
        if not self._schema(found.name, found.sql, there=ours):
            return
        lost = sum(not self._insert(found.name, id, row) for id, row in self._salvaged.rows(found))
        if lost or found.damaged:
            self.notes.append(f"table {found.name!r} has lost rows")
        if found.name.startswith(_CLAIMS):
            self._let_go(found.name)

    def _let_go(self, claims: str) -> None:
        """Keep how often items of ack queues were tried; nobody holds them any more."""
        table = claims.removeprefix(_CLAIMS)
        acked = any(kept.queue.table == table and kept.queue.kind.acked for kept in self.kept)
        if acked:
            self._execute(f"UPDATE {quoted(claims)} SET owner = NULL, expires = NULL WHERE owner IS NOT NULL")
        else:
            self._execute(f"DELETE FROM {quoted(claims)}")

    def _schema(self, name: str, sql: str, there: bool = False) -> bool:
        """Run the *sql* that makes *name*; return whether it is there then."""
        if there and self._is_made(name):
            return True
        self._execute("SAVEPOINT making")
        try:
            self._make(sql)
            if not self._is_made(name):
                raise sqlite3.OperationalError("its SQL makes something else")
        except (sqlite3.Error, sqlite3.Warning) as error:
            self._execute("ROLLBACK TO making")
            if not name.startswith("asyncpq_"):
                self.notes.append(f"{name!r} is not kept: {error}")
            return False
        finally:
            self._execute("RELEASE making")
        return True

    def _make(self, sql: str) -> None:
        if not sql.lstrip()[:7].upper().startswith("CREATE "):
            raise sqlite3.OperationalError("its SQL makes nothing")
        self._connection.set_authorizer(only_making)
        try:
            self._execute(sql)
        finally:
            self._connection.set_authorizer(None)

    def _is_made(self, name: str) -> bool:
        return self._execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None

    def _insert(self, table: str, id: int, row: tuple[Any, ...] | None) -> bool:
        if row is None:
            return False
        info = self._execute(f"PRAGMA table_info({quoted(table)})").fetchall()
        keys = [at for at, column in enumerate(info) if column[5]]
        alias = keys[0] if len(keys) == 1 and str(info[keys[0]][2]).upper() == "INTEGER" else None
        values = list(row[: len(info)])
        names = [quoted(column[1]) for column in info[: len(values)]]
        if alias is None:
            names, values = ["_rowid_", *names], [id, *values]
        else:
            values[alias] = None if table.startswith(_DAMAGED) and self._is_taken(table, id) else id
        with suppress(sqlite3.Error):
            self._execute(
                f"INSERT INTO {quoted(table)} ({', '.join(names)}) VALUES ({_marks(values)})", _bound(tuple(values))
            )
            return True
        return False

    def _sequence(self) -> None:
        """Let no row id be given out again."""
        for kept in self.kept:
            table, highest = kept.queue.table, self._salvaged.highest.get(kept.queue.table, 0)
            last = self._execute(f"SELECT max(_id) FROM {quoted(table)}").fetchone()[0] or 0
            aside = max((id for id, _ in kept.set_aside), default=0)
            self._execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            self._execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, max(highest, last, aside)))


def only_making(action: int, *about: Any) -> int:
    """Refuse what a schema has no need of: to select, to load a module, to change other tables."""
    return sqlite3.SQLITE_OK if action in _MAKING else sqlite3.SQLITE_DENY


def _as_ours(found: Found) -> bool:
    """Return whether a table of our own was made with the columns that it should have."""
    should = next(columns for start, columns in OURS.items() if found.name.startswith(start))
    return all(column in found.sql for column in should)


def _padded(row: tuple[Any, ...], width: int) -> tuple[Any, ...]:
    return (*row[:width], *(None,) * (width - len(row)))


def _marks(values: Any) -> str:
    return ", ".join("?" * len(values))


def _named(queue: Table, row: tuple[Any, ...]) -> list[tuple[str, Any]]:
    return list(zip(queue.kind.columns[3:], row[3:], strict=True))


def _bound(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return *values* as SQLite takes them: a text that is none becomes the bytes that it was."""
    return tuple(_encodable(value) if isinstance(value, str) else value for value in values)


def _encodable(text: str) -> str | bytes:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
    return text
