"""What a repair does about damage between tail and head: the records that can be read, in chunks that are right again.

    before   q3 r r r    q4 r ??? r   q5 r r r    q6 r
             ^tail                                  ^head
    after    q8 r r r    q9 r r r     q10 r r r                  (q7 stays free: nothing can take q8 for what follows)
             ^tail (a second name for the file of q3)     ^head = [11, 0, 0], and an empty q11

    1  damaged bytes are copied to damaged/, durably
    2  chunks before the first damaged one get a second name, a fresh number     (where there are no links: copied)
    3  the records from the first damaged chunk on are written anew, chunksize to a chunk; all of it durable
    4  info: one overwrite, or a rename, goes from the old numbers to the new ones
    5  the old names are removed

A chunk but the last has to hold exactly chunksize records, so what follows damage moves up; persist-queue then drains
it, too.  Cut before 4, the queue is what it was, and the next opening moves the new chunks to damaged/; cut behind
it, the old chunks are below the tail, and the next opening removes them.  Nothing is there twice, or missing.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asyncpq.layout import INFO_MAX, Position, chunk_name, chunk_numbers
from asyncpq.recovery.chunks import Chunks
from asyncpq.recovery.heal import Healer, NewInfo
from asyncpq.recovery.plan import Plan
from asyncpq.recovery.survey import read_info
from asyncpq.recovery.verify import between, step_of, verify

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from asyncpq.files import Files
    from asyncpq.fsync import Policy
    from asyncpq.opened import Opened, Recovery
    from asyncpq.recovery.chunks import Chunk
    from asyncpq.recovery.verify import Stretch, Verified

BLOCK: Final = 1024 * 1024  # bytes copied at a time
NO_LINKS: Final = (errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV)


def rewrite(files: Files, dirfd: int, path: Path, opened: Opened, policy: Policy) -> Opened:
    """Return where the queue is, once every record from tail to head can be read; *opened* if that is so.

    Raises:
        OSError: reading or writing failed; the queue is what it was.
    """
    chunks = Chunks(files, dirfd, opened.serializer, chunk_numbers(files.list_dir(dirfd)), holes=False)
    stretches = between(opened.tail, opened.head, opened.chunksize, chunks)
    found = [verify(stretch, chunks, opened.serializer) for stretch in stretches]
    if all(one.right for one in found):
        return opened
    healer = Healer(files, dirfd, path)
    if parts := [(one.name, place.start, place.end) for one in found for place in one.places]:
        healer.copy_aside(parts)
    copier = _Copier(files, dirfd, chunks, opened, max(chunks.numbers) + 2)
    try:
        tail, head = copier.copy(found)
    except BaseException:
        copier.undo()
        raise
    below = [stretch.source for stretch in stretches if stretch.source is not None]
    plan = Plan(tail, head, opened.chunksize, below=below)
    try:
        return _switch(files, dirfd, opened, policy, healer, plan, found)
    except OSError:
        if _still_says(files, dirfd, opened):
            copier.undo()
        raise


def _still_says(files: Files, dirfd: int, opened: Opened) -> bool:
    """Return whether info is what it was: then nothing leads to the new chunks."""
    try:
        data = read_info(files, dirfd)
    except OSError:
        return False
    return data is not None and data.startswith(opened.serializer.encode(opened.fields))


def _switch(
    files: Files,
    dirfd: int,
    opened: Opened,
    policy: Policy,
    healer: Healer,
    plan: Plan,
    found: Sequence[Verified],
) -> Opened:
    """Let info say where the new chunks are, and remove the old ones."""
    fields = {**opened.fields, "size": plan.size, "tail": list(plan.tail), "head": list(plan.head)}
    record = opened.serializer.encode(fields)
    fits = len(record) <= INFO_MAX
    in_place = opened.self_delimiting and 0 < opened.info_length <= INFO_MAX and fits
    healer.carry_out(
        plan, NewInfo(record, opened.info_length, in_place, keep_old=False, slot=opened.self_delimiting), policy
    )
    files.fsync_dir(dirfd)
    return replace(
        opened,
        fields=fields,
        size=plan.size,
        tail=plan.tail,
        head=plan.head,
        info_length=len(record),
        info_slot=opened.self_delimiting and fits,
        durable_head=plan.head,
        durable_tail=plan.tail,
        unsynced=(),
        names_dirty=False,
        report=reported(opened.report, found, tuple(healer.set_aside)),
    )


def reported(report: Recovery, found: Sequence[Verified], set_aside: tuple[str, ...]) -> Recovery:
    """Return *report* with what was damaged between tail and head."""
    expected = sum(one.stretch.expected for one in found)
    records = sum(one.records for one in found)
    messages = [f"{name}, byte {place.start}: {place.why}" for one in found for name, place in one.damage()]
    bytes_aside = sum(place.end - place.start for one in found for place in one.places)
    if bytes_aside:
        messages.append(f"set aside {bytes_aside} bytes that are no records")
    messages.append(f"wrote the {records} records that can be read to chunks of their own")
    return replace(
        report,
        closed=False,
        adopted=report.adopted + max(0, records - expected),
        lost=report.lost + max(0, expected - records),
        set_aside=(*report.set_aside, *set_aside),
        messages=(*report.messages, *messages),
    )


class _Copier:
    """Makes the new chunks; they are durable, and nothing leads to them yet."""

    def __init__(self, files: Files, dirfd: int, chunks: Chunks, opened: Opened, first: int) -> None:
        """Make nothing yet; *first* is the number of the first new chunk."""
        self._files, self._dirfd, self._chunks, self._opened = files, dirfd, chunks, opened
        self._size = opened.chunksize
        self._first = self._next = first
        self._fd, self._count, self._offset = -1, 0, 0

    def copy(self, found: Sequence[Verified]) -> tuple[Position, Position]:
        """Return tail and head of the same records in new chunks.

        Raises:
            OSError: `undo` removes what was made.
        """
        good = next(i for i, one in enumerate(found) if not one.right)
        for one in found[:good]:
            self._again(one.stretch)
        try:
            for one in found[good:]:
                self._records(one)
            if self._fd < 0:
                self._start(None)
            self._end()
        finally:
            self._close()
        self._files.fsync_dir(self._dirfd)
        tail = self._opened.tail
        return (
            Position(self._first, tail.count, tail.offset) if good else Position(self._first, 0, 0),
            Position(self._next - 1, self._count, self._offset),
        )

    def undo(self) -> None:
        """Remove what was made."""
        for number in range(self._first, self._next):
            with suppress(OSError):
                self._files.unlink(self._dirfd, chunk_name(number))

    def _again(self, stretch: Stretch) -> None:
        """Give a chunk a second name."""
        name = chunk_name(stretch.number)
        try:
            self._files.link(self._dirfd, name, chunk_name(self._next))
            self._next += 1
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            with self._chunks.open(stretch.number) as chunk:
                self._start(name)
                self._copy(chunk, 0, chunk.size)
                self._end()
                self._close()
        else:
            if stretch.number in self._opened.unsynced:
                fd = self._files.open_write(self._dirfd, name)
                try:
                    self._files.fsync(fd)
                finally:
                    self._files.close(fd)

    def _records(self, one: Verified) -> None:
        """Append the records of a chunk, going on in a new chunk where one is full."""
        if one.stretch.source is None:
            return
        with self._chunks.open(one.stretch.source) as chunk:
            for run in one.runs:
                at, left = run.start, run.records
                while left:
                    self._make_room(one.name)
                    records = min(left, self._size - self._count) if self._size > 0 else left
                    end = run.end if records == left else self._behind(chunk, at, records)
                    self._copy(chunk, at, end)
                    at, left, self._count = end, left - records, self._count + records
            if self._count == self._size:
                self._make_room(one.name)

    def _behind(self, chunk: Chunk, at: int, records: int) -> int:
        step = step_of(self._opened.serializer)
        for _ in range(records):
            at = chunk.walk(step, at)
        return at

    def _make_room(self, like: str) -> None:
        """See to it that a chunk that is not full is open."""
        if self._fd >= 0 and self._count != self._size:
            return
        if self._fd >= 0:
            self._end()
            self._close()
        self._start(like)

    def _start(self, like: str | None) -> None:
        self._fd = self._files.create(self._dirfd, chunk_name(self._next))
        self._next, self._count, self._offset = self._next + 1, 0, 0
        if like is not None:
            source = self._files.open_read(self._dirfd, like)
            try:
                self._files.copy_mode(source, self._fd)
            finally:
                self._files.close(source)

    def _copy(self, chunk: Chunk, start: int, end: int) -> None:
        while start < end:
            data = chunk.read(start, min(BLOCK, end - start))
            done = 0
            while done < len(data):
                written = self._files.pwrite(self._fd, data[done:], self._offset)
                if not written:
                    raise OSError(errno.ENOSPC, "no room to write the records anew")
                done, self._offset = done + written, self._offset + written
            if not data:
                raise OSError(errno.EIO, "a chunk became shorter while it was copied")
            start += len(data)

    def _end(self) -> None:
        self._files.fsync(self._fd)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._files.close(fd)
