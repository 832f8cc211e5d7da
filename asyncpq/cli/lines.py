"""The lines of a file as they come: what is there is one batch, and nothing that waits for more of them is delayed.

a file                read in a thread, 256 KiB at a time
a pipe, a terminal    read when the loop says that there is something; a wait ends with Ctrl-C
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from typing import TYPE_CHECKING, Final

from asyncpq.cli.options import Failed
from asyncpq.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["batches", "length", "stdin"]

BLOCK: Final = 256 * 1024  # bytes read at a time


def stdin() -> int:
    """Return the descriptor of stdin; on a terminal, say what is waited for.

    Raises:
        Failed: there is none.
    """
    if sys.stdin is None:
        raise Failed("stdin is closed: give the items there, one a line")
    if sys.stdin.isatty():
        say("one item a line; Ctrl-D ends")
    return sys.stdin.fileno()


def length(fd: int) -> int | None:
    """Return the bytes that are to come, where that can be known."""
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        return None
    return max(0, facts.st_size - os.lseek(fd, 0, os.SEEK_CUR))


async def batches(fd: int) -> AsyncIterator[list[bytes]]:
    """Yield the lines of the file *fd*, without their ends; the last one may have none.

    Memory holds one block, or the longest line.

    Raises:
        OSError: it cannot be read.

    Cancellation: what was read and not yielded is gone.
    """
    parts: list[bytes] = []  # of a line whose end has not come
    while data := await _read(fd):
        first, *rest = data.split(b"\n")
        parts.append(first)
        if rest:
            whole = [b"".join(parts), *rest[:-1]]
            parts = [rest[-1]]
            yield whole
    if last := b"".join(parts):
        yield [last]


async def _read(fd: int) -> bytes:
    """Return what is there, as soon as anything is; nothing at the end."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(fd, ready.set)
    except PermissionError:  # a file, which cannot be waited for and never has to be
        return await asyncio.to_thread(os.read, fd, BLOCK)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
    return os.read(fd, BLOCK)
