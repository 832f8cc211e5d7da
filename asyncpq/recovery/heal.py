"""A plan carried out.

    1  info is no longer exact, so that the next opening verifies again     (zeros behind its record)
    2  what is set aside is copied to damaged/, and durable
    3  stale chunks are moved there, empty ones removed; the directory is durable
    4  chunks are cut, what is adopted is made durable
    5  later chunks are renumbered across a hole, one by one                (repair only)
    6  a head chunk that is gone is made
    7  info, durable
    8  consumed chunks are removed: an info that says so is durable, also where it was not written here

Cut anywhere, the next opening comes to the same end (what was set aside may then lie there twice).
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncpq.errors import NotAQueue
from asyncpq.layout import DAMAGED, INFO, INFO_MAX, INFO_TEMP, SLOT_SIZE, Mark, chunk_name, mark_prefix, slot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from asyncpq.files import Files
    from asyncpq.fsync import Policy
    from asyncpq.recovery.plan import Plan

BLOCK: Final = 1024 * 1024  # bytes copied at a time


@dataclass(frozen=True, slots=True)
class NewInfo:
    """The info that a plan ends with."""

    record: bytes
    old_length: int  # bytes of the record in the info that is there
    in_place: bool  # there is one that can be, or become, the slot
    keep_old: bool  # the old one cannot be read: it is set aside
    slot: bool  # the new one may have bytes behind its record


def write_all(files: Files, fd: int, data: bytes, offset: int = 0) -> None:
    """Write *data* at *offset*; OSError where there is no room for all of it."""
    done = 0
    while done < len(data):
        written = files.pwrite(fd, data[done:], offset + done)
        if not written:
            raise OSError(errno.ENOSPC, "no room to heal this queue")
        done += written


class Healer:
    """Changes the files of one directory."""

    def __init__(self, files: Files, dirfd: int, path: Path) -> None:
        """Change nothing yet."""
        self._files, self._dirfd, self._path = files, dirfd, path
        self.set_aside: list[str] = []

    def carry_out(self, plan: Plan, info: NewInfo | None, policy: Policy) -> None:
        """Do what *plan* says; *info* None: info stays as it is, or there is none."""
        if info and info.in_place:
            self._pad_info(info.old_length if plan.renames else SLOT_SIZE)
        if plan.copies or plan.moves or (info and info.keep_old):
            self._put_aside(plan, keep_info=info is not None and info.keep_old)
        if info or plan.changes_chunks:
            self._remove_empty(plan)
            self._cut(plan)
            self._rename(plan)
            self._create_head(plan)
        if info:
            self._write_info(plan, info, policy)
        elif plan.below:
            # A process that was killed may have left it in the cache alone.
            self._sync_info()
        for number in plan.below:
            self._files.unlink(self._dirfd, chunk_name(number))

    def copy_aside(self, parts: Iterable[tuple[str, int, int]]) -> None:
        """Copy parts of files (name, start, end) to damaged/, durably."""
        aside = self._open_damaged()
        try:
            taken = set(self._files.list_dir(aside))
            for name, start, end in parts:
                self._copy(name, start, aside, self._free(f"{name}.{start}", taken), end)
            self._files.fsync_dir(aside)
        finally:
            self._files.close(aside)

    # -- what is set aside ------------------------------------------------------------------------------

    def _put_aside(self, plan: Plan, *, keep_info: bool) -> None:
        aside = self._open_damaged()
        try:
            taken = set(self._files.list_dir(aside))
            for at in plan.copies:
                self._copy(
                    chunk_name(at.chunk),
                    at.offset,
                    aside,
                    self._free(f"{chunk_name(at.chunk)}.{at.offset}", taken),
                )
            if keep_info:
                self._copy(INFO, 0, aside, self._free(INFO, taken))
            if plan.copies or keep_info:
                self._files.fsync_dir(aside)
            for number in plan.moves:
                self._files.rename(self._dirfd, chunk_name(number), self._free(chunk_name(number), taken), aside)
            if plan.moves:
                # The new name before the old one goes: a cut in between may leave both, never none.
                self._files.fsync_dir(aside)
                self._files.fsync_dir(self._dirfd)
        finally:
            self._files.close(aside)

    def _open_damaged(self) -> int:
        """Return a descriptor of damaged/, made if it has to be."""
        try:
            self._files.make_dir(self._dirfd, DAMAGED, 0o700)
        except FileExistsError:
            pass
        else:
            self._files.fsync_dir(self._dirfd)
        try:
            return self._files.open_subdir(self._dirfd, DAMAGED)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                why = f"{DAMAGED!r} in it is no directory, so nothing can be set aside there; move it away"
                raise NotAQueue(self._path, why) from error
            raise

    def _free(self, wanted: str, taken: set[str]) -> str:
        """Return a name in damaged/ that nothing has yet."""
        name, number = wanted, 0
        while name in taken:
            number += 1
            name = f"{wanted}.{number}"
        taken.add(name)
        self.set_aside.append(name)
        return name

    def _copy(self, name: str, offset: int, aside: int, copy: str, end: int | None = None) -> None:
        source = self._files.open_read(self._dirfd, name)
        try:
            target = self._files.create(aside, copy, 0o600)
            try:
                written = 0
                for block in self._blocks(source, offset, end):
                    self._write(target, block, written)
                    written += len(block)
                self._files.fsync(target)
            except BaseException:
                with suppress(OSError):
                    self._files.unlink(aside, copy)
                raise
            finally:
                self._files.close(target)
        finally:
            self._files.close(source)

    def _blocks(self, fd: int, offset: int, end: int | None) -> Iterator[bytes]:
        while block := self._files.pread(fd, BLOCK if end is None else min(BLOCK, end - offset), offset):
            yield block
            offset += len(block)

    def _write(self, fd: int, data: bytes, offset: int) -> None:
        write_all(self._files, fd, data, offset)

    # -- chunks -----------------------------------------------------------------------------------------

    def _remove_empty(self, plan: Plan) -> None:
        # No sync: an empty chunk that comes back is removed again, and a commit that makes a name syncs the directory.
        for number in plan.empty:
            self._files.unlink(self._dirfd, chunk_name(number))

    def _cut(self, plan: Plan) -> None:
        lengths = {at.chunk: at.offset for at, _ in plan.cuts}
        for number in sorted({*lengths, *plan.sync}):
            fd = self._files.open_write(self._dirfd, chunk_name(number))
            try:
                if number in lengths:
                    self._files.truncate(fd, lengths[number])
                self._files.fsync(fd)
            finally:
                self._files.close(fd)

    def _rename(self, plan: Plan) -> None:
        for old, new in plan.renames:
            # One by one: two that reach the disk in the other order would change the order of the items.
            self._files.rename(self._dirfd, chunk_name(old), chunk_name(new))
            self._files.fsync_dir(self._dirfd)

    def _create_head(self, plan: Plan) -> None:
        if plan.create:
            # Last: as long as it is not there, the chunks before it are verified again.
            self._files.close(self._files.create(self._dirfd, chunk_name(plan.head.chunk)))
        if plan.create or plan.sync:
            # The names of what is adopted, too.
            self._files.fsync_dir(self._dirfd)

    # -- info -------------------------------------------------------------------------------------------

    def _pad_info(self, start: int) -> None:
        """Make info 512 bytes long, with zeros from *start* on at the latest; what its record says stays."""
        fd = self._files.open_write(self._dirfd, INFO)
        try:
            start = min(start, self._files.size(fd))
            if start < SLOT_SIZE:
                self._write(fd, bytes(SLOT_SIZE - start), start)
            # A process that was killed while it did the same may have left the length in the cache alone.
            self._files.fdatasync(fd)
        finally:
            self._files.close(fd)

    def _sync_info(self) -> None:
        fd = self._files.open_write(self._dirfd, INFO)
        try:
            self._files.fdatasync(fd)
        finally:
            self._files.close(fd)

    def _write_info(self, plan: Plan, info: NewInfo, policy: Policy) -> None:
        data = info.record
        if info.slot and len(data) <= INFO_MAX:
            data = slot(data, mark_prefix(Mark(policy.code, plan.head, plan.tail)))
        if info.in_place and len(data) == SLOT_SIZE:
            fd = self._files.open_write(self._dirfd, INFO)
            try:
                # Commit: one sector, the old one or the new one.
                self._write(fd, data, 0)
                self._files.fdatasync(fd)
            finally:
                self._files.close(fd)
        else:
            self._replace_info(data)

    def _copy_mode(self, name: str, target: int) -> None:
        """Let a new file have mode and owner of *name*, if that is there: others may share the directory."""
        with suppress(FileNotFoundError):
            source = self._files.open_read(self._dirfd, name)
            try:
                self._files.copy_mode(source, target)
            finally:
                self._files.close(source)

    def _replace_info(self, data: bytes) -> None:
        fd = self._files.create(self._dirfd, INFO_TEMP)
        try:
            self._copy_mode(INFO, fd)
            self._write(fd, data, 0)
            self._files.fsync(fd)
        finally:
            self._files.close(fd)
        # Commit: the old one or the new one.
        self._files.rename(self._dirfd, INFO_TEMP, INFO)
        self._files.fsync_dir(self._dirfd)
