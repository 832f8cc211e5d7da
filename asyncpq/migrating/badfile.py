"""Where what cannot be read is set aside, one JSON object a line.

{"where": "q00003 at byte 120", "why": "...", "data": "<base64 of the bytes that lie there>", "length": 57}
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from asyncpq.errors import InTheWay
from asyncpq.files import FILES
from asyncpq.migrating.system import sync_parent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from asyncpq.migrating.judging import Bad

__all__ = ["TAKEN", "BadFile"]

TAKEN: Final = "is there; name another file for what cannot be read, or move it away"


class BadFile:
    """Made with its first line."""

    def __init__(self, path: Path, length: int = 0) -> None:
        """Go on behind the first *length* bytes at *path*."""
        self.path, self.length = path, length
        with suppress(FileNotFoundError):
            os.truncate(path, length)

    def append(self, bad: Sequence[Bad]) -> None:
        """Append a line for each of *bad*."""
        lines = "".join(map(_line, bad)).encode("ascii")
        with open(self.path, "ab") as file:
            file.write(lines)
        self.length += len(lines)

    def sync(self) -> None:
        """Make it durable."""
        if self.length:
            with open(self.path, "rb") as file:
                FILES.fsync(file.fileno())

    def place(self, target: Path) -> None:
        """Copy it to *target*, durably.

        Raises:
            InTheWay: there is another file.
        """
        if not self.length:
            return
        if os.path.lexists(target) and not self._same(target):
            raise InTheWay(target, TAKEN)
        made = target.with_name(f"{target.name}.partial")
        shutil.copyfile(self.path, made)
        with open(made, "rb") as file:
            FILES.fsync(file.fileno())
        os.replace(made, target)
        sync_parent(target)

    def _same(self, target: Path) -> bool:
        try:
            return target.read_bytes() == self.path.read_bytes()
        except OSError:
            return False


def _line(bad: Bad) -> str:
    data = base64.b64encode(bad.data).decode("ascii")
    return json.dumps({"where": bad.where, "why": bad.why, "data": data, "length": bad.length}) + "\n"
