"""The consumer's side of a file queue, for records that stay bytes.

    tail                     cursor                 head
    | r r r r r r r r r r r r |  r r r r r r r r r r |
      ^ pending: sent, or to be; the tail moves past them when they are stored elsewhere

Nothing is decoded to be handed on: a record is only looked at, as a check of the queue would, so that what is damaged
goes nowhere.  get and claim are refused from then on: one cursor stands for all.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncpq.buffer import NeedsRead
from asyncpq.consumer import Consumer
from asyncpq.errors import CorruptRecord, MixedUse
from asyncpq.lane import Request
from asyncpq.layout import Position, chunk_name
from asyncpq.recovery.chunks import Chunks
from asyncpq.recovery.skip import damaged_place
from asyncpq.recovery.verify import step_of
from asyncpq.serializers import Custom, Damaged, Torn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpq.engine import Engine
    from asyncpq.files import Files

__all__ = ["SHOWN", "Record", "Records", "SetAside"]

SHOWN: Final = 16 * 1024 * 1024  # bytes of a damaged place, at most, that are set aside elsewhere, too


class Record(NamedTuple):
    """One record, and where it lies."""

    position: Position
    data: bytes
    behind: Position  # where the next one lies

    @property
    def where(self) -> str:
        """Its place, for people."""
        return f"{chunk_name(self.position.chunk)} at byte {self.position.offset}"


class SetAside(NamedTuple):
    """What is not forwarded."""

    where: str
    why: str
    data: bytes  # that lies there, or the beginning of it
    length: int  # bytes


class Records(Consumer):
    """Takes records in order, and commits them when they are done with."""

    def __init__(self, engine: Engine, files: Files, dirfd: int) -> None:
        """Take over the read side of *engine*, of which nothing was got."""
        engine.claim_from(self, lambda: engine.ready)
        super().__init__(engine, files, dirfd, autosave=False, skip=False)
        self.engine, self.files, self.dirfd = engine, files, dirfd
        self.serializer = engine.opened.serializer
        self.pending: deque[Record] = deque()  # in order: taken, and not committed
        self._step = None if isinstance(self.serializer, Custom) else step_of(self.serializer)
        self.busy = self.noted = False  # somebody forwards them; and did before
        # Called with what is damaged before it is passed over; None: it is an error.
        self.aside: Callable[[SetAside], Awaitable[None]] | None = None

    # -- what the engine asks -------------------------------------------------------------------------------

    @property
    def left(self) -> int:
        """How many items are not committed."""
        return self._buffer.ready + len(self.pending)

    def begun(self, group: list[Request]) -> None:
        """Change nothing: what is committed is known when it is asked for."""

    def mixed(self, call: str) -> MixedUse:
        """Return the error for a *call* of a consumer."""
        return MixedUse(self._engine.path, call, "forward")

    def dropped_all(self) -> None:
        """The queue was cleared."""
        self.pending.clear()

    # -- taking ---------------------------------------------------------------------------------------------

    async def take(self, most: int, most_bytes: int) -> None:
        """Have the next records pending: wait for one, then take what is in memory, up to so many, and bytes.

        Raises:
            CorruptRecord: the next one cannot be read, and nothing is to be set aside.
            OSError: the disk did not give it.
            QueueClosed, QueueFailed: see there.

        Cancellation: what was taken is pending; nothing is lost.
        """
        if self._engine.refusal is not None:
            raise self._engine.refusal()
        if self._engine.stopped:
            raise self._engine.closed()
        await self._in_turn(True, None, lambda: self._take(most, most_bytes))
        self._engine.taken()

    async def _take(self, most: int, most_bytes: int) -> None:
        size = await self._first()
        taken = 1
        try:
            while taken < most and size < most_bytes and self._spare > 0:
                size += self._next()
                taken += 1
        except (NeedsRead, CorruptRecord):
            pass  # the next call meets it

    async def _first(self) -> int:
        while True:
            try:
                if self._is_async:
                    await self._engine.run(self._buffer.record)
                return self._next()
            except NeedsRead as reason:
                await self._mend(reason)
            except CorruptRecord as reason:
                await self._pass_over(reason)

    def _next(self) -> int:
        """Take one record; return its length."""
        buffer = self._buffer
        position, data = buffer.cursor, buffer.record()
        if self._step is not None:
            self._check(data)
        buffer.drop(len(data))
        self.pending.append(Record(position, data, buffer.cursor))
        return len(data)

    def _check(self, data: bytes) -> None:
        assert self._step is not None
        try:
            end = self._step(data, 0)
        except (Torn, Damaged) as error:
            raise self._buffer.corrupt(str(error)) from error
        if end != len(data):
            raise self._buffer.corrupt("something follows the item in its record")

    # -- what is damaged ------------------------------------------------------------------------------------

    async def _pass_over(self, reason: CorruptRecord) -> None:
        """Set the damaged place at the cursor aside, and go on behind it.

        Raises:
            CorruptRecord: *reason*, where nothing is to be set aside.
            NoItem: nothing is left.
        """
        if self.aside is None:
            raise reason
        at = self._buffer.cursor
        data, length = await self._engine.run(lambda: self._damaged(at))
        await self.aside(SetAside(f"{chunk_name(at.chunk)} at byte {at.offset}", reason.why, data, length))
        self._skip = True
        await self._mend(reason)

    def _damaged(self, at: Position) -> tuple[bytes, int]:
        """Return what lies at *at*, or the beginning of it, and its length; for a thread."""
        engine = self._engine
        chunks = Chunks(self._files, self._dirfd, self._serializer, [at.chunk], holes=False)
        try:
            with chunks.open(at.chunk) as chunk:
                place = damaged_place(chunk, at, engine.log.chunks.head, engine.opened.chunksize)
                length = place.end - at.offset
                return chunk.read(at.offset, min(length, SHOWN)), length
        except FileNotFoundError:
            return b"", 0

    # -- committing -----------------------------------------------------------------------------------------

    async def commit(self, records: int) -> None:
        """Be done with the first *records* that are pending; on return that survives as the fsync policy promises.

        Raises:
            OSError: the disk did not take it; they are pending still.
            QueueFailed: see there.

        Cancellation: it is committed all the same.
        """
        engine, buffer = self._engine, self._buffer
        if not records or not self.pending:
            return
        behind, epoch = self.pending[records - 1].behind, buffer.epoch

        def settled(error: BaseException | None) -> None:
            engine.finishing -= records
            if error is None and buffer.epoch == epoch:
                for _ in range(records):
                    self.pending.popleft()
                engine.unfinished = max(0, engine.unfinished - records)
                if not engine.unfinished:
                    engine.joiners.wake()
                if engine.draining:
                    engine.check_drained()

        engine.finishing += records
        future = engine.loop.create_future()
        await engine.write(Request(future, tail=behind, epoch=epoch, settled=settled, stays=True))

    # -- what belongs to other consumers ----------------------------------------------------------------------

    async def get(self, block: bool, timeout: float | None) -> Any:
        """Refuse: records are forwarded."""
        raise self.mixed("get")

    async def get_many(self, limit: int, timeout: float | None) -> Any:
        """Refuse: records are forwarded."""
        raise self.mixed("get_many")

    async def peek(self, block: bool, timeout: float | None) -> Any:
        """Refuse: records are forwarded."""
        raise self.mixed("peek")
