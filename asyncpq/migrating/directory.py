"""The directory of a file queue, as a queue that was closed leaves it.

q00000 ... full chunks    q(n) the last one, empty when the one before it is full    info, written at the end
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from asyncpq import layout
from asyncpq.errors import MigrationError
from asyncpq.files import FILES
from asyncpq.layout import INFO, Position, chunk_name
from asyncpq.migrating.system import sync_all
from asyncpq.migrating.target import NOT_WRITTEN, READ, new_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from asyncpq.serializers import Serializer

__all__ = ["DirectoryTarget"]


class DirectoryTarget:
    """See Target."""

    def __init__(self, path: Path, serializer: Serializer, chunksize: int) -> None:
        """Make nothing yet."""
        self.path, self.items, self.digest = path, 0, new_digest()
        self._serializer, self._chunksize = serializer, chunksize
        self._dirfd = self._fd = -1
        self._chunk = self._count = self._offset = 0  # the head
        self._sizes: list[int] = []  # of the chunks before the head's
        self._unsynced: list[str] = []

    def reset(self) -> None:
        """See Target."""
        self.close()
        self.items, self.digest = 0, new_digest()
        self._chunk = self._count = self._offset = 0
        self._sizes, self._unsynced = [], []

    def begin(self) -> None:
        """See Target."""
        os.mkdir(self.path)
        self._dirfd = FILES.open_dir(os.fspath(self.path))
        self._next_chunk()

    def resume(self, state: dict[str, Any]) -> None:
        """See Target."""
        self._dirfd = FILES.open_dir(os.fspath(self.path))
        self.items, self._offset = state["items"], state["offset"]
        self._chunk, self._count = divmod(self.items, self._chunksize)
        self._drop_what_follows()
        for piece in self.records():
            self.digest.update(piece)
        self._sizes = [self._size(number) for number in range(self._chunk)]
        self._fd = FILES.open_write(self._dirfd, chunk_name(self._chunk))

    def _drop_what_follows(self) -> None:
        for name in FILES.list_dir(self._dirfd):
            if name == INFO or (layout.chunk_number(name) or 0) > self._chunk:
                FILES.unlink(self._dirfd, name)
        fd = FILES.open_write(self._dirfd, chunk_name(self._chunk))
        try:
            if FILES.size(fd) < self._offset:
                raise MigrationError(self.path, f"{chunk_name(self._chunk)} is shorter than it was")
            FILES.truncate(fd, self._offset)
        finally:
            FILES.close(fd)

    def append(self, records: list[bytes], extras: Sequence[Mapping[str, Any]]) -> None:
        """See Target."""
        start = 0
        while start < len(records):
            part = records[start : start + self._chunksize - self._count]
            self._write(b"".join(part))
            start += len(part)
            self._count += len(part)
            if self._count == self._chunksize:
                self._sizes.append(self._offset)
                self._chunk, self._count, self._offset = self._chunk + 1, 0, 0
                self._next_chunk()
        self.items += len(records)

    def _write(self, data: bytes) -> None:
        self.digest.update(data)
        _write_all(self._fd, data, self._offset, self.path)
        self._offset += len(data)

    def _next_chunk(self) -> None:
        self._close_chunk()
        name = chunk_name(self._chunk)
        self._fd = FILES.create(self._dirfd, name)
        self._unsynced.append(name)

    def sync(self) -> dict[str, Any]:
        """See Target."""
        sync_all(self._dirfd, self._unsynced)
        self._unsynced = [chunk_name(self._chunk)]
        return {"items": self.items, "offset": self._offset}

    def finish(self) -> None:
        """See Target."""
        if self.items:
            fd = FILES.create(self._dirfd, INFO)
            try:
                _write_all(fd, self._serializer.encode(self._fields), 0, self.path)
            finally:
                FILES.close(fd)
            self._unsynced.append(INFO)
        sync_all(self._dirfd, self._unsynced)
        self._close_chunk()

    @property
    def _fields(self) -> dict[str, Any]:
        head = [self._chunk, self._count, self._offset]
        return layout.new_fields(self._chunksize) | {"size": self.items, "head": head}

    def verify(self) -> Iterator[tuple[int, int]]:
        """See Target."""
        self._check_names()
        self._check_info()
        sizes = [*self._sizes, self._offset]
        total = sum(sizes)
        if [self._size(number) for number in range(len(sizes))] != sizes:
            raise MigrationError(self.path, NOT_WRITTEN)
        seen, size = new_digest(), 0
        for piece in self.records():
            seen.update(piece)
            size += len(piece)
            yield self.items * size // total, size
        if seen.digest() != self.digest.digest():
            raise MigrationError(self.path, NOT_WRITTEN)

    def _size(self, number: int) -> int:
        return os.stat(chunk_name(number), dir_fd=self._dirfd, follow_symlinks=False).st_size

    def _check_names(self) -> None:
        wanted = {chunk_name(number) for number in range(self._chunk + 1)} | ({INFO} if self.items else set())
        if set(FILES.list_dir(self._dirfd)) != wanted:
            raise MigrationError(self.path, "other files are there than were written: somebody changes this directory")

    def _check_info(self) -> None:
        if not self.items:
            return
        record = b"".join(self._pieces(INFO))
        info = layout.validate(self._serializer.info_loads(record))
        head = Position(self._chunk, self._count, self._offset)
        if (info.head, info.tail, info.size) != (head, layout.START, self.items):
            raise MigrationError(self.path, f"its info says {info.fields!r:.200}, which is not what was written")

    def records(self) -> Iterator[bytes]:
        """See Target."""
        for number in range(self._chunk + 1):
            yield from self._pieces(chunk_name(number))

    def _pieces(self, name: str) -> Iterator[bytes]:
        """Yield what the disk has of the file *name*."""
        fd = FILES.open_read(self._dirfd, name)
        try:
            FILES.drop_cache(fd)
            offset = 0
            while piece := FILES.pread(fd, READ, offset):
                yield piece
                offset += len(piece)
        finally:
            FILES.close(fd)

    def close(self) -> None:
        """See Target."""
        self._close_chunk()
        dirfd, self._dirfd = self._dirfd, -1
        if dirfd >= 0:
            FILES.close(dirfd)

    def _close_chunk(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            FILES.close(fd)


def _write_all(fd: int, data: bytes, offset: int, path: Path) -> None:
    done = FILES.pwrite(fd, data, offset)
    while done < len(data):
        written = FILES.pwrite(fd, memoryview(data)[done:], offset + done)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        done += written
