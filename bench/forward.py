"""`python -m bench.forward [ITEMS]`: the rate of forwarding, beside reading alone and beside putting alone.

Reading alone gets every item of the directory and acknowledges a thousand at a time; putting alone stores the same
items with AsyncNatsQueue.put_many, a thousand at a time.  All are measured in turn, and the median of the rounds
counts.  The server runs on this machine, and shares its processors.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpq
from asyncpq import AsyncNatsQueue, AsyncQueue
from bench.conditions import described, machine
from tests.nats.server import Server, running

ROUNDS: Final = 5
ITEMS: Final = 20_000
TOGETHER: Final = 1000
LATE: Final = 50  # items that are put one by one, to see how long each takes


def item(number: int) -> dict[str, Any]:
    """An item of about 200 bytes."""
    return {"id": number, "text": "x" * 160, "none": None}


async def filled(path: Path, count: int) -> None:
    async with AsyncQueue(path, serializer="msgpack", chunksize=TOGETHER) as queue:
        await queue.put_many([item(number) for number in range(count)])


async def read(path: Path, count: int) -> float:
    """Return the seconds that getting and acknowledging everything takes."""
    await filled(path, count)
    began = time.perf_counter()
    async with AsyncQueue(path) as queue:
        for _ in range(0, count, TOGETHER):
            await queue.get_many(TOGETHER)
            await queue.task_done()
    return time.perf_counter() - began


async def put(server: Server, count: int) -> float:
    """Return the seconds that putting alone takes."""
    items = [item(number) for number in range(count)]
    async with AsyncNatsQueue(server.url, uuid4().hex, serializer="msgpack") as queue:
        await queue.open()
        began = time.perf_counter()
        for start in range(0, count, TOGETHER):
            await queue.put_many(items[start : start + TOGETHER])
        return time.perf_counter() - began


async def forwarded(server: Server, path: Path, count: int) -> float:
    """Return the seconds that forwarding takes."""
    await filled(path, count)
    began = time.perf_counter()
    report = await asyncpq.forward(path, server.url, uuid4().hex, drain=True)
    took = time.perf_counter() - began
    assert report.items == count
    return took


async def late(server: Server, path: Path) -> float:
    """Return the seconds from a put to the acknowledgement of the item, that is to the confirmation of the server."""
    took = []
    async with AsyncQueue(path, serializer="msgpack") as queue:
        stop = asyncio.Event()
        moving = asyncio.ensure_future(asyncpq.forward(queue, server.url, uuid4().hex, stop=stop))
        for number in range(LATE):
            began = time.perf_counter()
            await queue.put(item(number))
            await queue.join()
            took.append(time.perf_counter() - began)
        stop.set()
        await moving
    return statistics.median(took[1:])


async def measured(folder: Path, server: Server, count: int) -> dict[str, float]:
    """Return medians: seconds."""
    found: dict[str, list[float]] = {"reading alone": [], "putting alone": [], "forwarding": [], "one item": []}
    for number in range(ROUNDS):
        found["reading alone"].append(await read(folder / f"read{number}", count))
        found["putting alone"].append(await put(server, count))
        found["forwarding"].append(await forwarded(server, folder / f"forward{number}", count))
        found["one item"].append(await late(server, folder / f"late{number}"))
    return {name: statistics.median(took) for name, took in found.items()}


def main() -> int:
    """Measure, and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ITEMS
    print(machine(described(Path(tempfile.gettempdir()))))
    for sync in (None, "always"):
        with tempfile.TemporaryDirectory(prefix="asyncpq-bench-") as name:
            folder = Path(name)
            with running(folder / "server", sync_interval=sync) as server:
                took = asyncio.run(measured(folder, server, count))
        one = took.pop("one item")
        rates = {what: count / seconds for what, seconds in took.items()}
        print(f"sync_interval {sync or 'as it comes (2 minutes)'}, {count:,} items of 200 bytes")
        for what, rate in rates.items():
            print(f"  {what:14} {rate:9,.0f}/s")
        print(
            f"  forwarding is {rates['forwarding'] / rates['reading alone']:.2f} of reading alone, "
            f"{rates['forwarding'] / rates['putting alone']:.2f} of putting alone; "
            f"one item alone is there after {one * 1000:.1f} ms"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
