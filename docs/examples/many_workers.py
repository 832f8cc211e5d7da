"""Many producers and consumers on one queue, each item acknowledged by itself; failures are tried again.

python many_workers.py [DIRECTORY]
"""

import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import Final

from asyncpq import AsyncQueue, Delivery, dead_letters

PRODUCERS: Final = 20
WORKERS: Final = 10
EACH: Final = 50  # jobs of each producer
POISON: Final = 13  # the number of the job that nobody can do


async def produce(queue: AsyncQueue, producer: int) -> None:
    for number in range(EACH):
        await queue.put({"producer": producer, "number": number})  # waits while the queue is full


async def work(queue: AsyncQueue, random_: random.Random) -> int:
    """Do jobs until the queue is shut down and empty; return how many were done."""
    done = 0
    async for delivery in queue.deliveries():
        try:
            await do(delivery, random_)
        except (ConnectionError, ValueError) as error:
            await delivery.nack(error=error)  # comes again; after max_attempts it goes to the dead letters
        else:
            await delivery.ack()
            done += 1
    return done


async def do(delivery: Delivery, random_: random.Random) -> None:
    job = delivery.item
    if job["producer"] == job["number"] == POISON:
        raise ValueError("this job cannot be done")
    if random_.random() < 0.05:
        raise ConnectionError("the network was down for a moment")
    await asyncio.sleep(0)  # the work


async def main(path: Path) -> None:
    random_ = random.Random(1)
    async with AsyncQueue(path / "jobs", maxsize=100, max_attempts=20, dead_letters=path / "dead") as queue:
        workers = [asyncio.create_task(work(queue, random_)) for _ in range(WORKERS)]
        async with asyncio.TaskGroup() as producers:
            for producer in range(PRODUCERS):
                producers.create_task(produce(queue, producer))
        queue.shutdown()  # no more puts; the workers end when it is empty
        done = await asyncio.gather(*workers)
    print(f"{sum(done)} of {PRODUCERS * EACH} jobs done by {WORKERS} workers")
    async for letter in dead_letters(path / "dead"):
        print(f"given up after {letter.attempts} attempts: {letter.item()}: {letter.error}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else folder)))
