"""What a worker holds of a queue that delivers at least once, whatever engine stores the items.

    claim ──> Delivery ──┬─ ack       done with
                         ├─ nack      given back: in its place, later, or at the end
                         └─ reject    to the dead letters

`receive` is an ``async with``: an ack when the block ends, else the item is given back.  `deliveries` is an ``async
for``: it claims until the queue is closed, or shut down and empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from asyncpq.errors import AlreadyAnswered, QueueClosed
from asyncpq.misuse import OnlyAsync

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import TracebackType
    from typing import Self

__all__ = ["Backend", "Claiming", "Deliveries", "Delivery", "Receiving"]


class Backend(Protocol):
    """What stores the items.  What is returned has to be awaited; None: it is done.

    Each raises, before anything is done, what a closed or failed queue raises; the delivery can then be answered no
    more.  When an acknowledgement fails later, the backend calls `Delivery.reopen`; when it is stored,
    it sets `Delivery.settled`.  When a lease is over it calls `Delivery.take_back`.
    """

    def ack(self, delivery: Delivery) -> Awaitable[Any] | None:
        """Store that the item is done with."""

    def nack(
        self, delivery: Delivery, delay: float, to_end: bool, error: BaseException | str | None
    ) -> Awaitable[Any] | None:
        """Give the item back, or move it to the dead letters when it failed too often."""

    def reject(self, delivery: Delivery, error: BaseException | str | None) -> Awaitable[Any] | None:
        """Move the item to the dead letters."""

    def age(self, claim: Any) -> float:
        """Return the seconds since the item was first handed out."""


class Delivery:
    """One item, handed out to one worker, who answers once.

    Attributes:
        item: what was put.
        attempt: how often it was handed out, this time included.
        answer: None until it is answered, then what was said.
        settled: the answer is stored, as the fsync policy promises.
    """

    __slots__ = ("_backend", "answer", "attempt", "claim", "item", "settled")

    def __init__(self, backend: Backend, claim: Any, item: Any, attempt: int) -> None:
        """*claim* is the backend's own."""
        self._backend, self.claim, self.item, self.attempt = backend, claim, item, attempt
        self.answer: str | None = None
        self.settled = False

    def __repr__(self) -> str:
        """Name the state, never the item."""
        return f"<Delivery attempt={self.attempt} {self.answer or 'not answered'}>"

    @property
    def age(self) -> float:
        """Seconds since the item was first handed out; 0.0 for the first attempt."""
        return self._backend.age(self.claim) if self.attempt > 1 else 0.0

    async def ack(self) -> None:
        """Say that the item is done with; on return that survives as the fsync policy promises.

        Raises:
            AlreadyAnswered: it was answered, its lease is over, or the queue was cleared.
            OSError: the disk did not take it; the delivery may be answered again.
            QueueClosed, QueueFailed, WrongContext: see there; the item comes again when the queue is reopened.

        Cancellation: what was begun is done whole; `settled` says when.
        """
        if self.answer is not None:
            raise AlreadyAnswered(self.answer)
        self.answer = "acknowledged"
        if (waiting := self._backend.ack(self)) is not None:
            await waiting

    async def nack(self, delay: float = 0.0, to_end: bool = False, error: BaseException | str | None = None) -> None:
        """Give the item back; on return the failed attempt is stored as the fsync policy promises.

        Args:
            delay: seconds until it is handed out again; forgotten when the queue is closed.
            to_end: behind all others, instead of before those that are newer; after the *delay*, where there is one.
            error: why; kept with a dead letter.

        Raises:
            ValueError: *delay* is negative.
            As `ack`; after an OSError the item is given back, and its attempt is not stored.

        Cancellation: it is given back.
        """
        if delay < 0:
            raise ValueError("'delay' must be a non-negative number")
        self._say("given back")
        if (waiting := self._backend.nack(self, delay, to_end, error)) is not None:
            await waiting

    async def reject(self, error: BaseException | str | None = None) -> None:
        """Move the item to the dead letters; on return it is there, and done with here.

        Raises:
            ValueError: the queue has no dead letters; acknowledge what is to be dropped.
            As `ack`.

        Cancellation: it goes on.
        """
        self._say("rejected")
        if (waiting := self._backend.reject(self, error)) is not None:
            await waiting

    def give_back(self, error: BaseException | None) -> None:
        """Give the item back without waiting for anything, unless it is answered; a closed queue has it back."""
        if self.answer is None:
            self.answer = "given back"
            try:
                waiting = self._backend.nack(self, 0.0, False, error)
            except Exception:
                return  # it comes again when the queue is reopened
            if waiting is not None and hasattr(waiting, "add_done_callback"):
                waiting.add_done_callback(lambda done: done.cancelled() or done.exception())

    def take_back(self, why: str) -> None:
        """The item is somebody else's from here on."""
        self.answer = why

    def reopen(self) -> None:
        """The answer was not stored: another one may be given."""
        self.answer = None

    def _say(self, answer: str) -> None:
        if self.answer is not None:
            raise AlreadyAnswered(self.answer)
        self.answer = answer


class Receiving(OnlyAsync):
    """`async with` around the work on one item."""

    def __init__(self, queue: Claiming, timeout: float | None) -> None:
        """Claim nothing yet."""
        self._queue, self._timeout = queue, timeout
        self.delivery: Delivery

    async def __aenter__(self) -> Any:
        """Return the next item: as `claim`."""
        self.delivery = await self._queue.claim(timeout=self._timeout)
        return self.delivery.item

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Acknowledge it; after an error, or when cancelled, give it back without waiting."""
        if kind is None:
            try:
                await self.delivery.ack()
            except OSError as failure:
                self.delivery.give_back(failure)
                raise
        else:
            self.delivery.give_back(error)


class Deliveries(OnlyAsync):
    """`async for` over deliveries, until the queue is closed, or shut down and empty."""

    def __init__(self, queue: Claiming) -> None:
        """Claim nothing yet."""
        self._queue = queue

    def __aiter__(self) -> Self:
        """Return itself; any number of tasks may share it."""
        return self

    async def __anext__(self) -> Delivery:
        """Claim the next item."""
        try:
            return await self._queue.claim()
        except QueueClosed:
            raise StopAsyncIteration from None


class Claiming:
    """The methods that every queue with deliveries has."""

    async def claim(self, block: bool = True, timeout: float | None = None) -> Delivery:
        """Return the next item as a delivery, which waits for its answer."""
        raise NotImplementedError

    def receive(self, timeout: float | None = None) -> Receiving:
        """Return a context manager that gives the next item, and acknowledges it when the block ends.

        When the block raises, or is cancelled, the item is given back, and its attempt counts.

        Args:
            timeout: seconds to wait for an item; None waits for ever.

        Raises:
            On entering, as `claim`; on leaving, as `Delivery.ack`.
        """
        return Receiving(self, timeout)

    def deliveries(self) -> Deliveries:
        """Return an async iterator that claims until the queue is closed, or shut down and empty."""
        return Deliveries(self)
