"""What a file queue's directory says at one moment, and what of it a copy has.

journal, info, journal again     taken in this order, so that
    an acknowledgement in the copy     is of an item whose successors, put before it, are in the copy, too
    nothing acknowledged before        comes again
open elsewhere, or killed              cut at head: what lies behind was never acknowledged, or comes later
closed                                 every byte from the tail's chunk on
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from asyncpq import layout
from asyncpq.errors import QueueLocked, StorageError
from asyncpq.journal import ACKED, JOURNAL, needed, read_notes, written
from asyncpq.layout import INFO, chunk_name
from asyncpq.reader._look import judge
from asyncpq.recovery.acks import READ_MAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asyncpq.reader._look import Directory, View
    from asyncpq.serializers import Serializer

LOOKS: Final = 200  # tries to find info and journal of one moment
CALM: Final = 20  # tries to find them with no acknowledgement in between


@dataclass(frozen=True, slots=True)
class Moment:
    """What the copy has."""

    sizes: dict[int, int]  # bytes of each chunk, by number, in order
    small: dict[str, bytes]  # the other files, whole: info last
    items: int  # from tail to head that are not acknowledged
    head: int  # the number of its chunk: those below do not change any more

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values()) + sum(map(len, self.small.values()))


def find_moment(
    path: Path,
    directory: Directory,
    given: Serializer | None,
    hold: Callable[[], None] = lambda: None,
    held: Callable[[], dict[int, int]] = dict,
) -> Moment:
    """Return what the directory says, from a moment when its parts belonged together.

    Args:
        path: of the directory.
        directory: open.
        given: the serializer; None: the one that wrote it.
        hold: called before and after each look, to hold the chunks that there are.
        held: the bytes of those, by number: they are there though their names may be gone.

    Raises:
        NotAQueue, WrongSerializer, CorruptQueue: see QueueReader.open.
        QueueLocked: a writer changes it all the time.
    """
    refused: list[bytes | None] = []  # what info said in the last look, where that did not fit the files
    for look in range(LOOKS):
        hold()
        journal = _journal(directory)
        found = directory.look()
        hold()
        found = replace(found, sizes=dict(sorted((found.sizes | held()).items())))
        try:
            view = judge(path, given, found)
        except StorageError:
            if refused == [found.info]:  # no writer at work: it is what it looks like
                raise
            refused = [found.info]
        else:
            refused = []
            calm = look >= CALM or _journal(directory) == journal
            if calm and (view.mark or found.settled) and not _consumed_meanwhile(directory, view):
                return _moment(directory, view, found.info, journal)
    raise QueueLocked(path, "a writer that changed it all the time")


def _consumed_meanwhile(directory: Directory, view: View) -> bool:
    """Return whether chunks went after info was read: what was put since is not in the copy, so they have to be."""
    return view.info is not None and view.tail.chunk > view.info.tail.chunk and directory.locked() is True


def _journal(directory: Directory) -> bytes | None:
    try:
        fd = directory.descriptor(JOURNAL)
    except FileNotFoundError:
        return None
    try:
        return os.pread(fd, READ_MAX, 0)
    finally:
        os.close(fd)


def _moment(directory: Directory, view: View, info: bytes | None, journal: bytes | None) -> Moment:
    if info is not None and (view.mark or directory.locked()):
        return _cut(view, info, journal)
    sizes = {number: size for number, size in view.sizes.items() if number >= view.tail.chunk}
    small = {JOURNAL: journal or b""} if journal is not None else {}
    if info is not None:
        small[INFO] = info
    return Moment(sizes, small, _items(view, journal), view.head.chunk)


def _cut(view: View, info: bytes, journal: bytes | None) -> Moment:
    tail, head = view.tail, view.head
    sizes = {number: size for number, size in view.sizes.items() if tail.chunk <= number < head.chunk}
    sizes[head.chunk] = head.offset
    notes = [note for note in read_notes(journal or b"") if note.position < head]
    left = written(needed(notes, tail))
    small = {JOURNAL: left} if left else {}
    return Moment(sizes, small | {INFO: _record(view, info)}, _items(view, journal), head.chunk)


def _record(view: View, info: bytes) -> bytes:
    """Return the info of the copy: the record that is there, or what it should say."""
    assert view.info is not None
    said: dict[str, Any] = {
        "size": layout.distance(view.chunksize, view.tail, view.head),
        "tail": list(view.tail),
        "head": list(view.head),
    }
    fields = view.info.fields
    if all(_plain(fields[key]) == value for key, value in said.items()):
        return info[: view.serializer.skip(info, 0)]
    return view.serializer.encode(fields | said)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _items(view: View, journal: bytes | None) -> int:
    """Return the number of items; a note counts though the record that it is about was not looked at."""
    notes = read_notes(journal or b"")
    acked = {note.position for note in notes if note.kind == ACKED and view.tail <= note.position < view.head}
    return max(0, layout.distance(view.chunksize, view.tail, view.head) - len(acked))


def is_ours(name: str) -> bool:
    """Return whether a copy makes files of this name."""
    return name in (INFO, JOURNAL) or layout.chunk_number(name) is not None


def names(moment: Moment) -> set[str]:
    """Return the names of the files that the copy has."""
    return {*map(chunk_name, moment.sizes), *moment.small}
