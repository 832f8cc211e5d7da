"""An open queue on a server: what belongs together while it is open, and how it ends.

queue.py   encodes, asks for promises, counts
   |
engine ──┬─ publishing, batches, room     towards the stream
         ├─ pulling, taking, held         from the consumer
         ├─ answering                     acknowledgements
         └─ wire, connecting              one connection for all of it
"""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from dataclasses import dataclass
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import AsyncpqError, QueueClosed, WrongContext
from asyncpq.lane import forget
from asyncpq.nats import promises, streams
from asyncpq.nats.answering import Answers
from asyncpq.nats.connecting import Connection
from asyncpq.nats.held import DONE, Holding
from asyncpq.nats.publishing import Publisher
from asyncpq.nats.pulling import Puller
from asyncpq.nats.room import Room
from asyncpq.nats.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg

    from asyncpq.errors import QueueFailed
    from asyncpq.letters import Letters
    from asyncpq.nats.login import Login
    from asyncpq.nats.streams import Found, Settings

JOIN_SOON: Final = 0.02  # seconds between two looks of join, at first
JOIN_LATE: Final = 1.0  # and at most

logger = logging.getLogger("asyncpq.nats")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be opened."""

    login: Login
    path: str
    settings: Settings
    serializer: str
    timeout: float
    create: bool
    lease: float | None
    max_in_flight: int
    max_attempts: int | None
    letters: Letters | None
    monitor: str | None


async def open_engine(plan: Plan, loop: asyncio.AbstractEventLoop) -> Engine:
    """Connect, and have stream and consumer be there; see `streams.ensure` and `Connection.open` for what it raises."""
    engine = Engine(plan, loop)
    await engine.wire.open()
    try:
        engine.found = await streams.ensure(engine.wire, plan.path, plan.settings, create=plan.create)
        engine.syncs = await promises.sync_interval(engine.wire, plan.monitor)
        promises.warn(plan.path, engine.syncs)
    except BaseException:
        await engine.wire.close()
        raise
    engine.room.known = engine.found.messages
    return engine


class Engine:
    """An open queue; all of it belongs to the event loop."""

    found: Found
    syncs: float | None = None  # seconds between two syncs of the server; 0.0: before it answers; None: not known

    def __init__(self, plan: Plan, loop: asyncio.AbstractEventLoop) -> None:
        """Connect to nothing yet."""
        self.loop, self.path, self.plan = loop, plan.path, plan
        self.thread = get_ident()
        self.wire = Wire(loop, Connection(plan.login, plan.path, plan.timeout), self._arrived)
        self.room = Room(loop, plan.settings.maxsize, 0, self.messages)
        self.publisher = Publisher(self.wire, plan.path, plan.settings, self.room)
        beat = plan.settings.ack_wait / 3 if plan.lease is None else None
        self.holding = Holding(loop, self.wire, beat)
        self.answers = Answers(
            loop,
            self.wire,
            self.holding,
            self.publisher,
            stream=plan.settings.name,
            own=plan.serializer,
            lease=plan.lease,
            max_in_flight=plan.max_in_flight,
            max_attempts=plan.max_attempts,
            letters=plan.letters,
            gone=self.changed,
        )
        self.puller = Puller(
            loop,
            self.wire,
            plan.path,
            plan.settings.name,
            self.holding,
            self.answers.give_back,
            self.answers.taken_back,
            ahead=plan.lease is None,
        )
        self.wire.on_connected = self.puller.again
        self.calls = 0  # of task_done that are allowed: one for each get
        self._cleared = 0
        self._change: asyncio.Future[None] = loop.create_future()

        self.refusal: Callable[[], BaseException] | None = None
        self.failure: QueueFailed | None = None
        self.draining = self.stopped = self.immediate = False
        self.released = False
        _open.add(self)

    def _arrived(self, message: Msg, token: str) -> None:
        self.puller.arrived(message, token)

    # -- looking ------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> int:
        """How many items wait in this process."""
        return len(self.puller.buffer)

    async def messages(self) -> int:
        """Return how many items are in the stream, got and not acknowledged ones too."""
        answer = await streams.call(self.wire, f"STREAM.INFO.{self.plan.settings.name}")
        return int(answer["state"]["messages"])

    async def available(self) -> int:
        """Return how many items get could hand out, with those that others hold: the server does not tell which."""
        answer = await streams.call(self.wire, f"CONSUMER.INFO.{self.plan.settings.name}.{streams.CONSUMER}")
        elsewhere = max(0, int(answer["num_ack_pending"]) - len(self.holding.items))
        return int(answer["num_pending"]) + elsewhere + self.ready

    async def is_empty(self) -> bool:
        """Return whether there is nothing to get: where only others may hold what is left, the server is asked."""
        return not await self.available() or not await self.puller.gather(self.puller.line.promised + 1)

    def changed(self) -> None:
        """Something is done with: whoever joins looks again."""
        if not self._change.done():
            self._change.set_result(None)

    async def join(self) -> None:
        """Wait until nothing is in the stream, and each get had its task_done."""
        pause, cleared = JOIN_SOON, self._cleared
        while self._cleared == cleared and (self.calls or await self.messages()):
            if self.refusal is not None or self.immediate:
                raise self.refusal() if self.refusal is not None else self.closed()
            if self._change.done():
                self._change = self.loop.create_future()
            await asyncio.wait((self._change,), timeout=pause)
            pause = JOIN_SOON if self._change.done() else min(JOIN_LATE, 2 * pause)

    async def clear(self) -> None:
        """Drop every item that is stored, whoever holds it."""
        self.answers.clearing = True  # what is answered meanwhile must not be stored anew behind the end
        try:
            await streams.call(self.wire, f"STREAM.PURGE.{self.plan.settings.name}", {})
        finally:
            self.answers.clearing = False
        self.puller.buffer.clear()
        self.answers.drop_all()
        self.calls = 0
        self._cleared += 1
        self.room.freed(self.room.known)
        self.changed()

    # -- the end ------------------------------------------------------------------------------------------------

    def closed(self) -> QueueClosed:
        """Return the error for calls after the end."""
        return QueueClosed(f"{self.path}: the queue was closed or shut down; what it stores is on the server")

    def refuse(self, error: Callable[[], BaseException]) -> None:
        """Let everyone who waits, and every later call, get an error."""
        self.refusal = self.answers.refusal = error
        for line in (self.puller.line, self.room.line, self.answers.places):
            line.refuse(error)
        self.changed()

    def shut_down(self, *, immediate: bool) -> None:
        """Let puts be refused, and gets once nothing is left, or at once."""
        self.draining = True
        self.room.line.refuse(self.closed)
        if immediate:
            self.immediate = True
            self.stop()
            self.changed()
        elif self.puller.line.waiting:
            forget(self.loop.create_task(self._stop_when_empty()))

    async def _stop_when_empty(self) -> None:
        while self.puller.line.waiting and not self.stopped:
            if not await self.puller.gather(len(self.puller.line.waiting)):
                self.stop()

    def stop(self) -> None:
        """Let gets be refused."""
        self.stopped = True
        for line in (self.puller.line, self.answers.places):
            line.refuse(self.closed)

    def close(self) -> asyncio.Future[None]:
        """Give back what is held, and release everything; it ends whether the server answers or not."""
        return self.loop.create_task(self._close())

    async def _close(self) -> None:
        self.puller.close()
        self.room.close()
        await self.answers.end_moves(self.wire.timeout)
        await self.wire.quiet()
        try:
            if self.wire.connection.connected.is_set():
                await self._give_back()
        except (AsyncpqError, OSError, streams.ApiError) as error:
            logger.warning("%s: what was held comes again after its ack wait only: %s", self.path, error)
        finally:
            self.holding.close()
            await self.wire.close()
            self.released = True

    async def _give_back(self) -> None:
        """Let others have at once what is held here; what was acknowledged and never handed out is stored anew."""
        await self.wire.end_pulls()
        # The server finds out only now that nobody waits any more; else it would put the first item given back last.
        await self.available()
        for item in self.puller.buffer:
            if item.state == DONE:
                await self.answers.put_anew(item)
        for item in sorted(self.holding.items.values(), key=lambda one: one.sequence):
            self.answers.give_back(item)
        await self.wire.quiet()

    def forsake(self) -> None:
        """Release everything: the queue was dropped without being closed."""
        if not self.released and self.loop.is_running():
            self.loop.call_soon_threadsafe(self.close)

    def stats(self) -> dict[str, Any]:
        """Return counts since the queue was opened."""
        wire, answers, publisher = self.wire, self.answers, self.publisher
        return {
            "connected": wire.connection.connected.is_set(),
            "reconnects": wire.connection.reconnects,
            "asked_again": wire.asked_again,
            "puts": publisher.puts,
            "puts_repeated": publisher.repeated,
            "arrived": self.puller.arrivals,
            "ahead": self.ready,
            "in_flight": answers.in_flight,
            "unfinished": len(self.holding.items) - self.ready,
            "acks": answers.acks,
            "batches": self.found.batches,
            "server_syncs_every": self.syncs,
        }


_open: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    """In the child of a fork the connection is the parent's: two would talk at once."""
    for engine in list(_open):
        path = engine.path
        engine.refusal = lambda path=path: WrongContext(
            f"{path}: this queue was opened before a fork, and belongs to the parent; open a new one here"
        )
        engine.released = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
