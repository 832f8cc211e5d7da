"""What lies in a directory, and what that says.

Two steps, the first with files and for a thread, the second pure:

    Directory.look()   info twice, the sizes of the chunks    -> Found
    judge()            serializer, info, mark, tail, head     -> View
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiofiles

from asyncpq import layout, serializers
from asyncpq.errors import CorruptQueue, NotAQueue, QueueClosed, WrongSerializer
from asyncpq.files import FILES
from asyncpq.layout import Info, Mark, Position
from asyncpq.looking import Looking, traceless
from asyncpq.recovery.acks import find_acked
from asyncpq.serializers import Torn

if TYPE_CHECKING:
    from pathlib import Path

    from aiofiles.base import AiofilesContextManager
    from aiofiles.threadpool.binary import AsyncFileIO

    from asyncpq.serializers import Serializer

__all__ = ["Directory", "Found", "View", "judge", "not_open", "place"]

INFO_READ: Final = 1024 * 1024  # bytes; a longer info is none

_NOT_REGULAR: Final = (errno.ELOOP, errno.EMLINK, errno.EINVAL, errno.ENXIO)


@dataclass(frozen=True, slots=True)
class Found:
    """What lay in the directory."""

    info: bytes | None  # None: there is none
    settled: bool  # a second read found the same
    sizes: dict[int, int]  # bytes of the chunks that are regular files, by number


@dataclass(frozen=True, slots=True)
class View:
    """What the directory says at one moment."""

    serializer: Serializer
    info: Info | None  # None: a new queue, which has none before its first put
    info_length: int  # bytes of the file
    closed: bool
    mark: Mark | None
    sizes: dict[int, int]  # bytes of each chunk, by number, in order
    tail: Position
    head: Position

    @property
    def chunksize(self) -> int:
        return self.info.chunksize if self.info else 0


class Directory:
    """The open directory, for threads: the descriptor is closed when none of them uses it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._fd: int | None = None

    def open(self) -> None:
        """Open it; raises NotAQueue when there is none."""
        try:
            fd = traceless(FILES.open_dir(os.fspath(self._path)))
        except FileNotFoundError:
            raise NotAQueue(self._path, "there is no such directory") from None
        except NotADirectoryError:
            raise NotAQueue(self._path, "is not a directory") from None
        self.close()
        with self._lock:
            self._fd = fd

    def close(self) -> None:
        """Close it; once more does nothing."""
        with self._lock:
            fd, self._fd = self._fd, None
            if fd is not None:
                FILES.close(fd)

    def file(self, name: str) -> AiofilesContextManager[AsyncFileIO]:
        """The file *name*, to be read in `async with`."""
        return aiofiles.open(name, "rb", buffering=0, opener=self._opener)

    def _opener(self, name: str, flags: int) -> int:
        return self.descriptor(name)

    def descriptor(self, name: str) -> int:
        """Return a descriptor to read the file *name*, which whoever asked closes.

        Raises:
            FileNotFoundError: there is none.
            CorruptQueue: it is no regular file.
        """
        with self._lock:
            return self._open(name)

    def copy_mode(self, target: int) -> None:
        """Give the directory *target* mode, owner and group of this one, as far as this user may."""
        with self._lock:
            FILES.copy_mode(self._descriptor, target)

    def locked(self) -> bool | None:
        """Return whether an asyncpq queue has the directory open; None: the system does not tell."""
        with self._lock:
            return FILES.locked(self._descriptor)

    def _open(self, name: str) -> int:
        try:
            return traceless(FILES.open_read(self._descriptor, name))
        except OSError as error:
            if error.errno not in _NOT_REGULAR:
                raise
            raise CorruptQueue(self._path, f"{name} is not a regular file") from error

    def look(self) -> Found:
        """Info, read twice, and the sizes of the chunks."""
        with self._lock:
            info = self._info()
            return Found(info, info == self._info(), self._sizes())

    def chunks(self) -> list[int]:
        """Return the numbers of the chunk files, sorted."""
        with self._lock:
            return layout.chunk_numbers(FILES.list_dir(self._descriptor))

    def acked(self, view: View) -> dict[Position, int]:
        """The records from tail to head that are acknowledged, out of order."""
        with self._lock:
            try:
                return find_acked(Looking(), self._descriptor, view.serializer, list(view.sizes), view.tail, view.head)
            except FileNotFoundError:
                return {}

    def _info(self) -> bytes | None:
        try:
            fd = self._open(layout.INFO)
        except FileNotFoundError:
            return None
        try:
            return FILES.pread(fd, INFO_READ, 0)
        finally:
            FILES.close(fd)

    def _sizes(self) -> dict[int, int]:
        sizes, names = {}, set()
        with os.scandir(self._descriptor) as entries:
            for entry in entries:
                number = layout.chunk_number(entry.name)
                if number is None:
                    names.add(entry.name)
                # A live writer may remove it between the listing and the stat.
                with suppress(FileNotFoundError):
                    if number is not None and entry.is_file(follow_symlinks=False):
                        sizes[number] = entry.stat(follow_symlinks=False).st_size
        if sizes and (why := layout.foreign(names)):
            raise NotAQueue(self._path, why)
        return dict(sorted(sizes.items()))

    @property
    def _descriptor(self) -> int:
        if self._fd is None:
            raise QueueClosed(not_open(self._path))
        return self._fd


