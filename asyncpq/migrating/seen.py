"""Which records were there before: their digests, in a temporary database of SQLite's, so that memory stays flat."""

from __future__ import annotations

import sqlite3
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Seen"]

DIGEST_SIZE: Final = 16  # bytes
CACHE: Final = 8 * 1024  # KiB that are kept in memory


class Seen:
    """A set of records."""

    def __init__(self) -> None:
        """Hold none; the file has no name, and goes with the connection."""
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(f"PRAGMA cache_size=-{CACHE}")
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, records: Iterable[bytes]) -> list[bool]:
        """Add *records*; return of each whether it is new."""
        return [self._add(blake2b(record, digest_size=DIGEST_SIZE).digest()) for record in records]

    def _add(self, digest: bytes) -> bool:
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,)).rowcount == 1

    def close(self) -> None:
        """Forget them."""
        self._database.close()
