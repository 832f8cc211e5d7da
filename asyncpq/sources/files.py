"""A file queue's directory as a source: what opening would make of it, and not a byte is changed.

    lock=True     flock, and no other program has it open    -> the plan that opening would carry out
    lock=False    beside a writer: what info says            -> tail ... head; a chunk that goes was consumed

A directory that only a repair could open is refused as opening refuses it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from asyncpq import fsync, layout, serializers
from asyncpq.checking import CHUNKSIZE, holds_a_queue
from asyncpq.directory import take_lock
from asyncpq.errors import NotAQueue, QueueLocked, StorageError
from asyncpq.journal import JOURNAL
from asyncpq.layout import DAMAGED, Position, chunk_name, listing
from asyncpq.looking import Looking
from asyncpq.opening import refuse_openers, release
from asyncpq.reader._look import Directory, judge, place
from asyncpq.recovery.acks import load, match
from asyncpq.recovery.chunks import Chunks
from asyncpq.recovery.opening import Opening, full_names
from asyncpq.recovery.survey import Readable, read_info
from asyncpq.sources.blobs import Reading
from asyncpq.sources.protocol import About, Entry
from asyncpq.sources.records import Queue, Walk, protocol_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from asyncpq.layout import Mark
    from asyncpq.recovery.opening import Found
    from asyncpq.serializers import Serializer
    from asyncpq.sources.options import Options

__all__ = ["FileSource"]

LOOKS: Final = 5  # that find out whether a writer is at work
LOOKS_BESIDE: Final = 100  # beside one, until info and files are found that belong together


class FileSource:
    """See Source.

    Raises:
        NotAQueue, WrongSerializer, CorruptQueue: see there.
        QueueLocked: with *lock*, somebody has it open.
        OSError: it cannot be read, or there are no locks here.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self._files = Looking()
        self._path, self._options = path, options
        self._dirfd = holds_a_queue(self._files, path)
        try:
            with full_names(path):
                self._open(path, options)
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path, options: Options) -> None:
        if options.lock:
            self._take_lock(path)
        self._queue, found, live = self._look(options.serializer)
        self._load = Reading(self._queue.serializer, options.unpickle, options.encoding, framed=True).loader()
        self.about = self._about(found, live)

    def _take_lock(self, path: Path) -> None:
        if not take_lock(self._files, self._dirfd, path):
            raise NotAQueue(path, "is being replaced by another program")
        refuse_openers(self._files, self._dirfd, path, listing(self._files.list_dir(self._dirfd)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give lock and descriptor back; once more does nothing."""
        dirfd, self._dirfd = self._dirfd, -1
        if dirfd >= 0:
            release(self._files, dirfd) if self._options.lock else self._files.close(dirfd)

    # -- what is there ----------------------------------------------------------------------------------

    def _look(self, given: Serializer | None) -> tuple[Queue, Found | None, bool]:
        """Return the queue, what opening found, and whether a writer is at work."""
        if self._options.lock:
            found = self._find(given)
            return self._planned(found), found, False
        if self._files.locked(self._dirfd):
            return self._beside(given), None, True
        for _ in range(LOOKS):
            before = read_info(self._files, self._dirfd)
            with suppress(FileNotFoundError):  # a consumed chunk
                found = self._find(given)
                queue = self._planned(found)
                if read_info(self._files, self._dirfd) == before:
                    return queue, found, False
        return self._beside(given), None, True

    def _find(self, given: Serializer | None) -> Found:
        opening = Opening(self._files, self._dirfd, self._path, CHUNKSIZE, fsync.get("interval"), repair=False)
        return opening.find(given)

    def _planned(self, found: Found) -> Queue:
        plan = found.plan
        chunks = Chunks(self._files, self._dirfd, found.serializer, found.chunks.numbers, holes=False)
        acked = match(load(self._files, self._dirfd), chunks, plan.tail, plan.head).acked if found.journal else {}
        return self._queue_of(chunks, found.serializer, plan.tail, plan.head, plan.chunksize, acked)

    def _beside(self, given: Serializer | None) -> Queue:
        """Return the queue as a reader beside its writer sees it."""
        directory = Directory(self._path)
        directory.open()
        try:
            return self._seen(directory, given)
        finally:
            directory.close()

    def _seen(self, directory: Directory, given: Serializer | None) -> Queue:
        before: bytes | None = None
        for _ in range(LOOKS_BESIDE):
            found = directory.look()
            try:
                view = judge(self._path, given, found)
            except StorageError:
                if before is not None and found.info == before:
                    raise
            else:
                if view.mark or found.settled:
                    break
            before = found.info
        else:
            raise QueueLocked(self._path, "a writer that changed it all the time")
        chunks = Chunks(self._files, self._dirfd, view.serializer, list(view.sizes), holes=False)
        acked = directory.acked(view)
        return self._queue_of(chunks, view.serializer, view.tail, view.head, view.chunksize, acked)

    def _queue_of(
        self,
        chunks: Chunks,
        serializer: Serializer,
        tail: Position,
        head: Position,
        chunksize: int,
        acked: Iterable[Position],
    ) -> Queue:
        return Queue(chunks, serializer, tail, head, chunksize, frozenset(acked), self._options.encoding)

    def _about(self, found: Found | None, live: bool) -> About:
        queue = self._queue
        state = found.state if found else None
        mark = state.mark if isinstance(state, Readable) else None
        first = self._first_blob()
        names = listing(self._files.list_dir(self._dirfd))
        sizes = self._sizes(names.numbers)
        details: dict[str, Any] = {
            "chunksize": queue.chunksize,
            "tail": tuple(queue.tail),
            "head": tuple(queue.head),
            "chunks": len(names.numbers),
            "closed": isinstance(state, Readable) and state.exact,
            "open_elsewhere": live if not self._options.lock else False,
            "acknowledged": len(queue.acked),
            "mark": _told(mark) if mark else None,
            "heals": tuple(found.plan.messages) if found else (),
        }
        return About(
            path=self._path,
            kind="file",
            what=f"file queue of {self._writer(live or mark is not None or bool({JOURNAL, DAMAGED} & names.others))}",
            serializer=queue.serializer,
            protocol=protocol_of(first) if queue.serializer is serializers.pickle and first else None,
            items=max(0, layout.distance(queue.chunksize, queue.tail, queue.head) - len(queue.acked)),
            bytes_on_disk=sum(sizes) + len(read_info(self._files, self._dirfd) or b""),
            details=details,
        )

    def _writer(self, ours: bool) -> str:
        """Return who wrote it, as far as its bytes tell."""
        info = read_info(self._files, self._dirfd)
        if ours:
            return "asyncpq"
        if self._queue.serializer is not serializers.pickle or not info:
            return "persist-queue"
        return {0: "pqueue", 2: "persist-queue on Python 2"}.get(protocol_of(info) or 0, "persist-queue")

    def _sizes(self, numbers: Sequence[int]) -> list[int]:
        sizes = []
        for number in numbers:
            with suppress(FileNotFoundError):
                sizes.append(os.stat(chunk_name(number), dir_fd=self._dirfd, follow_symlinks=False).st_size)
        return sizes

    def _first_blob(self) -> bytes:
        first = next(self.batches(), [])
        return first[0].blob if first and first[0].bad is None else b""

    # -- the items --------------------------------------------------------------------------------------

    def batches(self, after: tuple[int, ...] | None = None) -> Iterator[list[Entry]]:
        """See Source."""
        queue, last = self._queue, Position(*after) if after else None
        at = queue.tail if last is None or last < queue.tail else last
        with full_names(self._path):
            while place(at) < place(queue.head):
                walk = Walk(queue, at)
                try:
                    for batch in walk.batches():
                        if left := batch[1:] if batch[0].at == last else batch:
                            yield left
                    at = walk.at
                except FileNotFoundError:
                    moved = None if self._options.lock else self._moved(walk)
                    if moved is None:
                        yield [walk.missing("the chunk is gone")]
                    at = moved or walk.beyond

    def _moved(self, walk: Walk) -> Position | None:
        """Return the tail, where a writer has moved it past the chunk of *walk* meanwhile."""
        queue, _, _ = self._look(self._queue.serializer)
        return queue.tail if place(queue.tail) > place(walk.at) else None

    def loads(self, blob: bytes) -> Any:
        """See Source."""
        return self._load(blob)

    def where(self, entry: Entry) -> str:
        """See Source."""
        return f"{chunk_name(entry.at[0])} at byte {entry.at[2]}"


def _told(mark: Mark) -> dict[str, Any]:
    policies = {policy.code: policy.name for policy in (fsync.Never, fsync.Rollover, fsync.Interval, fsync.Always)}
    return {
        "policy": policies.get(mark.policy, str(mark.policy)),
        "head": tuple(mark.head),
        "tail": tuple(mark.tail),
    }
