"""Producers and consumers at work on one queue, and the account of what each was told."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from asyncpq import AsyncNatsQueue, ServerAway

MakeQueue = Callable[[], AsyncNatsQueue]


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Look, each turn of the loop and then each few milliseconds, until it is so."""
    end = monotonic() + seconds
    turns = 0
    while not condition():
        assert monotonic() < end, "it never happened"
        turns += 1
        await asyncio.sleep(0 if turns < 200 else 0.005)


@dataclass
class Account:
    """What was confirmed, and what came."""

    confirmed: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)  # their put ended with ServerAway
    came: Counter[str] = field(default_factory=Counter)
    acknowledged: set[str] = field(default_factory=set)
    outages: int = 0

    async def confirms(self, count: int) -> None:
        """Wait until so many were confirmed."""
        await until(lambda: len(self.confirmed) >= count, 300)

    @property
    def lost(self) -> set[str]:
        return self.confirmed - set(self.came)

    @property
    def made_up(self) -> set[str]:
        return set(self.came) - self.confirmed - self.unknown


async def produce(queue: AsyncNatsQueue, who: str, count: int, account: Account, *, many: int = 1) -> None:
    """Put *count* items, *many* at a time; one whose fate is not known is not put again."""
    for first in range(0, count, many):
        items = [f"{who}.{number}" for number in range(first, min(count, first + many))]
        try:
            if many == 1:
                await queue.put(items[0])
            else:
                await queue.put_many(items)
        except ServerAway as error:
            account.outages += 1
            stored = getattr(error, "stored", 0)
            account.confirmed.update(items[:stored])
            account.unknown.update(items[stored:])
        else:
            account.confirmed.update(items)


async def consume(queue: AsyncNatsQueue, account: Account, over: Callable[[], bool]) -> None:
    """Claim and acknowledge until *over* says that no more comes."""
    from asyncpq import Empty

    while not over():
        try:
            delivery = await queue.claim(timeout=0.5)
        except Empty:
            continue
        account.came[delivery.item] += 1
        with suppress(ServerAway):
            await delivery.ack()
            account.acknowledged.add(delivery.item)


async def under_load(
    make: MakeQueue,
    disturb: Callable[[Account], Awaitable[Any]],
    *,
    producers: int,
    consumers: int,
    each: int,
    many: int = 1,
) -> Account:
    """Let them work while *disturb* does its worst; return the account once nothing more comes."""
    account = Account()
    queues = [make() for _ in range(producers + consumers)]
    for queue in queues:
        await queue.open()
    ended = False
    try:
        working = [
            asyncio.ensure_future(produce(queue, f"p{number}", each, account, many=many))
            for number, queue in enumerate(queues[:producers])
        ]
        consuming = [asyncio.ensure_future(consume(queue, account, lambda: ended)) for queue in queues[producers:]]
        await disturb(account)
        await asyncio.gather(*working)
        await queues[0].join()
        ended = True
        await asyncio.gather(*consuming)
    finally:
        await asyncio.gather(*(queue.close() for queue in queues))
    return account
