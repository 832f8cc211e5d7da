"""Many messages in order, by the batches that a server from 2.12 on stores together or not at all.

    m1 m2 m3 ... commit ──┬─ stored      the next batch
                          ├─ full        wait for room, fewer at once
                          ├─ lost, busy  the same messages in a new batch
                          └─ repeated    some are stored already: one by one, each refused or stored by its id

Where the stream takes no batches, they go one by one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from asyncpq.nats.headers import batch_headers
from asyncpq.nats.publishing import BUSY_PAUSE, Refused, Stored, outcome
from asyncpq.nats.wire import Lost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncpq.nats.publishing import Message, Publisher

BATCH_MAX: Final = 1000  # messages, as the server has it
BATCH_BYTES: Final = 4 * 1024 * 1024  # of the records of one batch


async def put_many(publisher: Publisher, messages: Sequence[Message], *, batches: bool) -> None:
    """Store *messages*, in order, as room comes; *batches*: the stream takes batches.

    Raises:
        As `Publisher.put`; the exception's attribute `stored` has the number of messages that are known to be stored,
        from the first on.  Nothing behind them is, but after ServerAway the rest of a batch may be.

    Cancellation: the CancelledError has `stored`, too; a batch that was sent is waited for.
    """
    many = Many(publisher, messages, batches=batches)
    storing = asyncio.ensure_future(many.run())
    try:
        await asyncio.shield(storing)
    except BaseException as error:
        if not storing.done():
            many.stop(storing)
            await asyncio.wait((storing,))
            if not storing.cancelled():
                storing.exception()
        error.stored = many.stored  # type: ignore[attr-defined]  # see above
        raise


class Many:
    """Messages that are stored in order."""

    def __init__(self, publisher: Publisher, messages: Sequence[Message], *, batches: bool) -> None:
        """Send nothing yet."""
        self._publisher, self._messages = publisher, messages
        self._most = BATCH_MAX if batches else 1
        self._ticket = publisher.room.line.ticket()
        self._sending = self._stopped = False
        self.stored = 0

    def stop(self, storing: asyncio.Future[None]) -> None:
        """End with the batch that is on its way, or at once."""
        self._stopped = True
        if not self._sending:
            storing.cancel()

    async def run(self) -> None:
        """Store them all, or until it is stopped."""
        for message in self._messages:
            self._publisher.check_size(message.record)
        most = self._most
        while self.stored < len(self._messages) and not self._stopped:
            await self._publisher.room.enter(None, self._ticket)
            batch = self._batch(most)
            self._sending = True
            try:
                result = await self._store(batch)
            except BaseException:
                self._publisher.room.stored(len(batch))  # perhaps: a look corrects it
                raise
            finally:
                self._sending = False
            if self._publisher.settle(result, len(batch)):
                self.stored += len(batch)
                most = min(self._most, most * 2)
            elif result is Refused.REPEATED:
                await self._one_by_one(batch)
            else:
                most = max(1, len(batch) // 2)  # where the bound is one of bytes, no look tells how many fit

    def _batch(self, most: int) -> Sequence[Message]:
        """Return the next messages, for which there is room: that of the first one is taken already."""
        first = last = self.stored
        size = len(self._messages[first].record)
        while (last := last + 1) < min(len(self._messages), first + most):
            size += len(self._messages[last].record)
            if size > BATCH_BYTES:
                break
        return self._messages[first : first + 1 + self._publisher.room.more(last - first - 1)]

    async def _store(self, batch: Sequence[Message]) -> Stored | Refused:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._publisher.wire.timeout
        while True:
            try:
                result = await self._send(batch)
            except Lost:
                result = Refused.BUSY
            if result is not Refused.BUSY:
                return result
            if loop.time() > until:
                raise self._publisher.busy()
            await asyncio.sleep(BUSY_PAUSE)

    async def _send(self, batch: Sequence[Message]) -> Stored | Refused:
        """Send *batch*, whose last message asks for all of it; one alone needs no batch."""
        wire, subject, name = self._publisher.wire, self._publisher.settings.subject, self._publisher.new_id()
        if len(batch) == 1:
            answer = await wire.ask(subject, batch[0].record, batch[0].headers, storing=True)
            return outcome(self._publisher.path, answer)
        for number, message in enumerate(batch[:-1], 1):
            wire.tell(subject, message.record, message.headers | batch_headers(name, number, last=False))
        message = batch[-1]
        headers = message.headers | batch_headers(name, len(batch), last=True)
        answer = await wire.ask(subject, message.record, headers, storing=True, once=True)
        return outcome(self._publisher.path, answer)

    async def _one_by_one(self, batch: Sequence[Message]) -> None:
        """Store those of *batch* that are not stored yet; the server knows the others by their ids."""
        for message in batch:
            if self._stopped:
                return
            await self._publisher.put(message, True, None)
            self.stored += 1
