"""A process that uses a queue, and says what it does: `python -m tests.sqlite.worker JOB`, a JSON object.

Each thing that it says is a line of one write, so a killed process has said it whole or not at all.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpq
from asyncpq import Empty, NotInFlight


def say(*words: Any) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def lines() -> AsyncIterator[str]:
    """What the test wants next."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


class Worker:
    """One queue."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        make = getattr(asyncpq, job["queue"])
        self.queue: Any = make(job["path"], **job.get("options", {}))
        self.acked = "Ack" in job["queue"]

    async def run(self) -> None:
        async with self.queue:
            say("open", os.getpid())
            await getattr(self, self.job["role"])()
        say("closed")

    async def take(self) -> None:
        """Several tasks take items until none has come for a while."""
        await asyncio.gather(*(self._take() for _ in range(self.job["tasks"])))

    async def _take(self) -> None:
        while True:
            try:
                item = await self.queue.get(timeout=self.job["patience"])
            except Empty:
                return
            if self.acked:
                await self.queue.ack(item)
            else:
                await self.queue.task_done()
            say("done", item)

    async def put(self) -> None:
        """Put some items."""
        for number in range(self.job["items"]):
            await self.queue.put(number)

    async def obey(self) -> None:
        """Do what comes on the standard input."""
        held: list[Any] = []
        async for line in lines():
            if line == "stamp":
                await self.queue.put(time.monotonic_ns())
            elif line == "get":
                try:
                    held.append(await self.queue.get(block=False))
                    say("got", held[-1])
                except Empty:
                    say("empty")
            elif line == "ack":
                try:
                    await self.queue.ack(held[-1])
                    say("acked")
                except NotInFlight:
                    say("NotInFlight")
            elif line == "task_done":
                await self.queue.task_done()
                say("done")


if __name__ == "__main__":
    asyncio.run(Worker(json.loads(sys.argv[1])).run(), debug=False)
