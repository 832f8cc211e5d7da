"""Streams and consumers: what a queue asks for, what is there, and how the two differ.

    stream    NAME      subject asyncpq.NAME, each message until one consumer acknowledges it (work queue)
                        full: a put is refused (discard new), never an old item dropped
    consumer  asyncpq   durable, pulled from, explicit acknowledgements

Both are made where they are missing.  What is there is never changed: its settings are somebody's decision.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncpq.errors import AccessDenied, NotAQueue, WrongSettings

if TYPE_CHECKING:
    from asyncpq.nats.wire import Wire

API: Final = "$JS.API."
SUBJECTS: Final = "asyncpq."
CONSUMER: Final = "asyncpq"  # its name
PARTIAL: Final = "asyncpq-partial"  # in a stream's metadata: not all items are in it yet
SECOND: Final = 10**9  # nanoseconds, as the server counts

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")

NO_STREAM: Final = 10059
NO_CONSUMER: Final = 10014
NO_PEERS: Final = 10005  # too few servers; of a cluster that has just begun they are not known yet
PEERS_PAUSE: Final = 0.1  # seconds until it is tried again
NAME_TAKEN: Final = 10058  # somebody made it in the same moment, with other settings
CONSUMER_TAKEN: Final = frozenset({10013, 10105, 10148})


class ApiError(Exception):
    """The server answered with an error."""

    def __init__(self, code: int, number: int, text: str) -> None:
        """*code* is as in HTTP, *number* tells what it is."""
        self.code, self.number, self.text = code, number, text
        super().__init__(f"{text} ({number or code})")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a queue is asked to be."""

    name: str
    maxsize: int = 0  # items; 0 or less: no bound
    replicas: int = 1
    storage: str = "file"
    max_bytes: int | None = None
    duplicate_window: float = 120.0  # seconds
    ack_wait: float = 30.0  # seconds until an item comes again whose holder gives no sign of life

    def __post_init__(self) -> None:
        """Refuse what the server would refuse, or take for something else."""
        if not NAME.fullmatch(self.name):
            raise ValueError(f"the name of a queue is of letters, digits, - and _, at most 200 of them: {self.name!r}")
        if self.storage not in ("file", "memory"):
            raise ValueError(f"storage is 'file' or 'memory', not {self.storage!r}")
        if not 1 <= self.replicas <= 5:
            raise ValueError(f"replicas is 1 to 5, not {self.replicas!r}")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError(f"max_bytes is at least 1, or None, not {self.max_bytes!r}")
        if not self.duplicate_window >= 0.1 or not self.ack_wait >= 0.001:
            raise ValueError("duplicate_window is at least 0.1 s, and a lease at least 0.001 s")

    @property
    def subject(self) -> str:
        """What items are published to."""
        return SUBJECTS + self.name

    @property
    def stream(self) -> dict[str, Any]:
        """The stream, as the server calls its settings."""
        return {
            "name": self.name,
            "subjects": [self.subject],
            "retention": "workqueue",
            "discard": "new",
            "storage": self.storage,
            "num_replicas": self.replicas,
            "max_msgs": self.maxsize if self.maxsize > 0 else -1,
            "max_bytes": self.max_bytes or -1,
            "max_age": 0,
            "duplicate_window": round(self.duplicate_window * SECOND),
            "allow_atomic": True,  # before 2.12 the server does not know it, and put_many goes one by one
        }

    @property
    def consumer(self) -> dict[str, Any]:
        """The consumer, as the server calls its settings."""
        return {
            "durable_name": CONSUMER,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "replay_policy": "instant",
            "ack_wait": round(self.ack_wait * SECOND),
            "max_deliver": -1,
            "max_ack_pending": -1,
        }


ABLE: Final = frozenset({"allow_atomic"})  # what a stream can; not having it costs speed and nothing else

# What the parameters of the queue are called, and how their values are shown.
_ASKED_AS: Final = {
    "max_msgs": "maxsize",
    "num_replicas": "replicas",
    "ack_wait": "ack_wait, or lease,",
    "duplicate_window": "duplicate_window",
}


def differences(there: dict[str, Any], asked: dict[str, Any]) -> list[tuple[str, object, object]]:
    """Return each setting that is not as asked: what it is called, what it is, and what was asked for."""
    return [
        (_ASKED_AS.get(key, key), _shown(key, there.get(key)), _shown(key, value))
        for key, value in asked.items()
        if there.get(key, 0) != value and key not in ABLE
    ]


