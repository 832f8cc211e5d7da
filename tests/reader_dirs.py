"""Directories for the tests of the reader, written byte by byte."""

from pathlib import Path
from typing import Any, Final

from asyncpq import layout, serializers
from asyncpq.layout import Mark, Position
from asyncpq.reader import QueueReader

INTERVAL: Final = 3  # codes of policies in the mark
ALWAYS: Final = 4


def info(chunksize: int, tail: Position, head: Position, name: str = "json") -> bytes:
    """The record of an info."""
    fields = layout.new_fields(chunksize) | {"tail": list(tail), "head": list(head)}
    fields["size"] = layout.distance(chunksize, tail, head)
    return serializers.get(name).encode(fields)


def write(folder: Path, items: list[Any], chunksize: int = 3, name: str = "json") -> Position:
    """Write a closed queue that holds *items*; return its head."""
    folder.mkdir(exist_ok=True)
    head = layout.START
    (folder / "q00000").touch()
    for item in items:
        record = serializers.get(name).encode(item)
        with (folder / layout.chunk_name(head.chunk)).open("ab") as chunk:
            chunk.write(record)
        head = layout.following(head, len(record), chunksize)
        (folder / layout.chunk_name(head.chunk)).touch()
    (folder / "info").write_bytes(info(chunksize, layout.START, head, name))
    return head


def append(file: Path, data: bytes) -> None:
    with file.open("ab") as end:
        end.write(data)


def slot(record: bytes, policy: int = INTERVAL) -> bytes:
    return layout.slot(record, layout.mark_prefix(Mark(policy, layout.START, layout.START)))


def two_chunks(folder: Path) -> None:
    """Write a closed queue of two full chunks, 0 to 5, and one that is begun with 6."""
    write(folder, list(range(7)))


async def items_of(path: Path, **options: Any) -> list[Any]:
    async with QueueReader(path, **options) as reader:
        return [item async for item in reader]
