"""The log: records, then `info`; durable commits; removal of what was consumed.  Synchronous.

A change is: the records, then `info`.  From then on a killed process keeps it.  A *durable commit* is:

    1  fdatasync of every chunk written since the last one
    2  fsync of the directory, where a name was made since
    3  overwrite the slot with what is true now, its mark with what 1 and 2 made durable
    4  fdatasync of info

Data before info: the format has no checksums, so this order is its only protection.  Any error of a sync or of a
rename is final: SyncFailed, and nothing is tried again.

Two threads may be in here at once: one that writes (the event loop's own, or a worker in its place) and one that
makes durable.  What they share is guarded by `_mutex`, which is never held during a sync.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from asyncpq.ackfile import AckFile
from asyncpq.chunks import Chunks
from asyncpq.errors import SyncFailed, TooManyOpenFiles
from asyncpq.infofile import InfoFile
from asyncpq.layout import START, Position, distance
from asyncpq.recovery import pass_over
from asyncpq.syncing import Syncer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from asyncpq.files import Files
    from asyncpq.fsync import Policy
    from asyncpq.opened import Opened
    from asyncpq.serializers import Serializer

FULL_BATCH: Final = 64  # full chunks that are synced together
FULL_MAX: Final = 256  # full chunks that may wait for their sync, each with an open descriptor


class Log:
    """The files of one open queue."""

    def __init__(self, files: Files, dirfd: int, path: Path, opened: Opened, policy: Policy) -> None:
        """Take over the descriptor *dirfd* and its lock; write nothing."""
        self._files, self._dirfd, self.path, self.policy = files, dirfd, path, policy
        self._tail: Sequence[int] = opened.tail
        self.size = opened.size  # records from tail to head
        self.chunks = Chunks(files, dirfd, path, opened, keep_full=policy.name != "never")
        self._info = InfoFile(files, dirfd, opened, policy)
        self.acks = AckFile(files, dirfd, opened.acks, closed=opened.report.closed)
        self._fields, self._overwrite = self._info.fields, self._info.overwrite
        self.durable_head, self._durable_tail = opened.durable_head, opened.durable_tail
        self.syncer = Syncer(files, dirfd)
        self._changed = not opened.report.closed and opened.info_length > 0  # since the last durable commit
        self._prepared = False  # info is ready for the first record
        self._commits_full = policy.name == "rollover"
        self._mutex = threading.Lock()
        self._pwrite, self._acquire, self._release = files.pwrite, self._mutex.acquire, self._mutex.release
        self.on_full: Callable[[], None] = lambda: None  # told when full chunks wait for their sync
        self.busy = False  # head chunk and info are being synced: a write to them may have to wait
        self.failed: SyncFailed | None = None  # what ended it: nothing is made durable any more
        self.closed = False

    @property
    def tail(self) -> Position:
        """What info says is the oldest record."""
        return Position(*self._tail)

    @tail.setter
    def tail(self, tail: Position) -> None:
        self._tail = tail

    # -- for the event loop: nothing here waits for a disk, or False says that a thread has to do it ---------

    def append_now(self, record: bytes) -> bool:
        """Store one record; False, with nothing done, when a thread has to do it.

        Raises:
            OSError: it does not fit; every file is as it was.
        """
        if self.busy or not self._acquire(False):
            return False
        try:
            chunks = self.chunks
            count, before, fd = chunks.count + 1, chunks.offset, chunks.fd
            if count == chunks.size or fd < 0 or not self._info.in_place:
                return self._append_at_edge(record)
            after = before + len(record)
            written = self._pwrite(fd, record, before)
            if written != after - before:
                chunks.write_rest(record, written)

            # Commit: from here on a killed process keeps this record.
            fields = self._fields
            fields["size"] = self.size = self.size + 1
            fields["head"] = [chunks.chunk, count, after]
            chunks.count, chunks.offset = count, after
            chunks.dirty = self._changed = True
            try:
                self._overwrite()
            except OSError:
                self._undo(Position(chunks.chunk, count - 1, before))
                raise
            return True
        finally:
            self._release()

    def _append_at_edge(self, record: bytes) -> bool:
        fills, full = self.chunks.count + 1 == self.chunks.size, len(self.chunks.full)
        if not self._info.in_place or (fills and (self._commits_full or full >= FULL_MAX)):
            return False
        for error in self._store((record,)).values():
            raise error
        if full >= FULL_BATCH:
            self.on_full()
        return True

    def append_many_now(self, records: Sequence[bytes]) -> dict[int, OSError] | None:
        """Store *records* as `append`; None, with nothing done, when a thread has to do it."""
        if self.busy or not self._acquire(False):
            return None
        try:
            chunks = self.chunks
            fills = 0 < chunks.size <= chunks.count + len(records)
            if not self._info.in_place or (self._commits_full and fills):
                return None
            failed = self._store(records, prefix=True)
            if len(chunks.full) >= FULL_BATCH:
                self.on_full()
            return failed
        finally:
            self._release()

    def move_tail_now(self, chunk: int, count: int, offset: int) -> bool:
        """Commit this tail and remove what lies below it; False when a thread has to do it.

        Raises:
            OSError: nothing was changed.
        """
        if self.busy or not self._acquire(False):
            return False
        try:
            chunks = self.chunks
            crossed = chunk - chunks.oldest
            if not self._info.in_place or crossed > 1 or (crossed == 1 and self._commits_full):
                return False
            old_tail, old_size, head = self._tail, self.size, chunks.chunk

            # Commit: from here on what lies below the tail is done with.
            fields = self._fields
            fields["tail"] = self._tail = [chunk, count, offset]
            size = chunks.count - count
            if head != chunk:
                size += (head - chunk) * chunks.size
            fields["size"] = self.size = size
            self._changed = True
            try:
                self._overwrite()
            except OSError:
                fields["tail"] = self._tail = old_tail
                fields["size"] = self.size = old_size
                raise
            if crossed == 1:
                chunks.reclaim(chunk)
            return True
        finally:
            self._release()

    def note_now(self, note: bytes) -> bool:
        """Note an acknowledgement, or an attempt that failed; False when a thread has to do it.

        Raises:
            OSError: nothing was changed.
        """
        if self.busy or not self._acquire(False):
            return False
        try:
            if not self.acks.ready:
                return False
            self.acks.append(note)
            return True
        finally:
            self._release()

    # -- for a worker thread ----------------------------------------------------------------------------------

    def append(
        self, records: Sequence[bytes], tail: Position | None = None, *, prefix: bool = False
    ) -> dict[int, OSError]:
        """Store *records* in order and move the tail; on return a killed process keeps them.

        Args:
            records: what serializers encoded.
            tail: the position to commit, None to leave it.
            prefix: store nothing behind a record that does not fit.

        Returns:
            The error of each record that did not fit, by its index; the others are stored.

        Raises:
            OSError: nothing was changed.
            SyncFailed: see there.
        """
        if self._commits_full:
            return self._append_by_chunks(records, tail, prefix)
        with self._mutex:
            return self._store(records, tail, prefix)

    def append_durably(
        self, records: Sequence[bytes], tail: Position | None = None, *, prefix: bool = False
    ) -> dict[int, OSError]:
        """Do as `append`, and make it durable in one commit: info counts the records only when they are."""
        with self._mutex:
            head, old_tail = self.chunks.head, self.tail
            new = self._prepare()
            failed = self.chunks.append(records, prefix)
            if len(failed) == len(records) and tail is None:
                self._unprepare(new)
                return failed
            self.tail = tail or old_tail
            self._count()
            self._changed = True
        try:
            self.commit()
        except OSError:
            with self._mutex:
                self.tail = old_tail
                self._undo(head)
                self._unprepare(new)
            raise
        return failed

    def append_noted(
        self,
        records: Sequence[bytes],
        tail: Position | None,
        notes: bytes,
        *,
        prefix: bool,
        durably: bool,
    ) -> dict[int, OSError]:
        """Write *notes* to the journal, then do as `append`, or `append_durably`.

        Returns:
            As these; what became of the notes, where they did not fit, is under -1.
        """
        failed: dict[int, OSError] = {}
        size = -1
        with self._mutex:
            try:
                before = self.acks.size
                self.chunks.names |= self.acks.append(notes)
                size = before
            except OSError as error:
                failed[-1] = error
        try:
            if records or tail is not None:
                write = self.append_durably if durably else self.append
                failed |= write(records, tail, prefix=prefix)
            if durably and self.acks.dirty:
                self.commit()
        except OSError:
            if size >= 0:
                with self._mutex:
                    self.acks.undo(size)
            raise
        return failed

    def _append_by_chunks(self, records: Sequence[bytes], tail: Position | None, prefix: bool) -> dict[int, OSError]:
        """Under `rollover`: make a chunk that is full durable, with info, before the next one starts."""
        failed: dict[int, OSError] = {}
        start = 0
        while start < len(records) or tail is not None:
            batch = records[start : start + self.chunks.room(len(records) - start)]
            try:
                errors = self._append_batch(batch, tail, prefix)
            except OSError as error:
                if not start:
                    raise
                errors = dict.fromkeys(range(len(batch)), error)
            failed.update({start + index: error for index, error in errors.items()})
            start, tail = start + len(batch), None
            if errors and prefix:
                return failed | dict.fromkeys(range(start, len(records)), next(iter(errors.values())))
        return failed

    def _append_batch(self, batch: Sequence[bytes], tail: Position | None, prefix: bool) -> dict[int, OSError]:
        if self.chunks.count + len(batch) == self.chunks.size:
            return self.append_durably(batch, tail, prefix=prefix)
        with self._mutex:
            return self._store(batch, tail, prefix)

    def _store(
        self, records: Sequence[bytes], tail: Position | None = None, prefix: bool = False
    ) -> dict[int, OSError]:
        head, old_tail = self.chunks.head, self.tail
        new = self._prepare()
        failed = self.chunks.append(records, prefix)
        if len(failed) == len(records) and tail is None:
            self._unprepare(new)
            return failed
        self.tail = tail or old_tail

        # Commit: from here on a killed process keeps these records.
        try:
            self._write_info()
        except OSError:
            self.tail = old_tail
            self._undo(head)
            self._unprepare(new)
            raise
        return failed

    def _prepare(self) -> bool:
        """Have an info, before the first record is written; return whether it was made.

        Without one, a cut would leave a full chunk that nothing speaks of.  Under `always` its mark has to say so, on
        the disk: else opening would adopt a record behind head, which need not be whole although it can be read.
        """
        if self._prepared:
            return False
        new = not self._info.exists
        if new or self.policy.name == "always":
            self._write_info()
            self.syncer.timed(self._info.sync)
        self._prepared = True
        return new

    def _unprepare(self, new: bool) -> None:
        """Leave no info behind when the first put of all did not fit."""
        if new:
            self._info.remove()
            self._prepared = False

    def _undo(self, head: Position) -> None:
        """Put head back to where it was: info could not be written, so nothing behind it counts."""
        self.chunks.undo(head)
        self._count()

    def reclaim(self, floor: int | None = None) -> None:
        """Remove the chunks below the tail, and below *floor*; under `rollover` only after a durable commit."""
        below = self.tail[0] if floor is None else min(floor, self.tail[0])
        if self.chunks.oldest >= below:
            return
        if self._commits_full:
            self.commit()
        with self._mutex:
            self.chunks.reclaim(below)

    def drop_all(self, *, durably: bool) -> None:
        """Commit the head as the tail: as `append` and `append_durably`."""
        if durably:
            self.append_durably((), self.chunks.head)
        else:
            self.append((), self.chunks.head)

    def pass_over(self, at: Position, serializer: Serializer) -> tuple[Position, int]:
        """Set the damaged record at *at* aside, durably; return the position behind it and the records it counts.

        The chunk keeps its bytes: only the tail moves over them, with the next commit.
        """
        return pass_over(self._files, self._dirfd, self.path, serializer, at, self.chunks.head, self.chunks.size)

    def compact(self) -> bool:
        """Start a new chunk when all of the present one has been consumed; `reclaim` then frees that.

        Returns:
            False when there is nothing to give back.

        Raises:
            OSError: nothing was changed.
        """
        with self._mutex:
            old = self.chunks.head
            if self.tail != old or not old.count:
                return False
            self.chunks.turn_over()
            self.tail = self.chunks.head
            try:
                self._write_info()
            except OSError:
                self.tail = old
                self._undo(old)
                raise
            return True

    # -- durable commits: one at a time, in a worker thread ---------------------------------------------------

    def commit(self) -> None:
        """Make everything so far durable.

        Raises:
            OSError: info could not be written; it is as it was.
            TooManyOpenFiles: no descriptor was left for what has to be opened first; it may be tried again.
            SyncFailed: see there.
        """
        self._refuse_retry()
        chunks = self.chunks
        if not self._changed and not chunks.names and not self.acks.dirty:
            return
        # What is full is not written any more: nobody has to keep out of the way while it is synced.
        self.sync_full()
        with self._mutex:
            notes = self.acks.begin_sync()  # first: it may have to be opened
            full, chunks.full = chunks.full, {}
            cold, chunks.cold = chunks.cold, set()
            fd, dirty, names, changed = chunks.fd, chunks.dirty, chunks.names, self._changed or chunks.names
            chunks.dirty = chunks.names = self._changed = False
            head, tail = chunks.head, self.tail
            if fd >= 0 and head.chunk in cold:  # it is synced by the descriptor that it is written through
                cold.discard(head.chunk)
                dirty = True
            self.busy = True
            chunks.syncing = fd
        try:
            self._sync_closed(cold)
            self.syncer.chunks((*full.values(), *((fd,) if dirty and fd >= 0 else ())))
            if names:
                self.syncer.names()
            if notes >= 0:
                # Before info: a tail that is durable may stand on what they say.
                self.syncer.timed(self.acks.sync, notes)
            if changed and (self._info.exists or head != START):
                self._commit_info(head, tail)
            self.acks.trim(self._durable_tail, self._mutex)
            self.durable_head = head
            self.syncer.commits += 1
        except TooManyOpenFiles:
            with self._mutex:  # it is tried again
                chunks.put_back(full, cold, dirty=dirty, names=names)
                self.acks.dirty = self.acks.dirty or notes >= 0
                self._changed = self._changed or changed
            full = {}
            raise
        finally:
            self._end_commit(full.values(), fd)

    def _sync_closed(self, cold: set[int]) -> None:
        """Open and sync the chunks of *cold*; take out those that are.

        Raises:
            TooManyOpenFiles: before anything else was synced.
            SyncFailed: see there.
        """
        for chunk in sorted(cold):
            if chunk >= self.chunks.oldest:
                self.syncer.closed_chunk(chunk)
            cold.discard(chunk)

    def _commit_info(self, head: Position, tail: Position) -> None:
        """Let info say, durably, that everything up to *head* is on the disk, which it is."""
        with self._mutex:
            # Commit: everything up to *head* is on the disk; now info may say so.
            self._info.set_durable(head, tail)
            self._write_info()
            self._changed = self.chunks.dirty or self.chunks.head != head or self.tail != tail
        self.syncer.timed(self._info.sync)
        self._durable_tail = tail

    def _end_commit(self, full: Iterable[int], fd: int) -> None:
        """Give back the descriptors that were synced, and let writes to head chunk and info go on."""
        chunks = self.chunks
        with self._mutex:
            self.busy = False
            chunks.synced()
            self._close_all(full)
            if fd >= 0 and chunks.fd == fd and not chunks.dirty:
                # An idle queue holds two descriptors: the directory and info.
                self._files.close(fd)
                chunks.fd = -1
            self.acks.rest()

    def sync_full(self) -> None:
        """Make the full chunks durable that wait for it; info is left alone.

        Raises:
            SyncFailed: see there.
        """
        self._refuse_retry()
        with self._mutex:
            full, self.chunks.full = self.chunks.full, {}
        try:
            self.syncer.chunks(full.values())
        finally:
            self._close_all(full.values())

    def _refuse_retry(self) -> None:
        """Raise what failed before: a second sync may report success for what was dropped, and info would say so."""
        if self.failed is not None:
            raise SyncFailed(self.failed.cause)

    # -- info ---------------------------------------------------------------------------------------------------

    def _write_tail(self, tail: Position) -> None:
        old, self.tail = self.tail, tail
        try:
            self._write_info()
        except OSError:
            self.tail = old
            self._count()
            raise

    def _write_info(self) -> None:
        self._count()
        self._info.write()
        self._changed = True

    def _count(self) -> None:
        """Let the fields of info say where head and tail are."""
        chunks, tail = self.chunks, self.tail
        self.size = distance(chunks.size, tail, chunks.head)
        self._fields["size"] = self.size
        self._fields["tail"] = list(tail)
        self._fields["head"] = [chunks.chunk, chunks.count, chunks.offset]

    # -- the end ------------------------------------------------------------------------------------------------

    def close(self, *, failed: bool = False) -> None:
        """Make all durable, leave info exactly as persist-queue would, and release files and lock.

        Under `never` too: opening trusts an info of exact length, whose records and bytes must then be on the disk.

        After a failure nothing is written.  Files and lock are released in any case.

        Raises:
            OSError: info could not be written, or not cut; the next opening heals.
            SyncFailed: see there.
        """
        try:
            if not failed:
                self._commit_at_last()
                self._info.cut()
        finally:
            self.release()

    def _commit_at_last(self) -> None:
        """Commit; where no descriptor is left, by the head chunk's own: nobody writes to it any more."""
        try:
            self.commit()
        except TooManyOpenFiles:
            if self.chunks.fd < 0:
                raise
            self.syncer.chunks((self.chunks.fd,))
            self._files.close(self.chunks.fd)
            self.chunks.fd, self.chunks.dirty = -1, False
            self.commit()

    def release(self) -> None:
        """Close every descriptor and give the lock back; write nothing."""
        if self.closed:
            return
        self.closed = True
        self._info.close()
        self.acks.close()
        self.chunks.close()
        self._unlock()
        self._files.close(self._dirfd)

    def forsake(self, later: Callable[[Callable[[], None]], None], stop: Callable[[], None] | None) -> None:
        """Give the lock back and write nothing; have *later* sync what was written, and close the files.

        *stop* waits for a durable commit that runs: until then neither the lock nor a descriptor may go.
        """
        if self.closed:
            return
        self.closed = True
        if stop is None:
            self._unlock()

        def finish() -> None:
            if stop is not None:
                stop()
                self._unlock()
            with suppress(OSError, SyncFailed):
                if self.policy.name != "never":
                    self.syncer.chunks((*self.chunks.full.values(), *((self.chunks.fd,) * (self.chunks.fd >= 0))))
                self._info.sync()
            self._info.close()
            self.acks.close()
            self.chunks.close()
            self._files.close(self._dirfd)

        later(finish)

    def _unlock(self) -> None:
        with suppress(OSError):
            self._files.unlock(self._dirfd)

    def abandon(self) -> None:
        """In the child of a fork: close the descriptors; the lock and the files are the parent's."""
        self.closed = True
        with suppress(OSError):
            self._info.close()
            self.acks.close()
            self.chunks.close()
            self._files.close(self._dirfd)

    def _close_all(self, fds: Iterable[int]) -> None:
        for fd in fds:
            self._files.close(fd)
