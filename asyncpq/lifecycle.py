"""From making a queue to closing it: the same for directories and databases.

    made ──> opening ──> open ──> closing ──> closed
             (a job in a thread, shared by all first calls)

A queue belongs to the event loop that opened it, and to its process.  A subclass says how its engine is opened.
"""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from asyncio import get_running_loop
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, Self, TypeVar

from asyncpq.errors import QueueClosed, QueueFailed, WrongContext
from asyncpq.lane import resolve
from asyncpq.misuse import OnlyAsync

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from asyncpq.fsync import Policy

logger: Final = logging.getLogger("asyncpq")


class OpenQueue(Protocol):
    """What the lifecycle asks of an engine."""

    refusal: Callable[[], BaseException] | None
    failure: QueueFailed | None
    draining: bool
    stopped: bool
    thread: int  # in which its loop ran when it was last asked for

    @property
    def ready(self) -> int:
        """How many items get can hand out."""

    @property
    def released(self) -> bool:
        """Whether its files are closed."""

    def closed(self) -> QueueClosed:
        """Return the error for calls after the end."""

    def refuse(self, error: Callable[[], BaseException]) -> None:
        """Let everyone who waits, and every later call, get an error."""

    def shut_down(self, *, immediate: bool) -> None:
        """Let puts be refused, and gets once nothing is left, or at once."""

    def close(self) -> asyncio.Future[None]:
        """Make all durable and release everything."""

    def forsake(self) -> None:
        """Release everything: the queue was dropped without being closed."""


E = TypeVar("E", bound=OpenQueue)


