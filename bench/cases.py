"""The cases: which contenders meet, and the goals that the figures have to keep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from bench import claim_cases, database_cases, memory, queues
from bench import contenders as c
from bench.measure import Measured, in_turn, median, percentile, ratios
from bench.setting import Setting
from bench.table import Goal, Row, Table, microseconds, number

MIB: Final = 1024 * 1024  # bytes
MANY: Final = 256  # producers under `always`
LAGGING: Final = 100  # producers while the lag is sampled
DELAY: Final = 0.020  # seconds that each sync takes longer while the lag is sampled


def against_persist_queue(setting: Setting) -> Table:
    """Put, and get + task_done: asyncpq's default policy, and both queues of persist-queue."""
    slices, ours, theirs = setting.scaled(10, 3), setting.scaled(2000, 1000), c.CHUNKSIZE
    rounds = in_turn(
        setting.rounds,
        {"all": lambda: c.run(c.beside_persist_queue(setting.where, slices, ours, theirs))},
        "against persist-queue",
    )
    table = Table()
    for kind, title, bound in (("async", "AsyncQueue", 100), ("sync", "Queue", 25)):
        for part, what in (("put", "put"), ("get", "get + task_done")):
            goal = Goal(bound, "x", at_least=True)
            name, text = f"{part} {kind}", f"{what}, times faster than persist-queue's {title}"
            table.rows.append(Row(f"{part}-{kind}", text, goal, ratios(rounds, name, part)))
            table.figures.append((f"{what}, persist-queue's {title}", microseconds(median(rounds, name))))
    table.figures.append(("put, default policy", microseconds(median(rounds, "put"))))
    table.figures.append(("get + task_done, default policy", microseconds(median(rounds, "get"))))
    return table


def over_the_kernel(setting: Setting) -> Table:
    """Put under `never`, and for 5 seconds under the default policy, over the same bytes without asyncpq."""
    slices, seconds = setting.scaled(100, 30), 1.5 if setting.quick else 5.0
    rounds = in_turn(
        setting.rounds,
        {
            "never": lambda: c.run(c.beside_the_kernel(setting.where, slices)),
            "kernel": lambda: c.run(c.the_kernel(setting.where, seconds / 5)),
            "file": lambda: c.run(c.making_files(setting.where, slices)),
            "for long": lambda: c.run(c.asyncpq_for(setting.where, seconds)),
        },
        "over the kernel",
    )
    long = f"put, default policy over {seconds:g} s"
    never = ratios(rounds, "put never", "kernel")
    interval = ratios(rounds, "put for long", "kernel for long")
    return Table(
        [
            Row("kernel-never", "put, `never`, over the kernel's own cost", Goal(2, "x"), never),
            Row("kernel-interval", f"{long}, over the kernel's own cost", Goal(2.5, "x"), interval),
        ],
        [
            ("pickle, write, pickle of info, pwrite", microseconds(median(rounds, "kernel"))),
            ("put, `never`", microseconds(median(rounds, "put never"))),
            ("make a file, once in 100 puts", microseconds(median(rounds, "file"))),
            (long, microseconds(median(rounds, "put for long"))),
        ],
        [Row("kernel-never-aim", "put, `never`, over the kernel's own cost", Goal(1.5, "x"), never)],
    )


def consuming(setting: Setting) -> Table:
    """get + task_done beside put: where a put takes 5 us, they are to take 3."""
    slices = setting.scaled(100, 30)
    rounds = in_turn(setting.rounds, {"both": lambda: c.run(c.put_and_consume(setting.where, slices))}, "consuming")
    return Table(
        [],
        [("get + task_done, `never`", microseconds(median(rounds, "consume")))],
        [Row("consuming", "get + task_done, over a put, `never`", Goal(0.6, "x"), ratios(rounds, "consume", "put"))],
    )


def by_hundreds(setting: Setting) -> Table:
    """put_many and get_many of 100, an item, against put and get alone."""
    slices = setting.scaled(50, 20)
    rounds = in_turn(
        setting.rounds, {"both": lambda: c.run(c.alone_and_many(setting.where, slices))}, "put_many and get_many"
    )
    table = Table()
    for part in ("put", "get"):
        values = ratios(rounds, f"{part} alone", f"{part}_many")
        what = f"{part}_many of 100, an item, times faster than {part} alone"
        table.rows.append(Row(f"{part}_many", what, Goal(4, "x", at_least=True), values))
        table.figures.append((f"{part}_many of 100, an item", microseconds(median(rounds, f"{part}_many"))))
        table.figures.append((f"{part} alone", microseconds(median(rounds, f"{part} alone"))))
    return table


