"""File queues as sources: what a queue would give out, damaged or not, and not a trace of having looked."""

import asyncio
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import persistqueue  # type: ignore[import-untyped, unused-ignore]
import pytest

from asyncpq import AsyncQueue, CorruptQueue, Empty, NotAQueue, QueueLocked, WrongSerializer, check, serializers
from asyncpq.serializers import Opaque
from asyncpq.sources import Source, open_source
from tests.damaged_dirs import ITEMS, KINDS, NAMES, PLACES, damage
from tests.sources.looked_at import accessed, entries, items, untouched
from tests.test_damage import OPENS, REFUSED, ROWS, TABLE, damaged
from tests.unit.queue_dirs import CHUNKSIZE, item, make
from tests.unit.test_recovery import CASES
from tests.unit.test_recovery import damaged as damaged_case


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def readable(source: Source) -> list[Any]:
    """The items that are not bad."""
    return [source.loads(entry.blob) for entry in entries(source) if entry.bad is None]


async def given_out(path: Path, **options: Any) -> list[Any]:
    """What a queue gives out that passes over damage."""
    found = []
    async with AsyncQueue(path, on_corrupt="skip", fsync="never", **options) as queue:
        while True:
            try:
                found.append(await queue.get_nowait())
            except Empty:
                return found


# -- damage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", PLACES, ids=str)
def test_bad_entries_are_the_bytes_that_cannot_be_read(
    numbers: list[int], kind: str, name: str, tmp_path: Path
) -> None:
    d = make(tmp_path / "queue", name, items=ITEMS, consumed=0)
    left, lying = damage(d, numbers, kind)
    with untouched(tmp_path), open_source(d.path) as source:
        assert readable(source) == left
        bad = [entry for entry in entries(source) if entry.bad is not None]
        assert b"".join(entry.blob for entry in bad) == lying
        assert sum(entry.extra["records"] for entry in bad) == ITEMS - len(left)
        found = entries(source)
        for place in range(len(found)):
            assert entries(source, found[place].at) == found[place + 1 :]


@pytest.mark.parametrize(("title", "name"), ROWS)
async def test_a_damaged_directory_gives_what_a_queue_gives_that_passes_over_damage(
    title: str, name: str, tmp_path: Path
) -> None:
    row, d = TABLE[title], damaged(title, name, tmp_path)
    if row.opening == REFUSED:
        with untouched(tmp_path), pytest.raises(CorruptQueue):
            open_source(d.path, serializer=name)
        return
    with untouched(tmp_path), open_source(d.path) as source:
        found = readable(source)
        assert any(entry.bad for entry in entries(source)) == (row.opening != OPENS)
    assert found == [item(n) for n in row.kept(d)]
    assert found == await given_out(d.path)


@pytest.mark.parametrize("title", CASES)
async def test_what_opening_heals_is_seen_healed(title: str, name: str, tmp_path: Path) -> None:
    d = damaged_case(CASES[title], name, tmp_path)
    shutil.copytree(d.path, tmp_path / "copy")
    try:
        expected = await given_out(tmp_path / "copy", serializer=name)
    except (CorruptQueue, NotAQueue) as error:
        with untouched(tmp_path), pytest.raises(type(error)):
            open_source(d.path, serializer=name)
        return
    with untouched(tmp_path), open_source(d.path, serializer=name) as source:
        assert readable(source) == expected
        assert source.about.items is not None
        assert source.about.items >= len(expected)


def test_records_behind_the_last_one_that_a_chunk_can_hold_are_never_read(name: str, tmp_path: Path) -> None:
    d = make(tmp_path / "queue", name, consumed=0)
    d.append(1, d.encoded(99))
    with untouched(tmp_path), open_source(d.path) as source:
        assert items(source) == [item(n) for n in range(8)]


@pytest.mark.parametrize("size", [2**18 - 20, 2**18, 2**20, 3_000_001])
def test_a_record_longer_than_a_block_comes_whole(size: int, name: str, tmp_path: Path) -> None:
    d = make(tmp_path / "queue", name, items=0, consumed=0)
    values = ["a", "x" * size, "b", "y" * (2**18 - 30), "c"]
    records = [serializers.get(name).encode(value) for value in values]
    d.chunk(0).write_bytes(b"".join(records))
    d.write_info(chunksize=9, head=[0, 5, sum(map(len, records))], size=5)
    with open_source(d.path) as source:
        assert items(source) == values


# -- what it is -------------------------------------------------------------------------------------------


async def test_items_that_are_acknowledged_out_of_order_are_left_out(name: str, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "queue", serializer=name, chunksize=3) as queue:
        await queue.put_many(range(10))
        held = [await queue.claim() for _ in range(6)]
        for number in (1, 4, 5):
            await held[number].ack()
    with untouched(tmp_path), open_source(tmp_path / "queue") as source:
        assert items(source) == [0, 2, 3, 6, 7, 8, 9]
        assert source.about.items == 7
        assert source.about.what == "file queue of asyncpq"


def test_a_wrong_serializer_is_named_with_the_one_that_fits(name: str, tmp_path: Path) -> None:
    d = make(tmp_path / "queue", name)
    other = "json" if name != "json" else "msgpack"
    with pytest.raises(WrongSerializer, match=repr(name)):
        open_source(d.path, serializer=other)


@pytest.mark.parametrize("protocol", range(6))
def test_the_protocol_of_the_first_pickle_is_told(protocol: int, tmp_path: Path) -> None:
    d = make(tmp_path / "queue", "pickle", items=1, consumed=0)
    record = pickle.dumps({"id": 7}, protocol)
    d.chunk(0).write_bytes(record)
    d.write_info(head=[0, 1, len(record)])
    with open_source(d.path) as source:
        assert source.about.protocol == protocol


