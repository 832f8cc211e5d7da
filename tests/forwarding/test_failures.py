"""Whatever fails on the way, every item is stored once, in order, in the end."""

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import asyncpq
from asyncpq import AsyncQueue
from asyncpq.forwarding import forwarder
from asyncpq.forwarding.outlet import Outlet
from tests import counts
from tests.forwarding.proxy import proxy
from tests.forwarding.stream import forgetful, payloads, until, until_state
from tests.forwarding.test_forwarding import filled, lines
from tests.nats.server import Server, running

TITLE = "Killed while forwarding"


def child(path: Path, url: str, name: str, batch: int) -> "subprocess.Popen[bytes]":
    arguments = [sys.executable, "-m", "tests.forwarding.child", str(path), url, name, str(batch)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])


def killed_on_the_way(path: Path, url: str, name: str, batch: int, lines_before: int) -> bool:
    """Forward, and kill -9 a moment after a line; whether it was still at work."""
    with child(path, url, name, batch) as process:
        assert process.stdout is not None
        for _ in range(lines_before):
            process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(random.uniform(0.0001, 0.01))
        process.kill()
    return process.returncode == -9


async def kills(server: Server, name: str, path: Path, kills: int, items: int, batch: int) -> counts.Row:
    done = 0
    while done < kills:
        done += await asyncio.to_thread(killed_on_the_way, path, server.url, name, batch, random.randint(1, 3))
    with child(path, server.url, name, batch) as process:
        out, _ = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0
    assert await payloads(server, name) == lines(items)
    told: dict[str, int] = json.loads(out.splitlines()[-1])
    assert told["in_doubt"] == 0
    return {"kills": done, "items": items, "lost": 0, "twice": 0}


async def test_a_forwarder_that_is_killed_loses_and_repeats_nothing(server: Server, name: str, tmp_path: Path) -> None:
    await filled(tmp_path / "q", list(range(1500)), serializer="json")
    await kills(server, name, tmp_path / "q", 3, 1500, 50)


@pytest.mark.soak
@pytest.mark.parametrize("window", [120.0, 0.1])
async def test_a_forwarder_that_is_killed_twenty_times(
    server: Server, name: str, tmp_path: Path, window: float
) -> None:
    await filled(tmp_path / "q", list(range(20_000)), serializer="json")
    if window < 1:
        await forgetful(server, name)
    row = await kills(server, name, tmp_path / "q", 20, 20_000, 100)
    counts.save(TITLE, f"the forwarder, duplicate window {window:g} s", row)


async def put_while(queue: AsyncQueue, items: int, done: asyncio.Event) -> None:
    for number in range(items):
        await queue.put(number)
        if number % 50 == 0:
            await asyncio.sleep(0.001)
    await queue.join()
    done.set()


async def restarts(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, times: int, items: int) -> None:
    """kill -9 of the server, which syncs before it answers, while producers and forwarder go on."""
    monkeypatch.setattr(forwarder, "BATCH", 20)
    with running(tmp_path / "server") as server:
        done = asyncio.Event()
        async with AsyncQueue(tmp_path / "q", serializer="json") as queue, asyncio.TaskGroup() as group:
            group.create_task(put_while(queue, items, done))
            group.create_task(
                asyncpq.forward(queue, server.url, name, stop=done, timeout=1.0, pause=0.1, duplicate_window=30.0)
            )
            for number in range(times):
                await until_state(server, name, "last_seq", (number + 1) * items // (times + 2))
                await asyncio.to_thread(server.restart)
        assert await payloads(server, name) == lines(items)


async def test_a_server_that_is_killed_and_comes_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await restarts(tmp_path, name, monkeypatch, 2, 400)


@pytest.mark.soak
async def test_a_server_that_is_killed_twenty_times(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await restarts(tmp_path, name, monkeypatch, 20, 20_000)
    counts.save(TITLE, "the server", {"kills": 20, "items": 20_000, "lost": 0, "twice": 0})


async def test_a_server_that_stops_answering(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "BATCH", 20)
    reports: list[Any] = []
    with running(tmp_path / "server") as server:
        await filled(tmp_path / "q", list(range(400)), serializer="json")
        moving = asyncio.create_task(
            asyncpq.forward(
                tmp_path / "q", server.url, name, drain=True, timeout=0.3, pause=0.1, progress=reports.append
            )
        )
        await until(lambda: reports and reports[-1].items >= 40)
        server.freeze()
        try:
            await until(lambda: reports[-1].waiting)
        finally:
            server.thaw()
        report = await moving
        assert (report.items, report.in_doubt) == (400, 0)
        assert await payloads(server, name) == lines(400)


async def test_a_network_that_drops_and_delays(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "BATCH", 20)
    await filled(tmp_path / "q", list(range(400)), serializer="json")
    chance = random.Random(5)
    async with proxy(server.port, delay=0.005, drop_after=lambda: chance.randint(9_000, 40_000)) as between:
        report = await asyncpq.forward(tmp_path / "q", between.url, name, drain=True, timeout=1.0, pause=0.1)
        assert between.dropped >= 3
    assert (report.items, report.in_doubt) == (400, 0)
    assert await payloads(server, name) == lines(400)


async def test_a_cancelled_forward_keeps_what_is_not_confirmed(server: Server, name: str, tmp_path: Path) -> None:
    """Cancelled after each number of turns of the loop, and taken up again."""
    await filled(tmp_path / "q", list(range(300)), serializer="json", chunksize=30)
    async with AsyncQueue(tmp_path / "q") as queue:
        for turns in range(120):
            moving = asyncio.create_task(asyncpq.forward(queue, server.url, name, drain=True))
            for _ in range(turns * turns // 8):
                await asyncio.sleep(0)
            moving.cancel()
            await asyncio.wait([moving])
            assert moving.cancelled() or moving.exception() is None
            if not moving.cancelled():
                break
        report = await asyncpq.forward(queue, server.url, name, drain=True)
        assert report.left == 0
    assert await payloads(server, name) == lines(300)


async def test_what_was_confirmed_is_acknowledged_by_a_cancelled_forward(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between the confirmation and the question where the stream ends."""
    await filled(tmp_path / "q", [0, 1, 2], serializer="json")
    looked = asyncio.Event()
    look = Outlet.look

    async def look_once(outlet: Outlet) -> Any:
        if looked.is_set():
            stop.set()
            await asyncio.Event().wait()
        looked.set()
        return await look(outlet)

    stop = asyncio.Event()
    monkeypatch.setattr(Outlet, "look", look_once)
    report = await asyncpq.forward(tmp_path / "q", server.url, name, stop=stop)
    assert (report.items, report.left) == (3, 0)
    assert await payloads(server, name) == lines(3)


async def test_memory_stays_flat_while_the_server_is_away(name: str, tmp_path: Path) -> None:
    from asyncpq.forwarding.records import Records
    from tests.nats.server import free_port

    url = f"nats://127.0.0.1:{free_port()}"
    reports: list[Any] = []
    async with AsyncQueue(tmp_path / "q", serializer="json") as queue:
        moving = asyncio.create_task(asyncpq.forward(queue, url, name, timeout=0.1, pause=0.1, progress=reports.append))
        await queue.put_many(["x" * 1000] * 5000)
        await until(lambda: any(report.waiting for report in reports))
        consumer = queue._consumer
        assert isinstance(consumer, Records)
        assert len(consumer.pending) <= forwarder.BATCH
        moving.cancel()
        await asyncio.wait([moving])
