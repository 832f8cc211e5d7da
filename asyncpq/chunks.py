"""The chunk files of an open queue: append, roll over, undo, reclaim.  Synchronous; knows nothing of `info`.

    q00006          q00007                       q00008
    r r r r r r     r r r r r r r r r r          r r r r
    ^oldest                                             ^head (where the next record goes)

A write that fails, or that a full disk takes only in part, is undone to the last whole record.  What cannot be
undone is a SyncFailed: what the disk holds is not known any more.
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Final

from asyncpq.errors import SyncFailed
from asyncpq.layout import Position, chunk_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from asyncpq.files import Files
    from asyncpq.opened import Opened

WRITE_MAX: Final = 4 * 1024 * 1024  # bytes of records joined into one write

logger: Final = logging.getLogger("asyncpq")


class Chunks:
    """The chunk files.  The head is kept as plain numbers: this is the hot path."""

    def __init__(self, files: Files, dirfd: int, path: Path, opened: Opened, *, keep_full: bool) -> None:
        """Write nothing, open nothing.

        Args:
            files: the file system.
            dirfd: the descriptor of the directory.
            path: its path, for messages.
            opened: where the queue begins and ends.
            keep_full: full chunks wait, open, for their sync (else they are closed at once).
        """
        self._files, self._dirfd, self._path = files, dirfd, path
        self.size = opened.chunksize  # records in a chunk; 0 or less: it never rolls over
        self.chunk, self.count, self.offset = opened.head
        self.fd = -1  # of the head chunk, while it is being written
        self.syncing = -1  # the descriptor that a commit in another thread works with, ...
        self.left: list[int] = []  # ... and has to close, since nobody else needs it any more
        self.dirty = False  # the head chunk was written since the last durable commit
        self.full: dict[int, int] = {}  # chunk -> descriptor: full, and written since the last durable commit
        self.cold = set(opened.unsynced)  # the same, with no descriptor held
        self.names = opened.names_dirty  # a name was made since the last durable commit
        self.oldest = opened.tail.chunk  # no chunk below it is there
        self.removed = 0
        self.filled = -self.offset  # bytes of the chunks that became full, without what was there at the opening ...
        self._filled_before = self.filled  # ... and what it was before the append that runs
        self._keep_full = keep_full

    @property
    def head(self) -> Position:
        """Where the next record goes."""
        return Position(self.chunk, self.count, self.offset)

    @property
    def written(self) -> int:
        """Bytes of the records that were written since the opening."""
        return self.filled + self.offset

    def room(self, records: int) -> int:
        """Return how many of so many records go into the head chunk."""
        return min(records, self.size - self.count) if self.size > 0 else records

    # -- append -----------------------------------------------------------------------------------------------

    def append(self, records: Sequence[bytes], prefix: bool = False) -> dict[int, OSError]:
        """Write *records*, rolling over as chunks fill; with *prefix*, nothing behind one that does not fit.

        Returns:
            The error of each record that did not fit, by its index; the others are written.

        Raises:
            SyncFailed: what did not fit could not be undone.
        """
        failed: dict[int, OSError] = {}
        at = 0
        self._filled_before = self.filled
        while at < len(records):
            try:
                at += self._append_batch(self._batch(records, at))
            except _Stopped as stop:
                # What fits is kept; only the record that does not is given up.
                at += stop.stored
                if prefix:
                    return dict.fromkeys(range(at, len(records)), stop.error)
                failed[at] = stop.error
                at += 1
        return failed

    def _batch(self, records: Sequence[bytes], at: int) -> Sequence[bytes]:
        """Return the records from *at* on that go into this chunk with one write."""
        end, last, size = at, at + self.room(len(records) - at), 0
        while end < last and (end == at or size + len(records[end]) <= WRITE_MAX):
            size += len(records[end])
            end += 1
        return records[at:end]

    def _append_batch(self, batch: Sequence[bytes]) -> int:
        data = batch[0] if len(batch) == 1 else b"".join(batch)
        try:
            self.open_head()
            written = self._files.pwrite(self.fd, data, self.offset)
        except OSError as error:
            raise _Stopped(0, error) from error
        if written < len(data):
            self._write_rest(batch, data, written)
        self._advance(len(batch), len(data))
        if self.count == self.size:
            self._roll_or_give_up(batch)
        return len(batch)

    def open_head(self) -> None:
        """Open the head chunk, unless it is."""
        if self.fd < 0:
            self.fd = self._files.open_write(self._dirfd, chunk_name(self.chunk))

    def write_rest(self, record: bytes, written: int) -> None:
        """Write what is left of *record* at head, or cut off the part that was written and raise.

        Raises:
            OSError: it does not fit; the chunk is as it was.
        """
        try:
            self._write_rest((record,), record, written)
        except _Stopped as stop:
            raise stop.error from None

    def _write_rest(self, batch: Sequence[bytes], data: bytes, written: int) -> None:
        rest = memoryview(data)
        try:
            while written < len(data):
                more = self._files.pwrite(self.fd, rest[written:], self.offset + written)
                if not more:
                    raise OSError(errno.ENOSPC, "No space left on device")
                written += more
        except OSError as error:
            raise _Stopped(self._keep_whole(batch, written), error) from error

    def _keep_whole(self, batch: Sequence[bytes], written: int) -> int:
        """Keep the records of *batch* that *written* bytes hold whole; cut off the rest."""
        stored = kept = 0
        while kept + len(batch[stored]) <= written:
            kept += len(batch[stored])
            stored += 1
        self._cut(self.offset + kept)
        self._advance(stored, kept)
        return stored

    def _advance(self, records: int, length: int) -> None:
        self.count += records
        self.offset += length
        self.dirty = True

    # -- roll over --------------------------------------------------------------------------------------------

    def _roll_or_give_up(self, batch: Sequence[bytes]) -> None:
        """Start the next chunk; when that fails, give up the record that filled this one."""
        try:
            self.roll()
        except OSError as error:
            self.count -= 1
            self.offset -= len(batch[-1])
            self._cut(self.offset)
            raise _Stopped(len(batch) - 1, error) from error

    def roll(self) -> None:
        """Start the next chunk: its file first, then head goes there."""
        fd = self._files.create(self._dirfd, chunk_name(self.chunk + 1))
        if self.fd >= 0 and self._keep_full:
            self.full[self.chunk] = self.fd
            self.cold.discard(self.chunk)
        elif self.fd >= 0:
            self._let_go(self.fd)
            self.cold.add(self.chunk)
        self.filled += self.offset
        self.chunk, self.count, self.offset = self.chunk + 1, 0, 0
        self.fd, self.dirty, self.names = fd, False, True

    def turn_over(self) -> None:
        """Start the next chunk although this one is not full."""
        self._filled_before = self.filled
        self.open_head()
        self.roll()

    def undo(self, start: Position) -> None:
        """Put head back to *start*: what was written behind it was never acknowledged.

        Raises:
            SyncFailed: it could not be cut off.
        """
        try:
            while self.chunk > start.chunk:
                self._unroll()
                self.filled = self._filled_before
            self.open_head()
        except OSError as error:
            raise SyncFailed(error) from error
        self._cut(start.offset)
        self.count, self.offset = start.count, start.offset

    def _let_go(self, fd: int) -> None:
        """Close *fd*; one that is being synced in another thread is closed when that is done."""
        if fd == self.syncing:
            self.left.append(fd)
        else:
            self._files.close(fd)

    def synced(self) -> None:
        """Nothing is being synced any more."""
        self.syncing = -1
        for fd in self.left:
            self._files.close(fd)
        self.left.clear()

    def _unroll(self) -> None:
        if self.fd >= 0:
            self._let_go(self.fd)
        self.fd = -1
        self._files.unlink(self._dirfd, chunk_name(self.chunk))
        self.chunk -= 1
        self.fd = self.full.pop(self.chunk, -1)
        self.cold.discard(self.chunk)
        self.dirty = True

    def _cut(self, offset: int) -> None:
        try:
            self._files.truncate(self.fd, offset)
        except OSError as error:
            raise SyncFailed(error) from error

    # -- reclaim ----------------------------------------------------------------------------------------------

    def reclaim(self, tail: int) -> None:
        """Remove the chunks below number *tail*.  One that cannot be removed now is tried again next time."""
        while self.oldest < tail:
            fd = self.full.pop(self.oldest, -1)
            if fd >= 0:
                self._let_go(fd)
            self.cold.discard(self.oldest)
            try:
                self._files.unlink(self._dirfd, chunk_name(self.oldest))
            except FileNotFoundError:
                pass
            except OSError as error:
                logger.warning("%s: consumed chunk %d cannot be removed: %s", self._path, self.oldest, error)
                return
            self.oldest += 1
            self.removed += 1

    def put_back(self, full: dict[int, int], cold: set[int], *, dirty: bool, names: bool) -> None:
        """Take back what a commit took and did not sync."""
        for chunk, fd in full.items():
            if chunk < self.chunk:
                self.full[chunk] = fd
            else:  # head was put back into it meanwhile
                self._let_go(fd)
                dirty = True
        self.cold |= cold
        self.dirty, self.names = self.dirty or dirty, self.names or names

    def close(self) -> None:
        """Close every descriptor."""
        for fd in (*self.full.values(), self.fd):
            if fd >= 0:
                self._files.close(fd)
        self.full, self.fd = {}, -1


class _Stopped(Exception):
    """A batch stopped after *stored* records; the next one met *error*."""

    def __init__(self, stored: int, error: OSError) -> None:
        self.stored, self.error = stored, error
