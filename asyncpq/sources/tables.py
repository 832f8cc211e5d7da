"""A table as a source: what every SQLite source does, and how one of several in a database is chosen.

    found(tables)      -> Candidate, Candidate     of each library
    chosen             by the queue's name, or its table's, or because it is the only one
    Candidate.open     -> TableSource

Whoever knows a library's tables says what becomes of a row: its blob, or why there is none.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from asyncpq import serializers
from asyncpq.errors import NotAQueue, SeveralQueues, WrongSerializer
from asyncpq.serializers import Damaged
from asyncpq.sources.blobs import Reading, fits, fitting
from asyncpq.sources.database import quoted
from asyncpq.sources.protocol import About, Entry
from asyncpq.sources.records import protocol_of
from asyncpq.sources.rows import pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import Self

    from asyncpq.serializers import Serializer
    from asyncpq.sources.database import ReadOnly
    from asyncpq.sources.options import Options
    from asyncpq.sources.protocol import Source
    from asyncpq.sources.rows import Row, Table

__all__ = ["Candidate", "TableSource", "called", "chosen", "serializer_of"]

TELLING: Final = 100  # rows, at most, that are looked at to find the serializer out


class Open(Protocol):
    """Opens a queue that was found; who calls keeps the connection until it succeeds."""

    def __call__(self, path: Path, database: ReadOnly, options: Options, /) -> Source: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """A queue in a database."""

    name: str
    table: str
    open: Open


def called(candidates: list[Candidate]) -> list[str]:
    """Return how the queues are called: by name, and where two have the same, by table."""
    names = [one.name for one in candidates]
    return [one.name if names.count(one.name) == 1 else one.table for one in candidates]


def chosen(database: ReadOnly, candidates: list[Candidate], name: str | None) -> Candidate:
    """Return the candidate that *name* means; None: the only one.

    Raises:
        NotAQueue: there is no queue in the database.
        SeveralQueues: there is none of that name, or there are several.
    """
    if not candidates:
        tables = ", ".join(map(repr, list(database.tables())[:5])) or "no table"
        raise NotAQueue(database.path, f"is a database without a queue: it holds {tables}")
    wanted = [one for one in candidates if name in (None, one.name, one.table)]
    if len(wanted) != 1:
        raise SeveralQueues(database.path, called(candidates), None if wanted else name)
    return wanted[0]


@dataclass(frozen=True, slots=True)
class Words:
    """What About says that only the library's module knows."""

    kind: str
    what: str
    details: Mapping[str, Any]
    bytes_beside: int = 0  # in files beside the database


class TableSource:
    """See Source.

    Args:
        path: what was asked for.
        database: closed with the source.
        table: which rows.
        reading: of the blobs.
        blob: makes the blob of a row, or raises Damaged.
        words: for About.
    """

    def __init__(
        self,
        path: Path,
        database: ReadOnly,
        table: Table,
        reading: Reading,
        blob: Callable[[Row], bytes],
        words: Words,
    ) -> None:
        self._database, self._table, self._blob = database, table, blob
        self._load, self._sound = reading.loader(), reading.sound()
        self.about = self._about(path, reading, words)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; once more does nothing."""
        self._database.close()

    def batches(self, after: tuple[int, ...] | None = None) -> Iterator[list[Entry]]:
        """See Source."""
        return pages(self._database, self._table, self._entry, after)

    def _entry(self, at: tuple[int, ...], row: Row) -> Entry:
        extra = self._table.named(row)
        try:
            blob = self._blob(row)
        except Damaged as damaged:
            return Entry(at, b"", damaged.why, extra)
        return Entry(at, blob, self._sound(blob), extra)

    def loads(self, blob: bytes) -> Any:
        """See Source."""
        return self._load(blob)

    def where(self, entry: Entry) -> str:
        """See Source."""
        return f"row {abs(entry.at[-1])} of {self._table.name}"

    def _about(self, path: Path, reading: Reading, words: Words) -> About:
        database, pickled = self._database, reading.serializer is serializers.pickle
        some = f"SELECT {self._table.columns} FROM {quoted(self._table.name)} AS t WHERE {self._table.where} LIMIT 1"
        first = [self._entry((0,), row) for row in database.rows(some)] if pickled else []
        rows = database.one(f"SELECT count(*) FROM {quoted(self._table.name)}")
        count = f"SELECT count(*) FROM {quoted(self._table.name)} AS t WHERE {self._table.where}"
        return About(
            path=path,
            kind=words.kind,
            what=words.what,
            serializer=reading.serializer,
            protocol=protocol_of(first[0].blob) if first else None,
            items=rows if self._table.where == "1" else database.one(count),
            bytes_on_disk=sum(_size(f"{database.path}{name}") for name in ("", "-wal")) + words.bytes_beside,
            details={
                "table": self._table.name,
                "journal_mode": "wal" if database.wal else "rollback",
                "open_elsewhere": database.open_elsewhere,
                "page_size": database.one("PRAGMA page_size"),
                "rows": rows,
                **words.details,
            },
        )


def _size(file: str) -> int:
    with suppress(FileNotFoundError):
        return os.stat(file).st_size
    return 0


def as_it_is(row: Row) -> bytes:
    """Return the data of *row*, which is text or a blob."""
    if not isinstance(row[1], bytes):
        raise Damaged(f"data is of type {type(row[1]).__name__}, not a blob")
    return row[1]


def serializer_of(database: ReadOnly, table: Table, given: Serializer | None) -> Serializer:
    """Return the serializer asked for, or the one that the rows are of.

    Raises:
        WrongSerializer: the rows are of another one, or of one of several.
    """
    found: list[str] = []
    column, number = quoted(table.data), quoted(table.number)
    for (blob,) in database.rows(f"SELECT {column} FROM {quoted(table.name)} ORDER BY {number} LIMIT {TELLING}"):
        if not isinstance(blob, bytes):
            continue
        possible = fitting(blob)
        if given is not None and len(possible) == 1 and not fits(given, blob):
            raise WrongSerializer(database.path, given.NAME, possible[0])
        found = found or possible
        if len(possible) == 1:  # else it is as short as the number 1, or damaged, and the next one may tell more
            found = possible
            break
    if given is not None:
        return given
    if len(found) > 1 and "pickle" not in found:
        raise WrongSerializer(database.path, "pickle", None)
    return serializers.get(found[0] if len(found) == 1 else "pickle")
