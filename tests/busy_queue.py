"""A process that puts and acknowledges as fast as it can: `python -m tests.busy_queue DIR FOLDER HOW`.

    FOLDER/put      the number of items that were put, 8 bytes, overwritten after each group
    FOLDER/acked    the numbers that were acknowledged, 8 bytes each, appended after each group

HOW is task_done (in order) or claims (in any order).  It ends when its standard input does.
"""

import asyncio
import os
import random
import select
import struct
import sys
from pathlib import Path
from typing import Final

from asyncpq import AsyncQueue

GROUP: Final = 5  # items put, and then acknowledged, at a time
BACKLOG: Final = 60  # items that wait before any is acknowledged


class Busy:
    """The queue, and what is said of it."""

    def __init__(self, folder: Path) -> None:
        self._put = os.open(folder / "put", os.O_CREAT | os.O_WRONLY)
        self._acked = os.open(folder / "acked", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self.count = 0

    async def put(self, queue: AsyncQueue) -> None:
        await queue.put_many(range(self.count, self.count + GROUP))
        self.count += GROUP
        os.pwrite(self._put, struct.pack("<Q", self.count), 0)

    def acked(self, numbers: list[int]) -> None:
        os.write(self._acked, struct.pack(f"<{len(numbers)}Q", *numbers))


async def in_order(queue: AsyncQueue, busy: Busy) -> None:
    numbers = await queue.get_many(GROUP)
    await queue.task_done()
    busy.acked(numbers)


async def in_any_order(queue: AsyncQueue, busy: Busy) -> None:
    held = await queue.claim_many(2 * GROUP)
    random.shuffle(held)
    for delivery in held[:GROUP]:
        await delivery.ack()
    busy.acked([delivery.item for delivery in held[:GROUP]])
    for delivery in held[GROUP:]:
        await delivery.nack()


async def run(path: str, folder: Path, how: str) -> None:
    busy = Busy(folder)
    step = in_order if how == "task_done" else in_any_order
    async with AsyncQueue(path, chunksize=7) as queue:
        while not select.select([0], [], [], 0)[0]:
            await busy.put(queue)
            if busy.count > BACKLOG:
                await step(queue, busy)


def put(folder: Path) -> int:
    """How many items were put by now."""
    data = (folder / "put").read_bytes() if (folder / "put").exists() else b""
    return int(struct.unpack("<Q", data)[0]) if len(data) == 8 else 0


class Acked:
    """The numbers that were acknowledged; each time only what is new is read."""

    def __init__(self, folder: Path) -> None:
        self._path, self._read = folder / "acked", 0
        self._seen = bytearray()

    def look(self) -> None:
        """Know those acknowledged by now."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = len(data) // 8
        self._read += 8 * whole
        numbers = struct.unpack(f"<{whole}Q", data[: 8 * whole])
        self._seen.extend(bytes(max(0, max(numbers, default=-1) + 1 - len(self._seen))))
        for number in numbers:
            self._seen[number] = 1

    def __contains__(self, number: int) -> bool:
        return number < len(self._seen) and self._seen[number] == 1

    def missing(self, below: int) -> set[int]:
        """The numbers up to *below* that were not acknowledged."""
        return {number for number in range(below) if number not in self}


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], Path(sys.argv[2]), sys.argv[3]), debug=False)
