"""How a queue is named in one string.  Pure.

    jobs                  a path: what lies there is found out
    sqlite:jobs.db        a SQLite queue
    sqlite:jobs.db#mail   the queue "mail" in it
    file:jobs             a file queue, also where the path begins with "sqlite:", "file:" or "nats:"
    nats://host:4222/jobs the queue "jobs" on a NATS server

What is not said is found out from what lies there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PosixPath
from typing import Final

__all__ = ["Address", "Spec", "parse"]

ADDRESS: Final = re.compile(r"(?:nats|tls|wss?)://", re.IGNORECASE)


class Address(PosixPath):
    """The address of a queue on a server, where others have a path: it is shown, and leads to no file."""

    def __str__(self) -> str:
        """Return it with both slashes, which a path would make one of."""
        return super().__str__().replace(":/", "://", 1)


@dataclass(frozen=True, slots=True)
class Spec:
    """Where a queue is."""

    path: Path
    kind: str | None = None  # "file", "sqlite" or "nats"; None: not said
    name: str | None = None  # of a SQLite queue, or of one on a server
    servers: str = field(default="", repr=False)  # of a NATS queue: as they were given, who logs in included


def parse(text: str) -> Spec:
    """Return what *text* names.

    Raises:
        ValueError: there is no path in it.
    """
    if ADDRESS.match(text):
        return _on_server(text)
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("file", "sqlite"):
        kind, rest = "", text
    path, mark, name = rest.partition("#") if kind == "sqlite" else (rest, "", "")
    if not path or (mark and not name):
        raise ValueError(f"{text!r} names no queue; say PATH, sqlite:PATH or sqlite:PATH#NAME")
    return Spec(Path(path), kind or None, name or None)


def _on_server(text: str) -> Spec:
    servers, slash, name = text.rpartition("/")
    if not slash or not name or servers.endswith(("/", ":")):
        # Not the text itself: it may hold a password.
        raise ValueError("this address names no queue; say nats://HOST:PORT/NAME")
    shown = ",".join(re.sub(r"//[^/@]*@", "//", one) for one in servers.split(","))
    return Spec(Address(f"{shown}/{name}"), "nats", name, servers)
