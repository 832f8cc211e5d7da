"""The target, as forwarding sees it: one stream, over a connection of its own.

It is reached when it is needed first, and again after every loss: until then there is nothing but ServerAway.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncpq.errors import AccessDenied, NotAQueue, RecordTooLarge, ServerAway
from asyncpq.forwarding.note import fingerprint
from asyncpq.nats.batches import put_many
from asyncpq.nats.connecting import Connection
from asyncpq.nats.headers import MESSAGE_ID
from asyncpq.nats.history import State, kept, state_of
from asyncpq.nats.publishing import HEADERS_MAX, Message, Publisher
from asyncpq.nats.room import Room
from asyncpq.nats.streams import NO_STREAM, SECOND, ApiError, Found, check_queue, ensure
from asyncpq.nats.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from asyncpq.nats.login import Login
    from asyncpq.nats.streams import Settings

__all__ = ["Outlet", "There"]

SERVER_SIZE: Final = 8  # bytes of a fingerprint, as the note has it
TARGET_SIZE: Final = 16
PASSING: Final = (408, 500, 503)  # no leader, not ready: codes, as in HTTP


class There(NamedTuple):
    """What the stream says of itself."""

    last: int  # sequence
    first: int
    window: float  # seconds in which the server knows repeats
    target: bytes  # fingerprint: another one when the stream was made anew
    server: bytes  # fingerprint: another one when the server was started anew


class Outlet:
    """Stores records in a queue on NATS."""

    def __init__(self, login: Login, settings: Settings, serializer: str, timeout: float, *, exactly: bool) -> None:
        """Reach nothing yet.

        Args:
            login: the servers, and who logs in.
            settings: of the queue, where it is made.
            serializer: what the records are of.
            timeout: seconds for each question.
            exactly: a queue that is there has to have these settings, too; else its own will do.
        """
        self.address = f"{','.join(login.servers)}/{settings.name}"
        self._settings, self._serializer, self._exactly = settings, serializer, exactly
        self._login, self._timeout = login, timeout
        self._wire: Wire | None = None
        self._publisher: Publisher | None = None
        self._room: Room | None = None
        self._most = 0  # bytes of a record
        self._batches = False  # the stream takes many messages at once

    # -- reaching it ----------------------------------------------------------------------------------------

    async def _reach(self) -> Wire:
        """Connect, and have the stream be there, unless that was done."""
        if self._publisher is not None and self._wire is not None:
            return self._wire
        loop = asyncio.get_running_loop()
        self._wire = wire = Wire(loop, Connection(self._login, self.address, self._timeout), lambda message, end: None)
        try:
            await wire.open()
            found = await self._ensured(wire)
        except BaseException:
            self._wire = None
            await wire.close()
            raise
        self._batches = found.batches
        self._room = Room(loop, found.config.get("max_msgs", 0), found.messages, self._count)
        self._publisher = Publisher(wire, self.address, self._settings, self._room)
        return wire

    async def _ensured(self, wire: Wire) -> Found:
        if not self._exactly:
            try:
                state = await state_of(wire, self._settings.name)
            except ApiError as error:
                if error.number != NO_STREAM:
                    raise self._refused(error) from error
            else:
                check_queue(self.address, state.config)
                return Found(state.messages, bool(state.config.get("allow_atomic")), state.config)
        return await ensure(wire, self.address, self._settings, create=True)

    async def _count(self) -> int:
        if self._wire is None:
            return 0  # closed
        return (await state_of(self._wire, self._settings.name)).messages

    def _limit(self, state: State) -> int:
        """Return how many bytes a record may have."""
        assert self._wire is not None
        limits = [self._wire.connection.client.max_payload, state.config.get("max_msg_size", -1)]
        least: int = min(limit for limit in limits if limit > 0) - HEADERS_MAX
        most: int = state.config.get("max_bytes", -1)
        return min(least, most - HEADERS_MAX) if most > 0 else least

    async def close(self) -> None:
        """Close the connection; within twice the timeout."""
        wire, self._wire, self._publisher = self._wire, None, None
        if self._room is not None:
            self._room.close()
        if wire is not None:
            await wire.close()

    # -- looking --------------------------------------------------------------------------------------------

    @property
    def server(self) -> bytes:
        """The fingerprint of the server that is connected now; empty: none was, so far."""
        if self._wire is None:
            return bytes(SERVER_SIZE)
        told = self._wire.connection.client._server_info  # nats-py has no other word for it
        return fingerprint([str(told.get("server_id", ""))], SERVER_SIZE)

    async def look(self) -> There:
        """Return what the stream says of itself.

        Raises:
            ServerAway, AccessDenied: see there.
            NotAQueue, WrongSettings: the stream is not there, or is another than was asked for.
        """
        wire = await self._reach()
        state = await self._state(wire)
        self._most = self._limit(state)
        return There(
            state.last,
            state.first,
            state.config.get("duplicate_window", 0) / SECOND,
            fingerprint([self._settings.name, state.created], TARGET_SIZE),
            self.server,
        )

    async def _state(self, wire: Wire) -> State:
        try:
            return await state_of(wire, self._settings.name)
        except ApiError as error:
            raise self._refused(error) from error

    def _refused(self, error: ApiError) -> Exception:
        """Return what *error* is: something that may pass, or not."""
        if error.code in PASSING:
            return ServerAway(self.address, self._timeout, error.text, sent=True, storing=False)
        if error.code in (401, 403):
            return AccessDenied(self.address, error.text)
        return NotAQueue(self.address, f"the server does not show the queue: {error}")

    async def search(self, keys: Collection[str], since: int, there: There) -> tuple[dict[str, int], int]:
        """Return the sequences of the messages with *keys* behind *since*, and how many messages follow the last."""
        wire = await self._reach()
        found: dict[str, int] = {}
        present = 0
        first = max(since + 1, there.first)
        async for message in kept(wire, self._settings.name, self._settings.subject, first, there.last):
            name = message.headers.get(MESSAGE_ID, "")
            present += 1
            if name in keys:
                found[name], present = message.sequence, 0
        return found, present

    # -- sending --------------------------------------------------------------------------------------------

    def fits(self, size: int) -> bool:
        """Whether the server takes a record of *size* bytes."""
        return size <= self._most

    def too_large(self, size: int, where: str) -> RecordTooLarge:
        """Return the error for a record of *size* bytes that lies at *where*."""
        return RecordTooLarge(where, size, self._most, f"{self.address} (less the headers)")

    async def send(self, records: Sequence[tuple[str, bytes]]) -> int:
        """Store *records*, each with its key, in order; return how many the server had already.

        Waits for room where the queue is full.

        Raises:
            ServerAway, OSError: no confirmation in time, or no space; the exception's `stored` says how many are
                stored for certain, from the first on.
            NotAQueue, AccessDenied: see there.

        Cancellation: the CancelledError has `stored`, too; what was sent is waited for, within the timeout.
        """
        await self._reach()
        publisher = self._publisher
        assert publisher is not None
        before = publisher.repeated
        messages = [Message(record, self._serializer, name) for name, record in records]
        await put_many(publisher, messages, batches=self._batches)
        return publisher.repeated - before

    @property
    def is_full(self) -> bool:
        """Whether somebody waits for room."""
        return self._room is not None and bool(self._room.line.waiting)
