"""Claims: items that are handed out, and acknowledged one by one.

    records   a   c   a   a   c   b   a   . . .       a acknowledged, c claimed, b given back
              ^       window              ^cursor
    tail ─────┘ moves to the oldest that is not acknowledged

An acknowledgement of the oldest moves the tail, in info; of any other it is a note in the journal, until the
tail has passed it.  What is given back is handed out before newer items.  The window is bounded, and so are the
journal and the memory: a claim waits where the oldest item is not answered for WINDOW others.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncpq.buffer import NeedsRead, Returned, read_blocks
from asyncpq.consumer import Consumer, NoItem
from asyncpq.deliveries import Delivery
from asyncpq.errors import AlreadyAnswered, CorruptRecord, MixedUse, SyncFailed
from asyncpq.journal import acked_note, failed_note
from asyncpq.lane import Request, forget, resolve
from asyncpq.letters import letter
from asyncpq.opened import Failed
from asyncpq.recovery.ends import stated_end
from asyncpq.serializers import Damaged, Torn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from asyncpq.engine import Engine
    from asyncpq.files import Files
    from asyncpq.layout import Position
    from asyncpq.letters import Letters

WINDOW: Final = 65536  # records from the tail to the read cursor
LEASES: Final = 1024  # of deliveries that were answered, kept until their time comes
KEPT: Final = 16 * 1024 * 1024  # bytes of records that were given back; more are read again

OUT, WAITING, MOVING, ACKING, COMMITTING, ACKED, GONE = range(7)  # of a claim

MOVE_MAX: Final = 5.0  # seconds that a close waits for dead letters: their queue may be full

NEVER: Final = Failed(0, 0.0)

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


class Claims(Consumer):
    """Hands items out, and takes the answers."""

    def __init__(
        self,
        engine: Engine,
        files: Files,
        dirfd: int,
        *,
        skip: bool,
        max_in_flight: int,
        lease: float | None,
        max_attempts: int | None,
        letters: Letters | None,
    ) -> None:
        """Take over the read side of *engine*, of which nothing was got.

        Args:
            engine: the open queue.
            files: the file system.
            dirfd: the descriptor of the directory.
            skip: a damaged record is set aside, instead of raised.
            max_in_flight: claims that may wait for their answer; 0: no bound but the window.
            lease: seconds after which a claim without an answer is given back.
            max_attempts: failed attempts after which an item goes to the dead letters.
            letters: the dead letters.
        """
        engine.claim_from(self, self._free)
        super().__init__(engine, files, dirfd, autosave=False, skip=skip)
        self._window: deque[Claim] = deque()
        self._max, self._lease = max_in_flight or WINDOW, lease
        self._max_attempts, self._letters = max_attempts, letters
        self._history = dict(engine.opened.acks.failed)
        self._leases: deque[tuple[float, Delivery]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._kept = 0  # bytes of records that were given back
        self.in_flight = 0
        self._delayed = 0
        self._gathered: list[Gathered] | None = None  # acknowledgements whose request has not begun
        self._moves: set[asyncio.Task[None]] = set()

    def _free(self) -> float:
        buffer = self._engine.buffer
        new = min(buffer.stored - buffer.got, WINDOW - len(self._window))
        return min(new + len(buffer.returned), self._max - self.in_flight)

    @property
    def left(self) -> int:
        """How many items are not acknowledged, or still to be handed out."""
        return self._buffer.ready + self.in_flight + self._delayed

    def mixed(self, call: str) -> MixedUse:
        """Return the error for a *call* that belongs to get."""
        return MixedUse(self._engine.path, call, "claim")

    # -- claim ----------------------------------------------------------------------------------------------

    def claim_now(self) -> Delivery | None:
        """Return the next item, if it is in memory and nobody came before; None: ask `claim`."""
        buffer, getters = self._buffer, self._getters
        if (
            buffer.stored > buffer.got
            and not getters.promised
            and not getters.waiting
            and self.in_flight < self._max
            and not buffer.returned
            and len(self._window) < WINDOW
            and not self._is_async
        ):
            try:
                return self._take_new()
            except (NeedsRead, CorruptRecord):
                pass  # in turn, somebody reads it, or says what is wrong with it
        return None

    async def claim(self, block: bool, timeout: float | None) -> Delivery:
        """Return the next item.  See `AsyncQueue.claim`."""
        delivery: Delivery = await self._in_turn(block, timeout, self._next)
        return delivery

    async def claim_many(self, limit: int, timeout: float | None) -> list[Delivery]:
        """Wait for one item, then take what is there."""
        found = [self.claim_now() or await self.claim(True, timeout)]
        try:
            while len(found) < limit and self._getters.admits():
                found.append(await self._in_turn(False, None, self._next))
        except CorruptRecord:
            pass  # the next call meets it
        except BaseException:
            for delivery in found:
                self._unclaim(delivery)
            raise
        return found

    def _take_new(self) -> Delivery:
        buffer = self._buffer
        number, position = buffer.got, buffer.cursor
        item, record = buffer.take_record()
        return self._hand_out(self._claimed(number, position, record), item)

    def _claimed(self, number: int, position: Position, record: bytes) -> Claim:
        attempts, first = self._history.pop(position, NEVER) if self._history else NEVER
        claim = Claim(number, position, None, record, attempts, first, len(record))
        self._window.append(claim)
        return claim

    def _hand_out(self, claim: Claim, item: Any) -> Delivery:
        claim.state = OUT
        self.in_flight += 1
        if not claim.first:
            claim.first = time.time()
        delivery = Delivery(self, claim, item, claim.attempts + 1)
        if self._lease is not None:
            if len(self._leases) > 2 * self.in_flight + LEASES:
                self._leases = deque(one for one in self._leases if one[1].answer is None)
            self._leases.append((monotonic() + self._lease, delivery))
            self._set_timer()
        return delivery

    async def _next(self) -> Delivery:
        while True:
            if self._buffer.returned:
                return await self._again()
            number, position = self._buffer.got, self._buffer.cursor
            try:
                if not self._is_async:
                    return self._take_new()
                record = await self._engine.run(self._buffer.record)
                item = await self._serializer.aloads(record)  # type: ignore[attr-defined]  # where is_async
                self._buffer.drop(len(record))
                return self._hand_out(self._claimed(number, position, record), item)
            except (NeedsRead, CorruptRecord) as reason:
                if not (isinstance(reason, CorruptRecord) and self._bury_unreadable(reason)):
                    await self._mend(reason)

    async def _again(self) -> Delivery:
        """Hand out what was given back first."""
        claim = self._buffer.returned[0]
        assert isinstance(claim, Claim)
        self._unpark(claim)
        if claim.record is None:
            claim.record = await self._engine.run(lambda: self._read(claim))
            if self._engine.refusal is not None:
                raise self._engine.refusal()
        if self._is_async:
            item = await self._serializer.aloads(claim.record)  # type: ignore[attr-defined]  # where is_async
        else:
            item = self._serializer.loads(claim.record)
        self._buffer.returned.remove(claim)
        return self._hand_out(claim, item)

    def _read(self, claim: Claim) -> bytes:
        """Read its record again, in a worker thread."""
        start, end = claim.position, (claim.position.chunk, claim.position.offset + claim.length)
        return bytes(read_blocks(self._files, self._dirfd, start, end, claim.length)[0].data)

    def _unclaim(self, delivery: Delivery) -> None:
        """Put back what was never seen."""
        delivery.take_back("given back")
        self.in_flight -= 1
        self._return(delivery.claim)

    # -- answers --------------------------------------------------------------------------------------------

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
        claim = self._answered(delivery)
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
            tail = self._tail()
            return log.move_tail_now(*tail)
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

    def reject(self, delivery: Delivery, error: BaseException | str | None) -> Awaitable[Any] | None:
        """Move the item to the dead letters."""
        if self._letters is None:
            delivery.reopen()
            raise ValueError("reject() needs dead_letters=; to drop the item, acknowledge it")
        claim = self._answered(delivery)
        claim.attempts += 1
        return self._bury(claim, delivery, error)

    def age(self, claim: Claim) -> float:
        """Return the seconds since the item was first handed out."""
        return max(0.0, time.time() - claim.first)

    # -- dead letters ---------------------------------------------------------------------------------------

    def _bury(self, claim: Claim, delivery: Delivery, error: BaseException | str | None) -> Awaitable[Any]:
        """Store a dead letter; when that is committed, acknowledge the item."""
        assert self._letters is not None
        assert claim.record is not None
        claim.state = MOVING
        dead = letter(
            claim.record,
            self._serializer.NAME,
            attempts=claim.attempts,
            first=claim.first,
            last=time.time(),
            error=error,
        )
        return self._move(self._letters.store(dead), claim, delivery)

    def _bury_unreadable(self, reason: CorruptRecord) -> bool:
        """Move the record at the cursor to the dead letters, where its end is known; False: nothing was done."""
        if self._letters is None:
            return False
        number, position = self._buffer.got, self._buffer.cursor
        data = self._buffer.at_hand()
        end = stated_end(self._serializer, lambda start, length: data[start : start + length], 0, len(data))
        if end is None or not self._readable(data, end):
            return False
        record = data[:end]
        self._buffer.drop(len(record))
        claim = self._claimed(number, position, record)
        self.in_flight += 1
        self._bury(claim, Delivery(self, claim, None, claim.attempts + 1), reason)
        if self._buffer.ready < self._getters.promised:
            raise NoItem
        return True

    def _readable(self, data: bytes, start: int) -> bool:
        """Whether the end of a damaged record is believed: another record, or nothing, follows."""
        try:
            return start == len(data) or self._serializer.skip(data, start) > start
        except Torn:
            return True
        except Damaged:
            return False

    # -- leases, and the end --------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        if self._timer is None and self._leases:
            wait = max(0.0, self._leases[0][0] - monotonic())
            self._timer = self._engine.loop.call_later(wait, self._expire)

    def _expire(self) -> None:
        self._timer = None
        leases = self._leases
        if self._engine.refusal is not None:
            leases.clear()
            return
        now = monotonic()
        while leases and (leases[0][0] <= now or leases[0][1].answer is not None):
            _, delivery = leases.popleft()
            if delivery.answer is None:
                delivery.give_back(TimeoutError(f"the lease of {self._lease} s is over"))
                delivery.take_back("taken back, since its lease is over,")
        self._set_timer()

    def dropped_all(self) -> None:
        """The queue was cleared."""
        for claim in self._window:
            if claim.state != COMMITTING:
                claim.state = GONE
                claim.record = None
        self._window.clear()
        self._history.clear()
        self._leases.clear()
        self.in_flight = self._delayed = self._kept = 0

    @property
    def settled(self) -> bool:
        """Whether no item is on its way elsewhere."""
        return not self._moves

    # -- what belongs to get ----------------------------------------------------------------------------------

    async def get(self, block: bool, timeout: float | None) -> Any:
        """Refuse: items are claimed here."""
        raise self.mixed("get")

    async def get_many(self, limit: int, timeout: float | None) -> list[Any]:
        """Refuse: items are claimed here."""
        raise self.mixed("get_many")

    async def peek(self, block: bool, timeout: float | None) -> Any:
        """Refuse: items are claimed here."""
        raise self.mixed("peek")

    async def settle(self) -> None:
        """Wait for items that are on their way elsewhere."""
        if self._moves:
            _, late = await asyncio.wait(tuple(self._moves), timeout=MOVE_MAX)
            for task in late:
                task.cancel()  # the item comes again when the queue is reopened
            if late:
                await asyncio.wait(late)
