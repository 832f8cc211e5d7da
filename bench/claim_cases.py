"""The case of claims: what claim and ack cost beside get and task_done, and how many go into one sync."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

from asyncpq import AsyncQueue
from bench.contenders import CHUNKSIZE, ITEM, SLICE, bare_sync, consume, folder, per_item, run
from bench.measure import Measured, in_slices, in_turn, median, ratios, stopwatch
from bench.setting import Setting
from bench.table import Goal, Row, Table, microseconds

WORKERS: Final = 256


async def claim(queue: AsyncQueue, count: int) -> None:
    for _ in range(count):
        await (await queue.claim()).ack()


async def one_worker(where: Path, slices: int) -> Measured:
    """Claim + ack under the default policy, in turn with get + task_done."""
    path = folder(where)
    async with (
        AsyncQueue(path / "got", chunksize=CHUNKSIZE) as got,
        AsyncQueue(path / "claimed", chunksize=CHUNKSIZE) as claimed,
    ):
        for queue in (got, claimed):
            await queue.put_many([ITEM] * (slices * SLICE))
        parts = {"get + task_done": lambda: consume(got, SLICE), "claim + ack": lambda: claim(claimed, SLICE)}
        return per_item(await in_slices(slices, parts))


async def many_workers(where: Path, each: int) -> Measured:
    """Claim + ack under `always` by many workers at once."""
    count = WORKERS * each
    async with AsyncQueue(folder(where), chunksize=CHUNKSIZE, fsync="always") as queue:
        await queue.put_many([ITEM] * count)
        with stopwatch() as claiming:
            await asyncio.gather(*(claim(queue, each) for _ in range(WORKERS)))
    return {"claims": claiming.seconds / count}


def claims(setting: Setting) -> Table:
    """One worker, and many under `always`."""
    slices, each, bare = setting.scaled(100, 30), setting.scaled(40, 10), setting.scaled(300, 100)
    rounds = in_turn(
        setting.rounds,
        {
            "bare": partial(bare_sync, setting.where, bare),
            "one": lambda: run(one_worker(setting.where, slices)),
            "many": lambda: run(many_workers(setting.where, each)),
        },
        "claims",
    )
    many = f"`always`, {WORKERS} workers: claim + ack in the time of one write + fdatasync"
    return Table(
        [
            Row(
                "claims-one",
                "claim + ack, over get + task_done, one worker",
                Goal(1.5, "x"),
                ratios(rounds, "claim + ack", "get + task_done"),
            ),
            Row("claims-many", many, Goal(8, "x", at_least=True), ratios(rounds, "bare", "claims")),
        ],
        [
            ("claim + ack, one worker", microseconds(median(rounds, "claim + ack"))),
            (f"claim + ack, `always`, {WORKERS} workers", microseconds(median(rounds, "claims"))),
        ],
    )
