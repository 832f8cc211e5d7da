"""The rows of a table as entries, a page at a time, in the order of get.

    by the row's number     ... WHERE id > ? ORDER BY id LIMIT ?          at = (id,); the newest first: (-id,)
    by anything else        the numbers in order in a temporary table     at = (place in that order, id)

No statement stays open between two pages, so who reads holds nobody up longer than the lock asks for.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from asyncpq.sources.database import as_text, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncpq.sources.database import ReadOnly
    from asyncpq.sources.protocol import Entry

__all__ = ["Table", "pages"]

PAGE: Final = 1024  # rows, at most
PAGE_BYTES: Final = 1024 * 1024  # bytes of data after which a page ends

At = tuple[int, ...]
Row = tuple[Any, ...]  # number, data, perhaps its type, and the columns asked for

Rows = Generator[tuple[At, Row], None, None]


@dataclass(frozen=True, slots=True)
class Table:
    """Which rows of which table, and in which order."""

    name: str
    number: str  # the column that is the row's number
    data: str
    more: tuple[str, ...] = ()  # further columns of a row
    types: bool = False  # whether the type of data, as SQLite calls it, stands behind it
    where: str = "1"
    newest_first: bool = False
    order: str | None = None  # SQL; None: by number

    @property
    def columns(self) -> str:
        """The columns of a row, as SQL."""
        number, data, *more = (f"t.{quoted(name)}" for name in (self.number, self.data, *self.more))
        return ", ".join([number, data, *[f"typeof({data})"] * self.types, *more])

    def named(self, row: Row) -> dict[str, Any]:
        """Return the further columns of *row*, text as str."""
        return dict(zip(self.more, map(as_text, row[2 + self.types :]), strict=True))


def pages(
    database: ReadOnly, table: Table, entry: Callable[[At, Row], Entry], after: At | None
) -> Iterator[list[Entry]]:
    """Yield what *entry* makes of the rows behind *after*.

    Raises:
        QueueLocked: the file was changed by a program that was not there at the beginning.
    """
    fetch = _ordered(database, table) if table.order else partial(_by_number, database, table)
    while True:
        with closing(fetch(after)) as rows:
            page = list(_cut(rows))
        if database.changed():
            if database.lock or table.order:
                raise database.moving()
            database.connect()
        elif not page:
            return
        else:
            yield [entry(at, row) for at, row in page]
            after = page[-1][0]


def _cut(rows: Rows) -> Iterator[tuple[At, Row]]:
    """Yield *rows* up to the end of a page."""
    size = 0
    for at, row in islice(rows, PAGE):
        yield at, row
        size += len(row[1]) if isinstance(row[1], bytes) else 0
        if size >= PAGE_BYTES:
            return


def _by_number(database: ReadOnly, table: Table, after: At | None) -> Rows:
    sign, compare, direction = (-1, "<", " DESC") if table.newest_first else (1, ">", "")
    number = f"t.{quoted(table.number)}"
    beyond = f" AND {number} {compare} ?" if after else ""
    sql = (
        f"SELECT {table.columns} FROM {quoted(table.name)} AS t WHERE {table.where}{beyond} "
        f"ORDER BY {number}{direction} LIMIT {PAGE}"
    )
    for row in database.rows(sql, *((sign * after[0],) if after else ())):
        yield (sign * row[0],), row


def _ordered(database: ReadOnly, table: Table) -> Callable[[At | None], Rows]:
    """Write the numbers of the rows, in order, into a temporary table, which SQLite keeps out of the database."""
    database.orders += 1
    order, number = f"temp.asyncpq_order_{database.orders}", quoted(table.number)
    database.run(
        f"CREATE TEMP TABLE asyncpq_order_{database.orders} AS SELECT t.{number} AS id "
        f"FROM {quoted(table.name)} AS t WHERE {table.where} ORDER BY {table.order}"
    )
    sql = (
        f"SELECT o.rowid, {table.columns} FROM {order} AS o CROSS JOIN {quoted(table.name)} AS t "
        f"ON t.{number} = o.id WHERE o.rowid > ? ORDER BY o.rowid LIMIT {PAGE}"
    )

    def fetch(after: At | None) -> Rows:
        for place, *row in database.rows(sql, after[0] if after else 0):
            yield (place, row[0]), tuple(row)

    return fetch
