"""What each kind of source says and does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Self

    from asyncpq.serializers import Serializer

__all__ = ["About", "Entry", "Source"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored item, as bytes.

    The blob is what the serializer made of the item without what frames a record, as a SQLite queue's column
    `data` has it: a JSON line without its newline, a msgpack or cbor2 body without its length, a whole pickle.
    """

    at: tuple[int, ...]  # chunk, count, offset; of a table: row id, see rows.py; it only grows
    blob: bytes
    bad: str | None = None  # why it cannot be read; *blob* is then what lies there
    # Of a table: "priority", "status", "timestamp"; of bad bytes in a file: "length", "records" that they stand for.
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class About:
    """What a source is."""

    path: Path
    kind: str  # "file", "sqlite", "queuelib", "litequeue" or "diskcache"
    what: str  # in words: "file queue of persist-queue", "persist-queue's SQLiteAckQueue 'jobs'"
    serializer: Serializer | None  # of the blobs; None: the items are bytes
    protocol: int | None  # of the first pickle; None where it is none
    items: int | None  # to come; None: only reading tells
    bytes_on_disk: int
    details: Mapping[str, Any] = field(default_factory=dict)  # chunksize, tail, head, table, journal mode, ...


class Source(Protocol):
    """A queue that is open for reading.  Leaving the block gives the lock back."""

    about: About

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def batches(self, after: tuple[int, ...] | None = None) -> Iterator[list[Entry]]:
        """Yield the items in the order of get, some at a time; memory does not grow with their number.

        What cannot be read comes as an Entry with *bad*; the iteration goes on behind it.

        Args:
            after: leave out the entries up to this `at`, which is among them.
        """

    def loads(self, blob: bytes) -> Any:
        """Return the item of *blob*: plain data, or with unpickle=True what the pickle makes.

        Raises:
            Damaged: it is none.
        """

    def where(self, entry: Entry) -> str:
        """Say where *entry* lies, for people: "q00003 at byte 120", "row 17 of queue_default"."""
