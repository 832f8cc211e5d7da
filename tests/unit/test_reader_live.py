"""QueueReader beside a live writer: in order, at most once, and never by half of an info."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from asyncpq import layout, serializers
from asyncpq.errors import CorruptQueue
from asyncpq.files import FILES
from asyncpq.layout import Position
from asyncpq.reader import READ_AHEAD, QueueReader
from tests.reader_dirs import append, info, items_of, slot, two_chunks, write


class Writer(threading.Thread):
    """Puts numbers and consumes them, as a live queue does: chunk, then slot, then the removal."""

    def __init__(self, folder: Path, keep: int, slots: bool) -> None:
        super().__init__()
        self.folder, self.keep, self.slots = folder, keep, slots
        self.stop = threading.Event()
        self.tail = self.head = layout.START
        self.number = 0
        folder.mkdir()
        (folder / "q00000").touch()
        for _ in range(keep):
            self.put()
        self.commit()

    def run(self) -> None:
        # Slow enough that a reader is not always outrun: what is consumed is left out.
        while not self.stop.wait(0.0005):
            self.put()
            self.commit()
            old = self.tail
            self.tail = layout.following(self.tail, len(self.record(self.number - self.keep - 1)), 5)
            self.commit()
            if self.tail.chunk != old.chunk:
                (self.folder / layout.chunk_name(old.chunk)).unlink()

    @staticmethod
    def record(number: int) -> bytes:
        return serializers.json.encode({"n": number, "pad": "x" * (number % 7)})

    def put(self) -> None:
        record = self.record(self.number)
        append(self.folder / layout.chunk_name(self.head.chunk), record)
        self.head = layout.following(self.head, len(record), 5)
        (self.folder / layout.chunk_name(self.head.chunk)).touch()
        self.number += 1

    def commit(self) -> None:
        record = info(5, self.tail, self.head)
        if self.slots and (self.folder / "info").exists():
            with (self.folder / "info").open("r+b") as file:
                file.write(slot(record))
        else:
            (self.folder / "info.tmp").write_bytes(slot(record) if self.slots else record)
            (self.folder / "info.tmp").rename(self.folder / "info")


@pytest.mark.parametrize("slots", [True, False], ids=["slot in place", "info renamed"])
async def test_beside_a_live_writer_items_come_in_order_and_at_most_once(slots: bool, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "queue", keep=200, slots=slots)
    writer.start()
    last = -1
    try:
        async with asyncio.timeout(30), QueueReader(writer.folder) as reader:
            while last < 600:
                numbers = [item["n"] async for item in reader]
                assert numbers == sorted(set(numbers))
                assert not numbers or numbers[-1] >= last
                last = max([last, *numbers])
    finally:
        writer.stop.set()
        writer.join()
    assert len(await items_of(writer.folder)) == 200


async def test_a_chunk_that_was_consumed_meanwhile_is_left_out(tmp_path: Path) -> None:
    two_chunks(tmp_path)
    head = Position(2, 1, 2)
    seen = []
    async with QueueReader(tmp_path) as reader:
        async for item in reader:
            seen.append(item)
            if item == 1:
                (tmp_path / "info").write_bytes(slot(info(3, Position(2, 0, 0), head)))
                (tmp_path / "q00001").unlink()
    assert seen == [0, 1, 2, 6]


async def test_a_chunk_that_vanished_without_being_consumed_is_an_error(tmp_path: Path) -> None:
    two_chunks(tmp_path)
    async with QueueReader(tmp_path) as reader:
        records = reader.records()
        await anext(records)
        (tmp_path / "q00001").unlink()
        with pytest.raises(CorruptQueue, match="q00001"):
            [record async for record in records]


async def test_an_iteration_ends_where_the_queue_was_cleared(tmp_path: Path) -> None:
    two_chunks(tmp_path)
    async with QueueReader(tmp_path) as reader:
        records = reader.records()
        await anext(records)
        for name in ("q00000", "q00001", "q00002"):
            (tmp_path / name).unlink()
        (tmp_path / "q00003").touch()
        (tmp_path / "info").write_bytes(info(3, Position(3, 0, 0), Position(3, 0, 0)))
        assert [record.item async for record in records] == [1, 2]


async def test_an_iteration_ends_where_a_writer_cut_off_what_info_did_not_count(tmp_path: Path) -> None:
    """persist-queue does so when it opens, while the reader has counted the record as adopted."""
    write(tmp_path, [0, 1], chunksize=9)
    append(tmp_path / "q00000", serializers.json.encode("x" * 2 * READ_AHEAD))
    async with QueueReader(tmp_path) as reader:
        records = reader.records()
        assert (await anext(records)).item == 0
        assert reader.size == 3
        os.truncate(tmp_path / "q00000", 4)
        assert [record.item async for record in records] == [1]


async def test_a_slot_that_is_being_overwritten_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the new slot and half of the old one: only the CRC tells."""
    head = write(tmp_path, list(range(7)))
    new = slot(info(3, layout.START, head))
    torn = slot(info(3, layout.START, Position(2, 0, 0)))[:60] + new[60:]
    reads = [torn, new[:70] + torn[70:-8] + b"12345678", torn[:-1] + b"!", new]
    monkeypatch.setattr(FILES, "pread", lambda fd, length, offset: reads.pop(0) if len(reads) > 1 else new)
    async with QueueReader(tmp_path) as reader:
        assert reader.head == head
        assert reader.mark is not None
    assert reads == [new]


async def test_an_info_that_never_comes_to_rest_is_an_error_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, [0])
    states = iter(range(10**6))
    monkeypatch.setattr(FILES, "pread", lambda *_: info(3, layout.START, Position(0, 1, 2)) + bytes(next(states)))
    with pytest.raises(CorruptQueue, match="did not fit each other"):
        await QueueReader(tmp_path).open()
