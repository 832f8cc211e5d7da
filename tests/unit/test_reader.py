"""QueueReader: what a consumer would get, without a trace of having looked."""

import asyncio
import json
import os
import pickle
import threading
import tracemalloc
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import persistqueue
import pytest

from asyncpq import layout, serializers
from asyncpq.errors import CorruptQueue, CorruptRecord, QueueClosed
from asyncpq.files import FILES
from asyncpq.layout import Mark, Position
from asyncpq.reader import READ_AHEAD, QueueReader, Record
from tests.golden_dirs import GOLDEN, Golden, digests, listed
from tests.reader_dirs import ALWAYS, INTERVAL, append, info, items_of, slot, two_chunks, write

# What a consumer must get.


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
@pytest.mark.parametrize("unpickle", [False, True])
async def test_a_directory_of_a_real_release_is_read_whole(golden: Golden, unpickle: bool) -> None:
    async with QueueReader(golden.path, unpickle=unpickle) as reader:
        assert listed([item async for item in reader]) == golden.items
        assert reader.size == len(golden.items)
        assert reader.tail == golden.tail
        assert reader.chunks == layout.chunk_numbers(golden.files)
        assert reader.bytes_on_disk == sum(
            size for name, (size, _) in golden.files.items() if name not in golden.strays
        )
        assert reader.closed == golden.tells_serializer
        if golden.tells_serializer:
            assert (reader.serializer, reader.chunksize) == (golden.serializer, golden.chunksize)
        if not golden.adopted:
            assert reader.head == golden.head


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
async def test_looking_leaves_no_trace(golden: Golden, tmp_path: Path) -> None:
    folder = golden.copy(tmp_path)
    before = digests(folder)
    files = [folder, *folder.iterdir()]
    for path in files:
        os.utime(path, ns=(10**18, 2 * 10**18))  # last read before it was written: any look would be noted
    stats = [path.stat() for path in files]
    async with QueueReader(folder) as reader:
        assert len([item async for item in reader]) == len(golden.items)
        await reader.refresh()
    assert [path.stat() for path in files] == stats
    assert digests(folder) == before


async def test_iterations_start_at_the_tail_any_number_of_times(tmp_path: Path) -> None:
    write(tmp_path, list(range(10)))
    async with QueueReader(tmp_path) as reader:
        async for item in reader:
            assert item == 0
            break
        assert [item async for item in reader] == list(range(10))
        pairs = [(one, two) async for one in reader if one < 2 async for two in reader]
        assert pairs == [(one, two) for one in range(2) for two in range(10)]


async def test_an_iteration_sees_what_was_put_after_opening_and_not_what_comes_later(tmp_path: Path) -> None:
    write(tmp_path, [0, 1])
    async with QueueReader(tmp_path) as reader:
        append(tmp_path / "q00000", b"2\n")
        (tmp_path / "info").write_bytes(info(9, layout.START, Position(0, 3, 6)))
        seen = []
        async for item in reader:
            seen.append(item)
            append(tmp_path / "q00000", b"9\n")
            (tmp_path / "info").write_bytes(info(9, layout.START, Position(0, 9, 18)))
        assert seen == [0, 1, 2]


async def test_records_say_where_each_item_lies(tmp_path: Path) -> None:
    head = write(tmp_path, ["a", "bb", 3, 4])
    async with QueueReader(tmp_path) as reader:
        records = [record async for record in reader.records()]
        assert records == [
            Record(Position(0, 0, 0), 4, "a"),
            Record(Position(0, 1, 4), 5, "bb"),
            Record(Position(0, 2, 9), 2, 3),
            Record(Position(1, 0, 0), 2, 4),
        ]
        assert records[-1].end == reader.head == head


