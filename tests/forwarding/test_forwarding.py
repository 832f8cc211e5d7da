"""What a directory holds is in the queue on the server in the end, each once and in order."""

import asyncio
import base64
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import asyncpq
from asyncpq import (
    AsyncNatsQueue,
    AsyncQueue,
    CorruptRecord,
    ForwardReport,
    MixedUse,
    QueueClosed,
    QueueLocked,
    RecordTooLarge,
    ServerAway,
)
from asyncpq.forwarding.note import NAME
from asyncpq.nats.streams import Settings
from tests.forwarding.stream import api, consume, messages, payloads, until, until_state
from tests.nats.server import Server, free_port


async def filled(path: Path, items: list[Any], **options: Any) -> None:
    async with AsyncQueue(path, **options) as queue:
        await queue.put_many(items)


async def left(path: Path) -> list[Any]:
    async with AsyncQueue(path) as queue:
        return [await queue.get() for _ in range(await queue.qsize())]


def lines(count: int, start: int = 0) -> list[bytes]:
    return [b"%d\n" % number for number in range(start, start + count)]


async def test_a_drained_directory_is_in_the_queue_record_by_record(server: Server, name: str, tmp_path: Path) -> None:
    await filled(tmp_path / "q", list(range(250)), serializer="json")
    report = await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert (report.items, report.left, report.repeated, report.retries) == (250, 0, 0, 0)
    found = await messages(server, name)
    assert [message.data for message in found] == lines(250)
    assert {message.headers["Asyncpq-Serializer"] for message in found} == {"json"}
    assert len({message.headers["Nats-Msg-Id"] for message in found}) == 250
    assert await left(tmp_path / "q") == []


class Trap:
    def __reduce__(self) -> Any:
        return pytest.fail, ("a pickle was run",)


async def test_pickles_travel_as_they_are_and_are_not_run(server: Server, name: str, tmp_path: Path) -> None:
    await filled(tmp_path / "q", [Trap(), {"a": 1}])
    await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert (await payloads(server, name))[1] == pickle.dumps({"a": 1}, protocol=4)


async def test_producers_of_the_same_object_go_on_meanwhile(server: Server, name: str, tmp_path: Path) -> None:
    reports: list[ForwardReport] = []
    async with AsyncQueue(tmp_path / "q", serializer="json", chunksize=7) as queue:
        stop = asyncio.Event()
        moving = asyncio.create_task(
            asyncpq.forward(queue, server.url, name, stop=stop, progress=lambda report: reports.append(report))
        )
        for number in range(60):
            await queue.put(number)
        await queue.join()
        stop.set()
        assert (await moving).items == 60
        assert await queue.empty()
        with pytest.raises(MixedUse):
            await queue.get()
        with pytest.raises(MixedUse):
            await queue.task_done()
    assert await payloads(server, name) == lines(60)
    assert [report.items for report in reports] == sorted(report.items for report in reports)


