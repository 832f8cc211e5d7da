"""litequeue's queues: messages that are text or bytes, in a table of any name.

    data   message_id   status                            in_time   lock_time   done_time
           ^order       0 ready  1 locked                                       ^nanoseconds
                        2 done   3 failed: not to come

A blob is the pickle of a message, so that text and bytes stay apart.  With a serializer it is the message itself,
and the item what the serializer makes of it.

Source of the layout: what litequeue 0.9 creates.
"""

from __future__ import annotations

import pickle
from functools import partial
from typing import TYPE_CHECKING, Final

from asyncpq import serializers
from asyncpq.serializers import Damaged
from asyncpq.sources.blobs import Reading
from asyncpq.sources.rows import Table
from asyncpq.sources.tables import Candidate, TableSource, Words, as_it_is, serializer_of

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.sources.database import ReadOnly
    from asyncpq.sources.options import Options
    from asyncpq.sources.rows import Row

__all__ = ["found", "pickled_text"]

COLUMNS: Final = ["data", "message_id", "status", "in_time", "lock_time", "done_time"]
STATUSES: Final = {0: "ready", 1: "locked", 2: "done", 3: "failed"}


def found(tables: dict[str, list[str]]) -> list[Candidate]:
    """Return the queues among *tables*, whose columns are given."""
    return [Candidate(name, name, partial(_open, name)) for name, columns in tables.items() if columns == COLUMNS]


def _open(name: str, path: Path, database: ReadOnly, options: Options) -> TableSource:
    table = Table(
        name=name,
        number="rowid",
        data="data",
        more=("message_id", "status", "in_time", "lock_time"),
        types=True,
        where="t.status IN (0, 1)",
        order="t.message_id, t.rowid",
    )
    given = options.serializer
    serializer = serializer_of(database, table, given) if given else serializers.get("pickle")
    reading = Reading(serializer, options.unpickle, options.encoding)
    details = {
        "name": name,
        "statuses": database.counts(name, "status", STATUSES),
        "stored": "text and bytes",
    }
    blob = as_it_is if given else _pickled
    return TableSource(path, database, table, reading, blob, Words("litequeue", f"litequeue {name!r}", details))


def _pickled(row: Row) -> bytes:
    data = as_it_is(row)
    return pickled_text(data) if row[2] == b"text" else pickle.dumps(data, serializers.pickle.PROTOCOL)


def pickled_text(data: bytes) -> bytes:
    """Return the pickle of the text that *data* is in UTF-8."""
    try:
        return pickle.dumps(data.decode("utf-8"), serializers.pickle.PROTOCOL)
    except UnicodeDecodeError as error:
        raise Damaged(f"its text is no UTF-8: {error.reason} at byte {error.start}") from None
