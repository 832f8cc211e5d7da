"""A worker that SIGTERM ends well: it finishes the job that it has, and leaves the rest on the disk.

python graceful_shutdown.py DIRECTORY

A second SIGTERM, or Ctrl-C twice, ends it at once; the job that it was doing then comes again at the next start.
"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Final

from asyncpq import AsyncQueue, Delivery, QueueLocked

WORKERS: Final = 3
GRACE: Final = 10.0  # seconds that a job gets to end


async def work(queue: AsyncQueue) -> None:
    async for delivery in queue.deliveries():
        await do(delivery)
        await delivery.ack()


async def do(delivery: Delivery) -> None:
    print("begins with", delivery.item, flush=True)
    await asyncio.sleep(0.05)
    print("done with", delivery.item, flush=True)


def install(stop: asyncio.Event) -> None:
    """Set *stop* at the first signal; the second one does what signals do."""
    loop = asyncio.get_running_loop()

    def asked(number: int) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)


async def main(path: Path) -> None:
    stop = asyncio.Event()
    install(stop)
    async with AsyncQueue(path, fsync="always") as queue:
        workers = [asyncio.create_task(work(queue)) for _ in range(WORKERS)]
        print("waiting for jobs; SIGTERM ends me", flush=True)
        await stop.wait()
        queue.shutdown(immediate=True)  # no worker gets another job; acknowledgements are still taken
        done, late = await asyncio.wait(workers, timeout=GRACE)
        for worker in late:
            worker.cancel()  # its job comes again at the next start
        await asyncio.gather(*done, *late, return_exceptions=True)
        print(f"ended; {await queue.qsize()} jobs are left for the next start", flush=True)


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1])))
    except QueueLocked as error:
        sys.exit(f"is another worker running? {error}")
