"""What all queues of the process keep in memory together: records just written, and blocks read ahead.

    each queue     a little of its own, without asking
    together       TOTAL bytes beyond that; nobody gets more than a quarter of what is left

So a few queues have all they want, and a thousand have a little each.  Who gets less reads from the files, more
often: that costs time, never an item.
"""

from __future__ import annotations

import threading
from typing import Final

TOTAL: Final = 4 * 1024 * 1024  # bytes


class Allowance:
    """Bytes that are shared; for any thread."""

    def __init__(self, total: int) -> None:
        """All of *total* is left."""
        self._left = total
        self._lock = threading.RLock()  # a queue may be collected, and give back, in the midst of a call

    def take(self, wanted: int) -> int:
        """Return how many of the bytes *wanted* may be kept; whoever takes them gives them back."""
        with self._lock:
            given = min(wanted, self._left // 4)
            self._left -= given
            return given

    def give_back(self, taken: int) -> None:
        """Let others have them."""
        with self._lock:
            self._left += taken


shared: Final = Allowance(TOTAL)
