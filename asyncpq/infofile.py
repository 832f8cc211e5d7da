"""`info` while a queue is open: written in place as the slot, or replaced by rename where that is not possible.

there is no info yet      info.tmp (O_EXCL), fsync, rename, fsync of the directory
info is a bare record     zeros behind it and an fdatasync; from then on it is the slot
info is the slot          one write of 512 bytes
too long, or a serializer whose load does not stop by itself    replaced by rename each time
"""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from zlib import crc32

from asyncpq.errors import SyncFailed
from asyncpq.layout import INFO, INFO_MAX, INFO_TEMP, SLOT, SLOT_SIZE, Mark, mark_prefix, slot

if TYPE_CHECKING:
    from typing import Any

    from asyncpq.files import Files
    from asyncpq.fsync import Policy
    from asyncpq.layout import Position
    from asyncpq.opened import Opened

_pack: Final = SLOT.pack
GROWTH: Final = 64  # bytes that an info's numbers may grow by while the queue is open


class InfoFile:
    """The cursor file.  *fields* is what it says next; who changes them calls `write` or `overwrite`."""

    def __init__(self, files: Files, dirfd: int, opened: Opened, policy: Policy) -> None:
        """Open the slot when there is one; write nothing."""
        self._files, self._dirfd, self._policy = files, dirfd, policy
        self._pwrite, self._encode = files.pwrite, opened.serializer.encode
        self.fields: dict[str, Any] = opened.fields
        self._by_rename = not opened.self_delimiting
        self._length = opened.info_length  # of the record that is there; 0: there is no info
        self._fd = -1
        self._prefix = b""
        self.set_durable(opened.durable_head, opened.durable_tail)
        # One overwrite commits, from any thread.  Else `write` has to prepare it first.
        self.in_place = False
        self.exact = not opened.info_slot  # the file ends where its record does
        if opened.info_slot:
            self._fd = files.open_write(dirfd, INFO)
            self.in_place = self._fits(opened.info_length)

    @property
    def exists(self) -> bool:
        """True once there is an info; a queue that was never put to has none."""
        return self._length > 0

    def set_durable(self, head: Position, tail: Position) -> None:
        """Let the mark of the next write say that everything up to *head* is on the disk."""
        self._prefix = mark_prefix(Mark(self._policy.code, head, tail))
        self._crc = crc32(self._prefix)

    def overwrite(self) -> int:
        """Write the slot; return its length in bytes.  Only when `in_place`: one system call."""
        try:
            record = self._encode(self.fields)
        except Exception as error:
            raise _unwritable(error) from error
        # layout.slot, without its call and with the mark's part of the CRC kept: this is the hot path.
        data = _pack(record, self._prefix, crc32(record, self._crc))
        if self._pwrite(self._fd, data, 0) != SLOT_SIZE:
            raise SyncFailed(OSError(errno.EIO, "info was written only in part"))
        self._length = len(record)
        return SLOT_SIZE

    def write(self) -> int:
        """Write info whatever its state is; return how many bytes were written.

        Raises:
            OSError: nothing was changed.
            SyncFailed: see there.
        """
        if self.in_place:
            return self.overwrite()
        try:
            record = self._encode(self.fields)
        except Exception as error:
            raise _unwritable(error) from error
        if self._by_rename or len(record) > INFO_MAX:
            return self._replace(record, record)
        if not self.exists:
            return self._replace(record, slot(record, self._prefix))
        self._become_slot()
        return self.overwrite()

    def _fits(self, length: int) -> bool:
        return not self._by_rename and length <= INFO_MAX - GROWTH

    def _become_slot(self) -> None:
        """Write zeros behind the record and make the new length durable, before it is ever overwritten."""
        if self._fd < 0:
            self._fd = self._files.open_write(self._dirfd, INFO)
        if self.exact:
            start = self._files.size(self._fd)
            padding = bytes(SLOT_SIZE - start)
            if self._pwrite(self._fd, padding, start) != len(padding):
                # Zeros behind the record harm nobody.
                raise OSError(errno.ENOSPC, "No space left on device for info")
            self.sync()
            self.exact = False
        self.in_place = self._fits(self._length)

    def _replace(self, record: bytes, data: bytes) -> int:
        """Put *data* in the place of info: the old one or the new one is there, never a part."""
        with suppress(FileNotFoundError):
            self._files.unlink(self._dirfd, INFO_TEMP)
        fd = self._files.create(self._dirfd, INFO_TEMP)
        try:
            self._fill(fd, data)
        except BaseException:
            self._files.close(fd)
            with suppress(OSError):
                self._files.unlink(self._dirfd, INFO_TEMP)
            raise
        try:
            self._files.fsync(fd)
            self._files.rename(self._dirfd, INFO_TEMP, INFO)
            self._files.fsync_dir(self._dirfd)
        except OSError as error:
            self._files.close(fd)
            raise SyncFailed(error) from error
        self._adopt(fd, record, data)
        return len(data)

    def _adopt(self, fd: int, record: bytes, data: bytes) -> None:
        """Go on with the file that was just put in place."""
        self.close()
        self._length, self.exact = len(record), len(data) == len(record)
        self.in_place = not self.exact and self._fits(len(record))
        if self.exact:
            self._files.close(fd)
        else:
            self._fd = fd

    def _fill(self, fd: int, data: bytes) -> None:
        if self.exists:
            self._as_before(fd)
        done = 0
        while done < len(data):
            written = self._pwrite(fd, data[done:], done)
            if not written:
                raise OSError(errno.ENOSPC, "No space left on device for info")
            done += written

    def _as_before(self, fd: int) -> None:
        """Let a new info have mode and owner of the one that is there: others may share the directory."""
        with suppress(FileNotFoundError):
            old = self._files.open_read(self._dirfd, INFO)
            try:
                self._files.copy_mode(old, fd)
            finally:
                self._files.close(old)

    def sync(self) -> None:
        """Make the slot durable.  An info that is replaced by rename already is.

        Raises:
            SyncFailed: see there.
        """
        if self._fd >= 0:
            try:
                self._files.fdatasync(self._fd)
            except OSError as error:
                raise SyncFailed(error) from error

    def cut(self) -> None:
        """Leave the record alone: exactly persist-queue's bytes, which say 'closed'.  Only when durable."""
        if self.exists and not self.exact:
            if self._fd < 0:
                self._fd = self._files.open_write(self._dirfd, INFO)
            self._files.truncate(self._fd, self._length)
            self.exact, self.in_place = True, False

    def remove(self) -> None:
        """Remove an info that was made for a put which then failed."""
        self.close()
        self._files.unlink(self._dirfd, INFO)
        self._length, self.exact, self.in_place = 0, True, False

    def close(self) -> None:
        """Close the descriptor."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._files.close(fd)


def _unwritable(error: Exception) -> OSError:
    """Return what is undone as any other failed write: only a serializer of the user's own refuses an info."""
    return OSError(errno.EINVAL, f"the serializer cannot write info, a dict of numbers and lists: {error!r}")
