"""Records become messages: one at a time; many are in `batches`.

    put ──> ask ──┬─ stored
                  ├─ full     wait for room, again
                  └─ busy     again in a moment

A message that is sent again has its old id, so that it is stored once.
"""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass, replace
from enum import Enum
from secrets import token_hex
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncpq.errors import AccessDenied, NotAQueue, RecordTooLarge, ServerAway
from asyncpq.nats.headers import headers_of
from asyncpq.nats.streams import ApiError, answer_of

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from asyncpq.nats.room import Room
    from asyncpq.nats.streams import Settings
    from asyncpq.nats.wire import Wire

BUSY_PAUSE: Final = 0.05  # seconds until something is asked again for which the server was not ready
HEADERS_MAX: Final = 512  # bytes that our headers take, at most

FULL_NUMBERS: Final = frozenset({10077})  # maximum messages, or bytes, exceeded
REPEATED_NUMBERS: Final = frozenset({10201})  # some of a batch are stored already
INCOMPLETE_NUMBERS: Final = frozenset({10158, 10176, 10210, 10211})  # of a batch; or it is being stored
NO_SPACE_NUMBERS: Final = frozenset({10002, 10023, 10028, 10047, 10052})  # memory or storage of server or account


class Stored(NamedTuple):
    """It is in the stream."""

    sequence: int
    repeated: bool  # it was there before


class Refused(Enum):
    """It is not, or not by this message."""

    FULL = "no room"
    BUSY = "not ready"
    REPEATED = "some of a batch are stored already"


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be stored."""

    record: bytes
    serializer: str
    id: str
    more: tuple[tuple[str, str], ...] = ()  # further headers

    def with_header(self, name: str, value: str) -> Message:
        """Return it with one header more."""
        return replace(self, more=(*self.more, (name, value)))

    @property
    def headers(self) -> dict[str, str]:
        """Its headers, outside a batch."""
        return headers_of(self.serializer, self.id) | dict(self.more)


def outcome(path: str, message: Msg) -> Stored | Refused:
    """Return what became of a message, or batch, that was published.

    Raises:
        OSError: the server, or the account, has no space.
        AccessDenied, NotAQueue: see there.
    """
    try:
        answer = answer_of(message.data)
    except ApiError as error:
        return _refusal(path, error)
    return Stored(answer.get("seq", 0), bool(answer.get("duplicate")))


def _refusal(path: str, error: ApiError) -> Refused:
    if error.number in FULL_NUMBERS and "maximum" in error.text:
        return Refused.FULL
    if error.number in REPEATED_NUMBERS:
        return Refused.REPEATED
    if error.number in NO_SPACE_NUMBERS:
        raise OSError(errno.ENOSPC, f"the server has no space: {error.text}", path) from error
    if error.code in (401, 403):
        raise AccessDenied(path, error.text) from error
    if error.code in (408, 503) or error.number in INCOMPLETE_NUMBERS:
        return Refused.BUSY
    raise NotAQueue(path, f"the server does not store it: {error}") from error


class Publisher:
    """Stores records in the stream of one queue."""

    def __init__(self, wire: Wire, path: str, settings: Settings, room: Room) -> None:
        """Send nothing yet; *path* is what errors call the queue."""
        self.wire, self.path, self.settings, self.room = wire, path, settings, room
        self._prefix, self._numbers = token_hex(8), 0
        self.puts = self.repeated = 0

    def message(self, record: bytes, serializer: str) -> Message:
        """Return *record* as a message with an id of its own."""
        return Message(record, serializer, self.new_id())

    def new_id(self) -> str:
        """Return an id that nothing else has."""
        self._numbers += 1
        return f"{self._prefix}.{self._numbers}"

    def check_size(self, record: bytes) -> None:
        """Raise RecordTooLarge where the server would not take *record*."""
        limit = self.wire.connection.client.max_payload - HEADERS_MAX
        if len(record) > limit:
            raise RecordTooLarge(self.path, len(record), limit, "max_payload of the server (less the headers)")
        most = self.settings.max_bytes
        if most is not None and len(record) > most:
            raise RecordTooLarge(self.path, len(record), most, "max_bytes of the queue")

    async def put(self, message: Message, block: bool, timeout: float | None) -> bool:
        """Store *message*; False: there is no room, in *timeout* seconds.

        Raises:
            ServerAway: no confirmation in time; it may be stored.
            RecordTooLarge, OSError, AccessDenied, NotAQueue: see there; it is not stored.

        Cancellation: it is stored whole or not at all.
        """
        self.check_size(message.record)
        if not block or timeout == 0:
            return self.room.enter_now(untold=True) and await self._try(message)
        loop, room = asyncio.get_running_loop(), self.room
        until = None if timeout is None else loop.time() + timeout
        ticket = room.line.ticket()  # whoever is refused by the server waits before those who came later
        while await room.enter(None if until is None else max(0.0, until - loop.time()), ticket):
            if await self._try(message):
                return True
        return False

    async def _try(self, message: Message) -> bool:
        """Store *message*, for which there is room as far as is known; False: the server says that there is none."""
        loop, headers = asyncio.get_running_loop(), message.headers
        until = loop.time() + self.wire.timeout
        try:
            while True:
                answer = await self.wire.ask(self.settings.subject, message.record, headers, storing=True)
                if (result := outcome(self.path, answer)) is not Refused.BUSY:
                    break
                if loop.time() > until:
                    raise self.busy()
                await asyncio.sleep(BUSY_PAUSE)
        except BaseException:
            self.room.stored()  # perhaps: a look corrects it
            raise
        return self.settle(result)

    def settle(self, result: Stored | Refused, count: int = 1) -> bool:
        """Count what became of messages that had room; return whether they are stored."""
        if isinstance(result, Stored):
            self.puts += count
            self.repeated += result.repeated
            self.room.stored(count)
            return True
        if result is Refused.FULL:
            self.room.refused(count)
        else:
            self.room.leave(count)
        return False

    def busy(self) -> ServerAway:
        """Return the error for a server that was not ready in time."""
        return ServerAway(self.path, self.wire.timeout, "JetStream is not ready", sent=True, storing=True)
