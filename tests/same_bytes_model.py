"""What the files of a queue must hold, byte for byte; and persist-queue and asyncpq side by side.

    records    0 1 2 3 4 5 6 7 8
                   ^tail ^cursor ^len(records): head
               info says tail; the cursor is in memory: where the next get reads

The model knows every record that was ever put.  A queue keeps two numbers of its own, and so the bytes of both
follow from one list, also where they differ: persist-queue's put writes its cursor into info, ours keeps the tail.
"""

import asyncio
import importlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import persistqueue
from hypothesis import strategies as st

from asyncpq import AsyncQueue, Empty, fsync

SERIALIZERS: Final = ("pickle", "json", "msgpack", "cbor2")
CHUNKSIZES: Final = (1, 2, 3, 7, 10, 100)
SLOT: Final = 512  # bytes of info while one of our queues is open, ...
MARK: Final = 64  # ... the last of which are no part of the zeros behind the record

Files = dict[str, bytes]


def upstream(name: str) -> Any:
    """persist-queue's serializer of this name."""
    return importlib.import_module(f"persistqueue.serializers.{name}")


def record_of(name: str, value: object) -> bytes:
    """The bytes that persist-queue writes for *value*."""
    file = io.BytesIO()
    upstream(name).dump(value, file)
    return file.getvalue()


def files_in(folder: Path) -> Files:
    """All files in *folder*, which has no folders in it."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- values --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A class of the user's own; only pickle carries it."""

    name: str
    when: complex


def _repeated(pattern: Any, length: int) -> Any:
    return (pattern * (length // len(pattern) + 1))[:length]


# Empty, small, about the size of a frame of a pickle and of the longest inline write, and 140 kB.
LENGTHS: Final = st.one_of(st.integers(0, 300), st.integers(65_400, 65_600), st.integers(139_000, 140_000))
LONG_TEXT: Final = st.builds(_repeated, st.sampled_from(("x", "ab\n", 'q"\\')), LENGTHS)
LONG_BYTES: Final = st.builds(_repeated, st.sampled_from((b"\0", b".\x80\x04", bytes(range(256)))), LENGTHS)
INT64: Final = st.integers(-(2**63), 2**64 - 1)


def _nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.tuples(inner, inner), st.dictionaries(keys, inner, max_size=4)
        ),
        max_leaves=8,
    )


def values(name: str) -> st.SearchStrategy[Any]:
    """Every kind of value that *name* carries, from nothing to 140 kB."""
    plain = st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=20))
    surrogates = st.text(st.characters(categories=["Cs", "Ll"]), max_size=5)
    small: st.SearchStrategy[Any]
    match name:
        case "json":
            small, long = _nested(plain | st.integers() | surrogates, st.text(max_size=5)), LONG_TEXT
        case "msgpack":
            small = _nested(plain | INT64 | st.binary(max_size=20), st.text(max_size=5) | st.binary(max_size=5))
            long = LONG_TEXT | LONG_BYTES
        case "cbor2":
            small = _nested(plain | st.integers() | st.binary(max_size=20), st.text(max_size=5) | st.integers())
            long = LONG_TEXT | LONG_BYTES
        case _:
            odd = st.one_of(
                st.complex_numbers(allow_nan=False), st.datetimes(), st.builds(Task, st.text(), st.just(1j))
            )
            small = _nested(plain | st.integers() | surrogates | odd | st.binary(max_size=20), st.integers())
            long = LONG_TEXT | LONG_BYTES
    return st.one_of(small, small, long)


# -- the model -----------------------------------------------------------------------------------------------


@dataclass
class Side:
    """What one of the two queues knows besides the records."""

    tail: int = 0  # records that info says are consumed
    cursor: int = 0  # records that get has handed out
    unfinished: int = 0

    def task_done(self) -> bool:
        """Count an item as done and commit; False: there was none, and nothing is changed."""
        if self.unfinished == 0:
            return False
        self.unfinished -= 1
        self.tail = self.cursor
        return True


