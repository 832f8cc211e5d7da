"""A state of the disk is built, opened and drained, as a program would after a power cut; and what must be true then.

I0 nothing is raised    I1 nothing promised is missing    I2 in order, nothing twice    I3 nothing but what was put
I4 nothing that is done with    I5 the sizes agree    I6 healing holds    I7 persist-queue reads the same
"""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from persistqueue import Queue

from asyncpq.buffer import NeedsRead, ReadBuffer, SkippingBuffer, read_blocks
from asyncpq.errors import CorruptQueue, CorruptRecord, StorageError
from asyncpq.fsync import Policy
from asyncpq.journal import JOURNAL
from asyncpq.layout import INFO
from asyncpq.opened import Opened
from asyncpq.opening import open_files, release
from asyncpq.serializers import Serializer
from tests.crash.contents import BLOCK, Content
from tests.crash.models import State
from tests.crash.operations import Operation, Place, Sync, SyncDir
from tests.crash.promises import Promise
from tests.crash.recorder import Recorder, Tree

MEMORY: Final = Path("/dev/shm")
ASK: Final = 256 * 1024  # bytes read at a time
DEAD: Final = "dead"  # the directory of the dead letters, below the base


def scratch() -> Path:
    """A new directory, in memory where it can be: it has to tell holes from zeros."""
    return Path(tempfile.mkdtemp(prefix="asyncpq-crash-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))


def item_of(key: int, length: int) -> str:
    """The item with this number, of so many characters; without long runs of anything, so that no byte looks lost."""
    digits = "".join(f"{(key + 1) * 2654435761 * n * n % 2**32:08x}" for n in range(1, length // 8 + 2))
    return f"{key}:{digits}"[:length]


@dataclass(frozen=True, slots=True)
class Subject:
    """How the queue is opened."""

    where: str  # path of the queue below the base
    policy: Policy
    serializer: Serializer
    chunksize: int
    foreign: bool = False  # persist-queue wrote there too, and syncs nothing


@dataclass(slots=True)
class Outcome:
    """What came of opening and draining one state."""

    keys: list[int] = field(default_factory=list)
    at: list[Place] = field(default_factory=list)  # where the record of each lies
    dead: list[int] = field(default_factory=list)  # items among the dead letters
    wrong: list[str] = field(default_factory=list)  # delivered, and never put
    error: Exception | None = None
    size: int = 0
    stored_size: int = 0  # what info says after the opening
    acked: int = 0  # out of order: asyncpq leaves them out, persist-queue does not
    renumbered: bool = False  # by a repair, which forgets what was acknowledged out of order
    healing: list[Operation] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)  # I0, I6, I7
    repaired: Outcome | None = None


Places = Mapping[int, Sequence[Place]]  # where each item was written


class Checker:
    """Opens states of one kind of queue."""

    def __init__(self, subject: Subject, items: Mapping[str, int], folder: Path) -> None:
        self._subject, self._items, self._folder = subject, items, folder
        self._numbers = itertools.count()
        self.direct = subject.policy.name == "always" and not subject.foreign  # persist-queue reads it without healing

    def outcome(self, state: State, *, old_reader: bool = True) -> Outcome:
        """What comes of opening *state*; once more, and with persist-queue."""
        with self._built(state) as base:
            files = Recorder(base, tree_of(state))
            found = self._opened(files, base)
            if isinstance(found.error, StorageError):
                self._repair(files, base, found)
            elif found.error is None:
                if found.healing:  # else the disk is what it was, and so is what comes of it
                    self._open_again(base, found)
                if old_reader and not self.direct:
                    self._compare_old(base, found)
        if old_reader and self.direct and found.error is None and (self._subject.where, None) in state:
            with self._built(state) as base:
                self._compare_old(base, found)
        return found

    @contextmanager
    def _built(self, state: State) -> Iterator[Path]:
        base = self._folder / str(next(self._numbers))
        build(state, base)
        try:
            yield base
        finally:
            shutil.rmtree(base)

    def _opened(self, files: Recorder, base: Path, *, repair: bool = False) -> Outcome:
        found, subject = Outcome(), self._subject
        path = base / subject.where
        try:
            dirfd, opened = open_files(
                files,
                path,
                serializer=subject.serializer,
                chunksize=subject.chunksize,
                policy=subject.policy,
                repair=repair,
                lock=False,
            )
        except Exception as error:
            found.error = error
            return found
        try:
            found.healing = files.operations
            found.acked = len(opened.acks.acked)
            found.size = opened.size - found.acked
            found.stored_size = self._size_in_info(path) - found.acked
            for place, item in drained(files, dirfd, path, opened):
                self._count(found, item, place)
        except Exception as error:
            found.error = error
        finally:
            release(files, dirfd)
        if (base / DEAD).is_dir():
            self._read_dead(files, base / DEAD, found)
        return found

    def _count(self, found: Outcome, item: Any, place: Place = (0, 0)) -> None:
        key = self._items.get(item) if isinstance(item, str) else None
        if key is None:
            found.wrong.append(repr(item)[:60])
        else:
            found.keys.append(key)
            found.at.append(place)

    def _read_dead(self, files: Recorder, path: Path, found: Outcome) -> None:
        """Open the dead letters, too: what is not in the queue must be there."""
        try:
            found.dead = list(self._dead(files, path, repair=False))
        except CorruptQueue:
            found.dead = list(self._dead(Recorder(path.parent), path, repair=True))

    def _dead(self, files: Recorder, path: Path, *, repair: bool) -> Iterator[int]:
        policy = self._subject.policy
        dirfd, opened = open_files(
            files, path, serializer=None, chunksize=100, policy=policy, repair=repair, lock=False
        )
        try:
            for _, letter in drained(files, dirfd, path, opened):
                yield self._items[self._subject.serializer.loads(letter["record"])]
        finally:
            release(files, dirfd)

    def _size_in_info(self, path: Path) -> int:
        try:
            size = self._subject.serializer.info_loads((path / INFO).read_bytes())["size"]
        except FileNotFoundError:
            return 0
        assert isinstance(size, int)
        return size

    def _open_again(self, base: Path, found: Outcome) -> None:
        files = Recorder(base)
        again = self._opened(files, base)
        if changes := [done for done in files.operations if not isinstance(done, Sync | SyncDir)]:
            found.complaints.append(f"I6: opened again, it did {changes}")
        if (again.keys, again.size, repr(again.error)) != (found.keys, found.size, repr(found.error)):
            found.complaints.append(f"I6: opened again, it gave {again.keys}, {again.error!r} for {found.keys}")

    def _repair(self, files: Recorder, base: Path, found: Outcome) -> None:
        if isinstance(found.error, CorruptQueue) and files.operations:
            found.complaints.append(f"I0: refused, and it did {files.operations}")
        journal = (base / self._subject.where / JOURNAL).exists()
        found.repaired = self._opened(Recorder(base), base, repair=True)
        found.repaired.renumbered = journal and isinstance(found.error, CorruptQueue)
        if found.repaired.error is not None and not isinstance(found.repaired.error, CorruptRecord):
            found.complaints.append(f"I0: with repair=True: {found.repaired.error!r}")

    def _compare_old(self, base: Path, found: Outcome) -> None:
        seen = Outcome()
        try:
            for item in self._old_reader(base):
                self._count(seen, item)
        except Exception as error:
            found.complaints.append(f"I7: persist-queue: {error!r}")
            return
        rest = iter(seen.keys)
        fits = all(key in rest for key in found.keys)  # in this order, and between them what is acknowledged
        if not fits or seen.wrong != found.wrong or len(seen.keys) != len(found.keys) + found.acked:
            found.complaints.append(f"I7: persist-queue gets {seen.keys}, asyncpq {found.keys}")

    def _old_reader(self, base: Path) -> Iterator[Any]:
        subject = self._subject
        path = str(base / subject.where)
        queue = _OldReader(path, chunksize=subject.chunksize, serializer=old_serializer(subject), tempdir=path)
        try:
            for _ in range(queue.qsize()):
                yield queue.get(block=False)
        finally:
            queue.headf.close()
            queue.tailf.close()


def old_serializer(subject: Subject) -> Any:
    """The module of persist-queue that reads and writes the same."""
    name = "json" if subject.serializer.NAME == "orjson" else subject.serializer.NAME
    return importlib.import_module(f"persistqueue.serializers.{name}")


class _OldReader(Queue):
    """persist-queue as it is; one that could not be opened says nothing more when it goes."""

    headf: Any = None
    tailf: Any = None


def drained(files: Recorder, dirfd: int, path: Path, opened: Opened) -> Iterator[tuple[Place, Any]]:
    """The items and where they lie, read as the engine reads them."""
    begin = (path, opened.serializer, opened.chunksize, opened.tail, opened.size)
    buffer = SkippingBuffer(*begin, opened.acks.acked) if opened.acks.acked else ReadBuffer(*begin)
    end = opened.head.chunk, opened.head.offset
    while buffer.ready:
        place = buffer.cursor.chunk, buffer.cursor.offset
        try:
            item = buffer.take()
        except NeedsRead as need:
            blocks = read_blocks(files, dirfd, buffer.cursor, end, need.ask)
            buffer.fill(buffer.cursor, blocks, None)
        else:
            yield place, item


def build(state: State, base: Path) -> None:
    """Make the directory *base* what *state* says; what was never written is a hole."""
    os.mkdir(base)
    for path, content in state:  # sorted: a directory comes before what lies in it
        full = f"{base}/{path}"
        if content is None:
            os.mkdir(full)
            continue
        fd = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _fill(fd, content)
        finally:
            os.close(fd)


def _fill(fd: int, content: Content) -> None:
    if not content.holes:
        os.write(fd, content.data)
        return
    os.ftruncate(fd, content.size)
    for start in range(0, content.size, BLOCK):
        if start // BLOCK not in content.holes:
            os.pwrite(fd, content.data[start : start + BLOCK], start)


def tree_of(state: State) -> Tree:
    """*state* as the recorder takes it."""
    tree = Tree()
    for path, content in state:
        tree.add(path, content)
    return tree


# -- what must be true --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claims:
    """What is claimed for a policy in a model, beyond what holds for all."""

    raises_nothing: bool
    nothing_wrong: bool
    refuses_nothing: bool  # once something is durable


def claims(subject: Subject, model: str) -> Claims:
    kept = not subject.foreign and (subject.policy.name == "always" or model in ("ext4", "xfs"))
    return Claims(kept, kept, subject.policy.name == "always")


def violations(found: Outcome, promise: Promise, places: Places, claimed: Claims) -> list[str]:
    """What *found* does that must not be."""
    bad, moved = list(found.complaints), False  # by a repair, which may write records anew
    if found.error is not None:
        if claimed.raises_nothing or not isinstance(found.error, CorruptQueue | CorruptRecord):
            return [*bad, f"I0: {found.error!r}"]
        if isinstance(found.error, CorruptQueue) and promise.there and claimed.refuses_nothing:
            bad.append(f"I0: refused, though {sorted(promise.there)} are durable: {found.error}")
        if found.repaired is None:
            return [*bad, f"I0: {found.error!r} and no repair"]
        moved, found = True, found.repaired
    keys = found.keys
    if missing := promise.there.difference(keys, found.dead):
        bad.append(f"I1: missing {sorted(missing)} of {sorted(promise.there)}, there is {keys}, dead {found.dead}")
    if not in_order(found, places, moved):
        bad.append(f"I2: {keys} in another order than they were stored in, or twice")
    if claimed.nothing_wrong and found.wrong:
        bad.append(f"I3: delivered and never put: {found.wrong}")
    if strange := set(keys) - promise.begun:
        bad.append(f"I3: delivered before its put began: {sorted(strange)}")
    if strange := set(found.dead) - promise.rejected:
        bad.append(f"I3: among the dead letters and never rejected: {sorted(strange)}")
    if not found.renumbered and (back := came_back(found, promise, places, moved)):
        bad.append(f"I4: {sorted(back)} came back, there is {keys}")
    if found.error is None and not found.size == found.stored_size == len(keys) + len(found.wrong):
        bad.append(f"I5: size {found.size}, in info {found.stored_size}, and {len(keys)} items")
    return bad


def in_order(found: Outcome, places: Places, moved: bool) -> bool:
    """Whether the items come in the order of their records, and none but where it was written."""
    if not moved and any(at not in places[key] for key, at in zip(found.keys, found.at, strict=True)):
        return False
    last = (-1, -1)
    for key, at in zip(found.keys, found.at, strict=True):
        behind = [place for place in (places[key] if moved else [at]) if place > last]
        if not behind:
            return False
        last = min(behind)
    return True


def came_back(found: Outcome, promise: Promise, places: Places, moved: bool) -> set[int]:
    """The items that are there although they, or the record that is there, are done with."""
    gone = promise.gone
    back = {key for key in found.keys if (key, None) in gone or all((key, place) in gone for place in places[key])}
    return back if moved else back | {key for key, at in zip(found.keys, found.at, strict=True) if (key, at) in gone}
