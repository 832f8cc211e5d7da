"""The log of a database, put into it without SQLite, which refuses to where the database's header is damaged.

    -wal     header 32: magic 4 | version 4 | page size 4 | sequence 4 | salt 8 | checksum 8
             frame 24 + page: page number 4 | in the last frame of a commit, pages there are 4 | salt 8 | checksum 8

What was committed is put into its place, which may be done again from any point; then the log is removed.  What
follows the first frame whose salt or checksum is wrong was never committed, or is lost: SQLite stops there, too.
Source: sqlite.org/walformat.html
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from asyncpq.blocks import write_all
from asyncpq.files import FILES
from asyncpq.sqlite.database import sync_directory
from asyncpq.sqlite.pages import SIZES

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER, _FRAME = 32, 24  # bytes
_MAGIC: Final = (0x377F0682, 0x377F0683)  # checksums of little-endian words, of big-endian ones


def fold(file: str, fd: int) -> bool:
    """Put what is committed in the log of *file* into it, durably, and remove the log; return whether there was one.

    Only while nobody else can open the database; *fd* is a descriptor to write it.

    Raises:
        OSError: it could not be written; do it again.
    """
    try:
        log = os.open(file + "-wal", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        size, pages, last = _committed(log)
        if pages:
            _write(fd, log, size, pages, last)
    finally:
        os.close(log)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(file + suffix)
    sync_directory(file)
    return True


def _committed(log: int) -> tuple[int, dict[int, int], int]:
    """Return the bytes of a page, where in the log each committed page lies, and how many the database has then."""
    header = os.pread(log, _HEADER, 0)
    if len(header) < _HEADER or int.from_bytes(header[:4], "big") not in _MAGIC:
        return 0, {}, 0
    size, last = int.from_bytes(header[8:12], "big"), 0
    pages: dict[int, int] = {}
    waiting: dict[int, int] = {}
    for at, number, total in _frames(log, header, size):
        waiting[number] = at
        if total:
            pages.update(waiting)
            waiting, last = {}, total
    return size, pages, last


def _frames(log: int, header: bytes, size: int) -> Iterator[tuple[int, int, int]]:
    """Yield where the page of each frame lies, its number, and the pages of the database, in a commit; else 0."""
    order = ">" if header[3] & 1 else "<"
    sums = _checksum(header[:24], order, (0, 0))
    if size not in SIZES or struct.pack(">2I", *sums) != header[24:32]:
        return
    at = _HEADER
    while len(frame := os.pread(log, _FRAME + size, at)) == _FRAME + size:
        sums = _checksum(frame[_FRAME:], order, _checksum(frame[:8], order, sums))
        if frame[8:16] != header[16:24] or struct.pack(">2I", *sums) != frame[16:24]:
            return
        number, total = struct.unpack(">2I", frame[:8])
        if not number:
            return
        yield at + _FRAME, number, total
        at += _FRAME + size


def _checksum(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def _write(fd: int, log: int, size: int, pages: dict[int, int], last: int) -> None:
    for number, at in pages.items():
        if number <= last:
            write_all(fd, os.pread(log, size, at), (number - 1) * size)
    FILES.truncate(fd, last * size)
    FILES.fsync(fd)
