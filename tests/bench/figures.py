"""Results made by hand, so that what is said about figures can be tested without measuring any."""

from dataclasses import replace
from typing import Any, Final

from asyncpq.bench.plan import Cell, Options
from asyncpq.bench.result import (
    Counts,
    Floor,
    Machine,
    Pauses,
    Promise,
    Result,
    Row,
    latency,
    spread,
)

OPTIONS: Final = Options(producers=(1, 16), sizes=(20, 1024), delays=(0.0, 0.001))
DISK: Final = Floor(
    {20: spread([1e-6, 1.1e-6]), 1024: spread([2e-6])}, {20: spread([1e-4]), 1024: spread([2e-4])}, spread([5e-5]), 1e-4
)
MACHINE: Final = Machine(
    "/data/jobs", "ext4", "/dev/sda1", "A processor", 4, "Linux 6.1", "CPython 3.11", {"SQLite": "3.40"}, "now", "it"
)
PROMISES: Final = {
    "always": Promise.EACH,
    "interval": Promise.WINDOW,
    "rollover": Promise.SOMETIMES,
    "never": Promise.NONE,
}
COUNTED: Final = {
    "always": Counts("calls", "", 1000, 2000, 547_000, 0, 0.0, True),
    "interval": Counts("calls", "", 1000, 5, 547_000, 990, 1.01, True),
    "rollover": Counts("calls", "", 1000, 30, 547_000, 99, 0.1, True),
    "never": Counts("calls", "", 1000, 0, 547_000, 1000, 0.2, False),
}


def floor(sync: float) -> Floor:
    """The floor of a disk whose syncs take so many seconds."""
    return replace(DISK, syncs={20: spread([sync])})


def row(policy: str, puts: float, **more: Any) -> Row:
    """A row of asyncpq's file queue; *more* is about its cell."""
    cell = replace(Cell("asyncpq file", policy, 1, 20, "pickle"), **more)
    took = latency([1 / puts * (1 + number / 1000) for number in range(1000)], 1000, 2 / puts)
    rounds = spread([puts * 0.9, puts, puts * 1.2])
    return Row(
        cell, PROMISES[policy], "something", rounds, rounds, took, 0.002, COUNTED[policy], Pauses(2, 0.01, 0.006)
    )


def peer(name: str, puts: float, promise: Promise, counts: Counts) -> Row:
    """A row of another library."""
    made = row("always", puts, contender=name)
    return replace(made, cell=replace(made.cell, policy="", serializer=""), promise=promise, counts=counts)


def result(*rows: Row, **more: Any) -> Result:
    """A result of these rows."""
    made = Result(MACHINE, OPTIONS, DISK, rows, (), ("a note",), "Take it.", 12.5)
    return replace(made, **more)


EVERYTHING: Final = result(
    *(row(policy, puts) for policy, puts in {"never": 1e5, "rollover": 7e4, "interval": 9e4, "always": 2e3}.items()),
    *(row(policy, puts, producers=16) for policy, puts in {"never": 1e5, "always": 2e4}.items()),
    *(row(policy, puts, size=1024) for policy, puts in {"never": 5e4, "always": 1.9e3}.items()),
    *(row(policy, puts, delay=0.001) for policy, puts in {"never": 1e5, "always": 450}.items()),
    *(row(policy, puts, contender="asyncpq sqlite") for policy, puts in {"never": 7e3, "always": 4e3}.items()),
    peer("a library <with> a name", 3e3, Promise.BUT_LAST, Counts("strace", "", 100, 400, 2_500_000, 1, 0.01, True)),
    peer("another", 4e5, Promise.NONE, Counts(why="there is no strace")),
)
