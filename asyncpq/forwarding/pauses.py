"""How long to wait before the next try: longer each time, and never together with others.  Pure but for chance."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["MOST", "Pauses"]

FIRST: Final = 0.25  # seconds
MOST: Final = 30.0  # seconds


class Pauses:
    """Seconds to wait: the double of the one before, up to *most*; a part of each is left to chance."""

    def __init__(self, most: float = MOST) -> None:
        """Begin with a short one."""
        self._most, self._next = most, min(FIRST, most)

    def next(self) -> float:
        """Return the next pause, in seconds."""
        pause, self._next = self._next, min(self._most, 2 * self._next)
        # Half of it at least: those who lost the same server do not come back to it in one moment.
        return pause * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin with a short one again: it went well."""
        self._next = min(FIRST, self._most)