def judge(path: Path, given: Serializer | None, found: Found) -> View:
    """What *found* says, if it is a queue whose files hold the items that info counts."""
    data, sizes = found.info, found.sizes
    if data is None:
        return _new_queue(path, given or serializers.get("pickle"), sizes)
    serializer, info, end = _parse(path, given, data)
    tail, head = _ends(path, info, sizes)
    mark = layout.read_mark(data, end)
    return View(serializer, info, len(data), end == len(data), mark, sizes, tail, head)


def _new_queue(path: Path, serializer: Serializer, sizes: dict[int, int]) -> View:
    if not sizes:
        raise NotAQueue(path, "holds neither info nor a chunk")
    if list(sizes) != [0]:
        first, last = (layout.chunk_name(n) for n in (min(sizes), max(sizes)))
        raise CorruptQueue(path, f"info is missing, and there are chunks from {first} to {last}")
    return View(serializer, None, 0, False, None, sizes, layout.START, layout.START)


def _parse(path: Path, given: Serializer | None, data: bytes) -> tuple[Serializer, Info, int]:
    """The serializer that wrote the info, what it says, and the length of its record."""
    if not data.strip(b"\0"):
        raise CorruptQueue(path, f"info is {len(data)} zero bytes" if data else "info is empty")
    detected = serializers.detect(data) or "pickle"
    serializer = given or serializers.get(detected)
    try:
        return serializer, layout.validate(serializer.info_loads(data)), serializer.skip(data, 0)
    except (Torn, ValueError) as error:
        if detected != serializer.NAME and _is_info(detected, data):
            raise WrongSerializer(path, serializer.NAME, detected) from error
        why = "it is cut off" if isinstance(error, Torn) else str(error)
        raise CorruptQueue(path, f"info cannot be read with serializer {serializer.NAME!r}: {why}") from error


def _is_info(name: str, data: bytes) -> bool:
    with suppress(Torn, ValueError):
        return bool(layout.validate(serializers.info_loads(name, data)))
    return False


def _ends(path: Path, info: Info, sizes: dict[int, int]) -> tuple[Position, Position]:
    """Tail and head, where the files hold all between them; a tail chunk that is gone was consumed."""
    tail, head = info.tail, info.head
    if place(tail) >= place(head):
        return head, head
    there = [n for n in sizes if tail.chunk <= n <= head.chunk]
    if there and there[0] > tail.chunk:
        tail = Position(there[0], 0, 0)
    if not head.offset and head.chunk not in sizes:
        there.append(head.chunk)  # nothing is in it
    if len(there) <= head.chunk - tail.chunk:
        missing = next(n for n in range(tail.chunk, head.chunk + 1) if n not in sizes)
        raise CorruptQueue(path, f"info counts items in {layout.chunk_name(missing)}, which is not there")
    for number in there:
        start = tail if number == tail.chunk else Position(number, 0, 0)
        _check_room(path, info, start, sizes.get(number, 0))
    return tail, head


def _check_room(path: Path, info: Info, start: Position, size: int) -> None:
    """Raise CorruptQueue when a chunk of *size* bytes cannot hold what info counts in it from *start* on."""
    name = layout.chunk_name(start.chunk)
    last = start.chunk == info.head.chunk
    least = info.head.offset if last else start.offset + max(0, info.chunksize - start.count)  # a byte each
    if size < least:
        what = f"the items in {name} up to byte {least}" if last else f"{info.chunksize} items in {name}"
        raise CorruptQueue(path, f"info counts {what}, which has {size} bytes")


def place(position: Position) -> tuple[int, int]:
    """What orders positions: the count is only told from the bytes."""
    return position.chunk, position.offset


def not_open(path: Path) -> str:
    """Return what a reader says that is not open."""
    return f"{path}: this reader is not open; use `async with QueueReader(path) as reader:`"
