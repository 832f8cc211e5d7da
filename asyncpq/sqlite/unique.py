"""No item twice: the keys beside the table, and the classes mixed into the unique queues.

    put    the digest of the item's canonical form is looked up
    ack    an answered row does not count any more; when its data comes again it gives way to the new row

The table's UNIQUE (data) is persist-queue's own rule, and holds too.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Unpack

from asyncpq.canonical import digest
from asyncpq.serializers import Damaged
from asyncpq.sqlite.base import AckOptions, SQLiteQueue
from asyncpq.sqlite.store import Store
from asyncpq.sqlite.tables import ACKED

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.database import Database
    from asyncpq.sqlite.owner import Owner
    from asyncpq.sqlite.statements import Statements
    from asyncpq.sqlite.store import Raw, Row


class UniqueStore(Store):
    """A table, and the digests of its items."""

    digest: Callable[[Any], bytes]
    _indexed = 0  # rows up to here have their digests, but for those of others
    _stale = True

    def opened(self, now: float) -> None:
        """Look at the rows that persist-queue put, too."""
        self.looks = True
        super().opened(now)
        self._execute(self.sql.orphans["keys"])

    def changed_by_others(self) -> None:
        """Look for rows that persist-queue put before the next put."""
        super().changed_by_others()
        self._stale = True

    def _index(self) -> None:
        """Give a digest to each row that has none; one that cannot be read gets none."""
        for id, data in self._execute(self.sql.without_key, (self._indexed,)).fetchall():
            self._indexed = max(self._indexed, id)
            try:
                key = self.digest(self.blobs.loads(data))
            except Damaged:
                continue
            if not self._execute(self.sql.key_of, (key,)).fetchone():
                self._execute(self.sql.set_key, (key, id))
        self._stale = False

    def rolled_back(self) -> None:
        """Forget what the transaction did."""
        super().rolled_back()
        self._indexed, self._stale = 0, True

    def put(self, rows: Sequence[Raw]) -> list[int | None]:
        """Insert *rows* (data, timestamp, digest) that are not there; return their ids, None for those that are."""
        if self._stale:
            self._index()
        return [self._put_one(*row) for row in rows]

    def _put_one(self, data: bytes, timestamp: float, key: bytes) -> int | None:
        if self._execute(self.sql.key_of, (key,)).fetchone():
            return None
        try:
            (id,) = super().put([(data, timestamp)])
        except sqlite3.IntegrityError:
            if not self._gives_way(data):
                return None
            (id,) = super().put([(data, timestamp)])
        self._execute(self.sql.set_key, (key, id))
        return id

    def _gives_way(self, data: bytes) -> bool:
        """Delete the row of the same *data*, if it is answered; return whether it was."""
        row = self._execute(self.sql.same_data, (data,)).fetchone()
        if not self.sql.kind.acked or row is None or row[1] < ACKED:
            return False
        self._execute(self.sql.delete, (row[0],))
        return True

    def contains(self, key: bytes) -> bool:
        """Return whether an item of this digest is there."""
        if self._stale:
            self._index()
        return self._execute(self.sql.key_of, (key,)).fetchone() is not None

    def update_unique(self, id: int, data: bytes, key: bytes) -> None:
        """Replace the data of a row; ValueError if another one is the same."""
        if self._stale:
            self._index()
        other = self._execute(self.sql.key_of, (key,)).fetchone()
        try:
            if (other is None or other[0] == id) and not self.update(id, data):
                return
        except sqlite3.IntegrityError:
            other = self._execute(self.sql.same_data, (data,)).fetchone()
        if other is not None and other[0] != id:
            raise ValueError(f"table {self.sql.table!r}: row {other[0]} has this item already; nothing was changed")
        self._execute(self.sql.drop_key, (id,))
        self._execute(self.sql.set_key, (key, id))

    def _claimed(self, raw: Raw, item: Any) -> Row:
        row = super()._claimed(raw, item)
        if not self.claims:
            self._execute(self.sql.drop_key, (row.id,))
        return row

    def give_back(self, rows: Iterable[Row]) -> None:
        """Undo that *rows* were taken; one that was put again meanwhile is the same item."""
        rows = list(rows)
        super().give_back(rows)
        if not self.claims:
            for row in rows:
                self._execute(self.sql.set_key, (self.digest(row.item), row.id))

    def finish(self, ids: Iterable[int]) -> None:
        """Delete rows that this opener holds (auto_commit=False), with their digests."""
        ids = list(ids)
        super().finish(ids)
        for id in ids:
            if not self._execute(self.sql.by_id, (id,)).fetchone():
                self._execute(self.sql.drop_key, (id,))


class Unique(SQLiteQueue):
    """What the unique queues have more."""

    store_class: type[UniqueStore] = UniqueStore

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str = "default",
        serializer: Any = None,
        auto_commit: bool = True,
        *,
        key: Callable[[Any], Any] | None = None,
        **options: Unpack[AckOptions],  # those of the ack queues are only for AsyncUniqueAckQ
    ) -> None:
        """As `SQLiteQueue`; *key* is a function of an item whose value is compared instead of the item."""
        super().__init__(path, name, serializer, auto_commit, **options)  # type: ignore[misc]  # see above
        self._key = key

    def _digest_of(self) -> Callable[[Any], bytes]:
        return self._digest

    def _digest(self, item: Any) -> bytes:
        return digest(item if self._key is None else self._key(item))

    def _make_store(self, database: Database, sql: Statements, serializer: Serializer, owner: Owner) -> Store:
        store = super()._make_store(database, sql, serializer, owner)
        assert isinstance(store, UniqueStore)
        store.digest = self._digest
        return store

    def _update(self, id: int, row: tuple[Any, ...]) -> None:
        store = self._store
        assert isinstance(store, UniqueStore)
        store.update_unique(id, row[0], row[2])

    async def contains(self, item: Any) -> bool:
        """Return whether the same item is in the queue (ack queues: and not acknowledged)."""
        engine = await self._enter()
        key, store = self._digest(item), self._store
        assert isinstance(store, UniqueStore)
        return bool(await engine.request(lambda: store.contains(key)))
