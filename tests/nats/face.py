"""The queue on a server, made as a queue on the disk is: a path for a name, and chunks that mean nothing."""

import hashlib
import os
from typing import Any

from asyncpq import AsyncNatsQueue
from tests.nats.server import Server

_server: list[Server] = []  # the one of this process
_bounds: dict[str, int] = {}


def use(server: Server) -> None:
    _server[:] = [server]


def nats_queue(
    path: str | os.PathLike[str],
    maxsize: int = 0,
    chunksize: int = 100,
    tempdir: object = None,
    serializer: Any = None,
    autosave: bool = False,
    **more: Any,
) -> AsyncNatsQueue:
    """The same path is the same queue."""
    for only_there in ("fsync", "inline_limit", "lock", "repair"):
        more.pop(only_there, None)
    name = "q-" + hashlib.sha256(os.fsencode(path)).hexdigest()[:20]
    # A directory has no bound of its own; a stream has one, and a queue that is opened again has to name it.
    maxsize = _bounds[name] = maxsize or _bounds.get(name, 0)
    return AsyncNatsQueue(_server[0].url, name, maxsize, serializer, autosave, **more)
