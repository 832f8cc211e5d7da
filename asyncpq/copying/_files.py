"""The copy of a file queue's directory.

Beside a consumer the chunks go, the oldest first: those are held open before the moment that the copy is of is taken.
Where one has gone all the same, the copy begins again, from a new moment; full chunks that are copied already stay.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Final

from asyncpq import layout
from asyncpq.blocks import copy_bytes, write_all
from asyncpq.copying._moment import find_moment, is_ours, names
from asyncpq.copying._report import CopyReport
from asyncpq.copying._sources import OPEN_AHEAD, Gone, Sources
from asyncpq.errors import QueueLocked
from asyncpq.files import FILES
from asyncpq.layout import INFO, chunk_name
from asyncpq.placing import building, put_in_place
from asyncpq.reader._look import Directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from asyncpq.copying._moment import Moment
    from asyncpq.copying._report import Meter
    from asyncpq.serializers import Serializer

STARTS: Final = 50  # of one copy
SYNCS: Final = 16  # files that are made durable at once


def holds_a_file_queue(path: Path) -> bool:
    """Return whether *path* is to be copied as a file queue: a directory with info or chunks, or nothing at all."""
    try:
        found = os.listdir(path)
    except NotADirectoryError:
        return False
    except FileNotFoundError:
        return True  # which says that there is no such directory
    return INFO in found or bool(layout.chunk_numbers(found)) or not any(name.endswith(".db") for name in found)


def copy_directory(path: Path, target: Path, given: Serializer | None, meter: Meter) -> CopyReport:
    """See `asyncpq.copy`."""
    refuse_inside(path, target)
    with ExitStack() as stack:
        directory = Directory(path)
        directory.open()
        stack.callback(directory.close)
        find_moment(path, directory, given)  # what is no queue leaves no trace at the target
        partial, made = stack.enter_context(building(target, is_ours))
        copying = stack.enter_context(closing(_Copying(path, directory, given, made, meter)))
        moment, starts = copying.run()
        copying.finish(moment)
        put_in_place(partial, target)
        return CopyReport(path, target, "file", moment.items, moment.bytes, len(names(moment)), starts)


def refuse_inside(path: Path, target: Path) -> None:
    """Raise ValueError where the copy would lie in what is copied."""
    source, goal = os.path.realpath(path), os.path.realpath(target.parent)
    if os.path.isdir(source) and os.path.commonpath([source, goal]) == source:
        raise ValueError(f"{target}: lies in {path}, which a copy does not change; give a target outside of it")


class _Copying:
    """The files of one copy, on their way."""

    def __init__(self, path: Path, directory: Directory, given: Serializer | None, made: int, meter: Meter) -> None:
        """Copy nothing yet; *made* is the descriptor of the new directory."""
        self._path, self._directory, self._given = path, directory, given
        self._made, self._meter = made, meter
        self._sources = Sources(directory)
        self._whole: dict[int, int] = {}  # full chunks that are copied, and their bytes
        self.close = self._sources.close

    def run(self) -> tuple[Moment, int]:
        """Return the moment whose chunks are all copied, and how often that was begun.

        Raises:
            QueueLocked: a consumer was faster each time.
        """
        for start in range(STARTS):
            moment = find_moment(self._path, self._directory, self._given, self._hold, self._sources.sizes)
            self._sources.let_go_below(min(moment.sizes, default=0))
            try:
                self._chunks(moment)
                return moment, start + 1
            except Gone:
                continue
        raise QueueLocked(self._path, f"a consumer that was faster than the copy in {STARTS} tries")

    def _hold(self) -> None:
        self._sources.hold(set(self._whole))

    def _chunks(self, moment: Moment) -> None:
        self._meter.start(moment.bytes)
        self._remove_others(moment)
        self._meter.add(sum(self._whole.values()))
        todo = [number for number in moment.sizes if number not in self._whole]
        for index, number in enumerate(todo):
            self._chunk(number, moment.sizes[number])
            if number < moment.head:
                self._whole[number] = moment.sizes[number]
                self._sources.let_go(number)
                self._sources.keep(todo[index + 1 : index + 1 + OPEN_AHEAD][-1:])

    def _chunk(self, number: int, size: int) -> None:
        source = self._sources.get(number) if size else None  # a head chunk may be made with its first record
        with self._new(chunk_name(number), source) as target:
            if source is not None and copy_bytes(source, target, size, self._meter.add) < size:
                raise Gone

    def _remove_others(self, moment: Moment) -> None:
        """Remove what an earlier start has copied and this one does not need."""
        wanted = {chunk_name(n) for n, size in moment.sizes.items() if self._whole.get(n) == size}
        for name in FILES.list_dir(self._made):
            if name not in wanted:
                FILES.unlink(self._made, name)
        self._whole = {n: size for n, size in self._whole.items() if chunk_name(n) in wanted}

    @contextmanager
    def _new(self, name: str, like: int | None) -> Iterator[int]:
        """Give a new file with the mode of *like*."""
        fd = FILES.create(self._made, name)
        try:
            if like is not None:
                FILES.copy_mode(like, fd)
            yield fd
        finally:
            FILES.close(fd)

    def finish(self, moment: Moment) -> None:
        """Write what is left, info last, and make all of it durable."""
        for name, data in moment.small.items():
            like = self._like(name)
            try:
                with self._new(name, like) as fd:
                    write_all(fd, data)
                self._meter.add(len(data))
            finally:
                if like is not None:
                    os.close(like)
        # Together: a file system makes many durable in one go.
        with ThreadPoolExecutor(SYNCS) as pool:
            for _ in pool.map(self._sync, sorted(names(moment))):
                self._meter.add(0)
        self._directory.copy_mode(self._made)
        FILES.fsync_dir(self._made)

    def _like(self, name: str) -> int | None:
        try:
            return self._directory.descriptor(name)
        except FileNotFoundError:
            return None  # a journal that was forgotten meanwhile

    def _sync(self, name: str) -> None:
        fd = FILES.open_read(self._made, name)  # its mode may forbid to write
        try:
            FILES.fsync(fd)
        finally:
            FILES.close(fd)
