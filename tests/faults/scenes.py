"""Directories that persist-queue wrote, and what became of them: the same ones for both queues.

theirs      persist-queue's Queue, closed at the end
a scene     makes a directory in which one of its faults shows
"""

import importlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import persistqueue  # type: ignore[import-untyped, unused-ignore]

from asyncpq import AsyncQueue
from asyncpq.layout import chunk_name

TheirAsyncQueue: Final[Any] = persistqueue.AsyncQueue

NAMES: Final = ["pickle", "json", "msgpack", "cbor2"]
LETTERS: Final = ["a", "b", "c", "d", "e", "f"]
BIG: Final = 200_000  # bytes; pickle writes an object of this length past its own buffer


def their_serializer(name: str) -> Any:
    return importlib.import_module(f"persistqueue.serializers.{name}")


@contextmanager
def theirs(path: Path, name: str = "pickle", **options: Any) -> Iterator[Any]:
    """persist-queue's Queue on the directory."""
    queue = persistqueue.Queue(str(path), serializer=their_serializer(name), tempdir=os.fspath(path), **options)
    try:
        yield queue
    finally:
        queue.headf.close()
        queue.tailf.close()


def write(path: Path, items: Iterable[Any], name: str = "pickle", *, consumed: int = 0, chunksize: int = 100) -> None:
    """Have persist-queue store *items* and consume the first of them."""
    path.mkdir(exist_ok=True)
    with theirs(path, name, chunksize=chunksize) as queue:
        for item in items:
            queue.put(item)
        for _ in range(consumed):
            queue.get()
            queue.task_done()


def tree(path: Path) -> dict[str, bytes]:
    """Every file below *path*."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def killed(path: Path) -> Path:
    """The directory of an open queue as it is found when the process is killed now."""
    copies = path.parent / "killed"
    copies.mkdir(exist_ok=True)
    return Path(shutil.copytree(path, copies / str(len(list(copies.iterdir())))))


def info_of(path: Path, name: str = "pickle") -> dict[str, Any]:
    """What info says to persist-queue."""
    with (path / "info").open("rb") as file:
        info: dict[str, Any] = their_serializer(name).load(file)
    return info


def change_info(path: Path, name: str = "pickle", **fields: Any) -> None:
    info = info_of(path, name) | fields
    with (path / "info").open("wb") as file:
        their_serializer(name).dump(info, file)


async def drained(queue: AsyncQueue) -> list[Any]:
    """All items, each done before the next is got."""
    items = []
    while not await queue.empty():
        items.append(await queue.get_nowait())
        await queue.task_done()
    return items


async def items_in(path: Path, **options: Any) -> list[Any]:
    """What a new queue on the directory hands out; nothing is committed."""
    async with AsyncQueue(path, **options) as queue:
        return [await queue.get_nowait() for _ in range(await queue.qsize())]


def in_a_new_process(code: str, *arguments: object) -> tuple[str, str]:
    """What *code* writes to its two outputs; warnings are errors there."""
    done = subprocess.run(
        # Python 3.12 warns of a fork where there are threads.
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        # Debug mode would also write that a callback was slow.
        env={**os.environ, "PYTHONASYNCIODEBUG": ""},
    )
    return done.stdout, done.stderr


# -- scenes -----------------------------------------------------------------------------------------------------


def older_info(path: Path, name: str = "pickle", *, chunksize: int = 100) -> None:
    """Five items of which info counts one: the renames after the first put never reached the disk."""
    write(path, LETTERS[:1], name, chunksize=chunksize)
    old = (path / "info").read_bytes()
    write(path, LETTERS[1:5], name)
    (path / "info").write_bytes(old)


def older_tail(path: Path, name: str = "pickle") -> None:
    """Three items in chunks of one; two were consumed and their chunks removed, but info does not say so."""
    write(path, LETTERS[:3], name, chunksize=1)
    old = (path / "info").read_bytes()
    write(path, (), name, consumed=2)
    (path / "info").write_bytes(old)


def shortened(path: Path, name: str = "pickle", *, keep: int) -> None:
    """Four items of which the chunk holds only the first *keep*."""
    write(path, LETTERS[:keep], name)
    length = (path / chunk_name(0)).stat().st_size
    write(path, LETTERS[keep:4], name)
    os.truncate(path / chunk_name(0), length)


def damaged(path: Path, name: str = "pickle") -> int:
    """Three items; the record of the second, whose offset is returned, cannot be read."""
    write(path, LETTERS[:1], name)
    start = (path / chunk_name(0)).stat().st_size
    write(path, ["second" * 5], name)
    end = (path / chunk_name(0)).stat().st_size
    write(path, LETTERS[2:3], name)
    with (path / chunk_name(0)).open("r+b") as chunk:
        if name in ("msgpack", "cbor2"):
            start += 4  # the length stays
        if name == "json":
            end -= 1  # and the newline
        chunk.seek(start)
        chunk.write(b"\xff" * (end - start))
    return start - 4 if name in ("msgpack", "cbor2") else start


def damaged_length(path: Path, name: str) -> None:
    """Three items; the length in front of the second says less than there is."""
    write(path, LETTERS[:1], name)
    start = (path / chunk_name(0)).stat().st_size
    write(path, ["second" * 5, *LETTERS[2:3]], name)
    with (path / chunk_name(0)).open("r+b") as chunk:
        chunk.seek(start)
        chunk.write(bytes([7]))


def torn_number(path: Path) -> None:
    """A JSON line of which the beginning is on the disk, and is a number too."""
    write(path, [1234], "json")
    os.truncate(path / chunk_name(0), 2)


def hole_below_the_tail(path: Path) -> None:
    """Two chunks that were consumed long ago and came back, or were never removed; the next two are gone."""
    write(path, LETTERS, chunksize=1)
    old = [(path / chunk_name(number)).read_bytes() for number in range(2)]
    write(path, (), consumed=4)
    for number, data in enumerate(old):
        (path / chunk_name(number)).write_bytes(data)


def hole_in_the_middle(path: Path, name: str = "pickle") -> None:
    """Four items in chunks of one, of which the third is gone."""
    write(path, LETTERS[:4], name, chunksize=1)
    (path / chunk_name(2)).unlink()


def one_too_many(path: Path, name: str = "pickle") -> None:
    """Three items, and a size of four."""
    write(path, LETTERS[:3], name)
    change_info(path, name, size=4)


def at_chunk_99999(path: Path, name: str = "pickle") -> None:
    """A drained queue with chunks of two, whose next chunk has six digits."""
    write(path, LETTERS[:2], name, consumed=2, chunksize=2)
    (path / chunk_name(1)).rename(path / chunk_name(99_999))
    change_info(path, name, tail=[99_999, 0, 0], head=[99_999, 0, 0])


class Executes:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = os.fspath(file)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.file, "w")


def info_with_code(path: Path, trace: Path) -> None:
    """An info that makes the file *trace* when it is unpickled."""
    write(path, LETTERS[:1])
    info = info_of(path) | {"more": Executes(trace)}
    (path / "info").write_bytes(pickle.dumps(info, protocol=4))


def unpicklable() -> list[Any]:
    """An item that pickle begins to write, and then gives up."""
    return ["k1", bytes(BIG), lambda: None]