@pytest.mark.parametrize("name", ["pickle", "json", "msgpack", "cbor2"])
async def test_what_persist_queue_wrote_is_read_in_its_order(name: str, tmp_path: Path) -> None:
    module = import_module(f"persistqueue.serializers.{name}")
    theirs = persistqueue.Queue(str(tmp_path), chunksize=4, serializer=module)
    for number in range(30):
        theirs.put({"n": number, "text": "x" * number})
    for _ in range(9):
        theirs.get()
    theirs.task_done()
    del theirs
    assert [item["n"] for item in await items_of(tmp_path)] == list(range(9, 30))


# Looking never runs code.


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (BOMB_MADE,)


BOMB_MADE: Final = "/nonexistent/made by a pickle"


async def test_a_pickle_runs_only_when_asked_for(tmp_path: Path) -> None:
    write(tmp_path, [1, Bomb(), {"plain": (2, b"3")}], name="pickle")
    one, bomb, plain = await items_of(tmp_path)
    assert (one, plain) == (1, {"plain": (2, b"3")})
    assert isinstance(bomb, serializers.Opaque)
    assert bomb.args == (BOMB_MADE,)
    with pytest.raises(CorruptRecord, match="FileNotFoundError"):
        await items_of(tmp_path, unpickle=True)


async def test_unpickle_gives_the_objects(tmp_path: Path) -> None:
    write(tmp_path, [Path("a")], name="pickle")
    assert await items_of(tmp_path, unpickle=True) == [Path("a")]


class Lines:
    """A user's own serializer: lines of repr."""

    def dump(self, value: Any, fp: Any) -> None:
        fp.write(json.dumps([value]).encode() + b"\n")

    def load(self, fp: Any) -> Any:
        return json.loads(fp.readline())[0]


class WaitingLines:
    async def dump(self, value: Any, fp: Any) -> None:
        await fp.write(json.dumps([value]).encode() + b"\n")

    async def load(self, fp: Any) -> Any:
        return json.loads(await fp.readline())[0]


@pytest.mark.parametrize("own", [Lines(), WaitingLines()])
async def test_a_serializer_of_the_users_own_is_used(own: object, tmp_path: Path) -> None:
    """With coroutine functions too, which run in a thread."""
    data = b"".join(json.dumps([item]).encode() + b"\n" for item in ("a", "b", "c"))
    (tmp_path / "q00000").write_bytes(data)
    fields = layout.new_fields(9) | {"size": 3, "head": [0, 3, len(data)]}
    (tmp_path / "info").write_bytes(json.dumps([fields]).encode() + b"\n")
    assert await items_of(tmp_path, serializer=own) == ["a", "b", "c"]


# What info does not count.


async def test_whole_records_after_head_count_where_there_is_no_mark(tmp_path: Path) -> None:
    """Opening adopts them, in following chunks too."""
    write(tmp_path, [0, 1])
    append(tmp_path / "q00000", b"2\n")
    (tmp_path / "q00001").write_bytes(b'3\n"torn')
    async with QueueReader(tmp_path) as reader:
        assert [item async for item in reader] == [0, 1, 2, 3]
        assert (reader.size, reader.head) == (4, Position(1, 1, 2))


@pytest.mark.parametrize("policy", [INTERVAL, ALWAYS])
async def test_with_a_mark_the_head_of_info_is_the_end(policy: int, tmp_path: Path) -> None:
    """What follows may be a put in progress, and under `always` was never acknowledged."""
    head = write(tmp_path, [0, 1])
    (tmp_path / "info").write_bytes(slot(info(3, layout.START, head), policy))
    append(tmp_path / "q00000", b"2\n")
    async with QueueReader(tmp_path) as reader:
        assert [item async for item in reader] == [0, 1]
        assert reader.mark == Mark(policy, layout.START, layout.START)
        assert not reader.closed


async def test_a_queue_without_info_holds_what_its_chunk_holds(tmp_path: Path) -> None:
    (tmp_path / "q00000").write_bytes(pickle.dumps("a", 4) + pickle.dumps("b", 4) + b"\x80\x04torn"[:3])
    async with QueueReader(tmp_path) as reader:
        assert [item async for item in reader] == ["a", "b"]
        assert (reader.size, reader.chunksize, reader.closed) == (2, None, False)
        assert reader.tail == layout.START


