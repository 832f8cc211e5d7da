"""A device gateway that keeps measurements while the network is down, and sends them in order when it is back.

sensor ──> queue on the disk ──> uplink ──> server

python gateway.py DIRECTORY    with a server of its own, which is away for a while in the middle
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from asyncpq import AsyncQueue, fsync

BATCH: Final = 50  # measurements in one message
RETRY_MIN, RETRY_MAX = 0.01, 0.1  # seconds; a real uplink waits from 1 s to some minutes


async def sense(queue: AsyncQueue, numbers: range) -> None:
    """Store measurements.  The network has no part in it."""
    for number in numbers:
        await queue.put({"sensor": 7, "number": number, "celsius": 20 + number % 5})
        await asyncio.sleep(0.001)


async def forward(queue: AsyncQueue, port: int) -> None:
    """Send batches for ever; a batch that was not confirmed is sent again, before anything newer."""
    retry = RETRY_MIN
    while True:
        batch = await queue.get_many(BATCH)
        while True:
            try:
                await send(port, batch)
            except OSError:
                await asyncio.sleep(retry)
                retry = min(2 * retry, RETRY_MAX)
            else:
                break
        retry = RETRY_MIN
        for _ in batch:
            await queue.task_done()  # a crash before this sends the batch twice: the server drops what it has


async def send(port: int, batch: list[Any]) -> None:
    """Send a batch, and wait until the server has confirmed it.

    Raises:
        OSError: it did not.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(json.dumps(batch).encode() + b"\n")
        if await reader.readline() != b"ok\n":
            raise ConnectionError("the server did not confirm the batch")
    finally:
        writer.close()


@asynccontextmanager
async def server(received: dict[int, Any], port: int = 0) -> AsyncIterator[int]:
    """Take batches, each measurement once; yield the port."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if line := await reader.readline():
            received.update({each["number"]: each for each in json.loads(line)})
            writer.write(b"ok\n")
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", port) as there:
        yield there.sockets[0].getsockname()[1]


async def main(path: Path) -> None:
    received: dict[int, Any] = {}
    async with AsyncQueue(path, serializer="json", fsync=fsync.Interval(seconds=0.5)) as queue:
        async with server(received) as port:
            uplink = asyncio.create_task(forward(queue, port))
            await sense(queue, range(100))
        print(f"the network is down; {len(received)} measurements have arrived")
        await sense(queue, range(100, 200))
        print(f"{await queue.qsize()} wait on the disk")
        async with server(received, port):
            await queue.join()
        uplink.cancel()
    print(f"the network is back; {len(received)} have arrived, in order: {list(received) == list(range(200))}")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
