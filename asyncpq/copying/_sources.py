"""The chunks of a queue, open: a file that is open can be read when its name is gone.

q00007  q00008  q00009  ...      the oldest go first: up to OPEN_AHEAD of them are held open
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from asyncpq.layout import chunk_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncpq.reader._look import Directory

OPEN_AHEAD: Final = 128  # chunks that are held open


class Gone(Exception):
    """A chunk was consumed, or cut, before it was copied."""


class Sources:
    """The open chunks of one directory."""

    def __init__(self, directory: Directory) -> None:
        """Open none yet."""
        self._directory = directory
        self._open: dict[int, int] = {}  # descriptors by number

    def hold(self, done: set[int]) -> None:
        """Hold the oldest chunks that are there and not *done*."""
        self.keep(number for number in self._directory.chunks() if number not in done)

    def keep(self, numbers: Iterable[int]) -> None:
        """Hold these chunks, as long as there is room and they are there."""
        for number in numbers:
            if len(self._open) >= OPEN_AHEAD:
                return
            if number not in self._open:
                with suppress(FileNotFoundError):
                    self._open[number] = self._directory.descriptor(chunk_name(number))

    def sizes(self) -> dict[int, int]:
        """Return the bytes of those that are held."""
        return {number: os.fstat(fd).st_size for number, fd in self._open.items()}

    def let_go_below(self, tail: int) -> None:
        """Close those that were consumed before the moment that is copied."""
        for number in [number for number in self._open if number < tail]:
            self.let_go(number)

    def get(self, number: int) -> int:
        """Return the descriptor of a chunk.

        Raises:
            Gone: it was not held, and is not there any more.
        """
        if number not in self._open:
            try:
                self._open[number] = self._directory.descriptor(chunk_name(number))
            except FileNotFoundError:
                raise Gone from None
        return self._open[number]

    def let_go(self, number: int) -> None:
        """Close a chunk, if it is open."""
        fd = self._open.pop(number, -1)
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        """Close all."""
        for number in list(self._open):
            self.let_go(number)