async def test_zeros_in_a_queue_without_info_are_no_items(tmp_path: Path) -> None:
    (tmp_path / "q00000").write_bytes(bytes(5000))
    assert await items_of(tmp_path) == []


# Files, threads, memory.


async def test_records_longer_than_a_block_and_many_blocks_are_read(tmp_path: Path) -> None:
    items = ["a" * 10, "b" * (3 * READ_AHEAD), *(f"{n}" * 100 for n in range(5000)), "c" * READ_AHEAD]
    write(tmp_path, [items[0]], 10**6, "msgpack")
    data = b"".join(map(serializers.msgpack.encode, items))
    (tmp_path / "q00000").write_bytes(data)
    head = Position(0, len(items), len(data))
    (tmp_path / "info").write_bytes(info(10**6, layout.START, head, "msgpack"))
    assert await items_of(tmp_path) == items


async def test_memory_does_not_grow_with_the_backlog(tmp_path: Path) -> None:
    record = serializers.msgpack.encode("x" * 1000)
    (tmp_path / "q00000").write_bytes(record * 16_000)
    head = Position(0, 16_000, 16_000 * len(record))
    (tmp_path / "info").write_bytes(info(10**6, layout.START, head, "msgpack"))
    async with QueueReader(tmp_path) as reader:
        tracemalloc.start()
        try:
            count = sum([1 async for _ in reader])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert count == 16_000
    assert peak < 8 * READ_AHEAD


async def test_the_loop_never_waits_for_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_chunks(tmp_path)
    threads = set()

    def noted(call: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*args: Any) -> Any:
            threads.add(threading.get_ident())
            return call(*args)

        return noting

    for name in ("open_dir", "open_read", "pread", "close"):
        monkeypatch.setattr(FILES, name, noted(getattr(FILES, name)))
    assert await items_of(tmp_path) == list(range(7))
    assert threads
    assert threading.get_ident() not in threads


async def test_a_reader_that_is_not_open_says_so(tmp_path: Path) -> None:
    two_chunks(tmp_path)
    reader = QueueReader(tmp_path)
    with pytest.raises(QueueClosed, match="async with"):
        _ = reader.size
    await reader.open()
    records = reader.records()
    assert (await anext(records)).item == 0
    await reader.close()
    await reader.close()
    with pytest.raises(QueueClosed):
        [record async for record in records]
    with pytest.raises(QueueClosed):
        await reader.refresh()


async def test_no_descriptor_is_left(tmp_path: Path) -> None:
    """Not behind an error, nor behind an iteration that was left."""
    two_chunks(tmp_path)
    await items_of(tmp_path)
    before = len(os.listdir("/dev/fd"))
    async with QueueReader(tmp_path) as reader:
        records = reader.records()
        await anext(records)
        await records.aclose()
    (tmp_path / "info").write_bytes(b"")
    with pytest.raises(CorruptQueue):
        await QueueReader(tmp_path).open()
    assert len(os.listdir("/dev/fd")) == before


async def test_an_open_that_is_cancelled_gives_the_directory_back(tmp_path: Path) -> None:
    """The thread goes on and opens it after all."""
    two_chunks(tmp_path)
    reader = QueueReader(tmp_path)
    really_open, begun, may_go_on, opened = reader._directory.open, threading.Event(), threading.Event(), list[int]()

    def slowly() -> None:
        begun.set()
        may_go_on.wait(20)
        really_open()
        opened.append(reader._directory._descriptor)

    reader._directory.open = slowly  # type: ignore[method-assign]
    opening = asyncio.ensure_future(reader.open())
    await asyncio.to_thread(begun.wait, 20)
    opening.cancel()
    await asyncio.wait([opening])
    may_go_on.set()
    while not opened or reader._directory._fd is not None:
        await asyncio.to_thread(int)
    assert opening.cancelled()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
