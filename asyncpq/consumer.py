"""Getting: who waits for an item, and how the next one comes into memory.

    get ──┬─ now:      an item is in memory, and nobody came before                usually
          └─ in turn:  wait for a promise; then, one at a time: read, set aside,
                       take; with autosave: commit, or give it back

A promise stands for an item that is stored.  It is held until the item has been taken, so nobody who comes later
gets ahead, and a cancelled caller leaves the item to the next one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from asyncpq.buffer import NeedsRead, Returned, read_blocks
from asyncpq.errors import CorruptRecord, Empty
from asyncpq.serializers import Damaged, Torn
from asyncpq.turn import YIELD
from asyncpq.upkeep import move_back, pass_over, reclaim_later

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpq.buffer import Block
    from asyncpq.engine import Engine
    from asyncpq.files import Files
    from asyncpq.layout import Position


class NoItem(Exception):
    """A damaged record was set aside, or the queue was cleared: there is no item for this caller any more."""


class Consumer:
    """The read side of an open queue."""

    def __init__(self, engine: Engine, files: Files, dirfd: int, *, autosave: bool, skip: bool) -> None:
        """Read nothing yet.

        Args:
            engine: the open queue.
            files: the file system.
            dirfd: the descriptor of the directory.
            autosave: a get commits.
            skip: a damaged record is set aside, instead of raised.
        """
        self._engine, self._files, self._dirfd = engine, files, dirfd

        self._buffer, self._getters = engine.buffer, engine.getters
        self._serializer = engine.opened.serializer
        self._autosave, self._skip = autosave, skip
        self._is_async = self._serializer.is_async
        self._reading = asyncio.Lock()
        self.used = False  # somebody waits, or waited, in turn

    # -- in turn --------------------------------------------------------------------------------------------

    async def get(self, block: bool, timeout: float | None) -> Any:
        """Return the next item, committed with autosave.  See `AsyncQueue.get`."""
        got: Returned = await self._in_turn(block, timeout, self._one)
        if self._autosave:
            epoch = self._buffer.epoch
            await self._commit(got.position, lambda: self._buffer.give_back(got, epoch))
        return got.item

    async def get_many(self, limit: int, timeout: float | None) -> list[Any]:
        """Return up to *limit* items, with autosave in one commit.  See `AsyncQueue.get_many`."""
        items: list[Any] = await self._in_turn(True, timeout, lambda: self._several(limit))
        return items

    async def peek(self, block: bool, timeout: float | None) -> Any:
        """Return the next item and leave it.  See `AsyncQueue.peek`."""
        return await self._in_turn(block, timeout, self._front)

    async def _in_turn(self, block: bool, timeout: float | None, use: Callable[[], Awaitable[Any]]) -> Any:
        """Wait for an item, then return what *use* makes of it; nobody else takes while it runs."""
        self.used = True
        while True:
            await self._wait(block, timeout)
            try:
                async with self._reading:
                    return await use()
            except NoItem:
                continue  # perhaps there is another item
            finally:
                self._getters.release()

    async def _wait(self, block: bool, timeout: float | None) -> None:
        """Hold a promise of an item, or raise Empty."""
        if self._getters.admits():
            self._getters.promise()
        elif self._engine.drained:
            raise self._engine.closed()
        elif not block or timeout == 0:
            if not self._getters.may_overtake():
                raise Empty(f"{self._engine.path}: no item")
            self._getters.promise()
        elif not await self._getters.wait(timeout):
            raise Empty(f"{self._engine.path}: no item")

    @property
    def _spare(self) -> int:
        """How many items the caller who is in turn may take: not those that others were promised."""
        return self._buffer.ready - max(0, self._getters.promised - 1)

    async def _one(self) -> Returned:
        while True:
            number, position = self._buffer.at
            try:
                item = await self._take_async() if self._is_async else self._buffer.take()
            except (NeedsRead, CorruptRecord) as reason:
                await self._mend(reason)
            else:
                return Returned(number, position, item)

    async def _front(self) -> Any:
        while True:
            try:
                return (await self._load_async())[0] if self._is_async else self._buffer.peek()
            except (NeedsRead, CorruptRecord) as reason:
                await self._mend(reason)

    async def _several(self, limit: int) -> list[Any]:
        first = await self._one()
        mark = self._buffer.mark(first)
        items = [first.item]
        try:
            while len(items) < limit and self._spare > 0:
                try:
                    items += await self._more(limit - len(items))
                except CorruptRecord:
                    break  # the next call meets it
        except BaseException:
            self._buffer.rewind(mark)
            self._getters.wake()
            raise
        self._buffer.unmark()
        if self._autosave:
            await self._commit(mark.start, lambda: self._buffer.rewind(mark))
        return items

    async def _more(self, limit: int) -> list[Any]:
        if self._is_async:
            return [await self._take_async()]
        try:
            return self._buffer.take_many(min(limit, self._spare))
        except NeedsRead as need:
            await self._fill(need.ask)
            return []

    # -- memory ---------------------------------------------------------------------------------------------

    async def _mend(self, reason: NeedsRead | CorruptRecord) -> None:
        """Read from the disk, or set a damaged record aside, so that the next item can be taken."""
        if self._engine.refusal is not None:
            raise self._engine.refusal()
        if self._buffer.ready < self._getters.promised:
            raise NoItem  # the queue was cleared meanwhile
        try:
            if isinstance(reason, CorruptRecord):
                raise reason
            await self._fill(reason.ask)
        except CorruptRecord:
            if not self._skip:
                raise
            await pass_over(self._engine)
            if self._buffer.ready < self._getters.promised:
                raise NoItem from None

    async def _fill(self, ask: int) -> None:
        """Have a thread read what comes next.

        Cancellation: the read goes on and is dropped.
        """
        start, end, stored = self._buffer.cursor, self._engine.visible, self._buffer.stored
        blocks: list[Block] | OSError
        try:
            blocks = await self._engine.run(lambda: read_blocks(self._files, self._dirfd, start, end, ask))
        except OSError as error:
            blocks = error
        if self._engine.refusal is not None:
            raise self._engine.refusal()  # closed meanwhile: the descriptor may have been somebody else's
        if isinstance(blocks, OSError):
            raise blocks
        if (not blocks or not blocks[0].data) and not self._engine.idle:
            # The chunk is gone because the queue is being cleared: see what is left after that.
            await self._engine.in_lane(lambda: None)
            return
        complete = bool(blocks) and blocks[-1].chunk == end[0] and blocks[-1].complete
        self._buffer.fill(start, blocks, stored if complete else None)

    async def _take_async(self) -> Any:
        """Take with a serializer of coroutine functions."""
        item, length = await self._load_async()
        if length is None:
            return self._buffer.take()
        self._buffer.drop(length)
        return item

    async def _load_async(self) -> tuple[Any, int | None]:
        """Return the next item and the length of its record, which a thread finds; None: it was given back."""
        if self._buffer.returned:
            return self._buffer.peek(), None
        record = await self._engine.run(self._buffer.record)
        try:
            return await self._serializer.aloads(record), len(record)  # type: ignore[attr-defined]  # where is_async
        except (Damaged, Torn) as error:
            raise self._buffer.corrupt(str(error)) from error

    # -- commit, and give back ------------------------------------------------------------------------------

    async def _commit(self, start: Position, give_back: Callable[[], None]) -> None:
        """Commit autosave gets from *start* on; when that fails or is cancelled, *give_back* is called.

        No chunk is removed before they have returned, or the tail has moved back.
        """
        try:
            waiting = self._engine.commit_tail()
        except BaseException:
            give_back()
            self._getters.wake()
            raise
        if waiting is None or waiting is YIELD:
            return  # done; to yield now would let a cancellation lose it, so the next get does
        self._engine.autosaving.append(start.chunk)
        try:
            await waiting
        except BaseException:
            give_back()
            self._getters.wake()
            move_back(self._engine, start.chunk)
            raise
        self._engine.autosaved(start.chunk)
        reclaim_later(self._engine)
