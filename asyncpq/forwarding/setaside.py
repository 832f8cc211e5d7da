"""What cannot be forwarded, kept in a file: one JSON object a line, in the form of `asyncpq migrate --skip-bad`.

{"where": "q00003 at byte 120", "why": "...", "data": "<base64 of the bytes that lie there>", "length": 57}
"""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING

from asyncpq.files import FILES

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.forwarding.records import SetAside

__all__ = ["Aside"]


class Aside:
    """Made with its first line; what is in it stays."""

    def __init__(self, path: Path) -> None:
        """Write nothing yet."""
        self.path = path

    def append(self, bad: SetAside) -> None:
        """Append a line, durably; for a thread."""
        data = base64.b64encode(bad.data).decode("ascii")
        line = json.dumps({"where": bad.where, "why": bad.why, "data": data, "length": bad.length}) + "\n"
        with open(self.path, "ab") as file:
            new = not file.tell()
            file.write(line.encode("ascii"))
            file.flush()
            FILES.fsync(file.fileno())
        if new:
            self._sync_parent()

    def _sync_parent(self) -> None:
        parent = FILES.open_dir(os.path.dirname(os.path.abspath(self.path)))
        try:
            FILES.fsync_dir(parent)
        finally:
            FILES.close(parent)
