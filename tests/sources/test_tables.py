"""SQLite queues as sources: every class and serializer, names, and queues that are open."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import asyncpq
from asyncpq.errors import NotAQueue, SeveralQueues, WrongSerializer
from asyncpq.sources import list_queues, open_source
from tests.golden_databases import OURS, drained
from tests.sources.looked_at import entries, items, untouched

VALUES: Final = ["first", 7, None, [1, [2.5, True]], {"a": {"b": "naïve"}}, "x" * 5000]


def listed(value: Any) -> Any:
    """*value* with lists for tuples, which is what msgpack makes of them."""
    return json.loads(json.dumps(value))


async def filled(queue: Any, values: list[Any]) -> None:
    async with queue:
        for number, value in enumerate(values):
            await (queue.put(value, priority=-number % 4) if "Priority" in type(queue).__name__ else queue.put(value))


@pytest.mark.parametrize("serializer", ["pickle", "json", "msgpack", "cbor2", "orjson"])
@pytest.mark.parametrize("kind", OURS)
async def test_items_of_every_class_come_in_the_order_of_get(kind: str, serializer: str, tmp_path: Path) -> None:
    await filled(OURS[kind](tmp_path / "jobs.db", serializer=serializer), VALUES)
    with untouched(tmp_path), open_source(tmp_path / "jobs.db") as source:
        found = items(source)
        assert source.about.what.startswith("asyncpq's")
        assert source.about.serializer is not None
        assert serializer.replace("orjson", "json") == source.about.serializer.NAME
        places = [entry.at for entry in entries(source)]
        assert [entry.at for entry in entries(source, places[2])] == places[3:]
    async with OURS[kind](tmp_path / "jobs.db", serializer=serializer) as queue:
        assert listed(found) == listed(await drained(queue))


@pytest.mark.parametrize("kind", ["ack", "filo ack", "unique ack"])
async def test_what_is_in_flight_is_to_come_and_what_was_answered_is_not(kind: str, tmp_path: Path) -> None:
    queue: Any = OURS[kind](tmp_path / "jobs.db")
    async with queue:
        for number in range(6):
            await queue.put(number)
        await queue.ack(await queue.get())
        await queue.ack_failed(await queue.get())
        held = await queue.get()
        with open_source(tmp_path / "jobs.db", lock=False) as source:
            assert held in items(source)
            assert source.about.items == 4
            statuses = source.about.details["statuses"]
            assert statuses == {"put": 3, "in flight": 1, "acknowledged": 1, "failed": 1}
            assert sorted(entry.extra["status"] for entry in entries(source)) == [0, 0, 0, 2]


async def test_a_queue_that_is_open_in_this_process_is_read_beside(tmp_path: Path) -> None:
    async with asyncpq.AsyncSQLiteQueue(tmp_path / "jobs.db") as queue:
        await queue.put("first")
        for lock in (True, False):
            source = await asyncio.to_thread(open_source, tmp_path / "jobs.db", lock=lock)
            await queue.put("second")
            assert await asyncio.to_thread(items, source) == (["first"] if lock else ["first", "second", "second"])
            source.__exit__(None, None, None)
        await queue.put("third")
    with open_source(tmp_path / "jobs.db") as source:
        assert items(source) == ["first", "second", "second", "third"]


async def test_one_of_several_queues_is_named_by_its_table_where_two_have_its_name(tmp_path: Path) -> None:
    await filled(asyncpq.AsyncSQLiteQueue(tmp_path / "jobs.db"), ["fifo"])
    await filled(asyncpq.AsyncSQLiteAckQueue(tmp_path / "jobs.db"), ["ack"])
    await filled(asyncpq.AsyncSQLiteQueue(tmp_path / "jobs.db", "mail"), ["mail"])
    specs = list_queues(tmp_path / "jobs.db")
    assert [spec.name for spec in specs] == ["ack_queue", "queue", "mail"]
    found = []
    for spec in specs:
        with open_source(spec) as source:
            found += items(source)
    assert found == ["ack", "fifo", "mail"]
    with open_source(f"sqlite:{tmp_path / 'jobs.db'}#mail") as source:
        assert items(source) == ["mail"]
    with pytest.raises(SeveralQueues) as several:
        open_source(tmp_path / "jobs.db")
    assert several.value.names == ["ack_queue", "queue", "mail"]


async def test_a_directory_has_no_queue_by_name(tmp_path: Path) -> None:
    async with asyncpq.AsyncQueue(tmp_path / "queue") as queue:
        await queue.put(1)
    with pytest.raises(NotAQueue, match="leave the name out"):
        open_source(tmp_path / "queue", name="mail")


@pytest.mark.parametrize("serializer", ["pickle", "json", "msgpack", "cbor2"])
async def test_a_wrong_serializer_is_named_with_the_one_that_fits(serializer: str, tmp_path: Path) -> None:
    await filled(asyncpq.AsyncSQLiteQueue(tmp_path / "jobs.db", serializer=serializer), VALUES)
    other = "json" if serializer != "json" else "msgpack"
    with pytest.raises(WrongSerializer, match=repr(serializer)):
        open_source(tmp_path / "jobs.db", serializer=other)


class Reversed:
    """A serializer of a user's own, with and without dumps and loads."""

    @staticmethod
    def dump(value: Any, file: Any) -> None:
        file.write(json.dumps(value)[::-1].encode() + b"\n")

    @staticmethod
    def load(file: Any) -> Any:
        return json.loads(file.readline()[:-1].decode()[::-1])


class ReversedBlobs(Reversed):
    @staticmethod
    def dumps(value: Any) -> bytes:
        return b"!" + json.dumps(value)[::-1].encode()

    @staticmethod
    def loads(blob: bytes) -> Any:
        if blob[:1] != b"!":
            raise ValueError("no mark")
        return json.loads(blob[1:].decode()[::-1])


@pytest.mark.parametrize("serializer", [Reversed, ReversedBlobs])
async def test_a_serializer_of_ones_own_is_used(serializer: Callable[[], Any], tmp_path: Path) -> None:
    await filled(asyncpq.AsyncSQLiteQueue(tmp_path / "jobs.db", serializer=serializer()), ["one", "two"])
    async with asyncpq.AsyncQueue(tmp_path / "queue", serializer=serializer()) as queue:
        await queue.put_many(["one", "two"])
    for path in (tmp_path / "jobs.db", tmp_path / "queue"):
        with open_source(path, serializer=serializer()) as source:
            assert items(source) == ["one", "two"]
