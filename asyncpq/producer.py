"""Putting: encoding, who waits for room, and many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import Full
from asyncpq.misuse import explain_refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncpq.engine import Engine

ENCODE_LIMIT: Final = 1024 * 1024  # bytes or characters; a longer bytes or str is encoded in a thread
LONG_TYPES: Final = frozenset((bytes, bytearray, str))


class Producer:
    """The write side of an open queue, for all but the plain put, which goes to the engine straight."""

    def __init__(self, engine: Engine) -> None:
        """Write nothing yet."""
        self._engine, self._putters = engine, engine.putters
        self._serializer = engine.opened.serializer
        self.encode = self._serializer.encode
        self.is_async = self._serializer.is_async

    async def encode_away(self, item: Any) -> bytes:
        """Encode with a coroutine function, or off the loop.

        Raises:
            QueueClosed, QueueFailed: it ended meanwhile.
        """
        record: bytes
        try:
            if self.is_async:
                record = await self._serializer.aencode(item)  # type: ignore[attr-defined]  # where is_async
            else:
                record = await self._engine.run(lambda: self.encode(item))
        except Exception as error:
            explain_refused(error, self._engine.path, self._serializer.NAME)
            raise
        if self._engine.refusal is not None:
            raise self._engine.refusal()
        if self._engine.draining:
            raise self._engine.closed()
        return record

    def _encode_one(self, item: Any) -> bytes:
        try:
            return self.encode(item)
        except Exception as error:
            explain_refused(error, self._engine.path, self._serializer.NAME)
            raise

    async def put(self, record: bytes, block: bool, timeout: float | None) -> None:
        """Store *record* when there is room.  See `AsyncQueue.put`."""
        await self._wait(block, timeout)
        try:
            waiting = self._engine.put(record)
        finally:
            self._putters.release()
        if waiting is not None:
            await waiting

    async def put_many(self, items: Iterable[Any]) -> int:
        """Store *items* in order.  See `AsyncQueue.put_many`."""
        if self.is_async:
            records = [await self.encode_away(item) for item in items]
        else:
            records = [self._encode_one(item) for item in items]
        stored = 0
        try:
            while stored < len(records):
                stored += await self._put_some(records[stored:])
        except BaseException as error:
            error.stored = stored + getattr(error, "stored", 0)  # type: ignore[attr-defined]  # put_many promises it
            raise
        return stored

    async def _put_some(self, records: list[bytes]) -> int:
        """Store as many of *records*, from the first on, as there is room for; return how many."""
        engine = self._engine
        if engine.refusal is not None:
            raise engine.refusal()
        if engine.draining:  # a shutdown between two waits has woken nobody
            raise engine.closed()
        bounded = engine.maxsize > 0
        if bounded:
            await self._wait(block=True, timeout=None)
        try:
            if bounded:
                # The promise is kept meanwhile, and what others were promised stays theirs.
                records = records[: max(1, int(engine.room) - self._putters.promised + 1)]
            if engine.items is not None:
                records = records[: engine.items]
            waiting = engine.put_many(records)
        finally:
            if bounded:
                self._putters.release()
        if waiting is not None:
            await engine.outcome(waiting, len(records))
        return len(records)

    async def _wait(self, block: bool, timeout: float | None) -> None:
        """Hold a promise of room, or raise Full."""
        engine = self._engine
        if self._putters.admits():
            self._putters.promise()
        elif not block or timeout == 0:
            if not self._putters.may_overtake():
                raise Full(f"{engine.path}: no room for another item: maxsize is {engine.maxsize}")
            self._putters.promise()
        elif not await self._putters.wait(timeout):
            raise Full(f"{engine.path}: no room for another item in {timeout} s: maxsize is {engine.maxsize}")
        if engine.draining:
            self._putters.release()
            raise engine.closed()
