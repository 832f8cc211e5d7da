"""Items that the server gave to this queue, and that are not answered yet.

    arrives ──> WAITING ──> OUT ──> ANSWERING ──> gone
                 (ahead)    (with somebody)

The server gives an item to another queue when it hears nothing of it for its ack wait: while the queue is open, it
hears of each that is held three times in that time.  With a lease it does not, and the lease is the ack wait.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from nats.aio.msg import Msg

    from asyncpq.deliveries import Delivery
    from asyncpq.nats.wire import Wire

WAITING, OUT, ANSWERING, DONE = range(4)  # of an item; DONE: acknowledged, and not handed out

ACK: Final = "$JS.ACK."
IN_PROGRESS: Final = b"+WPI"
ATTEMPTS: Final = "Asyncpq-Attempts"  # a header: how often it failed before it was moved to the end


@dataclass(eq=False, slots=True)
class Held:
    """One item."""

    sequence: int  # in the stream
    record: bytes
    headers: dict[str, str]
    reply: str  # the subject of its answers
    attempt: int  # how often it was handed out, this time included
    stored: float  # when it was put: seconds since the epoch
    arrived: float  # by the loop's clock
    state: int = WAITING
    first: float = 0.0  # when it was handed out here: seconds since the epoch
    delivery: Delivery | None = None
    answer: asyncio.Future[Msg] | None = None  # of the acknowledgement that is on its way


def held_from(message: Msg, now: float) -> Held | None:
    """Return *message* as an item; None: it is none, whoever sent it."""
    tokens = message.reply.split(".")
    if not message.reply.startswith(ACK) or len(tokens) < 9:
        return None
    # Since servers with domains, those and the account come first.
    start = 4 if len(tokens) == 9 else 6
    try:
        delivered, sequence, _, nanoseconds = map(int, tokens[start : start + 4])
    except ValueError:
        return None
    headers = message.headers or {}
    before = headers.get(ATTEMPTS, "")
    attempt = delivered + (int(before) if before.isascii() and before.isdigit() and len(before) < 9 else 0)
    return Held(sequence, message.data, headers, message.reply, attempt, nanoseconds / 1e9, now)


@dataclass(eq=False)
class Holding:
    """All that is held, by place in the stream, and the signs of life for it."""

    loop: asyncio.AbstractEventLoop
    wire: Wire
    beat: float | None  # seconds between two signs of life; None: there is a lease
    items: dict[int, Held] = field(default_factory=dict)
    _timer: asyncio.TimerHandle | None = None

    def add(self, item: Held) -> None:
        """Hold *item* from here on."""
        self.items[item.sequence] = item
        if self._timer is None and self.beat is not None:
            self._timer = self.loop.call_later(self.beat, self._beat)

    def drop(self, item: Held) -> None:
        """Hold *item* no more, unless it came anew."""
        if self.items.get(item.sequence) is item:
            del self.items[item.sequence]

    def _beat(self) -> None:
        self._timer = None
        if not self.items:
            return
        for item in self.items.values():
            if item.state in (WAITING, OUT):
                self.wire.tell(item.reply, IN_PROGRESS)
        assert self.beat is not None
        self._timer = self.loop.call_later(self.beat, self._beat)

    def close(self) -> None:
        """Give no more signs of life."""
        if self._timer is not None:
            self._timer.cancel()
        self.beat = None


def now_here() -> float:
    """Return the time as the server counts it: seconds since the epoch."""
    return time.time()