@dataclass
class Model:
    """Every record that was put, and what the files are with the tail at some record."""

    name: str
    chunksize: int
    records: list[bytes] = field(default_factory=list)

    def item(self, number: int) -> object:
        return upstream(self.name).load(io.BytesIO(self.records[number]))

    def position(self, number: int) -> list[int]:
        chunk, count = divmod(number, self.chunksize)
        return [chunk, count, sum(map(len, self.records[number - count : number]))]

    def info(self, tail: int) -> bytes | None:
        """The record in info; a queue that nothing was ever put to has none."""
        if not self.records:
            return None
        head = len(self.records)
        said = {
            "chunksize": self.chunksize,
            "size": head - tail,
            "tail": self.position(tail),
            "head": self.position(head),
        }
        return record_of(self.name, said)

    def files(self, tail: int) -> Files:
        """All files of a closed queue."""
        size = self.chunksize
        chunks = range(tail // size, len(self.records) // size + 1)
        files = {f"q{n:05d}": b"".join(self.records[n * size : (n + 1) * size]) for n in chunks}
        info = self.info(tail)
        return files if info is None else files | {"info": info}


# -- the two queues ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How both are opened; what persist-queue does not know is for ours alone."""

    autosave: bool
    policy: fsync.Policy
    inline_limit: int = 65536
    found_out: bool = False  # ours is not told the serializer, where there is an info to tell it


def ways(*policies: fsync.Policy) -> st.SearchStrategy[Way]:
    limits = st.sampled_from((65536, 65536, 0, 64))
    return st.builds(Way, st.booleans(), st.sampled_from(policies), limits, st.booleans())


class Pair:
    """persist-queue's Queue and our AsyncQueue on directories of their own; after each step, the same bytes."""

    def __init__(self, runner: asyncio.Runner, folder: Path, model: Model) -> None:
        self.run = runner.run
        self.model = model
        self.theirs, self.ours = Side(), Side()
        self.their_path, self.our_path = folder / "a", folder / "b"
        self.way: Way
        self.their_queue: Any
        self.our_queue: AsyncQueue

    @property
    def equal(self) -> bool:
        """Whether the same bytes are promised now."""
        return self.theirs.tail == self.ours.tail

    def open(self, way: Way, chunksize: int) -> None:
        """Open both; *chunksize* counts as long as nothing was put."""
        self.way = way
        if not self.model.records:
            self.model.chunksize = chunksize
        for side in (self.theirs, self.ours):
            side.cursor = side.tail
            side.unfinished = len(self.model.records) - side.tail
        self.their_queue = persistqueue.Queue(
            str(self.their_path),
            chunksize=chunksize,
            tempdir=str(self.their_path.parent),
            serializer=upstream(self.model.name),
            autosave=way.autosave,
        )
        self.our_queue = AsyncQueue(
            self.our_path,
            chunksize=chunksize,
            serializer=None if way.found_out and self.model.records else self.model.name,
            autosave=way.autosave,
            fsync=way.policy,
            inline_limit=way.inline_limit,
        )
        self.run(self._open())

    async def _open(self) -> None:
        await self.our_queue.open()
        assert not self.our_queue.recovery  # what either left needs no healing

    def swap(self) -> None:
        """Let each have, from the next opening on, the directory that the other left."""
        self.their_path, self.our_path = self.our_path, self.their_path
        self.theirs.tail, self.ours.tail = self.ours.tail, self.theirs.tail

    def close(self) -> None:
        self.their_queue.headf.close()  # persist-queue has no close
        self.their_queue.tailf.close()
        self.run(self.our_queue.close())

    # -- one operation on both -----------------------------------------------------------------------------

    def put(self, value: object) -> None:
        self._put_theirs(value)
        self.run(self.our_queue.put(value))

    def put_many(self, several: list[Any]) -> None:
        for value in several:
            self._put_theirs(value)
        assert self.run(self.our_queue.put_many(several)) == len(several)

    def _put_theirs(self, value: object) -> None:
        self.model.records.append(record_of(self.model.name, value))
        self.their_queue.put(value)
        self.theirs.tail = self.theirs.cursor  # the one behaviour that ours does not copy
        self.theirs.unfinished += 1
        self.ours.unfinished += 1

    def get(self) -> None:
        self._take(self.theirs, self._get_theirs())
        self._take(self.ours, self._get_ours())

    def get_many(self, limit: int) -> None:
        """persist-queue gets as many as ours gave."""
        got = self._get_many_ours(limit)
        for _ in range(max(len(got), 1)):
            self._take(self.theirs, self._get_theirs())
        self._take(self.ours, got)

    def _get_theirs(self) -> list[Any]:
        try:
            return [self.their_queue.get_nowait()]
        except persistqueue.Empty:
            return []

    def _get_ours(self) -> list[Any]:
        try:
            return [self.run(self.our_queue.get_nowait())]
        except Empty:
            return []

    def _get_many_ours(self, limit: int) -> list[Any]:
        if self.run(self.our_queue.empty()):
            return []
        got: list[Any] = self.run(self.our_queue.get_many(limit))
        assert 1 <= len(got) <= limit
        return got

    def _take(self, side: Side, got: list[Any]) -> None:
        """What was got must be what comes next, as it is read from the record."""
        left = len(self.model.records) - side.cursor
        assert got or not left
        for value in got:
            # 1 is True and NaN is not NaN: what counts is what can be seen.
            assert repr(value) == repr(self.model.item(side.cursor))
            side.cursor += 1
        if self.way.autosave and got:
            side.tail = side.cursor

    def task_done(self) -> None:
        for side, call in ((self.theirs, self._their_task_done), (self.ours, self._our_task_done)):
            tail = side.tail
            assert call() is side.task_done()
            if self.way.autosave:
                side.tail = tail

    def _their_task_done(self) -> bool:
        try:
            self.their_queue.task_done()
        except ValueError:
            return False
        return True

    def _our_task_done(self) -> bool:
        try:
            self.run(self.our_queue.task_done())
        except ValueError:
            return False
        return True

    def look(self) -> None:
        """Do to ours all that leaves no trace."""
        left = len(self.model.records) - self.ours.cursor
        assert self.run(self.our_queue.qsize()) == left
        if left:
            assert repr(self.run(self.our_queue.peek())) == repr(self.model.item(self.ours.cursor))
        self.run(self.our_queue.sync())

    # -- the same bytes ------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """While both are open: the chunk files, and the record in info, with zeros and the mark behind it."""
        theirs = files_in(self.their_path)
        assert theirs == self.model.files(self.theirs.tail)  # else the model is wrong
        expected = theirs if self.equal else self.model.files(self.ours.tail)
        if self.way.autosave and {path.name for path in self.our_path.iterdir()} != expected.keys():
            # A chunk that an autosave get emptied is removed after it has returned.
            self.run(self.our_queue.sync())
        ours = files_in(self.our_path)
        record, info = expected.pop("info", b""), ours.pop("info", b"")
        assert ours == expected
        assert info[: len(record)] == record
        if len(info) > len(record):
            assert len(info) == SLOT
            assert not any(info[len(record) : -MARK])

    def check_closed(self) -> None:
        """While both are closed: every file."""
        theirs, ours = files_in(self.their_path), files_in(self.our_path)
        assert theirs == self.model.files(self.theirs.tail)
        assert ours == (theirs if self.equal else self.model.files(self.ours.tail))

    def drain(self) -> None:
        """Get everything from both, each item done before the next; then both say the same again."""
        while min(self.theirs.cursor, self.ours.cursor) < len(self.model.records):
            self.get()
            self.task_done()
        self.check_open()
        assert self.equal
