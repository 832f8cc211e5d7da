"""`python -m bench.nats [ITEMS]`: the queue on a server beside nats-py alone that does the same, in turn in one run.

    put          a message with an id, confirmed               js.publish
    put_many     confirmed                                     js.publish_async, with a window
    get          taken ahead, all acknowledged at the end      fetch(256), then acknowledgements that are confirmed
    claim, ack   one after the other, each confirmed           fetch(1), ack_sync

The exit status says whether each is within GOAL of nats-py's time.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StreamConfig

from asyncpq import AsyncNatsQueue
from tests.nats.server import Server, running

ROUNDS: Final = 7
ITEMS: Final = 2000
GOAL: Final = 1.5  # times what nats-py takes, at most
WINDOW: Final = 256
RECORD: Final = b'{"id": 12345, "text": "' + b"x" * 170 + b'"}\n'
ITEM: Final = {"id": 12345, "text": "x" * 170}


class Ours:
    """The queue."""

    def __init__(self, url: str, number: int) -> None:
        self.queue = AsyncNatsQueue(url, f"ours-{number}", serializer="json")

    async def open(self) -> None:
        await self.queue.open()

    async def put(self, count: int) -> None:
        for _ in range(count):
            await self.queue.put(ITEM)

    async def put_many(self, count: int) -> None:
        await self.queue.put_many([ITEM] * count)

    async def get(self, count: int) -> None:
        for _ in range(count):
            await self.queue.get()
        await self.queue.task_done()

    async def claim(self, count: int) -> None:
        for _ in range(count):
            await (await self.queue.claim()).ack()

    async def close(self) -> None:
        await self.queue.close()


class Alone:
    """nats-py."""

    def __init__(self, url: str, number: int) -> None:
        self.url, self.name = url, f"alone-{number}"
        self.ids = 0

    async def open(self) -> None:
        self.client = await nats.connect(self.url)
        self.stream = self.client.jetstream(publish_async_max_pending=WINDOW)
        await self.stream.add_stream(
            StreamConfig(
                name=self.name,
                subjects=[self.name],
                retention=RetentionPolicy.WORK_QUEUE,
                discard=DiscardPolicy.NEW,
                duplicate_window=120,
            )
        )
        config = ConsumerConfig(durable_name="alone", ack_policy=AckPolicy.EXPLICIT, max_ack_pending=-1)
        self.pulls = await self.stream.pull_subscribe(self.name, "alone", self.name, config=config)

    def headers(self) -> dict[str, str]:
        self.ids += 1
        return {"Nats-Msg-Id": f"{self.name}.{self.ids}", "Asyncpq-Serializer": "json"}

    async def put(self, count: int) -> None:
        for _ in range(count):
            await self.stream.publish(self.name, RECORD, headers=self.headers())

    async def put_many(self, count: int) -> None:
        for _ in range(count):
            await self.stream.publish_async(self.name, RECORD, headers=self.headers(), wait_stall=60)
        await self.stream.publish_async_completed()

    async def get(self, count: int) -> None:
        messages: list[Any] = []
        while len(messages) < count:
            messages += await self.pulls.fetch(min(WINDOW, count - len(messages)))
        for first in range(0, count, WINDOW):
            await asyncio.gather(*(message.ack_sync() for message in messages[first : first + WINDOW]))

    async def claim(self, count: int) -> None:
        for _ in range(count):
            (message,) = await self.pulls.fetch(1)
            await message.ack_sync()

    async def close(self) -> None:
        await self.client.close()


async def seconds(work: Callable[[int], Awaitable[None]], count: int) -> float:
    """Return how long *work* takes on *count* items."""
    began = time.perf_counter()
    await work(count)
    return time.perf_counter() - began


async def one_round(side: Ours | Alone, count: int) -> dict[str, float]:
    """Return the seconds an item of each call."""
    await side.open()
    try:
        took = {
            "put": await seconds(side.put, count),
            "get": await seconds(side.get, count),
            "put_many": await seconds(side.put_many, count),
            "claim, ack": await seconds(side.claim, count),
        }
    finally:
        await side.close()
    return {name: total / count for name, total in took.items()}


async def measured(server: Server, count: int) -> dict[str, list[tuple[float, float]]]:
    """Return for each call the pairs of a round: ours, and nats-py's."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for number in range(ROUNDS):
        ours = await one_round(Ours(server.url, number), count)
        alone = await one_round(Alone(server.url, number), count)
        for name in ours:
            pairs.setdefault(name, []).append((ours[name], alone[name]))
    return pairs


def report(title: str, pairs: dict[str, list[tuple[float, float]]]) -> float:
    """Print medians and ratios; return the worst ratio."""
    print(title)
    worst = 0.0
    for name, rounds in pairs.items():
        ours, alone = (statistics.median(side) for side in zip(*rounds, strict=True))
        ratio = statistics.median(one / other for one, other in rounds)
        worst = max(worst, ratio)
        print(f"  {name:11} {1 / ours:8,.0f}/s   nats-py {1 / alone:8,.0f}/s   time {ratio:.2f} of nats-py's")
    return worst


def main(arguments: list[str]) -> int:
    """Measure; return 0 where the goal holds."""
    count, worst = int(arguments[0]) if arguments else ITEMS, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for sync in (None, "always"):
            with running(Path(folder) / str(sync), sync_interval=sync) as server:
                pairs = asyncio.run(measured(server, count))
            worst = max(worst, report(f"sync_interval: {sync or '2m (the default)'}", pairs))
    print(f"worst: {worst:.2f}, goal: {GOAL}")
    return int(worst > GOAL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
