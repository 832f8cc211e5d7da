"""One stream, for a worker thread: each call runs an event loop of its own until it has its answer.

    thread ──> Blocking.run(coroutine) ──> loop of this thread ──> Wire ──> server

Between two calls nothing is heard, which a server minds only after minutes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asyncpq.errors import AccessDenied, NotAQueue
from asyncpq.nats.connecting import Connection
from asyncpq.nats.history import kept, state_of
from asyncpq.nats.login import login
from asyncpq.nats.streams import NO_STREAM, SUBJECTS, ApiError, call
from asyncpq.nats.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

    from asyncpq.nats.history import Kept, State

__all__ = ["Blocking"]

T = TypeVar("T")

TIMEOUT: Final = 10.0  # seconds for each question
TAKEN: Final = 1024  # messages that come together


class Blocking:
    """A connection, and the stream *name*."""

    def __init__(self, address: str, servers: str, name: str, who: Mapping[str, Any]) -> None:
        """Connect; *who* logs in, as for AsyncNatsQueue.

        Raises:
            ServerAway, AccessDenied: see there.
            ValueError: an address, or a file, that cannot be used.
            OSError: a file that cannot be read.
        """
        self.address, self.name, self.subject = address, name, SUBJECTS + name
        self._runner = asyncio.Runner()
        try:
            connection = Connection(login(servers, **who), address, TIMEOUT)
            self.wire = Wire(self._runner.get_loop(), connection, lambda message, end: None)
            self.run(self.wire.open())
        except BaseException:
            self._runner.close()
            raise

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what *coroutine* returns.

        Raises:
            NotAQueue, AccessDenied: the server refuses.
        """
        try:
            return self._runner.run(coroutine)
        except ApiError as error:
            if error.code in (401, 403):
                raise AccessDenied(self.address, error.text) from error
            raise NotAQueue(self.address, f"the server says: {error}") from error

    def state(self) -> State | None:
        """Return the state of the stream; None: there is none."""
        try:
            return self._runner.run(state_of(self.wire, self.name))
        except ApiError as error:
            if error.number == NO_STREAM:
                return None
            raise NotAQueue(self.address, f"the server says: {error}") from error

    def call(self, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask JetStream *what*; raises as `run`."""
        return self.run(call(self.wire, what, body))

    def messages(self, first: int, last: int) -> Iterator[list[Kept]]:
        """Yield the messages that are there, from *first* to *last*, some at a time."""
        while first <= last:
            until = min(first + TAKEN - 1, last)
            found = self.run(self._some(first, until))
            if found:
                yield found
            first = until + 1

    async def _some(self, first: int, last: int) -> list[Kept]:
        return [message async for message in kept(self.wire, self.name, self.subject, first, last)]

    def close(self) -> None:
        """Close the connection."""
        try:
            self._runner.run(self.wire.close())
        finally:
            self._runner.close()
