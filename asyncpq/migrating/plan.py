"""What was wished, and what will be made of it.  Pure but for a look at what the paths lead to.

jobs              -> a file queue                  sqlite:jobs.db        -> a file, FIFO, named "default"
sqlite:jobs/      -> jobs/data.db                  sqlite:jobs.db#mail   -> the queue "mail" in it
nats://host/jobs  -> the queue "jobs" on a server

class             unless it is named: the source's, where a SQLite queue becomes one; else FIFO
serializer        unless it is named: the source's, or pickle where its items are bytes
chunksize         unless it is given: the source's, or 100 where it has none
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asyncpq import serializers
from asyncpq.checking import CHUNKSIZE
from asyncpq.errors import MigrationError
from asyncpq.sources import Spec, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpq.serializers import Serializer
    from asyncpq.sources import About
    from asyncpq.sqlite.tables import Kind

__all__ = ["KINDS", "Plan", "Wish", "decide", "make_wish"]

# Names of the classes, and what persist-queue calls them.
KINDS: Final = {
    "fifo": "SQLiteQueue",
    "filo": "FILOSQLiteQueue",
    "unique": "UniqueQ",
    "priority": "PriorityQueue",
    "ack": "SQLiteAckQueue",
    "filo-ack": "FILOSQLiteAckQueue",
    "unique-ack": "UniqueAckQ",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller asked for; see `migrate`."""

    source: Spec
    target: Spec | None
    slash: bool = False  # the target's path ends with one
    serializer: Serializer | None = None
    source_serializer: Serializer | None = None
    chunksize: int | None = None
    kind: str | None = None
    encoding: str | None = None
    unpickle: bool = False
    lossy: bool = False
    bad_file: Path | None = None
    skip_bad: bool = False
    in_place: bool = False
    gap: bool = False
    nats: Mapping[str, Any] = field(default_factory=dict, repr=False)  # who logs in at a server, and settings there

    @property
    def to_server(self) -> bool:
        """Whether the target is a queue on a server."""
        return self.target is not None and self.target.kind == "nats"

    def as_json(self) -> dict[str, Any]:
        """Return it for the note: the same wish is the same there."""
        return {
            "source": os.path.abspath(self.source.path),
            "queue": self.source.name,
            "path": str(self.path),
            "target": self.target and [self.target.kind, self.target.name, self.slash],
            "serializers": [one and _said(one) for one in (self.serializer, self.source_serializer)],
            "chunksize": self.chunksize,
            "class": self.kind,
            "reading": [self.encoding, self.unpickle],
            "accepting": [self.lossy, self.skip_bad, os.path.abspath(self.aside)],
            "in_place": self.in_place,
        }

    @property
    def path(self) -> Path:
        """Where the target will be."""
        if self.in_place or self.target is None:
            return Path(os.path.realpath(self.source.path))
        return Path(os.path.abspath(self.target.path))

    @property
    def shown(self) -> Path:
        """What the caller calls it."""
        return self.source.path if self.target is None else self.target.path

    @property
    def shown_backup(self) -> Path:
        """What the caller would call the old one: a link stays where it is."""
        return _beside(self.shown, ".bak") if os.path.abspath(self.shown) == str(self.path) else self.backup

    @property
    def aside(self) -> Path:
        """Where what cannot be read goes."""
        if self.to_server and self.bad_file is None:
            local = Path(f"{self.source.name}") if self.source.kind == "nats" else self.source.path
            return _beside(local, ".bad.jsonl")
        return self.bad_file or _beside(self.shown, ".bad.jsonl")

    @property
    def backup(self) -> Path:
        """What the old one is called that was converted under its own name."""
        return _beside(self.path, ".bak")


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be made."""

    path: Path
    serializer: Serializer
    copies: bool  # records stay as they are
    chunksize: int = 0
    kind: Kind | None = None  # None: a file queue
    class_name: str | None = None  # of KINDS
    name: str = "default"
    in_directory: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it for the note: what is equal makes the same bytes."""
        return {
            "path": str(self.path),
            "serializer": _said(self.serializer),
            "copies": self.copies,
            "chunksize": self.chunksize,
            "class": self.class_name,
            "name": self.name,
            "in_directory": self.in_directory,
        }


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _said(serializer: Serializer) -> str:
    return serializer.NAME if not isinstance(serializer, serializers.Custom) else f"{serializer.NAME} of one's own"


def make_wish(source: str | os.PathLike[str] | Spec, target: str | os.PathLike[str] | None, **wishes: Any) -> Wish:
    """Return the wish, its strings parsed.

    Raises:
        ValueError: it makes no sense, whatever the paths lead to.
    """
    for name in ("serializer", "source_serializer"):
        if wishes.get(name) is not None:
            wishes[name] = serializers.get(wishes[name])
    skip_bad = wishes.pop("skip_bad", None)
    wish = Wish(
        source=_spec(source),
        target=None if target is None else _spec(target),
        slash=target is not None and _path_part(os.fspath(target)).endswith(os.sep),
        skip_bad=bool(skip_bad),
        bad_file=None if skip_bad in (None, True, False) else Path(skip_bad),
        **wishes,
    )
    _check(wish)
    return wish


