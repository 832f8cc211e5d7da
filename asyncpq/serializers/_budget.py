"""What a search for records in damaged bytes may cost."""

from typing import Final

from asyncpq.serializers._outcomes import Damaged

__all__ = ["Budget"]

SPARE: Final = 1_000_000  # steps beside one for every byte: no search of a small chunk ever runs out


class Budget:
    """Steps that a search may still take in all, so that hostile bytes do not cost the square."""

    __slots__ = ("left", "no_newline")

    def __init__(self, size: int) -> None:
        self.left = size + SPARE
        self.no_newline = 1 << 63  # there is no newline from this offset on

    def spend(self, steps: int) -> None:
        """Count *steps*; Damaged when there were too many."""
        self.left -= steps
        if self.left < 0:
            raise Damaged("too much to look at")
