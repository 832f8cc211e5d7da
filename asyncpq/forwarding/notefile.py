"""The file `forward`, open: made once, then overwritten in place.  Every method waits for the disk: for a thread."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from asyncpq.forwarding.note import NAME, SIZE, Note, directory_of, note_of, written

if TYPE_CHECKING:
    from asyncpq.files import Files
    from asyncpq.layout import Position

__all__ = ["NoteFile"]

logger = logging.getLogger("asyncpq")


class NoteFile:
    """What a directory is called, and what is known of its target."""

    def __init__(self, files: Files, dirfd: int, path: str, head: Position) -> None:
        """Open it, or make it, durably.

        Where the directory's *head* lies before the note, records that were sent are gone, and others will get their
        places: the directory gets another UUID, so that those are not taken for the old ones.
        """
        self._files = files
        self._lock = threading.Lock()  # a job of somebody who was cancelled may still run
        self._fd, data = _opened(files, dirfd)
        known = directory_of(data)
        self.note = note_of(data) if known is not None else None
        if known is not None and self.note is not None and self.note.position > head:
            logger.warning("%s: records that were forwarded are gone from it; it gets a new name for the target", path)
            known = self.note = None
        self._dirty = False
        self.directory: UUID = known or uuid4()
        if known is None:
            self.write(None)
            files.fsync(self._fd)
            files.fsync_dir(dirfd)
            self._dirty = False

    def write(self, note: Note | None) -> None:
        """Replace the note; a killed process keeps it, `sync` makes it durable.  Once it is closed, nothing is done."""
        with self._lock:
            if self._fd >= 0:
                self._files.pwrite(self._fd, written(self.directory, note), 0)
                self.note, self._dirty = note, True

    def sync(self) -> None:
        """Make it durable; once it is closed, nothing is done."""
        with self._lock:
            if self._dirty and self._fd >= 0:
                self._files.fdatasync(self._fd)
                self._dirty = False

    def close(self) -> None:
        """Close it; once more does nothing."""
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                self._files.close(fd)


def _opened(files: Files, dirfd: int) -> tuple[int, bytes]:
    """Return the descriptor, and what the file holds."""
    try:
        fd = files.open_read(dirfd, NAME)
    except FileNotFoundError:
        return files.create(dirfd, NAME), b""
    try:
        data = files.pread(fd, SIZE, 0)
    finally:
        files.close(fd)
    return files.open_write(dirfd, NAME), data