async def test_a_queue_that_is_shut_down_is_forwarded_to_its_end(server: Server, name: str, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", serializer="json") as queue:
        moving = asyncio.create_task(asyncpq.forward(queue, server.url, name))
        await queue.put_many([0, 1, 2])
        queue.shutdown()
        assert (await moving).items == 3
    assert await payloads(server, name) == lines(3)


async def test_a_queue_that_is_closed_ends_it_with_an_error(server: Server, name: str, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", serializer="json") as queue:
        moving = asyncio.create_task(asyncpq.forward(queue, server.url, name))
        await queue.put(0)
        await queue.join()
    with pytest.raises(QueueClosed):
        await moving
    assert await payloads(server, name) == lines(1)


async def test_a_stream_that_takes_no_batches_gets_one_after_the_other(
    server: Server, name: str, tmp_path: Path
) -> None:
    stream = Settings(name).stream | {"allow_atomic": False}
    assert "error" not in await api(server, f"STREAM.CREATE.{name}", stream)
    await filled(tmp_path / "q", list(range(50)), serializer="json")
    assert (await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)).items == 50
    assert await payloads(server, name) == lines(50)


async def test_a_queue_object_is_a_target_and_its_consumers_get_the_items(
    server: Server, name: str, tmp_path: Path
) -> None:
    await filled(tmp_path / "q", [{"a": 1}, (2,)])
    async with AsyncNatsQueue(server.url, name) as target:
        await asyncpq.forward(tmp_path / "q", target, drain=True)
        assert [await target.get(), await target.get()] == [{"a": 1}, (2,)]
        await target.task_done()


async def test_the_server_being_away_is_noticed_by_nobody_who_puts(name: str, tmp_path: Path) -> None:
    """Nobody listens there, until a server does."""
    from tests.nats.server import Server as Started

    server = Started(tmp_path / "server")
    reports: list[ForwardReport] = []
    try:
        async with AsyncQueue(tmp_path / "q", serializer="json") as queue:
            moving = asyncio.create_task(
                asyncpq.forward(queue, server.url, name, timeout=0.3, pause=0.1, progress=reports.append)
            )
            for number in range(20):
                await queue.put(number)
            await until(lambda: any(report.waiting for report in reports))
            assert await queue.qsize() < 20  # some are taken, and kept
            await asyncio.to_thread(server.start)
            await queue.join()
            moving.cancel()
            await asyncio.wait([moving])
        assert await payloads(server, name) == lines(20)
    finally:
        server.kill()


async def test_patience_ends_and_everything_is_still_there(name: str, tmp_path: Path) -> None:
    await filled(tmp_path / "q", [1, 2, 3], serializer="json")
    with pytest.raises(ServerAway):
        await asyncpq.forward(
            tmp_path / "q", f"nats://127.0.0.1:{free_port()}", name, drain=True, timeout=0.1, patience=0.2, pause=0.05
        )
    assert await left(tmp_path / "q") == [1, 2, 3]


async def test_a_full_queue_there_is_waited_for(server: Server, name: str, tmp_path: Path) -> None:
    await filled(tmp_path / "q", list(range(10)), serializer="json")
    reports: list[ForwardReport] = []
    moving = asyncio.create_task(
        asyncpq.forward(tmp_path / "q", server.url, name, drain=True, maxsize=4, progress=reports.append)
    )
    await until_state(server, name, "messages", 4)
    await until(lambda: reports and reports[-1].waiting == "the queue there is full")
    await consume(server, name, 6)
    report = await moving
    assert (report.items, report.waiting) == (10, None)
    state = (await api(server, f"STREAM.INFO.{name}"))["state"]
    assert (state["messages"], state["last_seq"]) == (4, 10)


@pytest.mark.parametrize("in_memory", [True, False])
async def test_what_is_too_large_stops_it_and_stays(server: Server, name: str, tmp_path: Path, in_memory: bool) -> None:
    items = [1, "x" * 2_000_000, 3]
    if in_memory:
        async with AsyncQueue(tmp_path / "q", serializer="json") as queue:
            await queue.put_many(items)
            with pytest.raises(RecordTooLarge, match="q00000 at byte 2"):
                await asyncpq.forward(queue, server.url, name, drain=True)
    else:
        await filled(tmp_path / "q", items, serializer="json")
        with pytest.raises(RecordTooLarge, match="q00000 at byte 2"):
            await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert await payloads(server, name) == [b"1\n"]
    assert await left(tmp_path / "q") == items[1:]


async def test_with_skip_bad_it_is_set_aside_and_the_rest_goes_on(server: Server, name: str, tmp_path: Path) -> None:
    await filled(tmp_path / "q", [1, "x" * 2_000_000, 3], serializer="json")
    report = await asyncpq.forward(tmp_path / "q", server.url, name, drain=True, skip_bad=True)
    assert (report.items, report.set_aside, report.bad_file) == (3, 1, tmp_path / "q.bad.jsonl")
    assert await payloads(server, name) == [b"1\n", b"3\n"]
    (bad,) = map(json.loads, (tmp_path / "q.bad.jsonl").read_text().splitlines())
    assert (bad["where"], base64.b64decode(bad["data"])) == ("q00000 at byte 2", b'"' + b"x" * 2_000_000 + b'"\n')


BODIES: Any = {
    "json": [b'"a%d"\n' % number for number in (11, 22, 33)],
    "pickle": [pickle.dumps(f"a{number}", protocol=4) for number in (11, 22, 33)],
    "msgpack": [b"\x04\0\0\0\xa3a%d" % number for number in (11, 22, 33)],
}


async def damaged(path: Path, serializer: str) -> None:
    """A queue whose second of three records cannot be read."""
    await filled(path, ["a11", "a22", "a33"], serializer=serializer)
    chunk = path / "q00000"
    chunk.write_bytes(chunk.read_bytes().replace(b"a22", b"a2\xff"))  # no text in UTF-8


@pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
async def test_a_damaged_record_stops_it_and_nothing_behind_it_is_sent(
    server: Server, name: str, tmp_path: Path, serializer: str
) -> None:
    await damaged(tmp_path / "q", serializer)
    with pytest.raises(CorruptRecord):
        await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert await payloads(server, name) == BODIES[serializer][:1]


@pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
async def test_with_skip_bad_a_damaged_record_is_set_aside(
    server: Server, name: str, tmp_path: Path, serializer: str
) -> None:
    await damaged(tmp_path / "q", serializer)
    report = await asyncpq.forward(tmp_path / "q", server.url, name, drain=True, skip_bad=tmp_path / "bad")
    assert (report.items, report.set_aside) == (2, 1)
    assert await payloads(server, name) == [BODIES[serializer][0], BODIES[serializer][2]]
    bad = base64.b64decode(json.loads((tmp_path / "bad").read_text())["data"])
    assert bad == BODIES[serializer][1].replace(b"a22", b"a2\xff")
    assert await left(tmp_path / "q") == []


async def test_what_was_acknowledged_out_of_order_is_left_out(server: Server, name: str, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", serializer="json", chunksize=2) as queue:
        await queue.put_many([0, 1, 2, 3, 4])
        claims = [await queue.claim() for _ in range(5)]
        await claims[1].ack()
        await claims[3].ack()
    report = await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert report.items == 3
    assert await payloads(server, name) == [b"0\n", b"2\n", b"4\n"]
    assert await left(tmp_path / "q") == []


async def test_a_directory_that_is_open_is_refused(server: Server, name: str, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q") as queue:
        await queue.put(1)
        with pytest.raises(QueueLocked):
            await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)


async def test_who_got_or_forwards_already_is_refused(server: Server, name: str, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "q", serializer="json") as queue:
        await queue.put(1)
        await queue.get()
        with pytest.raises(MixedUse):
            await asyncpq.forward(queue, server.url, name, drain=True)
    async with AsyncQueue(tmp_path / "q", serializer="json") as queue:
        stop = asyncio.Event()
        moving = asyncio.create_task(asyncpq.forward(queue, server.url, name, stop=stop))
        await queue.join()
        with pytest.raises(MixedUse):
            await asyncpq.forward(queue, server.url, name, drain=True)
        stop.set()
        await moving
        await queue.put(2)
        assert (await asyncpq.forward(queue, server.url, name, drain=True)).items == 1
    assert await payloads(server, name) == lines(2, 1)


async def test_what_it_keeps_in_the_directory_is_not_minded_by_persist_queue(
    server: Server, name: str, tmp_path: Path
) -> None:
    from persistqueue import Queue
    from persistqueue.serializers import json as theirs

    await filled(tmp_path / "q", [1, 2], serializer="json")
    await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    kept = (tmp_path / "q" / NAME).read_bytes()
    other = Queue(str(tmp_path / "q"), serializer=theirs)
    other.put(3)
    del other
    assert (await asyncpq.check(tmp_path / "q")).status == "clean"
    assert (tmp_path / "q" / NAME).read_bytes() == kept
    await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert await payloads(server, name) == lines(3, 1)


async def test_an_equal_item_at_a_new_place_is_stored_again(server: Server, name: str, tmp_path: Path) -> None:
    for _ in range(2):
        await filled(tmp_path / "q", [7], serializer="json")
        await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert await payloads(server, name) == [b"7\n", b"7\n"]


async def test_a_place_that_is_used_again_after_a_loss_gets_its_item_through(
    server: Server, name: str, tmp_path: Path
) -> None:
    """The directory is put back to what it was before: equal bytes come to the place of some that were sent."""
    await filled(tmp_path / "q", [1], serializer="json")
    before = {file.name: file.read_bytes() for file in (tmp_path / "q").iterdir()}
    await filled(tmp_path / "q", [2], serializer="json")
    await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    for file, data in before.items():
        (tmp_path / "q" / file).write_bytes(data)
    await filled(tmp_path / "q", [], serializer="json")
    async with AsyncQueue(tmp_path / "q") as queue:
        await asyncpq.forward(queue, server.url, name, drain=True)
        await queue.put(2)
        await asyncpq.forward(queue, server.url, name, drain=True)
    assert await payloads(server, name) == lines(2, 1) + lines(2, 1)