def test_objects_are_plain_data_unless_they_are_unpickled(tmp_path: Path) -> None:
    queue = persistqueue.Queue(str(tmp_path / "queue"))
    queue.put(Path("here"))
    del queue
    with open_source(tmp_path / "queue") as source:
        (shown,) = items(source)
        assert isinstance(shown, Opaque)
    with open_source(tmp_path / "queue", unpickle=True) as source:
        assert items(source) == [Path("here")]


@pytest.mark.parametrize(
    ("encoding", "expected"), [(None, "na\xc3\xafve"), ("utf-8", "naïve"), ("bytes", b"na\xc3\xafve"), ("ascii", None)]
)
@pytest.mark.parametrize("unpickle", [False, True])
def test_byte_strings_of_python_2_are_what_the_encoding_says(
    encoding: str | None, expected: object, unpickle: bool, tmp_path: Path
) -> None:
    d = make(tmp_path / "queue", "pickle", items=1, consumed=0)
    record = b"\x80\x02U\x06na\xc3\xafve."
    d.chunk(0).write_bytes(record)
    d.write_info(head=[0, 1, len(record)])
    with open_source(d.path, encoding=encoding, unpickle=unpickle) as source:
        if expected is None:
            (bad,) = entries(source)
            assert "ascii" in str(bad.bad)
        else:
            assert items(source) == [expected]


def test_an_encoding_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "queue", "pickle")
    with pytest.raises(ValueError, match="no encoding 'utf-9'"):
        open_source(tmp_path / "queue", encoding="utf-9")


async def test_what_info_and_check_say_is_in_about(name: str, tmp_path: Path) -> None:
    d = make(tmp_path / "queue", name)
    report = await check(d.path)
    with open_source(d.path) as source:
        about = source.about
    assert about.serializer is not None
    assert (about.kind, about.serializer.NAME, about.items) == ("file", report.serializer, report.items)
    assert about.bytes_on_disk == report.bytes_on_disk
    details = about.details
    assert (details["chunksize"], details["tail"], details["head"]) == (CHUNKSIZE, tuple(d.tail), tuple(d.head))
    assert (details["chunks"], details["closed"], details["open_elsewhere"]) == (report.chunks, True, False)


# -- locks and writers ------------------------------------------------------------------------------------


async def test_a_queue_that_is_open_is_refused_with_a_lock(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "queue") as queue:
        await queue.put(1)
        with pytest.raises(QueueLocked):
            await asyncio.to_thread(open_source, tmp_path / "queue")
    with open_source(tmp_path / "queue"):
        with pytest.raises(QueueLocked):
            open_source(tmp_path / "queue")
        with pytest.raises(QueueLocked):
            await AsyncQueue(tmp_path / "queue").qsize()
    with open_source(tmp_path / "queue") as source:
        assert items(source) == [1]


def test_a_queue_that_persist_queue_has_open_is_refused_with_a_lock(tmp_path: Path) -> None:
    queue = persistqueue.Queue(str(tmp_path / "queue"))
    queue.put(1)
    with pytest.raises(QueueLocked):
        open_source(tmp_path / "queue")
    with open_source(tmp_path / "queue", lock=False) as source:
        assert items(source) == [1]
    del queue


async def test_beside_a_live_writer_items_come_once_and_in_order(name: str, tmp_path: Path) -> None:
    """Chunks are consumed and removed while they are read."""
    async with AsyncQueue(tmp_path / "queue", serializer=name, chunksize=10, fsync="never", autosave=True) as queue:
        await queue.put_many(range(1000))
        with open_source(tmp_path / "queue", lock=False) as source:
            assert source.about.details["open_elsewhere"] is True
            walk = source.batches()
            found = [source.loads(entry.blob) for entry in next(walk)]
            await queue.put_many(range(1000, 1100))
            while await queue.get() < 700:
                pass
            for batch in walk:
                assert [entry.bad for entry in batch if entry.bad] == []
                found += [source.loads(entry.blob) for entry in batch]
    assert found[:10] == list(range(10))
    assert found == sorted(set(found))
    assert found[-299:] == list(range(701, 1000))


async def test_a_writer_that_never_stops_does_not_keep_a_reader_from_opening(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "queue", chunksize=5, fsync="never", autosave=True) as queue:
        await queue.put_many(range(20))
        stop = asyncio.Event()

        async def busy() -> None:
            while not stop.is_set():
                await queue.put(await queue.get())

        worker = asyncio.create_task(busy())
        for _ in range(20):
            source = await asyncio.to_thread(open_source, tmp_path / "queue", lock=False)
            found = await asyncio.to_thread(entries, source)
            assert [entry.bad for entry in found if entry.bad] == []
            source.__exit__(None, None, None)
        stop.set()
        await worker


def test_reading_leaves_no_time_of_access(name: str, tmp_path: Path) -> None:
    d = make(tmp_path / "queue", name)
    for path in d.path.iterdir():
        os.utime(path, (1, path.stat().st_mtime))
    before = accessed(d.path)
    with open_source(d.path) as source:
        assert len(items(source)) == 7
    assert accessed(d.path) == before


def test_a_source_is_closed_once_and_its_lock_is_free_then(tmp_path: Path) -> None:
    make(tmp_path / "queue", "json")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with open_source(tmp_path / "queue") as source:
            source.__exit__(None, None, None)
    assert len(os.listdir("/proc/self/fd")) == before
