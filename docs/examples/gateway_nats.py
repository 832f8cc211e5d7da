"""A gateway: what it measures is stored on its disk, and goes to a NATS server whenever the network is there.

    python gateway_nats.py nats://hub.example.org:4222 readings spool

It needs asyncpq-engine[nats].  Kill it, pull the cable, stop the server: each reading is on the hub once, in order,
in the end.  Whoever reads them there:

    async with AsyncNatsQueue("nats://hub.example.org:4222", "readings", serializer="json") as queue:
        async for reading in queue: ...
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpq
from asyncpq import AsyncQueue, ForwardReport


async def readings(every: float, count: int | None) -> AsyncIterator[dict[str, Any]]:
    """What a sensor would say."""
    for number in itertools.count() if count is None else range(count):
        yield {"number": number, "at": time.time(), "celsius": round(random.gauss(20, 2), 1)}
        await asyncio.sleep(every)


async def measure(queue: AsyncQueue, every: float, count: int | None) -> None:
    """Store readings.  Whether the hub can be reached is no concern of this function."""
    async for reading in readings(every, count):
        await queue.put(reading)
    await queue.join()  # all of them were confirmed


def tell(report: ForwardReport) -> None:
    state = f"waiting: {report.waiting}" if report.waiting else "going on"
    print(f"{report.items} on the hub, {report.left} here, {state}", flush=True)


async def gateway(server: str, name: str, spool: Path, every: float, count: int | None) -> ForwardReport:
    stop = asyncio.Event()
    async with AsyncQueue(spool, serializer="json") as queue, asyncio.TaskGroup() as group:
        forwarding = group.create_task(
            asyncpq.forward(queue, server, name, stop=stop, skip_bad=True, timeout=2.0, pause=10.0, progress=tell)
        )
        measuring = group.create_task(measure(queue, every, count))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, measuring.cancel)
        await asyncio.wait([measuring])
        stop.set()
    return forwarding.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    parser.add_argument("name")
    parser.add_argument("spool", type=Path)
    parser.add_argument("--every", type=float, default=1.0, help="seconds from one reading to the next")
    parser.add_argument("--count", type=int, help="readings; without it, for ever")
    said = parser.parse_args()
    report = asyncio.run(gateway(said.server, said.name, said.spool, said.every, said.count))
    print(f"done: {report.items} on the hub, {report.left} here")


if __name__ == "__main__":
    main()
