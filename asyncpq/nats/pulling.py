"""Items come when they are asked for: as many as somebody waits for, and more where they are taken quickly.

    get waits ──> pull ──> items arrive ──> waiting (in order) ──> taken
                   │ └ nothing for EXPIRES: pulled anew        └ nobody takes them for LINGER: given back
                   └ nothing heard, or connected again: pulled anew

The window doubles while a taker comes back at once and finds nothing, and falls to 1 when he takes his time: who works
for seconds on an item keeps none from others.
"""

from __future__ import annotations

import asyncio
import json
from bisect import insort
from collections import deque
from typing import TYPE_CHECKING, Final

from asyncpq.errors import NotAQueue, ServerAway
from asyncpq.nats.headers import DESCRIPTION, PENDING, STATUS
from asyncpq.nats.held import ANSWERING, OUT, WAITING, Held, held_from
from asyncpq.nats.streams import API, CONSUMER, NO_CONSUMER, NO_STREAM, SECOND, ApiError, call
from asyncpq.nats.wire import ASK_AGAIN
from asyncpq.waiting import Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg

    from asyncpq.nats.held import Holding
    from asyncpq.nats.wire import Wire

WINDOW: Final = 256  # items that are asked for ahead, at most
PULL_BYTES: Final = 8 * 1024 * 1024  # that one pull brings, at most, if the server's messages are not larger
EXPIRES: Final = 5.0  # seconds until a pull that brought nothing ends
HEARTBEAT: Final = 1.0  # seconds between two signs of life of a pull
SILENCE: Final = 3.0  # seconds without one after which it is taken for lost
QUICK: Final = 0.02  # seconds from a get to the next one, where items are asked for ahead
SLOW: Final = 0.2  # seconds that say that they are not needed
LINGER: Final = 1.0  # seconds that an item waits for somebody, if nobody takes any
PAUSE: Final = 0.25  # seconds until a pull that the server refused

NORMAL_ENDS: Final = ("404", "408")
NORMAL_WORDS: Final = ("exceeds maxbytes", "batch completed")


