"""What becomes of an item that was handed out; each answer is confirmed by the server.

    ack       done with
    nack      given back: the server gives it to whoever asks first, before newer ones, after a delay if there is one
    to the end: stored anew behind all others, then done with here
    reject    a dead letter, then done with here

Until a confirmation has come the item is held; without one the answer may be given again.
"""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from asyncpq.deliveries import Delivery
from asyncpq.errors import AlreadyAnswered
from asyncpq.lane import forget
from asyncpq.letters import letter
from asyncpq.nats.headers import SERIALIZER
from asyncpq.nats.held import ANSWERING, ATTEMPTS, DONE, OUT, Held, now_here
from asyncpq.nats.streams import API, CONSUMER, SECOND
from asyncpq.waiting import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from nats.aio.msg import Msg

    from asyncpq.letters import Letters
    from asyncpq.nats.held import Holding
    from asyncpq.nats.publishing import Publisher
    from asyncpq.nats.wire import Wire

ACKED: Final = b"+ACK"
GIVEN_BACK: Final = b"-NAK"
DELETED: Final = b'"err_code":10057'  # it cannot be deleted, since it is not there
INF: Final = float("inf")

LEASE_OVER: Final = "taken back, since its lease is over,"


def is_done(answer: Msg) -> bool:
    """Whether an acknowledgement, or what is asked instead, says that the item is in the stream no more."""
    return b'"error"' not in answer.data or DELETED in answer.data


