"""The cases of the SQLite queues: which contenders meet, and the goals that the figures have to keep."""

from __future__ import annotations

from bench import databases as d
from bench.contenders import run
from bench.measure import in_turn, median, ratios
from bench.setting import Setting
from bench.table import Goal, Row, Table, microseconds, number

MANY = 256  # producers
BATCH = 1000  # items of a put_many


def against_persist_queue(setting: Setting) -> Table:
    """Put, and get + task_done, against persist-queue's AsyncSQLiteQueue; one producer, and many."""
    slices, each = setting.scaled(8, 3), setting.scaled(20, 8)
    rounds = in_turn(
        setting.rounds,
        {
            "one": lambda: run(d.one_by_one(setting.where, slices)),
            "many": lambda: run(d.many_producers(setting.where, MANY, each)),
        },
        "SQLite against persist-queue",
    )
    table = Table()
    for part, what in (("put", "put"), ("get", "get + task_done")):
        text = f"SQLite {what}, times faster than persist-queue's AsyncSQLiteQueue, equal promise"
        values = ratios(rounds, f"{part} theirs", f"{part} equal")
        table.rows.append(Row(f"sqlite-{part}", text, Goal(5, "x", at_least=True), values))
        for policy in ("theirs", *d.POLICIES):
            title = "persist-queue's AsyncSQLiteQueue" if policy == "theirs" else f"SQLite, `{NAMES[policy]}`"
            table.figures.append((f"{what}, {title}", microseconds(median(rounds, f"{part} {policy}"))))
    text = f"SQLite put, {MANY} producers, `always`, times faster than persist-queue's AsyncSQLiteQueue"
    values = ratios(rounds, "put theirs", "put many")
    table.rows.append(Row("sqlite-put-many-producers", text, Goal(50, "x", at_least=True), values))
    table.figures.append((f"SQLite commits a put, {MANY} producers", number(median(rounds, "commits"))))
    return table


NAMES = {"equal": "interval(items=1)", "default": "interval", "always": "always"}


def put_many(setting: Setting) -> Table:
    """put_many over SQLite's own executemany."""
    slices = setting.scaled(40, 15)
    rounds = in_turn(setting.rounds, {"both": lambda: run(d.put_many(setting.where, slices, BATCH))}, "SQLite put_many")
    text = f"SQLite put_many of {BATCH:,}, an item, over executemany in one transaction"
    return Table(
        [Row("sqlite-put_many", text, Goal(2, "x"), ratios(rounds, "put_many", "executemany"))],
        [
            ("SQLite put_many, an item", microseconds(median(rounds, "put_many"))),
            ("executemany, an item", microseconds(median(rounds, "executemany"))),
        ],
    )


def backlogs(setting: Setting) -> Table:
    """One get in front of which lies much, over one in front of which lies little."""
    rows, slices = setting.scaled(200_000, 50_000), setting.scaled(10, 5)
    rounds = in_turn(
        setting.rounds,
        {
            "acked": lambda: run(d.acked_backlog(setting.where, slices, rows)),
            "priority": lambda: run(d.priority_backlog(setting.where, slices, rows)),
        },
        "SQLite backlogs",
    )
    return Table(
        [
            Row(
                "sqlite-acked",
                f"one get with {rows:,} acknowledged rows, over one with none",
                Goal(1.2, "x"),
                ratios(rounds, "get among acked", "get among none"),
            ),
            Row(
                "sqlite-priority",
                f"one get of a priority queue of {rows:,} rows, over one of 100",
                Goal(1.5, "x"),
                ratios(rounds, "get of many", "get of few"),
            ),
        ],
        [
            ("get, ack queue", microseconds(median(rounds, "get among none"))),
            ("get, priority queue", microseconds(median(rounds, "get of few"))),
        ],
    )
