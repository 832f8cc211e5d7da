"""What differs from source to source and from target to target: how items are converted, and what is worth saying."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from asyncpq import serializers
from asyncpq.errors import MigrationError
from asyncpq.files import FILES
from asyncpq.migrating.bombs import guarded
from asyncpq.migrating.converting import Converting, Copying, Form

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asyncpq.migrating.converting import Converter
    from asyncpq.migrating.findings import Findings
    from asyncpq.migrating.plan import Plan, Wish
    from asyncpq.sources import About, Entry, Source

__all__ = ["batches_of", "converter_for", "inherit", "notes_for", "refuse_in_place", "total_of"]

MARKERS: Final = (b"bytearray", b"\x96", b"\\u")  # one of them is in each pickle that holds a bytearray
OURS: Final = ("sqlite_", "asyncpq_")  # tables beside a queue's that are made anew, or belong to no queue
DATABASE: Final = "data.db"  # persist-queue's name for it
JSON: Final = ("json", "orjson")  # they take no bytearray, so none is mistaken for bytes


@contextmanager
def batches_of(source: Source, after: tuple[int, ...] | None = None) -> Iterator[Iterator[list[Entry]]]:
    """The batches of *source*; at the end no file of it is open any more, whoever still holds the iterator."""
    batches = source.batches(after)
    try:
        yield batches
    finally:
        if isinstance(batches, Generator):
            batches.close()


def total_of(source: Source) -> int:
    """Return the number of items that will come, or a few more."""
    if source.about.items is not None:
        return source.about.items
    with batches_of(source) as batches:
        return sum(map(len, batches))


def converter_for(wish: Wish, plan: Plan, source: Source) -> Converter:
    """Return what makes records of the blobs of *source*."""
    if plan.copies:
        return Copying(plan.serializer)
    form = Form.of(plan.serializer, in_database=plan.kind is not None)
    pickled = source.about.serializer is serializers.pickle
    known = source.about.serializer is None or source.about.serializer.NAME in serializers.NAMES
    return Converting(
        guarded(source.loads, source.about.serializer.NAME if source.about.serializer else ""),
        form,
        plain=known and (not pickled or not wish.unpickle or form.name in JSON),
        markers=MARKERS if pickled and form.name not in JSON else (),
        lossless=known and not pickled and form.name == "pickle",
    )


def refuse_in_place(about: About) -> None:
    """Raise where a database cannot be converted under its own name without losing something.

    Raises:
        MigrationError: it holds other tables, or a log beside it.
    """
    if about.kind != "sqlite":
        return
    if not about.path.is_dir():
        _refuse_log(about.path)
    others = [name for name in _tables(about) if name != about.details["table"] and not name.startswith(OURS)]
    if others:
        raise MigrationError(
            about.path,
            f"holds {', '.join(map(repr, others))} too, which would be missing in the new one; migrate to another path",
        )


def _tables(about: About) -> list[str]:
    from asyncpq.sources.database import ReadOnly

    database = ReadOnly(about.path / DATABASE if about.path.is_dir() else about.path, lock=False)
    try:
        return list(database.tables())
    finally:
        database.close()


def _refuse_log(file: Path) -> None:
    """Raise where some of the database is in another file: it would be taken for the new one's."""
    for name in ("-wal", "-journal"):
        if os.path.exists(f"{file}{name}") and os.path.getsize(f"{file}{name}"):
            raise MigrationError(
                file,
                f"{file.name}{name} belongs to it and would be taken for the new one's; put it into the file with "
                f"`sqlite3 {file.name} 'PRAGMA wal_checkpoint(TRUNCATE)'`, or migrate to another path",
            )


def inherit(old: Path, new: Path) -> None:
    """Give the new queue mode, owner and group of the old one, and its files those of the old one's."""
    models = [old, *_files(old)][:2]
    _copy_mode(models[0] if new.is_dir() == old.is_dir() else models[-1], new)
    for file in _files(new):
        _copy_mode(models[-1], file)


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else []


def _copy_mode(model: Path, made: Path) -> None:
    fds = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in (model, made)]
    try:
        FILES.copy_mode(*fds)
    finally:
        for fd in fds:
            os.close(fd)


def notes_for(plan: Plan, about: About, findings: Findings) -> tuple[str, ...]:
    """Return in sentences what is different, and is no loss of an item."""
    notes = list(about.details.get("heals", ()))
    if str(about.details.get("class", "")).startswith("FILO") and not (plan.kind and plan.kind.newest_first):
        notes.append("the source gives the newest item first; that order was kept, and what is put now comes last")
    statuses = about.details.get("statuses", {})
    if statuses.get("in flight"):
        notes.append(f"{statuses['in flight']:,} in flight: ready to be got again")
    for what in ("acknowledged", "failed"):
        if statuses.get(what):
            notes.append(f"{statuses[what]:,} {what}: not moved")
    if plan.kind is None and not findings.items:
        notes.append(f"an empty queue does not say its serializer: open it with serializer={plan.serializer.NAME!r}")
    return tuple(notes)
