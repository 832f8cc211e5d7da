"""Questions and answers over one connection: each is asked again until it is answered, or its time is over.

    ask ──> unanswered ──┬─ answer
       send     │        ├─ connected again, or nothing heard for a while: sent again, in the old order
                │        └─ time over: ServerAway
          (everything asked may be asked twice: puts have an id, and the rest changes nothing the second time;
           what must not is asked *once*: Lost)

One inbox takes all answers, another one what was pulled; one timer looks after all that is unanswered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Final

import nats.errors

from asyncpq.errors import AccessDenied, ServerAway
from asyncpq.nats.headers import STATUS

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from asyncpq.nats.connecting import Connection

LOOK: Final = 0.1  # seconds between two looks at what is unanswered
ASK_AGAIN: Final = 1.0  # seconds without an answer after which it is sent again
NOBODY: Final = "503"  # nobody is there to answer: no leader yet, or no JetStream


Headers = dict[str, str] | None


class Lost(Exception):
    """Something that is asked once may not have arrived, or its answer may not have."""


@dataclass(eq=False, slots=True)
class Question:
    """What waits for its answer."""

    answer: asyncio.Future[Msg]
    subject: str
    payload: bytes
    headers: Headers
    deadline: float  # by the loop's clock
    storing: bool
    once: bool = False
    instead: tuple[str, bytes] | None = None  # what is asked when that was silent, in turn
    accepts: Callable[[Msg], bool] | None = None  # whether an answer is one
    sent: bool = False
    again: float = 0.0  # when it is sent again
    why: str = ""  # it is not answered, where that is known


Outgoing = tuple[str, bytes, str, Headers, "Question | None"]  # subject, payload, reply, headers


class Wire:
    """Asks, and takes what comes."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connection: Connection, take: Callable[[Msg, str], None]
    ) -> None:
        """Be ready to ask; *take* gets what was pulled, or how a pull ended: then the name of the pull, else ""."""
        self._loop, self.connection, self._take = loop, connection, take
        self.timeout = connection.timeout
        inbox = f"_INBOX.{token_hex(11)}."
        self._answers_to, self._pulls_to = inbox + "a.", inbox + "p."
        self._answering: Subscription | None = None
        self._pulling: Subscription | None = None
        self.asked_again = 0
        self.on_connected: Callable[[], None] = lambda: None
        self._unanswered: dict[str, Question] = {}
        self._outgoing: deque[Outgoing] = deque()
        self._wake = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = 0
        self._closing = False
        connection.on_client, connection.on_connected = self._listen, self._connected
        connection.on_violation = self._violation

    async def open(self) -> None:
        """Connect; see `Connection.open`."""
        self._sender = self._loop.create_task(self._send_all())
        try:
            await self.connection.open()
        except BaseException:
            self._sender.cancel()
            raise

    async def _listen(self, client: Client) -> None:
        # No limit to what waits in the client: what comes is bounded by what was asked for.
        self._answering = await client.subscribe(
            self._answers_to + "*", cb=self._answered, pending_msgs_limit=0, pending_bytes_limit=0
        )
        self._pulling = await client.subscribe(
            self._pulls_to + "*", cb=self._pulled, pending_msgs_limit=0, pending_bytes_limit=0
        )

    def _connected(self) -> None:
        """Ask anew all that is unanswered: what was on its way may have been lost."""
        self._outgoing.clear()
        for token, question in list(self._unanswered.items()):
            self._send_again(token, question)
        self.on_connected()

    # -- asking -----------------------------------------------------------------------------------------------

    def ask(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Headers = None,
        *,
        storing: bool = False,
        once: bool = False,
        instead: tuple[str, bytes] | None = None,
        accepts: Callable[[Msg], bool] | None = None,
    ) -> asyncio.Future[Msg]:
        """Ask; the future is of the answer, or has ServerAway when there was none in time.

        Who cancels it asks no more.  *storing* is for the error: the question is to store an item.  What is asked
        *once* is never sent again: Lost, when it would be.  *instead*, subject and payload, is asked when the server
        is silent, in turn with the question: either answer counts, if *accepts* says so.
        """
        self._numbers += 1
        token, now = str(self._numbers), self._loop.time()
        answer: asyncio.Future[Msg] = self._loop.create_future()
        question = Question(answer, subject, payload, headers, now + self.timeout, storing, once, instead, accepts)
        self._unanswered[token] = question
        self._send(token, question)
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK, self._look)
        return answer

    def tell(self, subject: str, payload: bytes = b"", headers: Headers = None) -> None:
        """Send something that asks nothing; lost while away."""
        self._put_out((subject, payload, "", headers, None))

    def pull(self, subject: str, payload: bytes, name: str) -> None:
        """Ask for what comes as long as it comes; lost while away."""
        self._put_out((subject, payload, self._pulls_to + name, None, None))

    def _send_again(self, token: str, question: Question) -> None:
        if question.answer.done():
            return
        self.asked_again += 1
        if question.once:
            del self._unanswered[token]
            question.answer.set_exception(Lost())
        else:
            self._send(token, question)

    def _send(self, token: str, question: Question) -> None:
        question.again = self._loop.time() + (self.timeout / 2 if question.once else ASK_AGAIN)
        self._put_out((question.subject, question.payload, self._answers_to + token, question.headers, question))

    def _put_out(self, outgoing: Outgoing) -> None:
        if self.connection.connected.is_set():
            self._outgoing.append(outgoing)
            self._wake.set()

    async def _send_all(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._outgoing:
                subject, payload, reply, headers, question = self._outgoing.popleft()
                if question is not None:
                    if question.answer.done():
                        continue
                    question.sent = True
                # Errors are about the connection, which comes back, and then everything is asked again.
                with suppress(nats.errors.Error):
                    await self.connection.client.publish(subject, payload, reply, headers)

    # -- answers ----------------------------------------------------------------------------------------------

    async def _pulled(self, message: Msg) -> None:
        is_end = message.subject.startswith(self._pulls_to)
        self._take(message, message.subject[len(self._pulls_to) :] if is_end else "")

    async def _answered(self, message: Msg) -> None:
        token = message.subject[len(self._answers_to) :]
        if message.headers and not message.data and message.headers.get(STATUS) == NOBODY:
            question = self._unanswered.get(token)
            if question is not None and question.once and not question.storing:
                self._send_again(token, question)
            elif question is not None:
                question.why = "nobody answers there: JetStream is not ready, or not enabled"
                question.again = self._loop.time()  # at the next look
            return
        question = self._unanswered.get(token)
        if question is None or (question.accepts is not None and not question.accepts(message)):
            return
        del self._unanswered[token]
        if not question.answer.done():
            question.answer.set_result(message)

    def _violation(self, subject: str) -> None:
        """This user may not publish to *subject*, as nats-py spells it: whoever asks there hears it at once."""
        for token, question in list(self._unanswered.items()):
            if question.subject.lower() == subject.lower() and not question.answer.done():
                del self._unanswered[token]
                question.answer.set_exception(AccessDenied(self.connection.path, self.connection.why))

    def _look(self) -> None:
        """Ask again what was not answered for a while, and give up what has waited too long."""
        now, self._timer = self._loop.time(), None
        for token, question in list(self._unanswered.items()):
            if question.answer.done():
                del self._unanswered[token]
            elif now >= question.deadline:
                del self._unanswered[token]
                question.answer.set_exception(self._away(question))
            elif now >= question.again:
                if question.instead is not None:
                    before = question.subject, question.payload
                    (question.subject, question.payload), question.instead = question.instead, before
                self._send_again(token, question)
        if self._unanswered:
            self._timer = self._loop.call_later(LOOK, self._look)

    def _away(self, question: Question) -> ServerAway:
        why = question.why or self.why
        return ServerAway(self.connection.path, self.timeout, why, sent=question.sent, storing=question.storing)

    @property
    def why(self) -> str:
        """Why nothing is answered, as far as is known."""
        return "it is silent" if self.connection.connected.is_set() else self.connection.why

    # -- the end ----------------------------------------------------------------------------------------------

    async def end_pulls(self) -> None:
        """Have the server forget what was pulled, and take what it has sent by then."""
        if self._pulling is not None and self.connection.connected.is_set():
            with suppress(nats.errors.Error, asyncio.TimeoutError):
                drained = self._pulling.drain()  # type: ignore[no-untyped-call]  # nats-py
                await asyncio.wait_for(drained, self.timeout)

    async def quiet(self) -> None:
        """Wait until everything that was asked is answered, or given up."""
        waiting = [question.answer for question in self._unanswered.values() if not question.answer.done()]
        if waiting:
            await asyncio.wait(waiting)

    async def close(self) -> None:
        """Send what was told, and close the connection; all within twice the timeout."""
        self._closing = True
        self._wake.set()
        if self._sender is not None:
            await asyncio.wait({self._sender}, timeout=self.timeout)
            self._sender.cancel()
        if self._timer is not None:
            self._timer.cancel()
        for question in self._unanswered.values():
            question.answer.cancel()
        self._unanswered.clear()
        for subscription in (self._answering, self._pulling):
            if subscription is not None:
                await _end(subscription)
        await self.connection.close()


async def _end(subscription: Subscription) -> None:
    """Listen no more; also where draining was cut short, after which nats-py takes it for closed and lets it run."""
    try:
        await subscription.unsubscribe()
    except nats.errors.Error:
        subscription._stop_processing()