def _shown(key: str, value: Any) -> Any:
    if key in ("ack_wait", "duplicate_window", "max_age") and isinstance(value, int):
        return value / SECOND
    return 0 if key == "max_msgs" and value == -1 else value


def answer_of(data: bytes) -> dict[str, Any]:
    """Return what the server says.

    Raises:
        ApiError: an error, or nothing that can be read.
    """
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ApiError(500, 0, "the answer is none of JetStream's")
    if error := answer.get("error"):
        raise ApiError(error.get("code", 0), error.get("err_code", 0), error.get("description", "no reason given"))
    return answer


class Found(NamedTuple):
    """What is on the server."""

    messages: int
    batches: bool  # the stream takes many messages at once
    config: dict[str, Any]  # of the stream


async def call(wire: Wire, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask JetStream *what*; see `answer_of`, and `Wire.ask`."""
    message = await wire.ask(API + what, b"" if body is None else json.dumps(body).encode())
    return answer_of(message.data)


async def ensure(wire: Wire, path: str, settings: Settings, *, create: bool) -> Found:
    """Have stream and consumer be there as *settings* say; return what was found.

    Raises:
        NotAQueue: it is not there, and is not to be made; or it is something else.
        WrongSettings: it is there with other settings.
        AccessDenied, ServerAway: see there.
    """
    try:
        stream = await _stream(wire, path, settings, create=create)
        consumer = await _consumer(wire, path, settings, create=create)
    except ApiError as error:
        if error.code in (401, 403):
            raise AccessDenied(path, error.text) from error
        raise NotAQueue(path, f"the server does not make it: {error}") from error
    check(path, settings, stream["config"], consumer["config"])
    return Found(stream["state"].get("messages", 0), bool(stream["config"].get("allow_atomic")), stream["config"])


async def _stream(wire: Wire, path: str, settings: Settings, *, create: bool) -> dict[str, Any]:
    info = f"STREAM.INFO.{settings.name}"
    try:
        return await call(wire, info)
    except ApiError as error:
        if error.number != NO_STREAM:
            raise
    if not create:
        raise NotAQueue(path, "there is no such queue on the server; create=True makes it")
    loop = asyncio.get_running_loop()
    until = loop.time() + wire.timeout
    while True:
        try:
            return await call(wire, f"STREAM.CREATE.{settings.name}", settings.stream)
        except ApiError as error:
            if error.number == NAME_TAKEN:
                return await call(wire, info)
            if error.number != NO_PEERS or loop.time() > until:
                raise
        await asyncio.sleep(PEERS_PAUSE)


async def _consumer(wire: Wire, path: str, settings: Settings, *, create: bool) -> dict[str, Any]:
    info = f"CONSUMER.INFO.{settings.name}.{CONSUMER}"
    try:
        return await call(wire, info)
    except ApiError as error:
        if error.number != NO_CONSUMER:
            raise
    if not create:
        raise NotAQueue(path, "the stream has no consumer of asyncpq; create=True makes it")
    body = {"stream_name": settings.name, "config": settings.consumer, "action": "create"}
    try:
        return await call(wire, f"CONSUMER.CREATE.{settings.name}.{CONSUMER}", body)
    except ApiError as error:
        if error.number not in CONSUMER_TAKEN:
            raise
    return await call(wire, info)


def check_queue(path: str, stream: dict[str, Any]) -> None:
    """Raise NotAQueue where *stream*, a config, is none of a queue, or of one that is not whole yet."""
    if PARTIAL in (stream.get("metadata") or {}):
        raise NotAQueue(
            path, "it is being filled by asyncpq migrate, or that was cut short; call it again, or delete the stream"
        )
    if stream.get("retention") != "workqueue":
        raise NotAQueue(path, f"this stream is no queue: its retention is {stream.get('retention')!r}")


def check(path: str, settings: Settings, stream: dict[str, Any], consumer: dict[str, Any]) -> None:
    """Compare what is there with what was asked for; see `ensure`."""
    check_queue(path, stream)
    different = differences(stream, settings.stream) + differences(consumer, settings.consumer)
    if different:
        names = ", ".join(name for name, _, _ in different)
        raise WrongSettings(
            path, different, f"open it with what is there, or change it on the server: nats stream edit ({names})"
        )
