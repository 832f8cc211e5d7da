"""The child of test_kill_claims: 64 workers that claim, fail and are cancelled at random, until somebody kills it.

    python -m tests.kill.claiming DIR POLICY SEED

Some items are given back at the end, some are rejected, some fail too often and go to the dead letters by themselves.
What it writes to stdout is said in tests.kill.said; `end` when the queue is empty.
"""

import asyncio
import os
import random
import resource
import sys
from pathlib import Path

from asyncpq import AsyncQueue, QueueClosed
from tests.kill.said import dead_of

WORKERS = 64
ATTEMPTS = 6  # then it is a dead letter


class Trouble(Exception):
    """A worker fails."""


def most_memory() -> int:
    """KiB that the process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def tell(what: str, item: int) -> None:
    os.write(1, f"{what} {item}\n".encode())


async def work(queue: AsyncQueue, chance: random.Random) -> None:
    while True:
        try:
            delivery = await queue.claim()
        except QueueClosed:
            return
        for _ in range(chance.choice((0, 0, 1, 5))):
            await asyncio.sleep(0)
        item, choice = delivery.item, chance.random()
        if choice < 0.1:
            await delivery.nack()
        elif choice < 0.15:
            tell("m", item)
            await delivery.nack(to_end=True)
            tell("n", item)
        elif choice < 0.2:
            tell("r", item)
            await delivery.reject("no good")
            tell("d", item)
        else:
            tell("b", item)
            await delivery.ack()
            tell("a", item)


async def receive(queue: AsyncQueue, chance: random.Random) -> None:
    """Fail and be cancelled inside the block; what leaves normally is acknowledged by it."""
    while True:
        item = -1
        try:
            async with asyncio.timeout(chance.choice((0.0005, None))), queue.receive() as item:
                for _ in range(chance.choice((0, 1, 30))):
                    await asyncio.sleep(0)
                if chance.random() < 0.05:
                    raise Trouble
                tell("b", item)
        except (Trouble, TimeoutError):
            continue
        except QueueClosed:
            return
        tell("a", item)


async def main(folder: str, policy: str, seed: int) -> None:
    chance = random.Random(seed)
    dead = dead_of(Path(folder))
    attempts = ATTEMPTS if policy != "never" else None  # which makes no dead letter durable, and this one says nothing
    async with AsyncQueue(folder, fsync=policy, max_attempts=attempts, dead_letters=dead) as queue:
        queue.shutdown()
        before = most_memory()
        kinds = [work if number % 2 else receive for number in range(WORKERS)]
        await asyncio.gather(*(kind(queue, chance) for kind in kinds))
    tell("grew", most_memory() - before)
    os.write(1, b"end\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
