"""The queue that a command opens, to put or to get."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpq
from asyncpq import serializers
from asyncpq.cli.kinds import is_file_queue
from asyncpq.cli.options import Failed
from asyncpq.cli.terminal import say
from asyncpq.layout import INFO
from asyncpq.serializers import pickle as real
from asyncpq.serializers import plain_loads
from asyncpq.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpq.sources import About, Spec

__all__ = ["CLASSES", "Plain", "healing_told", "look", "open_to_get", "open_to_put"]

CHUNKSIZE: Final = 100  # of a new file queue; AsyncQueue's default

CLASSES: Final = {
    "fifo": "AsyncSQLiteQueue",
    "filo": "AsyncFILOSQLiteQueue",
    "unique": "AsyncUniqueQ",
    "priority": "AsyncPriorityQueue",
    "ack": "AsyncSQLiteAckQueue",
    "filo-ack": "AsyncFILOSQLiteAckQueue",
    "unique-ack": "AsyncUniqueAckQ",
}


class Plain:
    """The serializer pickle, but nothing is run: pickles become plain data, `Opaque` what needs a class."""

    NAME: Final = "pickle"
    is_async: Final = False
    encode = staticmethod(real.encode)
    dump = staticmethod(real.dump)
    skip = staticmethod(real.skip)
    check = staticmethod(real.check)
    resync = staticmethod(real.resync)
    info_loads = staticmethod(real.info_loads)

    def decode(self, buffer: bytes, start: int) -> tuple[Any, int]:
        """Return the plain value of the record at *start*, and the offset behind it."""
        return plain_loads(buffer, start)

    def loads(self, record: bytes) -> Any:
        """Return the plain value of one record."""
        return plain_loads(record, 0)[0]


class _Healing(logging.Handler):
    """Says on stderr what opening healed."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


@contextmanager
def healing_told() -> Iterator[None]:
    """Say meanwhile what opening a queue heals."""
    logger, telling = logging.getLogger("asyncpq"), _Healing()
    logger.addHandler(telling)
    try:
        yield
    finally:
        logger.removeHandler(telling)


def look(spec: Spec, serializer: str | None = None) -> About:
    """Return what lies there; no lock is taken.

    Raises:
        as `open_source`.
    """
    with open_source(spec, serializer=serializer, lock=False) as source:
        return source.about


def open_to_put(
    spec: Spec, *, serializer: str | None = None, chunksize: int | None = None, kind: str | None = None
) -> Any:
    """Return the queue at *spec*, not open yet; it is made when it is opened, if it is not there.

    Raises:
        Failed: an option does not fit.
        Else as `open_source`.
    """
    if is_file_queue(spec):
        if kind is not None:
            raise Failed(f"--class is for SQLite queues: say sqlite:{spec.path}, or leave it out")
        _check_chunksize(spec, chunksize)
        return asyncpq.AsyncQueue(spec.path, chunksize=chunksize or CHUNKSIZE, serializer=serializer)
    if chunksize is not None:
        raise Failed("--chunksize is for file queues; a database has no chunks")
    about = _there(spec, serializer)
    if about is None:
        return getattr(asyncpq, CLASSES[kind or "fifo"])(spec.path, spec.name or "default", serializer)
    made = _class_of(about)
    if kind is not None and made is not getattr(asyncpq, CLASSES[kind]):
        raise Failed(f"{spec.path} holds {about.what} already; leave --class out, or name another queue")
    return made(spec.path, about.details["name"], about.serializer)


def open_to_get(spec: Spec, *, serializer: str | None = None, unpickle: bool = False) -> Any:
    """Return the queue at *spec*, not open yet; an item stays in it until it is acknowledged.

    Raises:
        Failed: it is of a kind that is only read.
        Else as `open_source`.
    """
    about = look(spec, serializer)
    found = Plain() if about.serializer is serializers.pickle and not unpickle else about.serializer
    if about.kind == "file":
        return asyncpq.AsyncQueue(spec.path, serializer=found)
    made = _class_of(about)
    options = {} if made.kind.acked else {"auto_commit": False}
    return made(spec.path, about.details["name"], found, **options)


def _there(spec: Spec, serializer: str | None) -> About | None:
    """Return what lies there; None where a queue is to be made."""
    if not os.path.exists(spec.path):
        return None
    try:
        return look(spec, serializer)
    except asyncpq.SeveralQueues as error:
        if spec.name is None or error.missing is None:
            raise
    except asyncpq.NotAQueue:
        if spec.kind is None:  # nobody said that a queue is to be made in this database
            raise
    return None


def _check_chunksize(spec: Spec, chunksize: int | None) -> None:
    """Raise Failed where there is a queue with chunks of another size: it would keep its own."""
    if chunksize is None or not os.path.exists(spec.path / INFO):
        return
    stored = look(spec).details["chunksize"]
    if stored != chunksize:
        raise Failed(f"{spec.path} has chunks of {stored} items already, and keeps them; leave --chunksize out")


def _class_of(about: About) -> Any:
    if about.kind != "sqlite":
        raise Failed(f"{about.path} is {about.what}, which can be exported, peeked into and migrated only")
    return getattr(asyncpq, _OURS[about.details["class"]])


_OURS: Final = {
    "SQLiteQueue": "AsyncSQLiteQueue",
    "FILOSQLiteQueue": "AsyncFILOSQLiteQueue",
    "UniqueQ": "AsyncUniqueQ",
    "PriorityQueue": "AsyncPriorityQueue",
    "SQLiteAckQueue": "AsyncSQLiteAckQueue",
    "FILOSQLiteAckQueue": "AsyncFILOSQLiteAckQueue",
    "UniqueAckQ": "AsyncUniqueAckQ",
}
