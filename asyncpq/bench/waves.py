"""The load of a counting run: waves of puts, with a mark for each acknowledgement.

    begin   put put ... put   ack n   put put ... put   ack n   end       asyncpq: puts share a commit
    begin   put ack put ack ...                                   end       others: each has its own

Between an acknowledgement and the next put nothing is written on behalf of a put, so the order of calls says what
was durable when it was acknowledged.  Where puts share commits that holds behind a whole wave only: as soon as one
commit is done, the next one is written.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncpq.bench.slices import item_of, wave

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.bench.contenders.protocol import Contender
    from asyncpq.bench.plan import Cell

__all__ = ["Amount", "amount", "count"]

SLACK: Final = 0.3  # seconds that a commit at the end of a window may take, to be seen
FEWEST: Final = 2  # waves, however long they take


@dataclass(frozen=True, slots=True)
class Amount:
    """How long a counting run is: until one of both is reached.

    It is too short for a policy whose window is longer.
    """

    puts: int
    seconds: float


def amount(cell: Cell, quick: bool, first: bool) -> Amount:
    """Return how long *cell*, the *first* of its contender and policy or not, is counted."""
    if cell.window and (first or not quick):
        return Amount(1_000_000_000, cell.window + max(SLACK, cell.window / 5))
    return Amount(250, 0.05) if quick else Amount(2500, 1.0)


async def count(contender: Contender, cell: Cell, length: Amount, mark: Callable[[str, int], None]) -> None:
    """Put in waves, and tell *mark* of "begin", each "ack" with its number of puts, and "end".

    It is closed on return, also after an error.
    """
    item = item_of(cell.size)
    await contender.open()
    try:
        await wave(contender, item, cell.producers)
        mark("begin", 0)
        ends, done = time.monotonic() + length.seconds, 0
        while done < FEWEST or (done * cell.producers < length.puts and time.monotonic() < ends):
            await _acknowledged(contender, item, cell.producers, mark)
            done += 1
        mark("end", 0)
    finally:
        await contender.close()


async def _acknowledged(contender: Contender, item: str, producers: int, mark: Callable[[str, int], None]) -> None:
    """Put one item by each producer, at once, and tell of those that have returned."""
    if contender.shares:
        await wave(contender, item, producers)
        mark("ack", producers)
        return

    async def put() -> None:
        await contender.put(item)
        mark("ack", 1)

    await asyncio.gather(*(put() for _ in range(producers)))
