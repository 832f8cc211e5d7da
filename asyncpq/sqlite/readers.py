"""A few connections that only read, for long looks beside the one that writes: by aiosqlite, off the hot path.

In WAL mode a reader neither waits for the writer nor holds him up.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aiosqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIZE: Final = 2  # connections; whoever comes when all are busy waits


class Readers:
    """Connections, opened when they are needed."""

    def __init__(self, path: str, timeout: float) -> None:
        """Open nothing."""
        self._uri = f"file:{quote(os.fsencode(path))}?mode=ro"
        self._timeout = timeout
        self._free: list[aiosqlite.Connection] = []
        self._all: list[aiosqlite.Connection] = []
        self._opening: set[asyncio.Future[aiosqlite.Connection]] = set()
        self._places = asyncio.Semaphore(SIZE)

    async def fetch(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Return the rows of a query.

        Raises:
            sqlite3.Error: see `asyncpq.sqlite.database.explained`.

        Cancellation: the query goes on in its thread; its connection is used again when it is done.
        """
        async with self._connection() as connection:
            return list(await connection.execute_fetchall(sql, values))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosqlite.Connection]:
        async with self._places:
            connection = self._free.pop() if self._free else await self._open()
            try:
                yield connection
            finally:
                self._free.append(connection)

    async def _open(self) -> aiosqlite.Connection:
        opening = asyncio.ensure_future(self._connect())
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._keep)
            raise

    def _keep(self, opened: asyncio.Future[aiosqlite.Connection]) -> None:
        """Nobody waits for it any more: whoever comes next has it."""
        if not opened.cancelled() and opened.exception() is None:
            self._free.append(opened.result())

    async def _connect(self) -> aiosqlite.Connection:
        connecting = aiosqlite.connect(self._uri, uri=True, timeout=self._timeout, isolation_level=None)
        # A thread that the interpreter waits for would keep an unclosed queue's process alive; aiosqlite has no
        # parameter for it: before 0.22 the connection was the thread itself.
        thread: Any = getattr(connecting, "_thread", connecting)
        thread.daemon = True
        connection = await connecting
        self._all.append(connection)
        return connection

    async def close(self) -> None:
        """Close the connections, after the queries that run; none may begin any more."""
        await asyncio.gather(*self._opening, return_exceptions=True)
        while self._all:
            with suppress(sqlite3.Error, ValueError):
                await self._all.pop().close()
