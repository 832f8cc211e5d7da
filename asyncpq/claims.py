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
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from asyncpq.answers import COMMITTING, GONE, OUT, Answers, Claim
from asyncpq.buffer import NeedsRead
from asyncpq.consumer import NoItem
from asyncpq.deliveries import Delivery
from asyncpq.errors import CorruptRecord, MixedUse
from asyncpq.opened import Failed
from asyncpq.recovery.ends import stated_end
from asyncpq.serializers import Damaged, Torn

if TYPE_CHECKING:
    from asyncpq.engine import Engine
    from asyncpq.files import Files
    from asyncpq.layout import Position
    from asyncpq.letters import Letters

WINDOW: Final = 65536  # records from the tail to the read cursor
LEASES: Final = 1024  # of deliveries that were answered, kept until their time comes

NEVER: Final = Failed(0, 0.0)

logger: Final = logging.getLogger("asyncpq")
monotonic = time.monotonic


class Claims(Answers):
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
        super().__init__(engine, files, dirfd, skip=skip, max_attempts=max_attempts, letters=letters)
        self._max, self._lease = max_in_flight or WINDOW, lease
        self._leases: deque[tuple[float, Delivery]] = deque()
        self._timer: asyncio.TimerHandle | None = None

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
        if self._engine.putters.waiting:
            self._engine.putters.wake()
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

    def _unclaim(self, delivery: Delivery) -> None:
        """Put back what was never seen."""
        delivery.take_back("given back")
        self.in_flight -= 1
        self._return(delivery.claim)

    # -- what cannot be decoded -----------------------------------------------------------------------------

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
        self._engine.putters.wake()
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
        now, over = monotonic(), 0
        while leases and (leases[0][0] <= now or leases[0][1].answer is not None):
            _, delivery = leases.popleft()
            if delivery.answer is None:
                delivery.give_back(TimeoutError(f"the lease of {self._lease} s is over"))
                delivery.take_back("taken back, since its lease is over,")
                over += 1
        if over:
            self._engine.came_back += over
            logger.warning(
                "%s: %d items are given out again: their lease of %g s is over", self._engine.path, over, self._lease
            )
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
