"""The child of test_kill_claims: 64 workers that claim, fail and are cancelled at random, until somebody kills it.

    python -m tests.kill.claiming DIR POLICY SEED

Writes a line to stdout before and after each acknowledgement: `b 17`, `a 17`; `end` when the queue is empty.
"""

import asyncio
import os
import random
import sys

from asyncpq import AsyncQueue, QueueClosed

WORKERS = 64


class Trouble(Exception):
    """A worker fails."""


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
        if chance.random() < 0.1:
            await delivery.nack(to_end=False)
            continue
        tell("b", delivery.item)
        await delivery.ack()
        tell("a", delivery.item)


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
    async with AsyncQueue(folder, fsync=policy) as queue:
        queue.shutdown()
        kinds = [work if number % 2 else receive for number in range(WORKERS)]
        await asyncio.gather(*(kind(queue, chance) for kind in kinds))
    os.write(1, b"end\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
