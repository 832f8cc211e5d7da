"""What is on its way, beside the target: `TARGET.partial`.

TARGET.partial/
  note         which source and which wishes, and how much of the queue is durable; replaced by rename
  queue        what will be TARGET, in the end in one step
  bad.jsonl    what cannot be read, with skip_bad

note ──> building, durable up to here ──> placing: whole and verified, only names are missing ──> gone

A directory without a note is somebody else's, unless it is empty or holds the beginning of a note.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import InTheWay, QueueLocked
from asyncpq.files import FILES
from asyncpq.migrating.system import sync_parent

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Partial"]

MAGIC: Final = "asyncpq migration"
FORMAT: Final = 1
NOTE: Final = "note"
NOTE_TEMP: Final = "note.tmp"


class Partial:
    """The directory, locked from `look` or `create` to `close`."""

    def __init__(self, target: Path) -> None:
        """Look at nothing yet."""
        self.path = target.with_name(f"{target.name}.partial")
        self.queue = self.path / "queue"
        self.bad = self.path / "bad.jsonl"
        self._dirfd = -1
        self._made: list[str] = []

    def look(self) -> dict[str, Any] | None:
        """Return the note of an earlier run; None: there was none, or it left nothing to go on with.

        Raises:
            InTheWay: something else has this name.
            QueueLocked: another migration is at work there.
        """
        try:
            self._lock()
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise InTheWay(self.path, "is no directory of a migration; move it out of the way") from None
        note = self._read()
        if note is not None:
            return note
        if set(FILES.list_dir(self._dirfd)) - {NOTE_TEMP}:
            self.close()
            raise InTheWay(self.path, "is there and is not of a migration; move it out of the way")
        self.discard()  # the beginning, or the end, of one
        return None

    def _lock(self) -> None:
        self._dirfd = FILES.open_dir(os.fspath(self.path))
        if not FILES.lock(self._dirfd) or not FILES.same_dir(self._dirfd, os.fspath(self.path)):
            FILES.close(self._dirfd)
            self._dirfd = -1
            raise QueueLocked(self.path, "another migration")

    def _read(self) -> dict[str, Any] | None:
        try:
            fd = FILES.open_read(self._dirfd, NOTE)
        except OSError:
            return None
        try:
            said = json.loads(FILES.pread(fd, FILES.size(fd), 0))
        except ValueError:
            return None
        finally:
            FILES.close(fd)
        known = isinstance(said, dict) and (said.get("what"), said.get("format")) == (MAGIC, FORMAT)
        return said if known else None

    def create(self, note: dict[str, Any]) -> None:
        """Make it, with this note and nothing else in it; what an earlier run left is removed."""
        if self._dirfd >= 0:
            self._empty()
        else:
            self._made = FILES.make_path(os.path.abspath(self.path.parent))
            try:
                os.mkdir(self.path)
            except FileExistsError:
                raise QueueLocked(self.path, "another migration") from None
            self._lock()
            sync_parent(self.path)
        self.save(note)

    def save(self, note: dict[str, Any]) -> None:
        """Replace the note, durably."""
        data = json.dumps({"what": MAGIC, "format": FORMAT} | note).encode()
        with suppress(FileNotFoundError):
            FILES.unlink(self._dirfd, NOTE_TEMP)
        fd = FILES.create(self._dirfd, NOTE_TEMP)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            FILES.fsync(fd)
        finally:
            FILES.close(fd)
        FILES.rename(self._dirfd, NOTE_TEMP, NOTE)
        FILES.fsync_dir(self._dirfd)

    def discard(self) -> None:
        """Remove it, and the directories that were made for it; the note goes last, so that a rest is known as one."""
        if self._dirfd < 0:
            return
        self._empty()
        with suppress(FileNotFoundError):
            os.rmdir(self.path)
        FILES.remove_path(self._made)
        self.close()

    def _empty(self) -> None:
        if self.queue.is_dir() and not self.queue.is_symlink():
            shutil.rmtree(self.queue)
        names = [self.queue.name + more for more in ("", "-wal", "-shm", "-journal")]
        for name in (*names, self.bad.name, NOTE_TEMP, NOTE):
            with suppress(FileNotFoundError):
                FILES.unlink(self._dirfd, name)

    def close(self) -> None:
        """Give the lock back; once more does nothing."""
        dirfd, self._dirfd = self._dirfd, -1
        if dirfd >= 0:
            FILES.unlock(dirfd)
            FILES.close(dirfd)
