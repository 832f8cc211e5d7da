"""The journal of acknowledgements while a queue is open: made with its first note, and never long.

note        one write at the end; under a policy's rules made durable with everything else
trim        after a durable commit: cut to nothing when the tail has passed every note, or written anew without
            those that it has passed (acked.tmp, fsync, rename, fsync of the directory)

Only a tail that is durable makes a note superfluous: else a power cut might undo the one and not the other.
"""

from __future__ import annotations

import errno
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from asyncpq.errors import SyncFailed
from asyncpq.journal import JOURNAL, JOURNAL_TEMP, highest, needed, read_notes, written
from asyncpq.layout import START

if TYPE_CHECKING:
    from asyncpq.files import Files
    from asyncpq.layout import Position
    from asyncpq.opened import Acks

CROWDED: Final = 64 * 1024  # bytes; a shorter journal is not written anew


class AckFile:
    """The journal; who calls holds the log's mutex, but for `trim`, which takes it."""

    def __init__(self, files: Files, dirfd: int, acks: Acks, *, closed: bool) -> None:
        """Open nothing yet."""
        self._files, self._dirfd = files, dirfd
        self._there = acks.there
        self.size = acks.size  # bytes of whole notes
        self._highest = acks.highest
        self._least = 0  # bytes of the journal as it was last written anew
        self._fd = -1
        self.dirty = acks.size > 0 and not closed  # written since it was last synced

    @property
    def crowded(self) -> bool:
        """Whether it should be written anew, once what it says may be forgotten."""
        return self.size > max(CROWDED, 2 * self._least)

    @property
    def ready(self) -> bool:
        """Whether a note can be written by one system call."""
        return self._fd >= 0

    def append(self, notes: bytes) -> bool:
        """Write *notes* at the end; return whether the file was made for it.

        Raises:
            OSError: they do not fit; nothing was changed.
            SyncFailed: see there.
        """
        made = self._open()
        done = 0
        try:
            while done < len(notes):
                written_now = self._files.pwrite(self._fd, notes[done:] if done else notes, self.size + done)
                if not written_now:
                    raise OSError(errno.ENOSPC, "No space left on device for the acknowledgements")
                done += written_now
        except OSError:
            self.undo(self.size)
            raise
        self.size += len(notes)
        self.dirty = True
        last = highest(notes)
        if last is not None and last > self._highest:
            self._highest = last
        return made

    def _open(self) -> bool:
        if self._fd >= 0:
            return False
        if self._there:
            self._fd = self._files.open_write(self._dirfd, JOURNAL)
            return False
        self._fd = self._files.create(self._dirfd, JOURNAL)
        self._there = True
        return True

    def undo(self, size: int) -> None:
        """Cut it back to *size* bytes: what was written behind was not acknowledged.

        Raises:
            SyncFailed: that failed, so a note may be there of an acknowledgement that raised.
        """
        try:
            self._files.truncate(self._fd, size)
        except OSError as error:
            raise SyncFailed(error) from error
        self.size = size
        self.dirty = True

    def begin_sync(self) -> int:
        """Return the descriptor to sync, for what was written so far; -1: there is nothing.

        Raises:
            OSError: it cannot be opened; nothing was changed.
        """
        if not self.dirty:
            return -1
        self._open()
        self.dirty = False
        return self._fd

    def sync(self, fd: int) -> None:
        """Make durable what `begin_sync` was asked for."""
        self._files.fdatasync(fd)

    # -- in the one thread that makes durable -------------------------------------------------------------

    def trim(self, tail: Position, mutex: threading.Lock) -> None:
        """Forget the notes below *tail*, which is durable.

        Raises:
            SyncFailed: see there.
        """
        if not self.size:
            return
        with mutex:
            if self._highest < tail:
                self._empty()
                return
        if self.crowded:
            self._shorten(tail, mutex)

    def _empty(self) -> None:
        # Not synced: notes that come back are below the tail.
        with suppress(OSError):
            self._open()
            self._files.truncate(self._fd, 0)
            self.size = self._least = 0
            self._highest = START

    def _shorten(self, tail: Position, mutex: threading.Lock) -> None:
        """Write it anew.  Where there is no room for that, it stays as it is until it is twice as long."""
        with mutex:
            self._open()
            size = self.size
        data = written(needed(read_notes(self._files.pread(self._fd, size, 0)), tail))
        try:
            fd = self._write_temp(data)
        except OSError:
            self._least = size
            return
        try:
            with mutex:
                # What was noted meanwhile is as durable as it was: it is synced with the next commit.
                rest = self._files.pread(self._fd, self.size - size, size)
                if self._files.pwrite(fd, rest, len(data)) != len(rest):
                    raise OSError(errno.ENOSPC, "No space left on device for the acknowledgements")
                self._files.rename(self._dirfd, JOURNAL_TEMP, JOURNAL)
                self._files.close(self._fd)
                self._fd, self.size, self._least = fd, len(data) + len(rest), len(data)
            self._files.fsync_dir(self._dirfd)
        except OSError as error:
            raise SyncFailed(error) from error

    def _write_temp(self, data: bytes) -> int:
        fd = self._files.create(self._dirfd, JOURNAL_TEMP)
        try:
            done = 0
            while done < len(data):
                more = self._files.pwrite(fd, data[done:], done)
                if not more:
                    raise OSError(errno.ENOSPC, "No space left on device for the acknowledgements")
                done += more
            self._files.fsync(fd)
        except OSError:
            self._files.close(fd)
            with suppress(OSError):
                self._files.unlink(self._dirfd, JOURNAL_TEMP)
            raise
        return fd

    def rest(self) -> None:
        """Close the descriptor, unless something has to be synced by it."""
        if not self.dirty:
            self.close()

    def close(self) -> None:
        """Close the descriptor."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._files.close(fd)
