"""A queue on a NATS server, as it is built.  For the thread of the migration.

    made, or empty     with `asyncpq-partial` in its metadata: nobody opens it as a queue
    filled             in order, each item with a name of its own, so that the server stores it once
    read back          by the numbers of its messages; none is consumed
    told               the metadata without the mark, in one update: from here on it is a queue

A stream cannot be renamed, so the mark stands for the name that a directory gets in the end.
"""

from __future__ import annotations

from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import AsyncpqError, InTheWay, MigrationError
from asyncpq.migrating.target import NOT_WRITTEN, new_digest
from asyncpq.nats.batches import put_many
from asyncpq.nats.blocking import Blocking
from asyncpq.nats.publishing import Message, Publisher
from asyncpq.nats.room import Room
from asyncpq.nats.streams import CONSUMER, PARTIAL, Settings, check_queue

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from asyncpq.nats.history import State
    from asyncpq.sources import Spec

__all__ = ["StreamTarget"]

SETTINGS: Final = ("maxsize", "replicas", "storage", "max_bytes", "duplicate_window")


class StreamTarget:
    """See Target."""

    def __init__(self, spec: Spec, serializer: str, more: Mapping[str, Any]) -> None:
        """Connect; *more* is who logs in, and the settings of a queue that is made."""
        assert spec.name is not None
        settings = {key: value for key, value in more.items() if key in SETTINGS}
        who = {key: value for key, value in more.items() if key not in SETTINGS}
        self.address, self.items, self.digest = str(spec.path), 0, new_digest()
        self._settings, self._serializer = Settings(spec.name, **settings), serializer
        self._server = Blocking(self.address, spec.servers, spec.name, who)
        self._run = token_hex(8)
        self._made = self._marked = self._closed = False
        self._first = 1  # sequence of the first item

    # -- beginning and ending -------------------------------------------------------------------------------

    def refuse(self) -> None:
        """Raise InTheWay where there is a queue with messages, or something else of this name."""
        state = self._server.state()
        if state is None or PARTIAL in _metadata(state):
            return
        check_queue(self.address, state.config)
        if state.messages:
            raise InTheWay(self.address, f"holds {state.messages:,} messages already; name another queue")

    def begin(self) -> None:
        """See Target.  What a migration that was cut short left behind is made anew."""
        self.refuse()
        state = self._server.state()
        if state is not None and _metadata(state).get(PARTIAL) == "made":
            self._server.call(f"STREAM.DELETE.{self._settings.name}")
            state = None
        if state is None:
            self._made = True
            config = self._settings.stream | {"metadata": {PARTIAL: "made"}}
            self._server.call(f"STREAM.CREATE.{self._settings.name}", config)
        else:
            self._mark(state, "filled")
            self._server.call(f"STREAM.PURGE.{self._settings.name}")
        self._marked = True
        self._first = self._state().last + 1
        self._publisher = Publisher(self._server.wire, self.address, self._settings, self._room())
        self._batches = bool(self._state().config.get("allow_atomic"))

    def _state(self) -> State:
        state = self._server.state()
        if state is None:
            raise MigrationError(self.address, "the stream that was being filled was deleted by somebody")
        return state

    def _room(self) -> Room:
        async def count() -> int:
            return 0

        return Room(self._server.wire._loop, 0, 0, count)

    def _mark(self, state: State, value: str | None) -> None:
        """Have the stream say that it is not whole, or, with None, that it is."""
        metadata = {key: text for key, text in _metadata(state).items() if key != PARTIAL}
        config = state.config | {"metadata": metadata | ({PARTIAL: value} if value else {})}
        self._server.call(f"STREAM.UPDATE.{self._settings.name}", config)

    def resume(self, state: dict[str, Any]) -> None:
        """Nothing is resumed: `begin` removes what is there."""
        raise MigrationError(self.address, "what was there is made anew")

    def reset(self) -> None:
        """See Target."""

    def append(self, records: list[bytes], extras: Sequence[Mapping[str, Any]]) -> None:
        """See Target."""
        if not records:
            return
        start = self.items
        messages = [
            Message(record, self._serializer, f"{self._run}.{number}") for number, record in enumerate(records, start)
        ]
        self._server.run(put_many(self._publisher, messages, batches=self._batches))
        for record in records:
            self.digest.update(record)
        self.items += len(records)

    def sync(self) -> dict[str, Any]:
        """The server has made durable what it has confirmed, as far as it does that."""
        return {}

    def finish(self) -> None:
        """Have the consumer be there, which a queue needs."""
        body = {"stream_name": self._settings.name, "config": self._settings.consumer, "action": "create"}
        self._server.call(f"CONSUMER.CREATE.{self._settings.name}.{CONSUMER}", body)

    def verify(self) -> Iterator[tuple[int, int]]:
        """See Target."""
        self._check_numbers()
        seen, items, size = new_digest(), 0, 0
        for messages in self._server.messages(self._first, self._first + self.items - 1):
            for message in messages:
                seen.update(message.data)
                size += len(message.data)
            items += len(messages)
            yield items, size
        if items != self.items or seen.digest() != self.digest.digest():
            raise MigrationError(self.address, NOT_WRITTEN)
        self._check_numbers()

    def _check_numbers(self) -> None:
        state = self._state()
        if (state.messages, state.last) != (self.items, self._first + self.items - 1):
            raise MigrationError(self.address, "other messages came into it, or went out of it, while it was filled")

    def records(self) -> Iterator[bytes]:
        """See Target."""
        for messages in self._server.messages(self._first, self._first + self.items - 1):
            yield from (message.data for message in messages)

    def place(self) -> None:
        """Make it a queue: one update, after which it can be opened."""
        self._mark(self._state(), None)
        self._marked = False

    def close(self) -> None:
        """Remove what was built, unless it was placed, and close the connection; once more does nothing.

        Where the server is away, the next migration to this name removes it.
        """
        if self._marked:
            self._marked = False
            with suppress(AsyncpqError, OSError):
                self._discard()
        if not self._closed:
            self._closed = True
            self._server.close()

    def _discard(self) -> None:
        if self._made:
            self._server.call(f"STREAM.DELETE.{self._settings.name}")
        else:
            self._server.call(f"STREAM.PURGE.{self._settings.name}")
            self._mark(self._state(), None)


def _metadata(state: State) -> dict[str, str]:
    return dict(state.config.get("metadata") or {})
