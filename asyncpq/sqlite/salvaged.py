"""What was salvaged, told apart by table: by the schema where it can be read, else by what the rows look like.

    schema              names the root of each table
    sqlite_sequence     the highest row id of each queue: what is left when the schema is gone
    shape               rows of a queue have no value in the first column, then data, timestamp, and what its class has

Leaves that may be of several tables go into none of them: their rows are set aside.
"""

from __future__ import annotations

import sqlite3
from array import array
from bisect import bisect_left
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from asyncpq.sqlite.finding import CLASSES, Table, as_queue
from asyncpq.sqlite.rebuilding import only_making
from asyncpq.sqlite.salvage import Salvage, Tree
from asyncpq.sqlite.tables import ACK, FIFO, PRIORITY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpq.sqlite.salvage import Row

TELLING: Final = 200  # rows that tell what a table is
_SEQUENCE: Final = "sqlite_sequence"
_STATUSES: Final = {0, 1, 2, 5, 9}
_KINDS: Final = ("table", "index", "view", "trigger")


@dataclass(slots=True)
class Found:
    """A table of the damaged database."""

    name: str
    sql: str
    queue: Table | None  # None: another table
    trees: list[Tree] = field(default_factory=list)
    lost: bool = False  # its root is not known
    ids: array[int] | None = None  # the row ids on the trees that the schema names, sorted, once they are asked for

    @property
    def damaged(self) -> bool:
        """Whether leaves of it are missing."""
        return self.lost or any(tree.bad for tree in self.trees)