class Puller:
    """What was asked for, and what has arrived."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wire: Wire,
        path: str,
        stream: str,
        holding: Holding,
        give_back: Callable[[Held], object],
        taken_back: Callable[[Held], None],
        *,
        ahead: bool,
    ) -> None:
        """Ask for nothing yet.

        Args:
            loop: of the queue.
            wire: the connection.
            path: what errors call the queue.
            stream: its name.
            holding: where what arrives is held.
            give_back: called for each item that nobody took.
            taken_back: called for each that is out, and that the server gave out anew.
            ahead: items may be asked for before somebody waits for them.
        """
        self._loop, self._wire, self._path, self._stream = loop, wire, path, stream
        self._holding, self._give_back, self._taken_back = holding, give_back, taken_back
        self._subject = f"{API}CONSUMER.MSG.NEXT.{stream}.{CONSUMER}"
        self._window, self._most = 1, WINDOW if ahead else 1
        self.buffer: deque[Held] = deque()
        self.line = Line(loop, lambda: len(self.buffer))
        self.arrivals = 0
        self._asked = 0  # items that may still come
        self._pulls = 0
        self._gathering = 0  # calls that wait until there are many
        self._looks: dict[str, asyncio.Future[None]] = {}
        self._arrival: asyncio.Future[None] = loop.create_future()
        self._heard = self._taken = 0.0  # when, by the loop's clock
        self._silence: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._trouble: asyncio.Task[None] | None = None
        self.closed = False

    # -- taking -----------------------------------------------------------------------------------------------

    async def hold(self, timeout: float | None) -> bool:
        """Hold a promise of an item, having waited for one; False: none came in *timeout* seconds."""
        if self.line.admits():
            self.line.promise()
            return True
        now = self._loop.time()
        if not self.line.waiting and now - self._taken < QUICK:
            self._window = min(self._most, 2 * self._window)
        elif now - self._taken > SLOW:
            self._window = 1
        self._want(1, timeout)
        return await self.line.wait(timeout)

    async def hold_now(self) -> bool:
        """Hold a promise of an item that is there, in this process or on the server.

        Raises:
            ServerAway: the server does not say.
        """
        while not self.line.may_overtake():
            if not await self.gather(len(self.line.waiting) + self.line.promised + 1):
                return False
        self.line.promise()
        return True

    async def gather(self, count: int) -> bool:
        """Have *count* items wait here, if the server has as many; return whether there may be one for who asks.

        Raises:
            ServerAway: the server does not say.
        """
        need = count - len(self.buffer)
        if need <= 0:
            return True
        until, target = self._loop.time() + self._wire.timeout, self.arrivals + need
        ended: asyncio.Future[None] = self._loop.create_future()
        token = self._pull(need, None)
        self._looks[token] = ended
        self._gathering += 1
        try:
            while not ended.done() and self.arrivals < target:
                if self._loop.time() > until:
                    raise ServerAway(self._path, self._wire.timeout, self._wire.why, sent=True, storing=False)
                done, _ = await asyncio.wait((ended, self._arrival), timeout=ASK_AGAIN, return_when="FIRST_COMPLETED")
                if not done:
                    self._looks[token := self._pull(need, None)] = ended  # the first one may have been lost
        finally:
            self._gathering -= 1
            self._looks = {one: look for one, look in self._looks.items() if look is not ended}
        return not ended.done() or len(self.buffer) > self.line.promised

    def take(self) -> Held:
        """Return the next item, for which a promise is held, and give the promise up."""
        item = self.buffer.popleft()
        self.line.release()
        self._taken = self._loop.time()
        if item.state == WAITING:
            item.state = OUT
        if self._window > 1 and len(self.buffer) + self._asked <= self._window // 2:
            self._want(0, None)
        return item

    def put_back(self, item: Held) -> None:
        """Have *item*, which nobody has seen, be the next one."""
        item.state = WAITING if item.state == OUT else item.state
        self.buffer.appendleft(item)
        self.line.wake()
        self._set_linger()

    # -- pulling ----------------------------------------------------------------------------------------------

    def _want(self, more: int, timeout: float | None) -> None:
        """Ask for what those who wait, and *more*, need, and for what is taken ahead."""
        need = max(len(self.line.waiting) + more, self._window if self._window > 1 else 0)
        need -= len(self.buffer) + self._asked
        if need > 0 and not self.closed:
            self._pull(need, EXPIRES if timeout is None else min(EXPIRES, timeout))

    def _pull(self, count: int, expires: float | None) -> str:
        """Ask for *count* items; *expires* is None: for what is there now."""
        self._pulls += 1
        token = f"p{self._pulls}"
        request: dict[str, object] = {"batch": count}
        request["max_bytes"] = max(PULL_BYTES, 2 * self._wire.connection.client.max_payload)
        if expires is None:
            request["no_wait"] = True
        else:
            request["expires"] = max(1_000_000, round(expires * SECOND))
            if expires > 2.5 * HEARTBEAT:
                request["idle_heartbeat"] = round(HEARTBEAT * SECOND)
        self._asked += count
        self._heard = self._loop.time()
        if self._silence is None:
            self._silence = self._loop.call_later(SILENCE, self._is_silent)
        self._wire.pull(self._subject, json.dumps(request).encode(), token)
        return token

    def again(self) -> None:
        """What was asked for will not come: ask anew."""
        self._asked = 0
        if self.line.waiting:
            self._want(0, None)

    def _is_silent(self) -> None:
        self._silence = None
        if self.closed or not (self._asked or self.line.waiting):
            return
        left = self._heard + SILENCE - self._loop.time()
        if left <= 0:
            self.again()
            left = SILENCE
        self._silence = self._loop.call_later(left, self._is_silent)

    # -- arriving ---------------------------------------------------------------------------------------------

    def arrived(self, message: Msg, token: str) -> None:
        """Take an item, or the end of the pull *token*."""
        self._heard = self._loop.time()
        if token:
            self._status(token, message.headers or {})
            return
        item = held_from(message, self._heard)
        if item is None:
            return
        self._asked = max(0, self._asked - 1)
        old = self._holding.items.get(item.sequence)
        if old is not None and self._is_ours(old, item):
            return
        self._holding.add(item)
        self.arrivals += 1
        if self.buffer and item.sequence < self.buffer[-1].sequence:
            insort(self.buffer, item, key=lambda one: one.sequence)
        else:
            self.buffer.append(item)
        if not self._arrival.done():
            self._arrival.set_result(None)
        self._arrival = self._loop.create_future()
        self.line.wake()
        self._set_linger()

    def _is_ours(self, old: Held, item: Held) -> bool:
        """Whether what comes again is with somebody here, who goes on with it."""
        if old.state == ANSWERING:
            return True
        if old.state == OUT and self._holding.beat is None:
            self._taken_back(old)
            return False
        old.reply, old.attempt = item.reply, item.attempt
        return True

    def _status(self, token: str, headers: dict[str, str]) -> None:
        status, words = headers.get(STATUS, ""), headers.get(DESCRIPTION, "").lower()
        if status == "100":
            return
        pending = headers.get(PENDING, "")
        if pending.isascii() and pending.isdigit():
            self._asked = max(0, self._asked - int(pending))
        elif status in ("404", "503"):
            self._asked = 0  # the only one that was there; too few is asked for again
        look = self._looks.get(token)
        if status == "404" and look is not None and not look.done():
            look.set_result(None)
        if status in NORMAL_ENDS or any(word in words for word in NORMAL_WORDS):
            if self.line.waiting:
                self._want(0, None)
        elif self._trouble is None and not self.closed:
            self._trouble = self._loop.create_task(self._ask_why())

    async def _ask_why(self) -> None:
        """After a refusal: pull again in a moment, unless the queue is there no more."""
        try:
            await asyncio.sleep(PAUSE)
            await call(self._wire, f"CONSUMER.INFO.{self._stream}.{CONSUMER}")
        except ServerAway:
            pass  # it pulls when the connection is back
        except ApiError as error:
            if error.number in (NO_CONSUMER, NO_STREAM):
                gone = error
                self.line.refuse(lambda: NotAQueue(self._path, f"it was deleted on the server: {gone.text}"))
        finally:
            self._trouble = None
        self.again()

    # -- giving back ------------------------------------------------------------------------------------------

    def _set_linger(self) -> None:
        if self._linger is None and self.buffer and not self.closed:
            self._linger = self._loop.call_later(LINGER, self._lingers)

    def _lingers(self) -> None:
        """Give back what nobody takes."""
        self._linger = None
        newest = max((item.arrived for item in self.buffer), default=0.0)
        idle = self._loop.time() - max(self._taken, newest)
        wanted = self.line.waiting or self.line.promised or self._gathering
        if not wanted and idle > LINGER * 0.9:
            self._window = 1
            self.give_back_all()
        self._set_linger()

    def give_back_all(self) -> None:
        """Give back every item that waits and is not done with, the oldest first."""
        waiting, self.buffer = self.buffer, deque()
        for item in waiting:
            if item.state == WAITING:
                self._give_back(item)
            else:
                self.buffer.append(item)

    def close(self) -> None:
        """Ask for nothing more."""
        self.closed = True
        for handle in (self._silence, self._linger, self._trouble):
            if handle is not None:
                handle.cancel()
