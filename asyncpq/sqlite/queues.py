"""The SQLite queues whose items are gone once they were got: FIFO, FILO, unique and by priority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from asyncpq.sqlite import tables
from asyncpq.sqlite.base import SQLiteQueue, check_timeout
from asyncpq.sqlite.unique import Unique

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncpq.sqlite.tables import Kind


class AsyncSQLiteQueue(SQLiteQueue):
    """First in, first out; persist-queue's AsyncSQLiteQueue, and the table of its SQLiteQueue."""

    kind: ClassVar[Kind] = tables.FIFO


AsyncFIFOSQLiteQueue = AsyncSQLiteQueue


class AsyncFILOSQLiteQueue(SQLiteQueue):
    """First in, last out; persist-queue's AsyncFILOSQLiteQueue, and the table of its FILOSQLiteQueue."""

    kind: ClassVar[Kind] = tables.FILO


class AsyncUniqueQ(Unique, SQLiteQueue):
    """First in, first out, and no item twice; persist-queue's AsyncUniqueQ, and the table of its UniqueQ.

    When two items are the same is said in docs/sqlite.md; ``key=`` is a function of an item whose value
    is compared instead.  `put` of an item that is there returns None.
    """

    kind: ClassVar[Kind] = tables.UNIQUE


class AsyncPriorityQueue(SQLiteQueue):
    """The lowest priority number first, and among equals the first in; the table of persist-queue's PriorityQueue."""

    kind: ClassVar[Kind] = tables.PRIORITY

    async def put(  # type: ignore[override]  # persist-queue's order of parameters
        self, item: Any, priority: int = 0, block: bool = True, timeout: float | None = None
    ) -> int:
        """Store *item* with *priority*: as `SQLiteQueue.put`.

        Raises:
            TypeError: *priority* is no int.
        """
        await self._enter(putting=True)
        check_timeout(block, timeout)
        row = await self._producer.columns(item, _priority(priority))
        id: int = await self._producer.put(row, block, timeout)
        return id

    async def put_nowait(self, item: Any, priority: int = 0) -> int:
        """Store *item* as `put` with ``block=False``."""
        return await self.put(item, priority, block=False)

    async def put_many(self, items: Iterable[Any], priority: int = 0) -> list[int]:
        """Store *items*, all of them with *priority*: as `SQLiteQueue.put_many`."""
        return await self._put_many(items, _priority(priority))


def _priority(priority: Any) -> int:
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise TypeError(f"priority is an int, the lowest first, not {priority!r}")
    return priority
