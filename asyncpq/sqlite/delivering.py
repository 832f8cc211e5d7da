"""Deliveries of the ack queues: the same `claim` and `receive` as the file queue's, on rows."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncpq.deliveries import Delivery
from asyncpq.errors import Empty, NotInFlight
from asyncpq.sqlite.tables import ACKED
from asyncpq.waiting import Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.sqlite.ackstore import AckStore
    from asyncpq.sqlite.engine import Engine
    from asyncpq.sqlite.store import Row

logger: Final = logging.getLogger("asyncpq")


class RowBackend:
    """Where the deliveries of one open ack queue are answered."""

    def __init__(
        self,
        engine: Engine,
        store: AckStore,
        forget: Callable[[int, int], None],
        max_in_flight: int,
        max_attempts: int | None,
    ) -> None:
        """Hold nothing yet; *forget* is told of each row that is held no more."""
        self._engine, self._store, self._forget = engine, store, forget
        self._max_in_flight, self._max_attempts = max_in_flight, max_attempts
        self.places = Line(engine.loop, lambda: max_in_flight - engine.outstanding if max_in_flight else float("inf"))

    async def wait_for_place(self, block: bool, timeout: float | None) -> None:
        """Hold a promise of a place, or raise Empty."""
        if not await self.places.hold(block, timeout):
            raise Empty(
                f"{self._engine.path}: {self._max_in_flight} items are in flight, as many as max_in_flight says"
            )
        if self._engine.refusal is not None:
            self.places.release()
            raise self._engine.refusal()

    def deliver(self, row: Row) -> Delivery:
        """Return *row*, which was taken, as a delivery."""
        return Delivery(self, row, row.item, row.attempt)

    # -- what a delivery asks -------------------------------------------------------------------------------

    def ack(self, delivery: Delivery) -> asyncio.Future[Any]:
        """Store that the item is done with."""
        return self._answer(delivery, partial(self._store.answer, delivery.claim.id, ACKED, delivery.attempt), 0)

    def nack(
        self, delivery: Delivery, delay: float, to_end: bool, error: BaseException | str | None
    ) -> asyncio.Future[Any]:
        """Give the item back; one that failed too often is failed for good."""
        if self._max_attempts is not None and delivery.attempt >= self._max_attempts:
            return self._fail(delivery, error, f"it failed {delivery.attempt} times")
        give_back = partial(self._store.nack, delivery.claim.id, delay, to_end, _text(error), delivery.attempt)
        return self._answer(delivery, give_back, int(delay == 0))

    def reject(self, delivery: Delivery, error: BaseException | str | None) -> asyncio.Future[Any]:
        """Keep the item with status 9, its attempts and its last error."""
        return self._fail(delivery, error, "it was rejected")

    def _fail(self, delivery: Delivery, error: BaseException | str | None, why: str) -> asyncio.Future[Any]:
        row, table = delivery.claim.id, self._store.sql.table
        answering = self._answer(delivery, partial(self._store.fail, row, _text(error), delivery.attempt), 0)
        # The error's text may quote the item: the table has it, the log has not.
        logger.warning("%s: table %r, _id %d is kept with status 9: %s", self._engine.path, table, row, why)
        return answering

    def age(self, claim: Row) -> float:
        """Return the seconds since the item was first handed out."""
        return max(0.0, time.time() - claim.first)

    def _answer(self, delivery: Delivery, answer: Callable[[], int], gained: int) -> asyncio.Future[Any]:
        if self._engine.refusal is not None:
            raise self._engine.refusal()
        answering = self._engine.request(answer, gains=lambda _: gained)
        answering.add_done_callback(partial(self._answered, delivery))
        # A caller who is cancelled leaves the answer as it is: on its way.
        return asyncio.shield(answering)

    def _answered(self, delivery: Delivery, answering: asyncio.Future[Any]) -> None:
        error = answering.exception()
        if error is None:
            delivery.settled = True
        elif isinstance(error, NotInFlight):
            delivery.take_back("given to somebody else, for its lease is over, or answered by its id")
        else:
            delivery.reopen()
            return
        self._forget(delivery.claim.id, delivery.attempt)
        self.places.wake()


def _text(error: BaseException | str | None) -> str | None:
    return f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
