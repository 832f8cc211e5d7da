"""What is built: the same for a directory and for a database."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


__all__ = ["NOT_WRITTEN", "READ", "Target", "new_digest"]

READ: Final = 1024 * 1024  # bytes read back at a time
DIGEST_SIZE: Final = 32  # bytes; as `b2sum -l 256` shows it of the chunks of a file queue

NOT_WRITTEN: Final = "what was read back is not what was written: the disk is not to be trusted"


def new_digest() -> blake2b:
    """Return the digest of no records: it goes over all of them, one behind the other, in the order of get."""
    return blake2b(digest_size=DIGEST_SIZE)


class Target(Protocol):
    """A queue that is being built.  Every method may raise OSError."""

    digest: blake2b  # of what was appended
    items: int

    def begin(self) -> None:
        """Make it, with nothing in it."""

    def resume(self, state: dict[str, Any]) -> None:
        """Go on behind what was durable when `sync` returned *state*; what is there is read back into the digest."""

    def reset(self) -> None:
        """Forget what `resume` found: it is not what it should be, and will be made anew."""

    def append(self, records: list[bytes], extras: Sequence[Mapping[str, Any]]) -> None:
        """Append *records*; *extras* are what a database has beside each, or empty."""

    def sync(self) -> dict[str, Any]:
        """Make durable what was appended; return what `resume` needs."""

    def finish(self) -> None:
        """Make it a closed queue, durably."""

    def verify(self) -> Iterator[tuple[int, int]]:
        """Read it back from the disk; yield items and bytes so far.

        Raises:
            MigrationError: it is not what was appended.
        """

    def records(self) -> Iterator[bytes]:
        """Yield the records that are there, in order, in whatever pieces (file queue) or one by one (database)."""

    def close(self) -> None:
        """Close what is open; once more does nothing."""
