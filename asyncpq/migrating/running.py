"""`migrate`: the work runs in one thread, what it tells is called on the loop."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from asyncpq import threads
from asyncpq.lane import call_loop, resolve

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from asyncpq.migrating.plan import Wish
    from asyncpq.migrating.report import MigrationReport, Progress
    from asyncpq.sources import Spec

__all__ = ["migrate"]

EVERY: Final = 0.05  # seconds from one call of *progress* to the next, but for a new phase


async def migrate(
    source: str | os.PathLike[str] | Spec,
    target: str | os.PathLike[str] | None = None,
    *,
    serializer: Any = None,
    chunksize: int | None = None,
    queue_class: str | None = None,
    encoding: str | None = None,
    unpickle: bool = False,
    lossy: bool = False,
    skip_bad: bool | str | os.PathLike[str] = False,
    in_place: bool = False,
    gap: bool = False,
    source_serializer: Any = None,
    nats: Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> MigrationReport:
    """Move a copy of the queue at *source* to *target*; on return that is durable, verified, and has its name.

    The source is locked and read, and never changed.  The target is built as ``TARGET.partial``, read back from the
    disk, and gets its name in one step.  A crash leaves the source whole and no target; the next call with the same
    arguments resumes what it finds, and what does not fit it is made anew.  A queue on a server is built under its own
    name, and cannot be opened before it is verified; after a crash it is made anew.

    Args:
        source: a path, `sqlite:PATH#NAME`, or `nats://HOST:PORT/NAME`, of which nothing is consumed; what lies there
            is found out.
        target: a directory for a file queue, `sqlite:PATH#NAME`, or `nats://HOST:PORT/NAME`; an empty directory counts
            as nothing, and so does a queue on a server without messages.
        serializer: a name or a module, as for AsyncQueue; None: the source's.
        chunksize: records in a chunk of a file queue; None: the source's, or 100.
        queue_class: of a SQLite queue: fifo, filo, unique, priority, ack, filo-ack or unique-ack; None: the
            source's, or fifo.
        encoding: of Python 2's byte strings in pickles: a codec, or "bytes".  Pickles are then written anew.
        unpickle: run what pickles say, and convert objects of classes; without it they become plain data, or are
            copied as bytes from pickle to pickle.
        lossy: accept what the target cannot carry; the report says what became of it.
        skip_bad: set aside what cannot be read, in this file, or with True in ``TARGET.bad.jsonl``.
        in_place: convert the queue under its own name; the old one becomes ``PATH.bak``.
        gap: let it have no name for a moment, where old and new cannot be exchanged in one step.
        source_serializer: what the source was written with; None: what is found out.
        nats: for nats:// addresses: token, user, password, credentials, tls, as for AsyncNatsQueue; and replicas,
            storage, maxsize, max_bytes, duplicate_window of a queue that is made there.
        progress: called on the loop now and then, and at the beginning of each phase.

    Raises:
        ValueError: the arguments do not go together.
        NotAQueue, WrongSerializer, CorruptQueue: of the source.
        QueueLocked: somebody has the source open, or another migration is at work on this target.
        Unfit: the target cannot carry some items; nothing was written.
        Unreadable: some items cannot be read; nothing is left.
        InTheWay: the target, or another name that is needed, is there.
        NeedsGap: see *gap*.
        MigrationError: the source was changed meanwhile, or the disk gave back something else than was written.
        OSError: reading or writing failed; what was built is removed.

    Cancellation: the thread stops behind the batch at hand, removes what it built, and gives the locks back; then the
    cancellation goes on.  If the target had its name already, it stays.
    """
    from asyncpq.migrating.plan import make_wish  # who only uses a queue needs none of this

    wish = make_wish(
        source,
        target,
        serializer=serializer,
        chunksize=chunksize,
        kind=queue_class,
        encoding=encoding,
        unpickle=unpickle,
        lossy=lossy,
        skip_bad=skip_bad,
        in_place=in_place,
        gap=gap,
        source_serializer=source_serializer,
        nats=nats or {},
    )
    return await _Running(wish, progress).result()


class _Stopped(Exception):
    """Raised in the thread, where nobody waits for it any more."""


class _Running:
    """The thread's work, as it is seen from the loop."""

    def __init__(self, wish: Wish, progress: Callable[[Progress], None] | None) -> None:
        self._wish, self._progress = wish, progress
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[MigrationReport] = self._loop.create_future()
        self._stop = threading.Event()
        self._failed: Exception | None = None  # what *progress* raised
        self._told: tuple[str, float] = "", 0.0

    async def result(self) -> MigrationReport:
        """Wait for the thread, whatever happens."""
        threads.pool.submit(self._work)
        try:
            return await asyncio.shield(self._done)
        except asyncio.CancelledError:
            self._stop.set()
            await self._ended()
            raise
        except _Stopped:
            assert self._failed is not None
            raise self._failed from None

    async def _ended(self) -> None:
        while not self._done.done():
            try:
                await asyncio.wait([self._done])
            except asyncio.CancelledError:  # once more: it is on its way
                continue
        self._done.exception()

    def _work(self) -> None:
        try:
            from asyncpq.migrating.work import migrate_now

            report = migrate_now(self._wish, self._tell)
        except BaseException as error:
            call_loop(self._loop, resolve, self._done, None, error)
        else:
            call_loop(self._loop, resolve, self._done, report, None)

    def _tell(self, progress: Progress) -> None:
        """Called in the thread."""
        if self._stop.is_set():
            raise _Stopped
        now = time.monotonic()
        phase, last = self._told
        if self._progress is not None and (phase != progress.phase or now - last >= EVERY):
            self._told = progress.phase, now
            call_loop(self._loop, self._call, progress)

    def _call(self, progress: Progress) -> None:
        """Called on the loop."""
        assert self._progress is not None
        try:
            if not self._stop.is_set():
                self._progress(progress)
        except Exception as error:
            self._failed = error
            self._stop.set()
