"""`forward`: the queue is opened, where it is not, and the target reached, whenever that is."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import MixedUse, NotAQueue
from asyncpq.forwarding.finishing import ended
from asyncpq.forwarding.forwarder import Forwarder
from asyncpq.forwarding.notefile import NoteFile
from asyncpq.forwarding.outlet import Outlet
from asyncpq.forwarding.pauses import MOST
from asyncpq.forwarding.records import Records
from asyncpq.forwarding.report import ForwardReport
from asyncpq.forwarding.setaside import Aside
from asyncpq.forwarding.wishes import Wishes
from asyncpq.nats.login import login
from asyncpq.nats.queue import AsyncNatsQueue
from asyncpq.nats.streams import Settings
from asyncpq.queue import AsyncQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["forward"]

IN_DOUBT: Final = ("send", "skip")


async def forward(
    queue: AsyncQueue | str | os.PathLike[str],
    target: AsyncNatsQueue | str | Sequence[str],
    name: str | None = None,
    *,
    drain: bool = False,
    stop: asyncio.Event | None = None,
    skip_bad: bool | str | os.PathLike[str] = False,
    in_doubt: str = "send",
    patience: float | None = None,
    pause: float = MOST,
    serializer: Any = None,
    timeout: float = 5.0,
    progress: Callable[[ForwardReport], object] | None = None,
    **more: Any,
) -> ForwardReport:
    """Move the items of *queue* to a queue on NATS, each once and in order, as they come.

    An item is acknowledged here only after the server has confirmed it.  Records travel as the bytes they are: nothing
    is decoded to be sent, and no pickle is run.  While the server is away, or full, the items stay, and those who put
    them notice nothing.  A crash sends at most the batch again that was on its way, and the server, or a look at what
    it holds, tells which of it is there.

    Args:
        queue: a file queue; or the path of one, which nobody else may have open meanwhile: producers of the same
            process share the object, and a directory that another process has open is refused.
        target: an AsyncNatsQueue, whose servers and settings are used, or the address of a server, or several.
        name: of the queue there, with an address; it is made if it is missing.
        drain: return when nothing is left; else wait for more, until the queue is shut down and empty.
        stop: set it to have `forward` return, after what is on its way is confirmed or given up.
        skip_bad: set aside what is damaged, or larger than the server takes, in this file, or with True in
            ``PATH.bad.jsonl``, and go on; without it that is an error, and the record stays.
        in_doubt: what to do with items of which nobody can tell whether the target had them, and its consumers took
            them, before a crash: "send" them, perhaps a second time, or "skip" them, which is right where nobody else
            puts into that queue.  They are counted.
        patience: seconds without any confirmation after which ServerAway is raised; None: wait for ever.  Room in a
            full queue is waited for in any case.
        pause: seconds between two tries, at most; the first ones are shorter, and a part of each is left to chance.
        serializer: as for AsyncQueue, with a path.
        timeout: seconds for each question to the server.
        progress: called on the loop after each batch, and when the server is lost; what it raises ends it.
        more: token, user, password, credentials, tls, as for AsyncNatsQueue; and maxsize, replicas, storage, max_bytes,
            duplicate_window of a queue that is made, which one that is there has to have, too.

    Raises:
        ValueError: the arguments do not go together.
        QueueLocked: another process has the directory open.
        MixedUse: something was got or claimed from *queue* since it was opened.
        CorruptRecord, RecordTooLarge: a record cannot be forwarded; it stays, and so does all behind it.
        NotAQueue, WrongSettings, AccessDenied: of the target.
        ServerAway: the patience is over.
        QueueClosed, QueueFailed, OSError: of the directory.

    Cancellation: what the server has confirmed is acknowledged here first; the rest stays, and is next.
    """
    if in_doubt not in IN_DOUBT:
        raise ValueError(f"in_doubt is 'send' or 'skip', not {in_doubt!r}")
    path = Path(queue.path if isinstance(queue, AsyncQueue) else queue)
    aside = None if skip_bad is False else Aside(_aside(path, skip_bad))
    wishes = Wishes(drain, in_doubt == "skip", patience, pause, aside)
    make = _outlet_of(target, name, timeout, more)
    async with AsyncExitStack() as stack:
        if not isinstance(queue, AsyncQueue):
            if not await asyncio.to_thread(os.path.isdir, path):
                raise NotAQueue(path, "there is no directory of a queue at this path")
            queue = await stack.enter_async_context(AsyncQueue(queue, serializer=serializer))
        records = await _records_of(queue)
        stack.callback(_free, records)
        outlet = make(records.serializer.NAME)
        stack.push_async_callback(outlet.close)
        notes = await _notes(records, path)
        stack.push_async_callback(records.engine.run, notes.close)
        report = ForwardReport(path, outlet.address)
        forwarder = Forwarder(records, notes, outlet, wishes, report, progress or (lambda _: None))
        await _until(stop, forwarder)
        return forwarder.report


def _aside(path: Path, skip_bad: bool | str | os.PathLike[str]) -> Path:
    return path.with_name(f"{path.name}.bad.jsonl") if isinstance(skip_bad, bool) else Path(skip_bad)


def _outlet_of(
    target: AsyncNatsQueue | str | Sequence[str], name: str | None, timeout: float, more: dict[str, Any]
) -> Callable[[str], Outlet]:
    """Return what makes the outlet, once the serializer is known."""
    if isinstance(target, AsyncNatsQueue):
        if name is not None or more:
            raise ValueError("name, login and settings are those of the queue that was given as target: leave them out")
        door, settings, exactly = target._login, target._settings, True
    else:
        if name is None:
            raise ValueError("say what the queue on the server is called: forward(queue, servers, name)")
        wished = {key: more.pop(key) for key in _SETTINGS & set(more)}
        door, settings, exactly = login(target, **more), Settings(name, **wished), bool(wished)
    if settings.duplicate_window <= 2 * timeout:
        raise ValueError("duplicate_window has to be more than twice the timeout: what is not answered is sent again")
    return lambda serializer: Outlet(door, settings, serializer, timeout, exactly=exactly)


_SETTINGS: Final = frozenset({"maxsize", "replicas", "storage", "max_bytes", "duplicate_window"})


async def _records_of(queue: AsyncQueue) -> Records:
    """Return the consumer's side of *queue*, taken over now or by an earlier call.

    Raises:
        MixedUse: two forward it at once, or see `forward`.
    """
    before = getattr(queue, "_consumer", None)
    records = before if isinstance(before, Records) else await queue._hand_over(Records)
    if records.busy:
        raise MixedUse(queue.path, "forward", "forward")
    records.busy = True
    return records


def _free(records: Records) -> None:
    records.busy = False


async def _notes(records: Records, path: Path) -> NoteFile:
    engine = records.engine
    head = engine.log.chunks.head if records.noted else engine.opened.head
    notes: NoteFile = await engine.run(lambda: NoteFile(records.files, records.dirfd, str(path), head))
    records.noted = True
    return notes


async def _until(stop: asyncio.Event | None, forwarder: Forwarder) -> None:
    """Run *forwarder*, until its end or until *stop* is set."""
    running = asyncio.ensure_future(forwarder.run())
    waiting = asyncio.ensure_future(stop.wait()) if stop is not None else None
    both: Sequence[asyncio.Future[Any]] = [running] if waiting is None else [running, waiting]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if waiting is not None:
            waiting.cancel()
        running.cancel()
        await ended(running)
    if not running.cancelled():
        running.result()
