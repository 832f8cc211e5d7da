"""The last step: what was built and verified gets the name.

another name    partial/queue -> TARGET
in place        partial/queue <-> TARGET        then partial/queue, which is the old one now, -> TARGET.bak
with a gap      TARGET -> TARGET.bak            then partial/queue -> TARGET

`note` says that this has begun, and the inodes of the new one and of the old one: whatever was cut short is told
from them, and finished by the next run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncpq.errors import InTheWay, MigrationError, NeedsGap
from asyncpq.migrating.identity import inode
from asyncpq.migrating.system import exchange, rename_new

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.migrating.partial import Partial

__all__ = ["Placing"]


class Placing:
    """Names for what lies in *partial*."""

    def __init__(self, partial: Partial, target: Path, backup: Path | None, *, gap: bool) -> None:
        """Change nothing yet; *backup* is the name for the old one, None: there is none."""
        self._partial, self._target, self._backup, self._gap = partial, target, backup, gap

    def begin(self) -> dict[str, Any]:
        """Return what the note has to say before anything is renamed."""
        old = inode(self._target) if self._backup else None
        return {"new": inode(self._partial.queue), "old": old, "backup": str(self._backup) if self._backup else None}

    def finish(self, said: dict[str, Any]) -> None:
        """Do what is left of it, durably; once more does nothing.

        Raises:
            InTheWay: something else has one of the names; nothing was changed.
            NeedsGap: there is no exchange here; nothing was changed.
            OSError: the step that failed was not done.
        """
        new, old = said["new"], said["old"]
        if inode(self._target) != new:
            self._place(new, old)
        if self._backup is not None and inode(self._partial.queue) == old:
            self._rename(self._partial.queue, self._backup)

    def _place(self, new: list[int], old: list[int] | None) -> None:
        if inode(self._partial.queue) != new:
            raise MigrationError(self._partial.path, "what was built in it is gone; remove it, then migrate again")
        if self._backup is None or inode(self._target) is None:
            self._rename(self._partial.queue, self._target)
        elif inode(self._target) != old:
            raise InTheWay(self._target, "is another one than was read: nothing was put in its place")
        elif not exchange(self._partial.queue, self._target):
            self._with_gap(self._backup)

    def _with_gap(self, backup: Path) -> None:
        if not self._gap:
            raise NeedsGap(self._target, backup)
        self._rename(self._target, backup)
        self._rename(self._partial.queue, self._target)

    def _rename(self, old: Path, new: Path) -> None:
        try:
            rename_new(old, new)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InTheWay(new, "is there already; nothing of it was changed") from error
        except OSError as error:
            if inode(new) is None:
                raise
            raise InTheWay(new, f"is there already ({error.strerror}); nothing of it was changed") from error