def _spec(path: str | os.PathLike[str] | Spec) -> Spec:
    if isinstance(path, Spec):
        return path
    return parse(path) if isinstance(path, str) else Spec(Path(path))


def _path_part(text: str) -> str:
    return text.partition("#")[0] if text.startswith("sqlite:") else text


def _check(wish: Wish) -> None:
    if wish.in_place and wish.source.kind == "nats":
        raise ValueError("a queue on a server is not converted under its own name; name a target")
    if wish.target is None and not wish.in_place:
        raise ValueError("say where the queue should go: a target, or in_place=True (--in-place)")
    if wish.in_place and wish.target is not None and Path(os.path.realpath(wish.target.path)) != wish.path:
        raise ValueError("in_place=True converts a queue under its own name: leave the target out")
    if wish.kind is not None and wish.kind not in KINDS:
        raise ValueError(f"there is no class {wish.kind!r}; there are {', '.join(KINDS)}")
    if wish.chunksize is not None and wish.chunksize < 1:
        raise ValueError(f"chunksize must be at least 1, not {wish.chunksize}")
    if not wish.in_place and os.path.realpath(wish.source.path) == os.path.realpath(wish.path):
        raise ValueError(
            f"{wish.path} is source and target; in_place=True (--in-place) converts a queue under its own name"
        )
    if not wish.in_place and wish.path.is_relative_to(os.path.realpath(wish.source.path)):
        raise ValueError(f"{wish.path} lies in the source, which is never changed; name a target beside it")
    if wish.to_server and (wish.kind is not None or wish.chunksize is not None):
        raise ValueError("a queue on NATS has neither classes nor chunks: leave class and chunksize out")
    if wish.target is not None:
        _check_form(wish, wish.target.kind != "sqlite")


def _check_form(wish: Wish, to_files: bool) -> None:
    if to_files and wish.kind is not None:
        raise ValueError(f"a file queue has no classes; for the class {wish.kind!r} say sqlite:{wish.path}")
    if not to_files and wish.chunksize is not None:
        raise ValueError("a SQLite queue has no chunks: leave chunksize out")


def decide(wish: Wish, about: About) -> Plan:
    """Return the plan for a source that is *about* this.

    Raises:
        MigrationError: the source does not allow it.
        ValueError: the wishes do not go together.
        ImportError: a SQLite queue is wished, and aiosqlite is missing.
    """
    serializer = wish.serializer or about.serializer or serializers.get("pickle")
    copies = wish.encoding is None and about.serializer is not None and _same(serializer, about.serializer)
    if wish.to_server and wish.target is not None:
        return Plan(wish.path, serializer, copies, name=wish.target.name or "")
    if _to_files(wish, about):
        _check_form(wish, to_files=True)
        chunksize = wish.chunksize or about.details.get("chunksize", 0)
        return Plan(wish.path, serializer, copies, chunksize if chunksize > 0 else CHUNKSIZE)
    _check_form(wish, to_files=False)
    if serializer.is_async:
        raise ValueError(f"serializer {serializer.NAME!r} has coroutine functions; a SQLite queue needs plain ones")
    class_name = wish.kind or _class_of(about)
    kind = _kind(class_name)
    return Plan(
        wish.path,
        serializer,
        copies,
        kind=kind,
        class_name=class_name,
        name=(wish.target and wish.target.name) or _name(wish, about),
        in_directory=_in_directory(wish, about, kind),
    )


def _same(one: Serializer, other: Serializer) -> bool:
    if isinstance(one, serializers.Custom) and isinstance(other, serializers.Custom):
        return one.module is other.module
    return one is other


def _to_files(wish: Wish, about: About) -> bool:
    if wish.target is not None:
        return wish.target.kind != "sqlite"
    if about.kind not in ("file", "sqlite"):
        raise MigrationError(about.path, f"is {about.what}; to convert it under its own name, say what it shall become")
    return about.kind == "file"


def _class_of(about: About) -> str:
    return next((name for name, theirs in KINDS.items() if theirs == about.details.get("class")), "fifo")


def _kind(name: str) -> Kind:
    from asyncpq.sqlite import tables  # for SQLite queues only: it needs their extra

    kind: Kind = getattr(tables, name.replace("-", "_").upper())
    return kind


def _name(wish: Wish, about: About) -> str:
    kept = wish.in_place and about.kind == "sqlite"
    return str(about.details.get("name", "default")) if kept else "default"


def _in_directory(wish: Wish, about: About, kind: Kind) -> bool:
    """Return whether the database is data.db in a directory; unless said or in place, as persist-queue's class does."""
    if wish.in_place and about.kind == "sqlite":
        return about.path.is_dir()
    return wish.slash or wish.in_place or not kind.file_when_new
