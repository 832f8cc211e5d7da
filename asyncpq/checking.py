"""`check`: what a directory holds, what is damaged in it, and what opening would do; nothing is changed.

clean      opening changes nothing, and every record can be read
healable   opening heals it by itself, and then every record can be read
damaged    opening refuses, or a get() would meet what it cannot read, or would leave records out: repair
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from asyncpq import serializers
from asyncpq.errors import NotAQueue, QueueLocked
from asyncpq.files import OSFiles
from asyncpq.keeping import CountingFiles
from asyncpq.layout import INFO, START, Position, chunk_name, chunk_numbers
from asyncpq.looking import Looking
from asyncpq.recovery import foresee
from asyncpq.recovery.survey import Readable, read_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.recovery import Foreseen
    from asyncpq.serializers import Serializer

__all__ = ["CheckReport", "Damage", "check", "holds_a_queue"]

CHUNKSIZE: Final = 100  # of a queue whose info is gone, where its chunks do not tell; AsyncQueue's default
_SQLITE: Final = "for a SQLite queue there are asyncpq.sqlite.check and asyncpq.sqlite.repair"
LOOKS: Final = 5  # beside a writer, until one is found that nothing moved under


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a file that cannot be read, or that nobody would read."""

    file: str  # its name in the directory
    offset: int  # bytes
    length: int  # bytes; 0: something is missing here
    why: str  # never what an item holds


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` found."""

    path: Path
    status: Literal["clean", "healable", "damaged"]
    serializer: str
    chunksize: int  # records in a chunk; 0 or less: it never rolls over
    size: int | None  # items, as info says; None: there is no info, or it cannot be read
    tail: Position  # as info says
    head: Position
    items: int  # that a consumer gets once the directory is opened, or repaired where it is damaged
    lost: int  # items that info counts and that cannot be read
    damage: tuple[Damage, ...]
    heals: tuple[str, ...]  # what opening would heal, or repair where it is damaged, in sentences
    refusal: str | None  # why opening raises CorruptQueue
    closed: bool  # info has the length that a close leaves: neither open now, nor killed
    open_elsewhere: bool | None  # whether an asyncpq queue has it open; None: the system does not tell
    chunks: int  # files
    bytes_on_disk: int  # of info and chunks


async def check(
    path: str | os.PathLike[str],
    *,
    serializer: Any = None,
    progress: Callable[[int], None] | None = None,
) -> CheckReport:
    """Read every record of the queue at *path*, and return what there is; nothing is changed.

    No lock is taken and no pickle is run: a pickle is built as plain data.  So it is not found when the class of an
    item is gone.  Beside a live writer the report is of one moment; a put in progress may look like a torn end.

    Args:
        path: the directory.
        serializer: a name or a module, as for AsyncQueue; None: what the directory was written with.
        progress: called with the bytes read so far, in the thread that reads; what it raises ends the check.

    Raises:
        NotAQueue: no directory, neither info nor a chunk in it, or one of them is no regular file.
        WrongSerializer: it was written with another serializer.
        QueueLocked: a writer changes it faster than it can be read.
        OSError: it cannot be read.

    Cancellation: the thread reads on, and what it finds is dropped.
    """
    given = None if serializer is None else serializers.get(serializer)
    return await asyncio.to_thread(_check, _Looking(progress), Path(path), given)


class _Looking(CountingFiles, Looking):
    """Takes no lock either, and reads what the disk has, as far as the system tells."""

    drop_cache = OSFiles.drop_cache
    lock = unlock = lease = Looking.create


def _check(files: _Looking, path: Path, given: Serializer | None) -> CheckReport:
    dirfd = holds_a_queue(files, path)
    try:
        for _ in range(LOOKS):
            before = read_info(files, dirfd)
            gone: FileNotFoundError | None = None
            try:
                seen = foresee(files, dirfd, path, serializer=given, chunksize=CHUNKSIZE, repair=False)
                if seen.refusal is not None or seen.right:
                    repaired = seen
                elif seen.found.closed:
                    repaired = seen.repaired()
                else:
                    repaired = foresee(files, dirfd, path, serializer=given, chunksize=CHUNKSIZE, repair=True)
            except FileNotFoundError as error:
                gone = error  # a consumed chunk
            if gone is None and read_info(files, dirfd) == before:
                return _report(files, dirfd, path, seen, repaired)
        raise QueueLocked(path, "a writer that changed it all the time")
    finally:
        files.close(dirfd)


def holds_a_queue(files: OSFiles, path: Path) -> int:
    """Return a descriptor of the directory *path*, which has an info or a chunk in it.

    Raises:
        NotAQueue: it has not, or is no directory.
    """
    try:
        dirfd = files.open_dir(os.fspath(path))
    except FileNotFoundError:
        raise NotAQueue(path, "there is no such directory") from None
    except NotADirectoryError:
        raise NotAQueue(path, f"is not a directory; {_SQLITE}") from None
    try:
        names = files.list_dir(dirfd)
        if INFO not in names and not chunk_numbers(names):
            hint = f"; {_SQLITE}" if any(name.endswith(".db") for name in names) else ""
            raise NotAQueue(path, f"holds neither info nor a chunk{hint}")
    except BaseException:
        files.close(dirfd)
        raise
    return dirfd


def _report(files: OSFiles, dirfd: int, path: Path, seen: Foreseen, repaired: Foreseen) -> CheckReport:
    found = seen.found
    info = found.state.info if isinstance(found.state, Readable) else None
    sizes = {chunk_name(number): found.chunks.size(number) for number in found.chunks.numbers}
    damage = [Damage(name, at.start, at.end - at.start, at.why) for one in seen.verified for name, at in one.damage()]
    if seen.refusal is not None:
        damage.insert(0, Damage(INFO, 0, _size(files, dirfd), seen.refusal))
    damaged = seen.refusal is not None or not seen.right
    report = repaired.report
    return CheckReport(
        path=path,
        status="damaged" if damaged else "healable" if report else "clean",
        serializer=found.serializer.NAME,
        chunksize=found.plan.chunksize,
        size=info.size if info else None,
        tail=info.tail if info else START,
        head=info.head if info else START,
        items=repaired.records - repaired.acked,
        lost=report.lost,
        damage=tuple(damage),
        heals=report.messages,
        refusal=seen.refusal,
        closed=isinstance(found.state, Readable) and found.state.exact,
        open_elsewhere=files.locked(dirfd),
        chunks=len(sizes),
        bytes_on_disk=sum(sizes.values()) + _size(files, dirfd),
    )


def _size(files: OSFiles, dirfd: int) -> int:
    """Return the bytes of info; 0 where there is none."""
    try:
        fd = files.open_read(dirfd, INFO)
    except FileNotFoundError:
        return 0
    try:
        return files.size(fd)
    finally:
        files.close(fd)