def always(setting: Setting) -> Table:
    """`always` with one producer and with many, over one bare write + fdatasync."""
    bare, one, each = setting.scaled(300, 100), setting.scaled(300, 100), setting.scaled(20, 8)
    rounds = in_turn(
        setting.rounds,
        {
            "bare": partial(c.bare_sync, setting.where, bare),
            "one": lambda: c.run(c.always(setting.where, 1, one)),
            "many": lambda: c.run(c.always(setting.where, MANY, each)),
        },
        "always",
    )
    many, alone = ratios(rounds, "bare", f"always {MANY}"), ratios(rounds, "always 1", "bare")
    in_one = ratios(rounds, "always 1", f"always {MANY}")
    text = f"`always`, {MANY} producers: puts in the time of one write + fdatasync"
    text_alone = "`always`, one producer, over one write + fdatasync"
    return Table(
        [
            Row("always-many", text, Goal(8, "x", at_least=True), many),
            Row("always-one", text_alone, Goal(4, "x"), alone),
        ],
        [
            ("write + fdatasync", microseconds(median(rounds, "bare"))),
            ("put, `always`, one producer", microseconds(median(rounds, "always 1"))),
            ("syncs a put, one producer", number(median(rounds, "syncs 1"))),
            (f"put, `always`, {MANY} producers", microseconds(median(rounds, f"always {MANY}"))),
            (f"syncs a put, {MANY} producers", number(median(rounds, f"syncs {MANY}"))),
        ],
        [
            Row("always-one-aim", text_alone, Goal(3, "x"), alone),
            Row(
                "always-many-aim",
                f"`always`, {MANY} producers: puts in the time of one put of one producer",
                Goal(15, "x", at_least=True),
                in_one,
            ),
        ],
    )


def open_backlog(setting: Setting) -> Table:
    """Open a queue that was closed with a million items in 10,000 files."""
    count = setting.scaled(1_000_000, 100_000)
    path = c.folder(setting.where)
    asyncio.run(c.backlog(path, count))
    rounds = in_turn(setting.rounds, {"open": lambda: c.run(c.opening(path))}, "open")
    values = [measured["open"] * 1e3 for measured in rounds]
    return Table([Row("open", f"open a closed backlog of {count:,} items", Goal(20, "ms"), values)])


def memory_gained(setting: Setting) -> Table:
    """Put and drain a million items, in a process of its own."""
    count = setting.scaled(1_000_000, 100_000)
    values = [memory.measure(setting.where, count)["memory"] / MIB]
    return Table([Row("memory", f"memory gained while {count:,} items are put, then drained", Goal(32, "MiB"), values)])


def many_queues(setting: Setting) -> Table:
    """Open queues in one process, each used, then at rest."""
    count = setting.scaled(1000, 100)
    rounds = [queues.measure(setting.where, count) for _ in range(setting.scaled(3, 1))]
    what = f"{count:,} open queues in one process, at rest"
    return Table(
        [],
        [
            (f"memory of one of {count:,} open queues", f"{number(median(rounds, 'a queue') / 1024)} KiB"),
            (f"open one of {count:,} new queues", microseconds(median(rounds, "open"))),
        ],
        [
            Row("queues-memory", f"{what}: memory", Goal(64, "MiB"), [one["resident"] / MIB for one in rounds]),
            Row("queues-files", f"{what}: descriptors of each", Goal(2, ""), [one["descriptors"] for one in rounds]),
        ],
    )


def lag(setting: Setting) -> Table:
    """How late the event loop is while 100 producers put under `always` and each sync takes 20 ms longer."""
    seconds = 1.0 if setting.quick else 3.0

    def putting() -> Measured:
        lags = asyncio.run(c.lag_while_putting(setting.where, LAGGING, DELAY, seconds), debug=False)
        return {"lag": percentile(lags, 999), "half": percentile(lags, 500)}

    def idle() -> Measured:
        lags = asyncio.run(c.sampled_lag(seconds), debug=False)
        return {"idle": percentile(lags, 999), "idle half": percentile(lags, 500)}

    rounds = in_turn(setting.rounds, {"putting": putting, "idle": idle}, "lag of the loop")
    what = f"lag of the loop, 99.9th percentile, {LAGGING} producers, `always`, each sync {DELAY * 1e3:g} ms slower"
    return Table(
        [Row("lag", what, Goal(2, "ms"), [measured["lag"] * 1e3 for measured in rounds])],
        [
            ("lag of the loop while putting, half of the samples below", microseconds(median(rounds, "half"))),
            ("lag of an idle loop, half of the samples below", microseconds(median(rounds, "idle half"))),
            ("lag of an idle loop, 99.9th percentile", microseconds(median(rounds, "idle"))),
        ],
    )


CASES: Final[dict[str, Callable[[Setting], Table]]] = {
    "persist-queue": against_persist_queue,
    "kernel": over_the_kernel,
    "consuming": consuming,
    "many": by_hundreds,
    "always": always,
    "open": open_backlog,
    "memory": memory_gained,
    "queues": many_queues,
    "lag": lag,
    "claims": claim_cases.claims,
    "sqlite": database_cases.against_persist_queue,
    "sqlite-many": database_cases.put_many,
    "sqlite-backlogs": database_cases.backlogs,
}
