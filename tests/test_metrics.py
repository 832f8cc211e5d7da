"""A scrape over HTTP shows what the queues count, by Prometheus' conventions; closed queues drop out."""

import asyncio
import gc
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from asyncpq import AsyncQueue, AsyncSQLiteQueue
from asyncpq.metrics import METRICS, PREFIX, collector, register

UNITS: Final = ("_items", "_seconds", "_bytes", "_total", "_healed", "_failed")


class Server:
    """Serves one registry on a port of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._server, self._thread = start_http_server(0, "127.0.0.1", self.registry)

    def scrape(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._server.server_port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def samples(text: str) -> dict[tuple[str, str], float]:
    """(metric, queue) -> value; of histograms only count and sum."""
    return {
        (sample.name.removeprefix(PREFIX), sample.labels["queue"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "le" not in sample.labels
    }


async def test_a_scrape_over_http_shows_what_open_queues_count(server: Server, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "file") as queue, AsyncSQLiteQueue(tmp_path / "q.db") as database:
        register(queue, "jobs", server.registry)
        register(database, registry=server.registry)
        await queue.put_many(range(5))
        await queue.get()
        await queue.sync()
        await database.put("an item")
        found = samples(await asyncio.to_thread(server.scrape))
        syncs = queue.stats()["syncs"]
    name = str(tmp_path / "q.db")
    assert (found["items", "jobs"], found["puts_total", "jobs"], found["in_flight_items", "jobs"]) == (4, 5, 1)
    assert (found["items", name], found["puts_total", name]) == (1, 1)
    assert found["sync_duration_seconds_count", "jobs"] == syncs > 0
    assert found["sync_duration_seconds_sum", "jobs"] > 0
    assert found["failed", "jobs"] == 0
    assert ("chunks_removed_total", name) not in found


async def test_a_closed_queue_and_a_dropped_one_are_left_out(server: Server, tmp_path: Path) -> None:
    queues = [AsyncQueue(tmp_path / str(number)) for number in range(2)]
    for number, queue in enumerate(queues):
        register(queue, f"q{number}", server.registry)
    assert samples(await asyncio.to_thread(server.scrape)) == {}, "not open yet"
    for queue in queues:
        await queue.open()
    assert {name for _, name in samples(await asyncio.to_thread(server.scrape))} == {"q0", "q1"}
    await queues[0].close()
    assert {name for _, name in samples(await asyncio.to_thread(server.scrape))} == {"q1"}
    await queues[1].close()
    del queue
    queues.clear()
    gc.collect()
    assert samples(await asyncio.to_thread(server.scrape)) == {}


async def test_a_name_may_be_used_again_when_its_queue_is_closed(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    async with AsyncQueue(tmp_path) as queue:
        register(queue, registry=registry)
        register(queue, registry=registry)
        with pytest.raises(ValueError, match=r"there is a queue '.*' already; give this one another name="):
            collector(queue, AsyncQueue(tmp_path))
    async with AsyncQueue(tmp_path) as again:
        register(again, registry=registry)
        assert registry.get_sample_value("asyncpq_queue_items", {"queue": str(tmp_path)}) == 0


async def test_scrapes_beside_a_busy_loop_neither_fail_nor_go_back(tmp_path: Path) -> None:
    """In another thread, while chunks roll over and are removed."""
    registry, seen, ended = CollectorRegistry(), [], threading.Event()

    def scrape() -> None:
        while not ended.is_set():
            found = {f.name: f.samples[0].value for f in registry.collect() if f.samples and f.type == "counter"}
            assert min(found.values()) >= 0
            seen.append(found["asyncpq_queue_puts"])

    async with AsyncQueue(tmp_path, chunksize=3) as queue:
        register(queue, "q", registry)
        scraping = asyncio.create_task(asyncio.to_thread(scrape))
        while (not seen or seen[-1] < 300) and not scraping.done():
            await queue.put("item")
            await queue.get()
            await queue.task_done()
        ended.set()
        await scraping
    assert seen == sorted(seen)
    assert len(set(seen)) > 1, "it was scraped meanwhile"


def test_names_end_with_a_unit_or_with_total() -> None:
    for metric in METRICS:
        name = PREFIX + metric.name + ("_total" if metric.kind.__name__.startswith("Counter") else "")
        assert re.fullmatch(r"asyncpq_queue_[a-z_]+", name)
        assert name.endswith(UNITS) or name == "asyncpq_queue_items", name
        assert metric.text.endswith(".")


def test_without_prometheus_client_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['prometheus_client.core'] = None; import asyncpq.metrics"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 1
    assert "the metrics need prometheus-client; install it with: pip install 'asyncpq-engine[metrics]'" in ran.stderr
