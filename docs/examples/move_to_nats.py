"""An application moves from a directory to a NATS server: one line of it changes.

    python move_to_nats.py nats://localhost:4222 jobs

It needs asyncpq-engine[nats].  The application works for a while on a directory; what is left there is moved with
asyncpq.migrate, and the same code goes on where any number of machines can work at it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import asyncpq
from asyncpq import AsyncNatsQueue, AsyncQueue

Queue = AsyncQueue | AsyncNatsQueue


def before(folder: Path) -> Queue:
    return AsyncQueue(folder, serializer="json")


def after(server: str, name: str) -> Queue:
    return AsyncNatsQueue(server, name, serializer="json")  # this line


async def application(queue: Queue, most: int) -> list[Any]:
    """Work on up to *most* jobs; what fails is given back."""
    done: list[Any] = []
    async with queue:
        while len(done) < most and not await queue.empty():
            async with queue.receive() as job:
                done.append(job["id"])
    return done


async def main(server: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as here:
        folder = Path(here) / "jobs"
        async with AsyncQueue(folder, serializer="json") as queue:
            await queue.put_many([{"id": number} for number in range(100)])
        done = await application(before(folder), 30)
        print(f"in the directory {len(done)} jobs were done")

        report = await asyncpq.migrate(folder, f"{server}/{name}")
        print(f"{report.items} jobs were moved to {report.target}, count and digest verified")

        done += await application(after(server, name), 100)
        assert done == list(range(100)), "each job once, and in order"
        print(f"on the server the rest: {len(done)} jobs in all, each once, in order")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