class Answers:
    """The backend of deliveries, and what task_done acknowledges."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wire: Wire,
        holding: Holding,
        publisher: Publisher,
        *,
        stream: str,
        own: str,
        lease: float | None,
        max_in_flight: int,
        max_attempts: int | None,
        letters: Letters | None,
        gone: Callable[[], None],
    ) -> None:
        """Hold nothing yet; *own* is the queue's serializer, *gone* is called when an item is done with."""
        self._stream = stream
        self._loop, self._wire, self._holding, self._publisher = loop, wire, holding, publisher
        self._own, self._lease, self._max_attempts, self._letters = own, lease, max_attempts, letters
        self._gone = gone
        self.refusal: Callable[[], BaseException] | None = None
        self.in_flight = 0  # deliveries that are not answered
        self.places = Line(loop, lambda: max_in_flight - self.in_flight if max_in_flight else INF)
        self.got: dict[Held, None] = {}  # by get, and not acknowledged, in order
        self.clearing = False
        self.acks = 0
        self._ending: asyncio.Future[None] = loop.create_future()
        self._moves: set[asyncio.Task[None]] = set()

    # -- handing out --------------------------------------------------------------------------------------------

    def deliver(self, item: Held, value: Any) -> Delivery:
        """Return *item*, which was taken, as a delivery."""
        item.first = now_here()
        item.delivery = delivery = Delivery(self, item, value, item.attempt)
        self.in_flight += 1
        if self._lease is not None:
            self._loop.call_later(self._lease, self._lease_over, item)
        return delivery

    def was_got(self, item: Held) -> None:
        """*item* was returned by get: task_done acknowledges it."""
        item.first = now_here()
        self.got[item] = None

    def _lease_over(self, item: Held) -> None:
        if item.state == OUT and self._holding.items.get(item.sequence) is item:
            self.taken_back(item)

    def taken_back(self, item: Held, why: str = LEASE_OVER) -> None:
        """*item* is somebody else's from here on."""
        self._drop(item)
        if item.delivery is not None and item.delivery.answer is None:
            item.delivery.take_back(why)

    def _drop(self, item: Held) -> None:
        self._holding.drop(item)
        self.got.pop(item, None)
        if item.state != DONE:
            item.state = DONE
            if item.delivery is not None:
                self.in_flight -= 1
                self.places.wake()

    # -- ack ----------------------------------------------------------------------------------------------------

    def ack(self, delivery: Delivery) -> asyncio.Future[Any]:
        """Store that the item is done with."""
        item = self._answered(delivery)
        answer = self.confirm(item)
        answer.add_done_callback(partial(self._acknowledged, delivery))
        return asyncio.shield(answer)

    def _answered(self, delivery: Delivery) -> Held:
        item: Held = delivery.claim
        if self.refusal is not None:
            raise self.refusal()
        if self.clearing or item.state != OUT or self._holding.items.get(item.sequence) is not item:
            delivery.take_back("dropped by clear()")
            raise AlreadyAnswered("dropped by clear()")
        return item

    @staticmethod
    def _acknowledged(delivery: Delivery, answer: asyncio.Future[Msg]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            delivery.settled = True
        else:
            delivery.reopen()

    def confirm(self, item: Held) -> asyncio.Future[Msg]:
        """Acknowledge *item*; the future is done when the server has confirmed it, and goes on without its caller."""
        if item.answer is None:
            item.state = ANSWERING
            # A server that was killed may have forgotten that it gave the item out, and ignores its acknowledgement.
            delete = json.dumps({"seq": item.sequence, "no_erase": True}).encode()
            instead = (f"{API}STREAM.MSG.DELETE.{self._stream}", delete)
            item.answer = self._wire.ask(item.reply, ACKED, instead=instead, accepts=is_done)
            item.answer.add_done_callback(partial(self._confirmed, item))
        return item.answer

    def _confirmed(self, item: Held, answer: asyncio.Future[Msg]) -> None:
        item.answer = None
        if answer.cancelled() or answer.exception() is not None:
            item.state = OUT if item.state == ANSWERING else item.state
            return
        self.acks += 1
        self._publisher.room.freed()
        self._drop(item)
        self._gone()

    async def confirm_all(self, items: Iterable[Held]) -> None:
        """Acknowledge *items*; raise the first error when all have their outcome."""
        answers = [self.confirm(item) for item in items]
        if answers:
            await asyncio.wait(answers)
        for answer in answers:
            answer.result()

    # -- giving back --------------------------------------------------------------------------------------------

    def nack(
        self, delivery: Delivery, delay: float, to_end: bool, error: BaseException | str | None
    ) -> asyncio.Future[Any]:
        """Give the item back, or move it to the dead letters when it failed too often."""
        if self._max_attempts is not None and delivery.attempt >= self._max_attempts:
            return self.reject(delivery, error)
        item = self._answered(delivery)
        if to_end:
            moved = self._move(item, delivery, self._to_end(item, delay))
            return self._begun(moved) if delay else moved
        return asyncio.shield(self.give_back(item, delay, delivery))

    def give_back(self, item: Held, delay: float = 0.0, delivery: Delivery | None = None) -> asyncio.Future[Msg]:
        """Have the server give *item* to whoever asks next, after *delay* seconds."""
        self._drop(item)
        wait = b" " + json.dumps({"delay": round(delay * SECOND)}).encode() if delay else b""
        # Forgotten, as above, it comes again by itself; any answer then tells that the server is there.
        info = (f"{API}CONSUMER.INFO.{self._stream}.{CONSUMER}", b"")
        answer = self._wire.ask(item.reply, GIVEN_BACK + wait, instead=info)
        forget(answer)
        if delivery is not None:
            answer.add_done_callback(partial(self._given_back, delivery))
        return answer

    @staticmethod
    def _given_back(delivery: Delivery, answer: asyncio.Future[Msg]) -> None:
        delivery.settled = not answer.cancelled() and answer.exception() is None

    def _begun(self, moved: asyncio.Future[Any]) -> asyncio.Future[Any]:
        forget(moved)
        begun = self._loop.create_future()
        begun.set_result(None)
        return begun

    async def _to_end(self, item: Held, delay: float) -> None:
        if delay and (await asyncio.wait((self._ending,), timeout=delay))[0]:
            raise AlreadyAnswered("given back, since the queue was closed before its delay was over,")
        await self.put_anew(item)

    async def put_anew(self, item: Held) -> None:
        """Store *item* behind all others; it keeps count of its attempts."""
        message = self._publisher.message(item.record, item.headers.get(SERIALIZER, self._own))
        await self._publisher.put(message.with_header(ATTEMPTS, str(item.attempt)), True, None)

    # -- dead letters -------------------------------------------------------------------------------------------

    def reject(self, delivery: Delivery, error: BaseException | str | None) -> asyncio.Future[Any]:
        """Move the item to the dead letters."""
        if self._letters is None:
            delivery.reopen()
            raise ValueError("reject() needs dead_letters=; to drop the item, acknowledge it")
        item = self._answered(delivery)
        return self._move(item, delivery, self._store_letter(item, error))

    async def _store_letter(self, item: Held, error: BaseException | str | None) -> None:
        assert self._letters is not None
        serializer = item.headers.get(SERIALIZER, self._own)
        await self._letters.store(
            letter(item.record, serializer, attempts=item.attempt, first=item.first, last=time.time(), error=error)
        )

    async def bury(self, item: Held, error: Exception) -> bool:
        """Move *item*, which cannot be decoded, to the dead letters; False: there are none."""
        if self._letters is None:
            return False
        await self._store_letter(item, error)
        await self.confirm(item)
        return True

    def _move(self, item: Held, delivery: Delivery, moving: Coroutine[Any, Any, None]) -> asyncio.Future[Any]:
        """Have *item* stored elsewhere, and then be done with here; it goes on without its caller."""
        task = self._loop.create_task(self._finish_move(item, delivery, moving))
        self._moves.add(task)
        task.add_done_callback(self._moves.discard)
        forget(task)
        return asyncio.shield(task)

    async def _finish_move(self, item: Held, delivery: Delivery, moving: Coroutine[Any, Any, None]) -> None:
        try:
            await moving
        except BaseException:
            if item.state == OUT:
                self.give_back(item)
            raise
        if item.state == DONE:
            raise AlreadyAnswered("taken back or dropped while it was moved, and is in the other place, too,")
        await self.confirm(item)
        delivery.settled = True

    # -- the end ------------------------------------------------------------------------------------------------

    def age(self, claim: Held) -> float:
        """Return the seconds since the item was put: the server keeps no other time of it."""
        return max(0.0, now_here() - claim.stored)

    def drop_all(self) -> None:
        """The queue was cleared."""
        for item in list(self._holding.items.values()):
            self.taken_back(item, "dropped by clear()")

    async def end_moves(self, patience: float) -> None:
        """Wait for what is moved elsewhere, *patience* seconds, and give back the rest."""
        if not self._ending.done():
            self._ending.set_result(None)
        if self._moves:
            _, late = await asyncio.wait(self._moves, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.wait(late) if late else None


__all__ = ["Answers"]
