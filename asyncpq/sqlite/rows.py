"""The rows of a queue's table, looked at one by one: which of them a get could not return, and why.  Pure but for SQL.

    data        bytes, or text, that is one item of the serializer
    status      one of persist-queue's numbers (ack queues): no get would ever find another one

Timestamps and priorities may be anything: a get returns the item all the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from asyncpq import serializers
from asyncpq.errors import WrongSerializer
from asyncpq.serializers import Custom
from asyncpq.sqlite.blobs import fits, fitting
from asyncpq.sqlite.opening import TELLING
from asyncpq.sqlite.tables import ACKED, FAILED, INITED, READY, UNACK, quoted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.finding import Table

PAGE: Final = 256  # rows read at a time
WORDS: Final = {INITED: "ready", READY: "ready", UNACK: "in flight", ACKED: "acknowledged", FAILED: "failed"}


@dataclass(slots=True)
class Rows:
    """What the rows of a table are."""

    counts: Counter[str] = field(default_factory=Counter)  # that can be read, by status in words
    unreadable: list[tuple[int, str]] = field(default_factory=list)  # _id, why
    stray: list[tuple[int, str]] = field(default_factory=list)  # _id, why: readable, and no get would find it


def why_unreadable(serializer: Serializer, data: Any) -> str | None:
    """Return why *data* is no item; None: it is one, as far as can be told without running anything."""
    blob = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    if not isinstance(blob, bytes):
        kind = "NULL" if data is None else f"of type {type(data).__name__}"
        return f"data is {kind}, not a blob"
    if fits(serializer, blob):
        return None
    if not blob:
        return "data is empty"
    return f"data is no item of serializer {serializer.NAME!r}" + " (zeros)" * (not blob.strip(b"\0"))


def why_stray(queue: Table, status: Any) -> str | None:
    """Return why no get would ever find a row of this status."""
    if queue.kind.acked and (type(status) is not int or status not in WORDS):
        return f"status is {status!r:.40}, which none of {INITED}, {READY}, {UNACK}, {ACKED} and {FAILED} is"
    return None


def walk(
    connection: sqlite3.Connection, queue: Table, read: Callable[[int], None] | None = None
) -> Iterator[tuple[Any, ...]]:
    """Yield _id, data and what the class has more, in the order of _id; *read* is told how many more are behind.

    Raises:
        sqlite3.Error: a page cannot be read.
    """
    more = ", status" * queue.kind.acked
    first = f"SELECT _id, data{more} FROM {quoted(queue.table)} NOT INDEXED ORDER BY _id LIMIT {PAGE}"
    then = f"SELECT _id, data{more} FROM {quoted(queue.table)} NOT INDEXED WHERE _id > ? ORDER BY _id LIMIT {PAGE}"
    found = connection.execute(first).fetchall()
    while found:
        yield from found
        if read is not None:
            read(len(found))
        found = connection.execute(then, (found[-1][0],)).fetchall()


def count(connection: sqlite3.Connection, queue: Table) -> int:
    """Return how many rows there are."""
    return int(connection.execute(f"SELECT count(*) FROM {quoted(queue.table)}").fetchone()[0])


def judge(queue: Table, serializer: Serializer, found: Iterable[Sequence[Any]]) -> Rows:
    """Return what the rows *found* (_id, data, status) are."""
    rows = Rows()
    for id, data, *status in found:
        why = why_unreadable(serializer, data)
        stray = why_stray(queue, status[0] if status else None)
        if why is not None:
            rows.unreadable.append((id, why))
        elif stray is not None:
            rows.stray.append((id, stray))
        rows.counts["unreadable" if why else "stray" if stray else WORDS[status[0]] if status else "ready"] += 1
    return rows


def find_serializer(file: str, given: Serializer | None, some: Iterable[Any]) -> Serializer:
    """Return the serializer given, or the one that most of *some* data are of: a few of them may be damaged.

    Raises:
        WrongSerializer: they are of another one than the one given.
    """
    votes: Counter[str] = Counter()
    for _, data in zip(range(TELLING), some, strict=False):
        blob = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        names = fitting(blob) if isinstance(blob, bytes) else []
        if isinstance(given, Custom):
            return given
        if given is not None and fits(given, blob if isinstance(blob, bytes) else b""):
            return given
        for name in names if len(names) == 1 else ():
            votes[name] += 1
    best = votes.most_common(1)[0][0] if votes else None
    if given is not None and best is not None:
        raise WrongSerializer(file, given.NAME, best)
    return given or serializers.get(best or "pickle")
