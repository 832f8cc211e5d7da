"""Put, get, and what happens to an item that is not marked done.

python basic.py [DIRECTORY]
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from asyncpq import AsyncQueue, Empty


async def produce(path: Path) -> None:
    """Store three jobs; on return of each put a killed process loses none of them."""
    async with AsyncQueue(path) as queue:
        await queue.put({"job": 1, "url": "https://example.org/"})
        await queue.put_many([{"job": 2}, {"job": 3}])
        print(f"stored {await queue.qsize()} jobs in {path}")


async def consume(path: Path) -> None:
    """Do one job, and leave the second unfinished."""
    async with AsyncQueue(path) as queue:
        job = await queue.get()
        print("done with", job)
        await queue.task_done()  # from here on it is gone
        print("began with", await queue.get(), "and did not finish")


async def consume_the_rest(path: Path) -> None:
    """Drain: what was not marked done comes first."""
    async with AsyncQueue(path) as queue:
        while True:
            try:
                job = await queue.get(timeout=0.1)
            except Empty:
                print("nothing is left")
                return
            print("done with", job)
            await queue.task_done()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[1] if len(sys.argv) > 1 else folder) / "jobs"
        await produce(path)
        await consume(path)
        await consume_the_rest(path)


if __name__ == "__main__":
    asyncio.run(main())
