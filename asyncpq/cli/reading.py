"""The items of a source for the commands that only look: what cannot be read is said on stderr, and left out.

Sources wait for the disk, and nothing else runs here: no event loop is needed, and Ctrl-C ends it anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asyncpq.cli.terminal import quantity, say
from asyncpq.serializers import Damaged, Torn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpq.sources import Entry, Source

__all__ = ["Reading"]

SAID: Final = 10  # places that are named one by one


class Reading:
    """Entries as items."""

    def __init__(self, source: Source) -> None:
        """Read nothing yet."""
        self._source = source
        self.left_out = 0  # places that cannot be read, and items that cannot be written

    def items(self, entries: list[Entry]) -> Iterator[tuple[Entry, Any]]:
        """Yield the items of *entries* that can be read."""
        for entry in entries:
            if entry.bad is not None:
                self.leave_out(entry, entry.bad)
                continue
            try:
                item = self._source.loads(entry.blob)
            except (Damaged, Torn) as error:
                self.leave_out(entry, str(error))
            else:
                yield entry, item

    def leave_out(self, entry: Entry, why: str) -> None:
        """Say that it is left out, and count it."""
        self.left_out += 1
        if self.left_out <= SAID:
            say(f"left out: {self._source.where(entry)}: {why}")

    def end(self) -> None:
        """Say how many were left out."""
        if self.left_out:
            say(f"{quantity(self.left_out, 'place')} left out; 'asyncpq check' lists what is damaged")
