"""What lies at a path, told by names and by tables; nothing is run, nothing is changed.

    a directory    info or q00000 ...           file queue
                   info.json                    queuelib
                   data.db                      persist-queue's SQLite queues
                   cache.db                     diskcache
    a file         an SQLite database           by its tables: persist-queue, litequeue, queuelib
    an address     nats://host:port/name        a queue on a NATS server

A Spec's kind narrows it down where both lie there.
"""

from __future__ import annotations

import codecs
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asyncpq import serializers
from asyncpq.errors import NotAQueue
from asyncpq.layout import INFO, chunk_number
from asyncpq.sources import queuelib
from asyncpq.sources.files import FileSource
from asyncpq.sources.options import Options
from asyncpq.sources.queuelib import QueuelibSource
from asyncpq.sources.spec import Spec, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpq.sources.protocol import Source

__all__ = ["list_queues", "open_source"]

DATABASES: Final = ("data.db", "cache.db")  # persist-queue's name for it, and diskcache's


def open_source(
    path: str | os.PathLike[str] | Spec,
    *,
    serializer: Any = None,
    encoding: str | None = None,
    unpickle: bool = False,
    lock: bool = True,
    name: str | None = None,
    nats: Mapping[str, Any] | None = None,
) -> Source:
    """Open what holds a queue at *path*, for reading; nothing in it is changed.

    Args:
        path: a path, a str as `spec.parse` reads it, or a Spec.
        serializer: a name or a module, as for AsyncQueue; None: what the queue was written with.
        encoding: of Python 2's byte strings in pickles: a codec, or "bytes"; None: latin-1.
        unpickle: run what pickles say; without it they become plain data.
        lock: keep writers out, where that is possible, or read one state of the database; False: read beside them.
        name: of the queue in a database with several.
        nats: who logs in at a server: token, user, password, credentials, tls, as for AsyncNatsQueue.

    Raises:
        ValueError: there is no such encoding or serializer.
        NotAQueue: there is none; the text says what was found.
        SeveralQueues: the database holds several, and none was named.
        WrongSerializer: it was written with another serializer.
        QueueLocked: somebody else has it open.
        CorruptQueue: it is damaged so that opening would refuse it.
        OSError: it cannot be read.
    """
    options = Options(
        serializer=None if serializer is None else serializers.get(serializer),
        encoding=_known(encoding or "latin-1"),
        unpickle=unpickle,
        lock=lock,
        name=name,
        nats=nats or {},
    )
    return _opened(path if isinstance(path, Spec) else _spec(path), options)


def _opened(spec: Spec, options: Options) -> Source:
    if spec.kind == "nats":
        from asyncpq.sources.stream import StreamSource  # it needs the extra `nats`

        return StreamSource(spec, options)
    kind, found = _find(spec)
    name = options.name or spec.name
    if kind != "sqlite" and name is not None:
        raise NotAQueue(spec.path, f"is one queue in a directory, so there is no {name!r} in it: leave the name out")
    if kind == "file":
        return FileSource(spec.path, options)
    if kind == "queuelib":
        return QueuelibSource(spec.path, options)
    from asyncpq.sources.databases import open_database  # it needs the extra `sqlite`

    return open_database(spec.path, found, replace(options, name=name))


def list_queues(path: str | os.PathLike[str] | Spec) -> list[Spec]:
    """Return a Spec for each queue at *path*: one, unless it is a database with several.

    Raises:
        as `open_source`.
    """
    spec = path if isinstance(path, Spec) else _spec(path)
    kind, found = _find(spec)
    if kind != "sqlite":
        return [Spec(spec.path, "file" if kind == "file" else None)]
    from asyncpq.sources.databases import names  # as above

    return [Spec(spec.path, "sqlite", name) for name in names(found)]


def _spec(path: str | os.PathLike[str]) -> Spec:
    return parse(path) if isinstance(path, str) else Spec(Path(path))


def _known(encoding: str) -> str:
    """Return *encoding*, which Python knows, or "bytes"."""
    if encoding != "bytes":
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise ValueError(f"there is no encoding {encoding!r}; say a codec such as 'utf-8', or 'bytes'") from None
    return encoding


def _find(spec: Spec) -> tuple[str, Path]:
    """Return the kind, and the directory or the database file."""
    path = spec.path
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise NotAQueue(path, "there is nothing at this path") from None
    if stat.S_ISREG(mode):
        if spec.kind == "file":
            raise NotAQueue(path, "is a file, and a file queue is a directory")
        return "sqlite", path
    if not stat.S_ISDIR(mode):
        raise NotAQueue(path, "is neither a directory nor a file, so it holds no queue")
    return _in_directory(spec, sorted(os.listdir(path)))


def _in_directory(spec: Spec, names: list[str]) -> tuple[str, Path]:
    chunks = any(chunk_number(name) is not None for name in names)
    if spec.kind != "sqlite" and INFO not in names and queuelib.INFO in names:
        return "queuelib", spec.path
    if spec.kind != "sqlite" and (INFO in names or chunks):
        return "file", spec.path
    databases = [name for name in DATABASES if name in names]
    if spec.kind != "file" and databases:
        if (spec.path / databases[0]).is_symlink():
            raise NotAQueue(spec.path / databases[0], "is a link; name the database that it leads to")
        return "sqlite", spec.path / databases[0]
    raise NotAQueue(spec.path, f"holds no queue, but {_some(names)}")


def _some(names: list[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(map(repr, names[:5])) + f" and {len(names) - 5} other names" * (len(names) > 5)