class Lifecycle(OnlyAsync, Generic[E]):
    """Opens at the first use, or in ``async with``; closes once."""

    path: str | os.PathLike[str]
    fsync: Policy

    def __init__(self) -> None:
        """Open nothing yet."""
        self._engine: E | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._opening: asyncio.Future[E] | None = None
        self._closing: asyncio.Future[None] | None = None

    def _start(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[E]:
        """Begin to open; the future is of the engine, and whoever waits for it may be cancelled."""
        raise NotImplementedError

    def _started(self, engine: E) -> None:
        """Take over what is open now."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """Whether `close` was called: no call but close is taken any more."""
        return self._closing is not None

    def __repr__(self) -> str:
        """Name the path and the state, never an item."""
        if self._closing is not None:
            state = "closed"
        elif self._engine is None:
            state = "not open yet"
        else:
            state = f"{self._engine.ready} items"
        return f"<{type(self).__name__} {os.fspath(self.path)!r} fsync={self.fsync.name} {state}>"

    async def open(self) -> Self:
        """Open the directory or database, healing it where it has to be; does nothing when it is open.

        Raises:
            NotAQueue, WrongSerializer, CorruptQueue, QueueLocked: see there; nothing was changed.
            ValueError: a new directory needs a chunksize of at least 1, and a serializer whose load stops at the end of
                its record.
            OSError: it cannot be made or read.

        Cancellation: the opening goes on; the next call waits for it.
        """
        await self._enter()
        return self

    async def _enter(self, *, putting: bool = False, getting: bool = False) -> E:
        """Return the open engine, or raise what this call has to be told."""
        engine = await self._opened()
        if engine.refusal is not None:
            raise engine.refusal()
        if (putting and engine.draining) or (getting and engine.stopped):
            raise engine.closed()
        return engine

    async def _opened(self) -> E:
        loop = get_running_loop()
        if self._pid != os.getpid():
            # The child of a fork.  What was open is the parent's; what was being opened never is here.
            if self._engine is not None and self._engine.refusal is not None:
                raise self._engine.refusal()
            self._pid, self._opening, self._loop = os.getpid(), None, None
        if self._loop is not None and self._loop is not loop:
            raise WrongContext(self._elsewhere())
        if self._closing is not None:
            raise self._closed()
        if self._engine is not None:
            self._engine.thread = get_ident()
            return self._engine
        self._loop = loop
        if self._opening is None:
            self._opening = self._open(loop)
        opening = self._opening
        engine = await asyncio.shield(opening)
        self._is_open(opening)  # the callback may come only in the next turn of the loop
        return engine

    def _open(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[E]:
        opening = self._start(loop)
        opening.add_done_callback(self._is_open)
        return opening

    def _is_open(self, opening: asyncio.Future[E]) -> None:
        if self._opening is not opening:
            return
        self._opening = None
        if opening.exception() is not None:
            self._loop = None
            return
        self._engine = engine = opening.result()
        self._started(engine)
        logger.info("%s: opened with fsync=%s: %d items", self.path, self.fsync.name, engine.ready)

    def _elsewhere(self) -> str:
        if self._loop is not None and self._loop.is_closed():
            return (
                f"{self.path}: the event loop that opened this queue has ended, as it does with each asyncio.run; "
                f"open, use and close a queue in one asyncio.run: 'async with {type(self).__name__}(path) as queue'"
            )
        return (
            f"{self.path}: this queue belongs to another event loop, the one that opened it; "
            f"close it there and make a new one here"
        )

    def _closed(self) -> QueueClosed:
        return QueueClosed(f"{self.path}: the queue was closed; open it again with {type(self).__name__}(path)")

    def shutdown(self, immediate: bool = False) -> None:
        """Refuse puts from now on, and gets once the queue is empty, as Python 3.13's asyncio.Queue.

        With *immediate*, gets are refused at once, and everyone who waits gets QueueClosed; the items stay on the
        disk.  task_done goes on for what was got.  The queue still has to be closed.
        """
        engine = self._engine
        if engine is None:
            raise self._closed() if self._closing is not None else RuntimeError(f"{self.path}: not open yet")
        engine.shut_down(immediate=immediate)

    async def close(self) -> None:
        """Make everything durable, and release files and lock; a directory is left exactly as persist-queue would.

        Items that were got and not committed come again when it is reopened.  Everyone who waits gets QueueClosed.
        Does nothing when the queue is closed, or was never opened.  After a failed sync nothing is written.

        Raises:
            QueueFailed: the last sync failed; files and lock are released all the same.

        Cancellation: the closing goes on, and the lock is freed at its end.
        """
        if self._closing is None:
            if self._loop is not None and self._loop is not get_running_loop():
                raise WrongContext(self._elsewhere())
            self._closing = get_running_loop().create_future()
            self._close(self._closing)
        await asyncio.shield(self._closing)

    def _close(self, closing: asyncio.Future[None]) -> None:
        if self._opening is not None:
            self._opening.add_done_callback(lambda _: self._close(closing))
            return
        if self._engine is None:
            closing.set_result(None)
            return
        engine = self._engine
        if engine.failure is None:
            engine.refuse(engine.closed)
        first = self._closing_first(engine)
        if first is None:
            self._close_engine(engine, closing)
        else:
            first.add_done_callback(lambda _: self._close(closing))

    def _close_engine(self, engine: E, closing: asyncio.Future[None]) -> None:
        def done(closed: asyncio.Future[None]) -> None:
            error = closed.exception()
            logger.info("%s: closed", self.path)
            last = self._closing_last(engine)
            if last is None:
                ended(error)
            else:
                last.add_done_callback(lambda last: ended(error or last.exception()))

        def ended(error: BaseException | None) -> None:
            resolve(closing, None, QueueFailed(self.path, error) if isinstance(error, OSError) else error)

        engine.close().add_done_callback(done)

    def _closing_first(self, engine: E) -> asyncio.Future[None] | None:
        """Begin what has to be done before the engine is closed; None: nothing has to be any more."""
        return None

    def _closing_last(self, engine: E) -> asyncio.Future[None] | None:
        """Begin what has to be done when the engine is closed; None: nothing has to."""
        return None

    async def __aenter__(self) -> Self:
        """Open the queue; when that is cancelled, it is closed again."""
        try:
            return await self.open()
        except asyncio.CancelledError:
            if self._closing is None:
                self._closing = get_running_loop().create_future()
                self._close(self._closing)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the queue."""
        await self.close()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        """Warn about a queue that was never closed; what it stored is there."""
        engine = getattr(self, "_engine", None)
        if engine is None or engine.released or self._closing is not None:
            return
        text = (
            f"unclosed queue {self!r}: what it acknowledged is stored, and its files are given back now; "
            f"use 'async with', or 'await queue.close()' when you are done"
        )
        _warn(text, ResourceWarning, source=self)
        engine.forsake()
