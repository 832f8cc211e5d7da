"""Bytes of one file into another, a block at a time: memory stays flat, and the kernel copies where it can.

    copy_file_range    the kernel copies, or shares the blocks (btrfs, XFS)
    pread, pwrite      else

Synchronous: for worker threads.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from asyncpq.files import NO_SUPPORT

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["copy_bytes", "write_all"]

BLOCK: Final = 1024 * 1024  # bytes copied between two calls of *tell*
_NO_RANGE: Final = (*NO_SUPPORT, errno.EXDEV, errno.EPERM, errno.EBADF)


def copy_bytes(source: int, target: int, length: int, tell: Callable[[int], None] = lambda _: None) -> int:
    """Copy the first *length* bytes to the start of *target*; return how many there were: fewer if the file is shorter.

    Args:
        source: descriptor to read from.
        target: descriptor to write to.
        length: bytes.
        tell: is given the bytes of each block that was copied; what it raises ends the copying.

    Raises:
        OSError: reading or writing failed, as on a full disk.
    """
    done, in_kernel = 0, hasattr(os, "copy_file_range")
    while done < length:
        block = min(BLOCK, length - done)
        try:
            copied = _in_kernel(source, target, block, done) if in_kernel else _by_hand(source, target, block, done)
        except OSError as error:
            if not in_kernel or error.errno not in _NO_RANGE:
                raise
            in_kernel = False
            continue
        if not copied:
            break
        done += copied
        tell(copied)
    return done


def _in_kernel(source: int, target: int, block: int, at: int) -> int:
    return os.copy_file_range(source, target, block, at, at)


def _by_hand(source: int, target: int, block: int, at: int) -> int:
    data = os.pread(source, block, at)
    write_all(target, data, at)
    return len(data)


def write_all(fd: int, data: bytes, at: int = 0) -> None:
    """Write all of *data* from byte *at* on.

    Raises:
        OSError: it did not fit.
    """
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, at)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest, at = rest[written:], at + written
