"""Batches on their way: what is done for each, in this order.

    take        records become pending; they stay in the directory
    settle      only where the batch may have been sent before: what the stream holds of it is not sent again
    durable     the records, the tail before them, and the note: all that the batch stands on
    send        in order; the server knows a repeat by its key
    note        everything before this place is stored there; the stream ends here
    commit      the tail moves past the batch

Whatever ends this between two lines, the next run begins at the tail, and the note tells it where to look.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asyncpq.errors import QueueClosed, ServerAway
from asyncpq.forwarding.doubt import judge
from asyncpq.forwarding.finishing import ended
from asyncpq.forwarding.keys import key
from asyncpq.forwarding.note import Note
from asyncpq.forwarding.pauses import Pauses
from asyncpq.forwarding.records import SetAside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncpq.errors import RecordTooLarge
    from asyncpq.forwarding.notefile import NoteFile
    from asyncpq.forwarding.outlet import Outlet, There
    from asyncpq.forwarding.records import Record, Records
    from asyncpq.forwarding.report import ForwardReport
    from asyncpq.forwarding.wishes import Wishes

__all__ = ["BATCH", "BATCH_BYTES", "Forwarder"]

BATCH: Final = 1000  # records sent together, at most
BATCH_BYTES: Final = 4 * 1024 * 1024  # bytes of them, but for the last one
LOOK: Final = 1.0  # seconds from look to look whether the queue there is full
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger("asyncpq")


class Forwarder:
    """Moves records from one directory to one stream."""

    def __init__(
        self,
        records: Records,
        notes: NoteFile,
        outlet: Outlet,
        wishes: Wishes,
        report: ForwardReport,
        tell: Callable[[ForwardReport], object],
    ) -> None:
        """Move nothing yet.

        Args:
            records: of the directory.
            notes: of the directory, too.
            outlet: the target.
            wishes: see there.
            report: what to begin with.
            tell: called with what was done so far.
        """
        self._records, self._notes, self._outlet, self._wishes = records, notes, outlet, wishes
        self.report, self._tell = report, tell
        self._loop = asyncio.get_running_loop()
        self._pauses = Pauses(wishes.pause)
        self._doubt = True  # what is pending first may have been sent, by this process or by one before it
        self._well = self._loop.time()  # when the server confirmed something last
        self._looking: asyncio.TimerHandle | None = None
        self._large: set[Record] = set()  # pending, set aside already
        records.aside = self._set_aside if wishes.aside is not None else None

    async def run(self) -> None:
        """Move batch after batch, until it is drained, shut down and empty, cancelled, or fails.

        Raises:
            CorruptRecord, RecordTooLarge: a record cannot be forwarded, and nothing is to be set aside; it stays.
            ServerAway: the patience is over.
            QueueClosed, QueueFailed, OSError: of the directory.
            NotAQueue, WrongSettings, AccessDenied: the target is not what it should be, or closed to this login.

        Cancellation: what the server has confirmed is committed first.
        """
        self._say()
        while not (self._wishes.drain and not self._records.left):
            if not self._records.pending and not await self._take():
                break
            batch = list(self._records.pending)
            while batch:
                batch = await self._try(batch)
        self._say()

    async def _take(self) -> bool:
        """Have records pending; False: the queue was shut down, and nothing is left."""
        try:
            await self._records.take(BATCH, BATCH_BYTES)
        except QueueClosed:
            if self._records.engine.refusal is not None or self._records.left:
                raise
            return False
        return True

    async def _try(self, batch: list[Record]) -> list[Record]:
        """Move *batch*; return what is left of it, after a pause where the server did not take it."""
        try:
            return await self._move(batch)
        except asyncio.CancelledError as cancelled:
            await self._confirmed(batch, getattr(cancelled, "stored", 0))
            raise
        except (ServerAway, OSError) as error:
            if not isinstance(error, ServerAway) and error.errno not in _FULL:
                raise
            await self._confirmed(batch, getattr(error, "stored", 0))
            await self._wait_for(error)
        return list(self._records.pending)

    async def _move(self, batch: list[Record]) -> list[Record]:
        if self._doubt and (known := await self._settle(batch)):
            return batch[known:]
        now = self._up_to_large(batch)
        sending = await self._fitting(now)
        await self._durable()
        repeats = 0
        if sending:
            self._doubt = True
            repeats = await self._send(sending)
            # In order: where a record was new there, so is everything behind it.
            self._doubt = repeats == len(sending)
        self.report = replace(self.report, repeated=self.report.repeated + repeats)
        try:
            last = await self._last_sequence()
        except asyncio.CancelledError as cancelled:
            cancelled.stored = len(sending)  # type: ignore[attr-defined]  # all of it is confirmed
            raise
        await self._done(now, last)
        return batch[len(now) :]

    async def _send(self, sending: Sequence[Record]) -> int:
        """Send records; meanwhile it is told where the queue there is full."""
        self._look_for_room(first=True)
        try:
            return await self._outlet.send([(self._key(record), record.data) for record in sending])
        finally:
            if self._looking is not None:
                self._looking.cancel()

    def _look_for_room(self, *, first: bool = False) -> None:
        if not first and self._outlet.is_full and self.report.waiting is None:
            self.report = replace(self.report, waiting="the queue there is full")
            self._say()
        self._looking = self._loop.call_later(LOOK, self._look_for_room)

    def _key(self, record: Record) -> str:
        return key(self._notes.directory, record.position, record.data)

    # -- before it is sent ----------------------------------------------------------------------------------

    async def _settle(self, batch: list[Record]) -> int:
        """Be done with what the stream holds of *batch* already; return how many records that were.

        Where there is nothing of it, it is known that it was not sent, or that the server tells repeats apart.
        """
        there = await self._outlet.look()
        note = self._notes.note
        if note is None or note.target != there.target:
            await self._begin(batch[0], there)
            return 0
        before = sum(record.position < note.position for record in batch)
        if before:
            await self._found(batch[:before], note.sequence)
            return before
        if there.last < note.sequence:
            lost = note.sequence - there.last
            logger.warning("%s: the server has lost %d messages that it had confirmed", self.report.target, lost)
        since = min(note.sequence, there.last)
        keys = [self._key(record) for record in batch]
        found, present = await self._outlet.search(frozenset(keys), since, there)
        known = judge(keys, found, present, since, there.last)
        if known.stored:
            await self._found(batch[: known.stored], found[keys[known.stored - 1]])
            return known.stored
        if known.in_doubt and not self._remembers(note, there):
            return await self._in_doubt(batch[: known.in_doubt], there)
        return 0

    async def _begin(self, first: Record, there: There) -> None:
        """Note where the stream ends before anything of this directory is in it."""
        note = Note(first.position, there.last, time.time(), there.server, there.target)
        await self._records.engine.run(lambda: self._notes.write(note))
        self._doubt = False

    def _remembers(self, note: Note, there: There) -> bool:
        """Whether the server knows a repeat of what was sent after *note* even if it was consumed.

        It does within the duplicate window, in memory: not of what was consumed before it was started anew.
        """
        return note.server == there.server and 0 <= time.time() - note.time < there.window / 2

    async def _found(self, records: list[Record], sequence: int) -> None:
        self.report = replace(self.report, found=self.report.found + len(records))
        await self._done(records, sequence)

    async def _in_doubt(self, records: list[Record], there: There) -> int:
        """Do with *records*, of which nobody can tell whether they were stored, what was wished."""
        self.report = replace(self.report, in_doubt=self.report.in_doubt + len(records))
        if not self._wishes.skip_doubt:
            # Sent again, and known from here on as sent: they are counted once.
            note = Note(records[0].position, there.last, time.time(), there.server, there.target)
            await self._records.engine.run(lambda: self._notes.write(note))
            return 0
        records = self._up_to_large(records)
        await self._fitting(records)
        await self._done(records, there.last)
        return len(records)

    def _up_to_large(self, batch: list[Record]) -> list[Record]:
        """Return the beginning of *batch* that can be forwarded: all of it, where the rest is to be set aside.

        Raises:
            RecordTooLarge: the first record does not fit.
        """
        if self._wishes.aside is not None:
            return batch
        first = next((index for index, record in enumerate(batch) if not self._outlet.fits(len(record.data))), None)
        if first == 0:
            raise self._too_large(batch[0])
        return batch[:first]

    def _too_large(self, record: Record) -> RecordTooLarge:
        return self._outlet.too_large(len(record.data), f"{self.report.path}: {record.where}")

    async def _fitting(self, batch: list[Record]) -> list[Record]:
        """Return those of *batch* that the server takes; the others are set aside."""
        large = [record for record in batch if not self._outlet.fits(len(record.data))]
        for record in large:
            if record not in self._large:
                await self._set_aside(
                    SetAside(record.where, str(self._too_large(record)), record.data, len(record.data))
                )
                self._large.add(record)
        return [record for record in batch if record not in self._large] if large else batch

    async def _set_aside(self, bad: SetAside) -> None:
        assert self._wishes.aside is not None
        aside = self._wishes.aside
        await self._records.engine.run(lambda: aside.append(bad))
        self.report = replace(self.report, set_aside=self.report.set_aside + 1, bad_file=aside.path)

    async def _durable(self) -> None:
        """Make durable what the batch stands on: a place that was sent never gets another record."""
        engine, notes, note = self._records.engine, self._notes, self._notes.note
        if note is not None and not self._doubt:
            now = replace(note, time=time.time(), server=self._outlet.server)
            await engine.run(lambda: notes.write(now))
        await asyncio.gather(engine.sync(), engine.run(notes.sync))

    # -- after it was sent ----------------------------------------------------------------------------------

    async def _last_sequence(self) -> int:
        """Return where the stream ends now, or where it ended before: that is true, too."""
        assert self._notes.note is not None
        try:
            return (await self._outlet.look()).last
        except ServerAway:
            return self._notes.note.sequence

    async def _confirmed(self, batch: Sequence[Record], stored: int) -> None:
        """Be done with the beginning of *batch*: so many of what was sent of it are stored."""
        assert stored == 0 or self._notes.note is not None
        sent = [index for index, record in enumerate(batch) if record not in self._large]
        if stored and self._notes.note is not None:
            await self._done(batch[: sent[stored - 1] + 1], self._notes.note.sequence)

    async def _done(self, records: Sequence[Record], sequence: int) -> None:
        """Note that *records* are stored, and commit them."""
        note = self._notes.note
        assert note is not None
        # What is behind *records* may be known to be stored, too.
        reached = replace(note, position=max(note.position, records[-1].behind), sequence=sequence)
        settling = asyncio.ensure_future(self._settled(reached, len(records)))
        await ended(settling)
        settling.result()
        self._well = self._loop.time()
        self._pauses.reset()
        self._large.difference_update(records)
        report = self.report
        size = report.bytes + sum(len(record.data) for record in records)
        self.report = replace(report, items=report.items + len(records), bytes=size, waiting=None)
        self._say()

    async def _settled(self, note: Note, records: int) -> None:
        await self._records.engine.run(lambda: self._notes.write(note))
        await self._records.commit(records)

    async def _wait_for(self, error: OSError) -> None:
        patience = self._wishes.patience
        if patience is not None and self._loop.time() - self._well > patience:
            raise error
        why = error.why if isinstance(error, ServerAway) else error.strerror
        self.report = replace(self.report, retries=self.report.retries + 1, waiting=why)
        self._say()
        await asyncio.sleep(self._pauses.next())

    def _say(self) -> None:
        self.report = replace(self.report, left=self._records.left)
        self._tell(self.report)