class Salvaged:
    """The tables, and whose leaves they are."""

    def __init__(self, salvage: Salvage, in_directory: bool) -> None:
        """Tell all leaves apart.

        Args:
            salvage: the pages.
            in_directory: persist-queue's layout, by which a table is called whose name is lost.
        """
        self.salvage = salvage
        self.tables: dict[str, Found] = {}
        self.others: list[tuple[str, str]] = []  # what else the schema has: its name, its SQL
        self.highest: dict[str, int] = {}  # the highest row id that each table has had
        self.unknown: list[Tree] = []  # leaves of more than one table
        self.stale: list[Tree] = []  # leaves of no table
        self.guessed: list[str] = []  # tables whose names are made up
        self._schema_is_whole = bool(salvage.schema.leaves) and not salvage.schema.bad
        self._read_schema()
        self._place_orphans(in_directory)

    def rows(self, found: Found) -> Iterator[Row]:
        """Yield the rows of a table; see `Salvage.rows`."""
        self.salvage.new_pass()
        for tree in found.trees:
            yield from self.salvage.rows(tree)

    # -- the schema -----------------------------------------------------------------------------------------

    def _read_schema(self) -> None:
        roots: dict[str, int] = {}
        for row in self._schema_rows():
            kind, name, _, root, sql = row
            if kind == "table" and isinstance(root, int):
                roots[name] = root
                self._add(name, sql)
            elif sql:
                self.others.append((name, sql))
        for name, root in roots.items():
            found = self.tables[name]
            if not _without_rows(found.sql):
                found.trees.append(self.salvage.tree(root))
        sequence = self.tables.pop(_SEQUENCE, None)
        self._read_sequence(sequence.trees if sequence else [])

    def _schema_rows(self) -> Iterator[tuple[str, str, Any, Any, str]]:
        """Yield the rows of the schema, also those on leaves that page 1 would have led to."""
        salvage = self.salvage
        trees = [salvage.schema]
        if salvage.schema.bad:
            trees += salvage.take(_of_schema)
        for tree in trees:
            for _, row in salvage.rows(tree):
                if row is None or not _of_schema(row):
                    self._schema_is_whole = False
                else:
                    kind, name, table, root, sql = row
                    yield kind, name, table, root, sql if _is_text(sql) else ""

    def _add(self, name: str, sql: str) -> Found:
        said = as_queue(name)
        if said and not (_makes_a_table(sql) and _is_sql(sql)):
            sql = ""  # it is damaged, and the name tells
        found = Found(name, sql, Table(name, said[1], said[0]) if said and _has_columns(said[0], sql) else None)
        self.tables[name] = found
        return found

    def _read_sequence(self, trees: list[Tree]) -> None:
        for tree in trees:
            for _, row in self.salvage.rows(tree):
                if row and len(row) == 2 and _is_text(row[0]) and isinstance(row[1], int):
                    self.highest[row[0]] = max(row[1], self.highest.get(row[0], 0))

    # -- leaves that no tree has ----------------------------------------------------------------------------

    def _place_orphans(self, in_directory: bool) -> None:
        self.salvage.new_pass()
        orphans = self.salvage.orphans()
        if not self._schema_is_whole:
            sequences = [tree for tree in orphans if self._is_sequence(tree)]
            self._read_sequence(sequences)
            orphans = [tree for tree in orphans if tree not in sequences]
        for name in self.highest:
            if name not in self.tables and as_queue(name):
                self._add(name, "").lost = True
        for tree in orphans:
            self._place(tree, in_directory)

    def _is_sequence(self, tree: Tree) -> bool:
        rows = [row for _, row in islice(self.salvage.rows(tree), TELLING)]
        return bool(rows) and all(row is not None and len(row) == 2 and isinstance(row[0], str) for row in rows)

    def _place(self, tree: Tree, in_directory: bool) -> None:
        some = [row for _, row in islice(self.salvage.rows(tree), TELLING) if row is not None]
        width = len(some[0]) if some else 0
        if width not in (3, 4) or 2 * sum(_like_a_queue(row, width) for row in some) <= len(some):
            self.stale.append(tree)
            return
        alike = [found for found in self.tables.values() if found.queue and len(found.queue.kind.columns) == width]
        if not alike:
            alike = [self._guess(some, in_directory)]
        if not self.salvage.free_is_whole and not any(found.damaged for found in alike):
            self.stale.append(tree)  # all tables are whole, so it is of the free list's lost part
            return
        ids = array("q", self.salvage.ids(tree))
        alike = [found for found in alike if not self._overlap(found, ids)]
        self._give(tree, [found for found in alike if found.damaged] or alike, max(ids))

    def _give(self, tree: Tree, wanting: list[Found], highest: int) -> None:
        exactly = [found for found in wanting if self.highest.get(found.name) == highest]
        possible = [found for found in wanting if self.highest.get(found.name, highest) >= highest]
        for choice in (exactly, possible):
            if len(choice) == 1:
                choice[0].trees.append(tree)
                return
        self.unknown.append(tree)

    def _overlap(self, found: Found, ids: array[int]) -> bool:
        """Return whether the trees of the table have most of these row ids already."""
        if found.ids is None:
            found.ids = array("q", sorted(id for tree in found.trees for id in self.salvage.ids(tree)))
        own = found.ids
        both = sum((at := bisect_left(own, id)) < len(own) and own[at] == id for id in ids)
        return 2 * both > len(ids)

    def _guess(self, rows: list[tuple[Any, ...]], in_directory: bool) -> Found:
        """Return a table for rows whose table nothing names any more."""
        answered = all(row[-1] in _STATUSES for row in rows)
        kind = FIFO if len(rows[0]) == 3 else ACK if answered else PRIORITY
        name = f"{kind.table}_default" if in_directory else kind.table
        self.guessed.append(name)
        found = self._add(name, "")
        found.lost = True
        return found


def _of_schema(row: tuple[Any, ...]) -> bool:
    return len(row) == 5 and row[0] in _KINDS and _is_text(row[1])


def _is_text(value: Any) -> bool:
    """Return whether *value* can be a part of SQL: a text in UTF-8 and without zeros."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" or letter == "\0" for letter in value)


def _without_rows(sql: str) -> bool:
    """Return whether the rows lie where only SQLite finds them; not of an SQL that is lost."""
    return bool(sql) and ("WITHOUTROWID" in "".join(sql.upper().split()) or not _makes_a_table(sql))


def _makes_a_table(sql: str) -> bool:
    return sql.upper().lstrip().startswith("CREATE TABLE")


def _is_sql(sql: str) -> bool:
    """Return whether SQLite understands *sql*, which makes a table."""
    with closing(sqlite3.connect(":memory:")) as scratch:
        scratch.set_authorizer(only_making)
        try:
            scratch.execute(sql)
        except (sqlite3.Error, sqlite3.Warning):
            return False
    return True


def _has_columns(cls: str, sql: str) -> bool:
    """Return whether the table was made with the columns of *cls*; an SQL that is lost says nothing against it."""
    return not sql or all(column in sql for column in CLASSES[cls].columns)


def _like_a_queue(row: tuple[Any, ...], width: int) -> bool:
    if len(row) != width or row[0] is not None or isinstance(row[2], str | bytes):
        return False
    return width == 3 or not isinstance(row[3], str)  # a table of rows that were set aside has the reason there
