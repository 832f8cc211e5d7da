"""A queue on a NATS server as a source: its messages are read by their numbers, and none is consumed.

    asyncpq.jobs   m1  m2  .  m4 ... mN        .: consumed before; what is with a consumer now is read, too
                   └ Asyncpq-Serializer: json, and the record

A stream cannot be locked: whether anything was put or consumed meanwhile is found out in the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncpq import serializers
from asyncpq.errors import NotAQueue
from asyncpq.nats.blocking import Blocking
from asyncpq.nats.headers import SERIALIZER
from asyncpq.nats.streams import check_queue
from asyncpq.recovery.verify import step_of
from asyncpq.serializers import Custom, Damaged, Torn
from asyncpq.sources.blobs import Reading, frame_of
from asyncpq.sources.protocol import About, Entry
from asyncpq.sources.records import protocol_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from asyncpq.nats.history import Kept, State
    from asyncpq.serializers import Serializer
    from asyncpq.sources.options import Options
    from asyncpq.sources.spec import Spec

__all__ = ["StreamSource"]


class StreamSource:
    """See Source.

    Raises:
        NotAQueue: there is no queue of this name, or it does not say what it was written with.
        ServerAway, AccessDenied: see there.
    """

    def __init__(self, spec: Spec, options: Options) -> None:
        assert spec.name is not None
        self._address = spec.path
        self._server = Blocking(str(spec.path), spec.servers, spec.name, options.nats)
        try:
            self._state = self._there()
            first = next(self._server.messages(self._state.first, self._state.last), [])
            serializer = self._serializer(options, first)
            self._name, self._step = serializer.NAME, _step(serializer, options)
            self._before, self._behind = frame_of(serializer)
            self._load = Reading(serializer, options.unpickle, options.encoding, framed=True).loader()
        except BaseException:
            self.close()
            raise
        pickled = serializer is serializers.pickle and first
        self.about = About(
            path=self._address,
            kind="nats",
            what=f"queue {spec.name!r} on NATS",
            serializer=serializer,
            protocol=protocol_of(first[0].data) if pickled else None,
            items=self._state.messages,
            bytes_on_disk=self._state.bytes,
        )

    def _there(self) -> State:
        state = self._server.state()
        if state is None:
            raise NotAQueue(self._address, "there is no such queue on the server")
        check_queue(str(self._address), state.config)
        return state

    def _serializer(self, options: Options, first: list[Kept]) -> Serializer:
        if options.serializer is not None:
            return options.serializer
        name = first[0].headers.get(SERIALIZER) if first else "pickle"
        if name not in serializers.NAMES:
            raise NotAQueue(
                self._address, "its messages do not say what they were written with; name it: source_serializer="
            )
        return serializers.get(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    def identity(self) -> dict[str, Any]:
        """Return what changes when something is put, or consumed."""
        state = self._there()
        numbers = {"messages": state.messages, "first": state.first, "last": state.last}
        return {"path": str(self._address), "created": state.created} | numbers

    def batches(self, after: tuple[int, ...] | None = None) -> Iterator[list[Entry]]:
        """See Source."""
        first = self._state.first if after is None else max(self._state.first, after[0] + 1)
        for messages in self._server.messages(first, self._state.last):
            yield [self._entry(message) for message in messages]

    def _entry(self, message: Kept) -> Entry:
        data, at = message.data, (message.sequence,)
        name = message.headers.get(SERIALIZER, self._name)
        if name != self._name:
            return Entry(at, data, f"it says that it was written with {name[:40]!a}, not with {self._name}")
        try:
            end = self._step(data, 0) if data else 0
        except (Torn, Damaged) as damaged:
            return Entry(at, data, str(damaged) or "the record is not whole")
        if not data or end != len(data):
            return Entry(at, data, "it is not one record")
        return Entry(at, data[self._before : end - self._behind])

    def loads(self, blob: bytes) -> Any:
        """See Source."""
        return self._load(blob)

    def where(self, entry: Entry) -> str:
        """See Source."""
        return f"message {entry.at[0]}"


def _step(serializer: Serializer, options: Options) -> Any:
    return serializer.skip if isinstance(serializer, Custom) else step_of(serializer, options.encoding)
