"""Moving a queue in a test: at once, without a loop; and what a queue holds, looked at without opening it."""

import os
from pathlib import Path
from typing import Any

import persistqueue

import asyncpq
from asyncpq.migrating import MigrationReport, Progress
from asyncpq.migrating.plan import make_wish
from asyncpq.migrating.work import migrate_now
from asyncpq.sources import open_source

SERIALIZERS = ("pickle", "json", "orjson", "msgpack", "cbor2")


def unheard(progress: Progress) -> None:
    pass


def moved(source: Path | str, target: Path | str | None = None, **wishes: Any) -> MigrationReport:
    """What `migrate` returns."""
    tell = wishes.pop("tell", unheard)
    wishes["kind"] = wishes.pop("queue_class", None)
    return migrate_now(make_wish(source, target, **wishes), tell)


def items(path: Path | str, **options: Any) -> list[Any]:
    """All items, in the order of get; none is damaged."""
    with open_source(path, **options) as source:
        entries = [entry for batch in source.batches() for entry in batch]
        assert [entry.bad for entry in entries] == [None] * len(entries)
        return [source.loads(entry.blob) for entry in entries]


def blobs(path: Path | str) -> list[bytes]:
    with open_source(path) as source:
        return [entry.blob for batch in source.batches() for entry in batch]


def files(path: Path) -> dict[str, bytes]:
    """Names and contents of a directory, at any depth, or of a file."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def traces(path: Path) -> dict[str, tuple[bytes, int, int]]:
    """As `files`, with inode and time of change."""
    found = [path, *path.rglob("*")] if path.is_dir() else [path]
    return {
        str(file): (b"" if file.is_dir() else file.read_bytes(), file.stat().st_ino, file.stat().st_mtime_ns)
        for file in found
    }


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def theirs(path: Path, values: list[Any], chunksize: int = 100, serializer: Any = None) -> Path:
    """A file queue that persist-queue has written and closed."""
    options = {} if serializer is None else {"serializer": serializer}
    queue = persistqueue.Queue(str(path), chunksize=chunksize, tempdir=str(path.parent), **options)
    for value in values:
        queue.put(value)
    shut(queue)
    return path


def shut(queue: persistqueue.Queue) -> None:
    """Close it; persist-queue leaves that to the collector."""
    queue.headf.close()
    queue.tailf.close()


async def ours(path: Path, values: list[Any], chunksize: int = 100, serializer: str = "pickle") -> Path:
    """A file queue that asyncpq has written and closed."""
    async with asyncpq.AsyncQueue(path, chunksize=chunksize, serializer=serializer, fsync="never") as queue:
        for value in values:
            await queue.put(value)
    return path
