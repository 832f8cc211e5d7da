"""Answers to claims: what becomes of an item that was handed out.

    ack       of the oldest: the tail moves, in info; of any other: a note in the journal, until the tail has passed it
    nack      in its place: a note on the attempt; at the end: a new record, then an ack of the old one
    reject    a dead letter, then an ack

Acknowledgements that come before the next job begins share its request, and so does a commit all that waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncpq.buffer import Returned, read_blocks
from asyncpq.consumer import Consumer
from asyncpq.deliveries import Delivery
from asyncpq.errors import AlreadyAnswered, SyncFailed
from asyncpq.journal import acked_note, failed_note
from asyncpq.lane import Request, forget, resolve
from asyncpq.letters import letter
from asyncpq.opened import Failed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from asyncpq.engine import Engine
    from asyncpq.files import Files
    from asyncpq.layout import Position
    from asyncpq.letters import Letters

KEPT: Final = 16 * 1024 * 1024  # bytes of records that were given back; more are read again
MOVE_MAX: Final = 5.0  # seconds that a close waits for dead letters: their queue may be full

OUT, WAITING, MOVING, ACKING, COMMITTING, ACKED, GONE = range(7)  # of a claim

logger: Final = logging.getLogger("asyncpq")
monotonic = time.monotonic


@dataclass(order=False, eq=False, slots=True)
class Claim(Returned):
    """A record between tail and cursor; its item is decoded anew for each delivery."""

    record: bytes | None
    attempts: int  # that failed
    first: float  # when it was handed out first: seconds since the epoch
    length: int
    state: int = OUT


Gathered = tuple[Claim, Delivery | None, "asyncio.Future[None]"]  # an acknowledgement, and who waits for it


class Answers(Consumer):
    """The window of claims, and what is answered to them."""

    def __init__(
        self,
        engine: Engine,
        files: Files,
        dirfd: int,
        *,
        skip: bool,
        max_attempts: int | None,
        letters: Letters | None,
    ) -> None:
        """Begin with no claim; the arguments are those of `Claims`."""
        super().__init__(engine, files, dirfd, autosave=False, skip=skip)
        self._window: deque[Claim] = deque()  # from the tail to the cursor
        self._max_attempts, self._letters = max_attempts, letters
        self._history = dict(engine.opened.acks.failed)
        self._kept = 0  # bytes of records that were given back
        self.in_flight = 0
        self._delayed = 0
        self._gathered: list[Gathered] | None = None  # acknowledgements whose request has not begun
        self._moves: set[asyncio.Task[None]] = set()

    # -- ack ------------------------------------------------------------------------------------------------

    def _answered(self, delivery: Delivery) -> Claim:
        """Return the claim that is being answered."""
        claim: Claim = delivery.claim
        if self._engine.refusal is not None:
            raise self._engine.refusal()
        if claim.state != OUT:
            delivery.take_back("dropped by clear()")
            raise AlreadyAnswered("dropped by clear()")
        return claim

    def ack(self, delivery: Delivery) -> Awaitable[Any] | None:
        """Store that the item is done with."""
        claim: Claim = delivery.claim
        if claim.state != OUT or self._engine.refusal is not None:
            self._answered(delivery)  # raises
        self._engine.finishing += 1
        return self._ack(claim, delivery)

    def _ack(self, claim: Claim, delivery: Delivery | None) -> Awaitable[Any] | None:
        engine = self._engine
        claim.state = ACKING
        began = monotonic()
        if engine.inline(began):
            try:
                done = self._ack_now(claim)
            except SyncFailed as error:
                raise engine.fail(error) from error
            except BaseException as error:
                self._ack_settled(claim, delivery, error)
                raise
            if done:
                self._ack_settled(claim, delivery, None)
                if engine.log.acks.dirty:
                    engine.trim()
                return engine.written(began)
            claim.state = ACKING
        return self._gather(claim, delivery)

    def _gather(self, claim: Claim, delivery: Delivery | None) -> asyncio.Future[None]:
        """Let the acknowledgement take part in the next job; all that come before it begins share one request."""
        future: asyncio.Future[None] = self._engine.loop.create_future()
        gathered = self._gathered
        if gathered is not None:
            gathered.append((claim, delivery, future))
            return future
        self._gathered = gathered = [(claim, delivery, future)]
        request = Request(
            self._engine.loop.create_future(),
            acks=gathered,
            settled=lambda error: self._gathered_settled(gathered, error),
            stays=True,
        )
        forget(self._engine.write(request))
        return future

    def _gathered_settled(self, gathered: list[Gathered], error: BaseException | None) -> None:
        if self._gathered is gathered:  # it never began
            self._gathered = None
        tail = self._engine.log.tail
        for claim, delivery, future in gathered:
            # Where there was no room for the notes, the tail may have moved all the same.
            outcome = error if not isinstance(error, OSError) or claim.position >= tail else None
            self._ack_settled(claim, delivery, outcome)
            resolve(future, None, outcome)

    def _ack_now(self, claim: Claim) -> bool:
        claim.state = COMMITTING
        log, window = self._engine.log, self._window
        if window[0] is claim:
            if len(window) == 1:  # one worker: the tail goes to the cursor, which need not become a Position
                return log.move_tail_now(self._buffer.chunk, self._buffer.count, self._buffer.offset)
            return log.move_tail_now(*self._tail())
        assert claim.record is not None
        return log.note_now(acked_note(claim.position, claim.record))

    def _tail(self) -> Position:
        """Return the oldest position that is not acknowledged, nor being so."""
        for claim in self._window:
            if claim.state < COMMITTING:
                return claim.position
        return self._buffer.cursor

    def begun(self, group: list[Request]) -> None:
        """A group's job begins: its acknowledgements become a tail, and notes."""
        acks = False
        for request in group:
            for claim, _, _ in request.acks:
                if claim.state == ACKING:
                    claim.state = COMMITTING
            acks = acks or bool(request.acks) or request.tail is not None
        if not acks:
            return
        self._gathered = None
        tail = self._tail()
        for request in group:
            request.tail = None
            if request.acks:
                request.note = self._notes(request.acks, tail)
        if tail != self._engine.log.tail:
            group[-1].tail, group[-1].epoch = tail, self._buffer.epoch

    def _notes(self, acks: Sequence[Gathered], tail: Position) -> bytes:
        """Return the notes on those of *acks* that the tail does not pass."""
        return b"".join(
            [
                acked_note(claim.position, claim.record)
                for claim, _, _ in acks
                if claim.state == COMMITTING and claim.position > tail and claim.record is not None
            ]
        )

    def _ack_settled(self, claim: Claim, delivery: Delivery | None, error: BaseException | None) -> None:
        self._engine.finished(error)
        if claim.state == GONE:
            return
        if error is None:
            claim.state, claim.record = ACKED, None
            self.in_flight -= 1
            window = self._window
            while window and window[0].state == ACKED:
                window.popleft()
            if delivery is not None:
                delivery.settled = True
            if self._getters.waiting:
                self._getters.wake()
            if self._engine.draining:
                self._engine.check_drained()
        else:
            claim.state = OUT
            if delivery is not None:
                delivery.reopen()

    # -- nack -----------------------------------------------------------------------------------------------

    def nack(
        self, delivery: Delivery, delay: float, to_end: bool, error: BaseException | str | None
    ) -> Awaitable[Any] | None:
        """Give the item back, or move it to the dead letters when it failed too often."""
        claim = self._answered(delivery)
        claim.attempts += 1
        if self._letters is not None and self._max_attempts and claim.attempts >= self._max_attempts:
            return self._bury(claim, delivery, error)
        if to_end and not delay:
            return self._to_end(claim, delivery)
        assert claim.record is not None
        note = failed_note(claim.position, claim.record, claim.attempts, claim.first)
        self.in_flight -= 1
        delivery.settled = True
        if delay:
            self._later(claim, delay, to_end)
        else:
            self._return(claim)
        return self._note(note)

    def _later(self, claim: Claim, delay: float, to_end: bool) -> None:
        claim.state = WAITING
        self._park(claim)
        self._delayed += 1

        def due() -> None:
            if claim.state != WAITING:
                return
            self._delayed -= 1
            if to_end and self._engine.refusal is None:
                self._unpark(claim)
                self.in_flight += 1
                self._to_end(claim, None)
            else:
                self._in_line(claim)

        self._engine.loop.call_later(delay, due)

    def _return(self, claim: Claim) -> None:
        claim.state = WAITING
        self._park(claim)
        self._in_line(claim)

    def _in_line(self, claim: Claim) -> None:
        self._buffer.give_back(claim, self._buffer.epoch)
        self._getters.wake()

    def _park(self, claim: Claim) -> None:
        """Keep the record in memory only while there is room for it."""
        if self._kept + claim.length > KEPT:
            claim.record = None
        else:
            self._kept += claim.length

    def _unpark(self, claim: Claim) -> None:
        if claim.record is not None:
            self._kept -= claim.length

    def _read(self, claim: Claim) -> bytes:
        """Read its record again, in a worker thread."""
        start, end = claim.position, (claim.position.chunk, claim.position.offset + claim.length)
        return bytes(read_blocks(self._files, self._dirfd, start, end, claim.length)[0].data)

    def _note(self, note: bytes) -> Awaitable[Any] | None:
        engine = self._engine
        began = monotonic()
        if engine.inline(began):
            try:
                if engine.log.note_now(note):
                    engine.trim()
                    return engine.written(began)
            except SyncFailed as error:
                raise engine.fail(error) from error
        return engine.write(Request(engine.loop.create_future(), note=note, stays=True))

    def age(self, claim: Claim) -> float:
        """Return the seconds since the item was first handed out."""
        return max(0.0, time.time() - claim.first)

    # -- to somewhere else ----------------------------------------------------------------------------------

    def reject(self, delivery: Delivery, error: BaseException | str | None) -> Awaitable[Any] | None:
        """Move the item to the dead letters."""
        if self._letters is None:
            delivery.reopen()
            raise ValueError("reject() needs dead_letters=; to drop the item, acknowledge it")
        claim = self._answered(delivery)
        claim.attempts += 1
        return self._bury(claim, delivery, error)

    def _bury(self, claim: Claim, delivery: Delivery, error: BaseException | str | None) -> Awaitable[Any]:
        """Store a dead letter; when that is committed, acknowledge the item."""
        assert self._letters is not None
        assert claim.record is not None
        claim.state = MOVING
        # The error's text may quote the item: the letter has it, the log has not.
        logger.warning(
            "%s: the record in chunk %d at byte %d goes to the dead letters after %d attempts: %s",
            *(self._engine.path, claim.position.chunk, claim.position.offset, claim.attempts),
            type(error).__name__ if isinstance(error, BaseException) else "it was rejected, or given back too often",
        )
        dead = letter(
            claim.record,
            self._serializer.NAME,
            attempts=claim.attempts,
            first=claim.first,
            last=time.time(),
            error=error,
        )
        return self._move(self._letters.store(dead), claim, delivery)

    def _to_end(self, claim: Claim, delivery: Delivery | None) -> Awaitable[Any]:
        """Store the record anew; when that is durable, but under `never`, acknowledge the old one."""
        engine = self._engine
        claim.state = MOVING
        placed: list[Position] = []

        def job() -> None:
            if claim.state == GONE:  # cleared before its turn came
                return
            log = engine.log
            record = claim.record = claim.record or self._read(claim)
            position = log.chunks.head
            write = log.append_durably if engine.always else log.append
            for error in write((record,), None).values():
                raise error
            note = failed_note(position, record, claim.attempts, claim.first)
            log.append_noted((), None, note, prefix=False, durably=engine.always)
            placed.append(position)

        def settled(error: BaseException | None) -> None:
            if error is not None or not placed:
                return
            assert claim.record is not None
            self._history[placed[0]] = Failed(claim.attempts, claim.first)
            engine.unfinished += 1
            self._buffer.added(claim.record)
            self._getters.wake()

        return self._move(self._stored_anew(engine.in_lane(job, settled)), claim, delivery)

    async def _stored_anew(self, storing: Awaitable[Any]) -> None:
        await storing
        # The old record may have been durable for long: its end must not get to the disk before the new one.
        if self._engine.policy.name in ("rollover", "interval"):
            await self._engine.sync()

    async def _finish_move(self, moving: Awaitable[Any], claim: Claim, delivery: Delivery | None) -> None:
        try:
            await moving
        except BaseException:
            if claim.state == MOVING:
                self.in_flight -= 1
                self._return(claim)
            raise
        if claim.state == GONE:
            return
        if self._engine.failure is not None:
            raise self._engine.failure  # a queue that is being closed waits for this
        self._engine.finishing += 1
        if (waiting := self._ack(claim, delivery)) is not None:
            await waiting

    def _move(self, moving: Awaitable[Any], claim: Claim, delivery: Delivery | None) -> asyncio.Future[Any]:
        """Acknowledge *claim* once it is somewhere else.  Goes on when its caller is cancelled."""
        task = self._engine.loop.create_task(self._finish_move(moving, claim, delivery))
        self._moves.add(task)
        task.add_done_callback(self._moves.discard)
        forget(task)
        return asyncio.shield(task)

    @property
    def settled(self) -> bool:
        """Whether no item is on its way elsewhere."""
        return not self._moves

    async def settle(self) -> None:
        """Wait for items that are on their way elsewhere."""
        if self._moves:
            _, late = await asyncio.wait(tuple(self._moves), timeout=MOVE_MAX)
            for task in late:
                task.cancel()  # the item comes again when the queue is reopened
            if late:
                await asyncio.wait(late)
