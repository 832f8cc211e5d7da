"""Plays a script against a queue, with marks in the recording of what was asked and what was answered."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from asyncpq import AsyncQueue, Delivery, ackfile, serializers
from asyncpq.fsync import Policy
from asyncpq.layout import chunk_number
from asyncpq.serializers import Damaged, Serializer, Torn
from tests.crash.check import DEAD, Subject, item_of, old_serializer, scratch
from tests.crash.old_writer import old_queue
from tests.crash.operations import ROOT, Call, Entry, Link, Place, Rename, Write
from tests.crash.recorder import Recorder, Tree

KEYS: Final = 64  # items that a script may put


class Player:
    """One program: it puts items numbered from 0 on, of *length* characters."""

    def __init__(self, recorder: Recorder, subject: Subject, length: int, *, autosave: bool) -> None:
        self.recorder, self._subject, self._length, self._autosave = recorder, subject, length, autosave
        self._key = 0  # of the next item
        self._left: list[int] = []  # acknowledged, and not done with
        self._got: list[int] = []
        self._claimed: list[Delivery] = []
        self.queue: AsyncQueue

    @property
    def holds(self) -> bool:
        """Whether something was got and is not done."""
        return bool(self._got)

    async def open(self) -> None:
        subject = self._subject
        path = Path(self.recorder.base) / subject.where
        self.queue = AsyncQueue(
            path,
            chunksize=subject.chunksize,
            serializer=subject.serializer,
            autosave=self._autosave,
            fsync=subject.policy,
            dead_letters=Path(self.recorder.base) / DEAD,
        )
        self.queue._files = self.recorder
        assert self.queue._letters is not None
        self.queue._letters._queue._files = self.recorder
        self._claimed = []
        await self.queue.open()

    def after_old(self, before: OldPlay) -> None:
        """Let persist-queue have the directory first."""
        subject, recorder = self._subject, self.recorder
        with old_queue(
            recorder, Path(recorder.base) / subject.where, subject.chunksize, old_serializer(subject)
        ) as queue:
            old = OldPlayer(queue, recorder, self._length)
            before(old)
        recorder.revive()
        self._left = old.left
        self._key = 1 + max(old.left, default=KEYS // 2)

    async def close(self) -> None:
        call = self.recorder.begun("durable")
        await self.queue.close()
        self.recorder.acknowledged(call)
        self._left = self._got + self._left
        self._got.clear()

    async def reopen(self) -> None:
        await self.close()
        await self.open()

    async def sync(self) -> None:
        call = self.recorder.begun("durable")
        await self.queue.sync()
        self.recorder.acknowledged(call)

    # -- put --------------------------------------------------------------------------------------------------

    def found(self, put: list[int], done: list[int]) -> None:
        """What became of the items before the recording began."""
        for call in (self.recorder.begun("put", put), self.recorder.begun("done", done)):
            self.recorder.acknowledged(call)
        self._key = 1 + max(put)
        self._left = [key for key in put if key not in done]

    def _next(self, count: int) -> list[int]:
        keys = list(range(self._key, self._key + count))
        self._key += count
        return keys

    async def put(self) -> None:
        (key,) = self._next(1)
        call = self.recorder.begun("put", [key])
        await self.queue.put(item_of(key, self._length))
        self.recorder.acknowledged(call)
        self._left.append(key)

    async def put_many(self, count: int) -> None:
        keys = self._next(count)
        call = self.recorder.begun("put", keys)
        await self.queue.put_many([item_of(key, self._length) for key in keys])
        self.recorder.acknowledged(call)
        self._left += keys

    async def cancelled_put(self, turns: int) -> None:
        """Cancel a put after so many turns of the loop; it is stored whole or not at all."""
        task = asyncio.ensure_future(self.put())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    # -- get --------------------------------------------------------------------------------------------------

    async def get(self, count: int = 1) -> None:
        call = self.recorder.begun("done", self._left[:count]) if self._autosave else None
        items = [await self.queue.get()] if count == 1 else await self.queue.get_many(count)
        keys = [int(item.split(":")[0]) for item in items]
        # After a kill there may be more than was acknowledged, or less than was asked for.
        self._left = [key for key in self._left if key not in keys]
        if call is None:
            self._got += keys
        else:
            assert set(keys) <= set(call.keys)
            self.recorder.acknowledged(call)

    async def task_done(self) -> None:
        keys, self._got = self._got, []
        call = self.recorder.begun("done", keys)
        await self.queue.task_done()
        self.recorder.acknowledged(call)

    # -- claim ------------------------------------------------------------------------------------------------

    async def claim(self, count: int = 1) -> None:
        self._claimed += await self.queue.claim_many(count)

    @property
    def claimed(self) -> int:
        """How many deliveries are held."""
        return len(self._claimed)

    def _answer(self, name: str, deliveries: Sequence[Delivery]) -> Call:
        """Begin an answer to *deliveries*."""
        records = [_record_of(delivery) for delivery in deliveries]
        return self.recorder.begun(name, [key for key, _ in records], records)

    async def ack(self, *numbers: int) -> None:
        """Acknowledge, at once, the deliveries with these numbers among those that are held."""
        picked = [self._claimed[number] for number in numbers]
        self._claimed = [delivery for delivery in self._claimed if delivery not in picked]
        call = self._answer("done", picked)
        await asyncio.gather(*(delivery.ack() for delivery in picked))
        self.recorder.acknowledged(call)
        self._left = [key for key in self._left if key not in call.keys]

    async def nack(self, number: int) -> None:
        """Give back in place."""
        await self._claimed.pop(number).nack()

    async def nack_to_end(self, number: int) -> None:
        """Give back at the end."""
        delivery = self._claimed.pop(number)
        call = self._answer("move", [delivery])
        await delivery.nack(to_end=True)
        self.recorder.acknowledged(call)

    async def reject(self, number: int) -> None:
        """Move to the dead letters, which are another queue beside this one."""
        delivery = self._claimed.pop(number)
        call = self._answer("reject", [delivery])
        await delivery.reject("no good")
        self.recorder.acknowledged(call)
        self._left = [key for key in self._left if key not in call.keys]

    async def clear(self) -> None:
        call = self.recorder.begun("done", self._got + self._left)
        await self.queue.clear()
        self.recorder.acknowledged(call)
        self._got, self._left = [], []

    # -- kill -9 ------------------------------------------------------------------------------------------------

    async def killed_in(self, work: Awaitable[None], operations: int) -> None:
        """Begin *work*, kill the process after so many operations on the disk, and open the directory again."""
        self.recorder.kill_after = operations
        with suppress(Exception):
            await work
        self.recorder.kill()
        with suppress(Exception):
            await self.queue.close()
        self.recorder.revive()
        self._left = self._got + self._left
        self._got.clear()
        await self.open()


def _record_of(delivery: Delivery) -> tuple[int, Place]:
    position = delivery.claim.position
    return int(delivery.item.split(":")[0]), (position.chunk, position.offset)


Play = Callable[[Player], Awaitable[None]]
OldPlay = Callable[["OldPlayer"], None]
Prepare = Callable[[Path, Subject, int], tuple[list[int], list[int]]]  # returns what was put, and what of it is done


class OldPlayer:
    """One program that uses persist-queue."""

    def __init__(self, queue: Any, recorder: Recorder, length: int) -> None:
        self._queue, self._recorder, self._length = queue, recorder, length
        self.left: list[int] = []
        self._got: list[int] = []
        self._key = 0

    def put(self) -> None:
        call = self._recorder.begun("put", [self._key])
        self.left += call.keys
        self._key += 1
        self._queue.put(item_of(call.keys[0], self._length))

    def killed_put(self, operations: int) -> None:
        """Put, and kill the process after so many operations on the disk."""
        self._recorder.kill_after = operations
        with suppress(OSError):
            self.put()
        self._recorder.kill()

    def get(self) -> None:
        item = self._queue.get(block=False)
        assert int(item.split(":")[0]) == self.left[0]
        self._got.append(self.left.pop(0))

    def task_done(self) -> None:
        self._recorder.begun("done", self._got)
        self._queue.task_done()
        self._got = []


@dataclass(frozen=True, slots=True)
class Script:
    """What is done to a queue."""

    name: str
    play: Play
    where: str = "queue"
    autosave: bool = False
    before: OldPlay | None = None  # what persist-queue did there first
    prepare: Prepare | None = None  # makes what lies there, durably
    crowded: int = ackfile.CROWDED  # bytes from which the journal is written anew


@dataclass(slots=True)
class Recording:
    """A script that was played."""

    subject: Subject
    script: Script
    first: Tree
    log: list[Entry]
    items: dict[str, int]
    places: dict[int, list[Place]] = field(default_factory=dict)


def play(script: Script, subject: Subject, length: int, folder: Path, *, really: bool = False) -> Recording:
    """Play *script* in the empty directory *folder*; *really*: with every sync."""
    subject = replace(subject, where=script.where, foreign=bool(script.before or script.prepare))
    there = script.prepare(folder / subject.where, subject, length) if script.prepare is not None else None
    recorder = Recorder(folder, really=really)
    player = Player(recorder, subject, length, autosave=script.autosave)

    async def run() -> None:
        if script.before is not None:
            player.after_old(script.before)
        if there is not None:
            player.found(*there)
        await player.open()
        await script.play(player)
        await player.close()

    with patch.object(ackfile, "CROWDED", script.crowded):
        asyncio.run(run())
    items = {item_of(key, length): key for key in range(KEYS)}
    places = places_of(recorder.first, recorder.log, subject.serializer)
    return Recording(subject, script, recorder.first, recorder.log, items, places)


def record(
    script: Script, policy: Policy, serializer: str = "pickle", length: int = 20, chunksize: int = 3
) -> Recording:
    """Play *script* in a directory of its own, which is gone afterwards."""
    folder = scratch()
    try:
        return play(script, Subject(script.where, policy, serializers.get(serializer), chunksize), length, folder)
    finally:
        shutil.rmtree(folder)


def places_of(first: Tree, log: Sequence[Entry], serializer: Serializer) -> dict[int, list[Place]]:
    """Where each item was written, in the order of the writes; the dead letters are another queue's."""
    chunks: dict[int, int] = {}  # node -> chunk number
    for names in first.names.values():
        for name, node in names.items():
            _number(chunks, node, name)
    places: dict[int, list[Place]] = {}
    for node in chunks:
        _add_records(places, first.files[node].data, 0, chunks[node], serializer)
    dead = {entry.node for entry in log if isinstance(entry, Link) and (entry.directory, entry.name) == (ROOT, DEAD)}
    for entry in log:
        match entry:
            case Link(directory=where, name=name, node=node) | Rename(target=where, new=name, node=node):
                if where not in dead:
                    _number(chunks, node, name)
            case Write(node, offset, data) if node in chunks:
                _add_records(places, data, offset, chunks[node], serializer)
    return places


def _number(chunks: dict[int, int], node: int, name: str) -> None:
    number = chunk_number(name)
    if number is not None:
        chunks[node] = number


def _add_records(places: dict[int, list[Place]], data: bytes, offset: int, chunk: int, serializer: Serializer) -> None:
    at = 0
    while at < len(data):
        try:
            item, end = serializer.decode(data, at)
        except (Torn, Damaged):
            break
        found = places.setdefault(int(item.split(":")[0]), [])
        if (chunk, offset + at) not in found:
            found.append((chunk, offset + at))
        at = end
