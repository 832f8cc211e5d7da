"""`python -m bench.scale`: how put, get, open and memory grow with the backlog, and with the queues in one process.

    1,000 ... 10,000,000 items in one queue     1 ... 1,000 queues in one process
        y = a * x ** b                          b is fitted: 0 is flat, 1 grows as fast as x

Each size is measured in a process of its own; the fastest tenth of the slices, the fastest opening, counts.  The exit
status is 0 when put, get and open are flat, else 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from asyncpq import AsyncQueue
from bench import queues
from bench.conditions import described, machine
from bench.contenders import CHUNKSIZE, ITEM, SLICE, consume, put
from bench.measure import Measured, in_slices, progress, stopwatch, undisturbed
from bench.memory import peak, resident
from bench.table import aligned, number

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)  # items
COUNTS: Final = (1, 10, 100, 1_000)  # queues
QUICK: Final = 1_000_000  # items at most, with --quick
FLAT: Final = 0.1  # an exponent up to this: ten times as much costs a quarter more at most
BATCH: Final = 1_000  # items of the put_many that fills, of the get_many that drains
SLICES: Final = 50
OPENINGS: Final = 7
BLOCK: Final = 4096  # bytes that a chunk file takes at least
MIB: Final = 1024 * 1024
CURVES: Final = {
    "items": (("put", "us"), ("get + task_done", "us"), ("open", "ms"), ("memory", "MiB")),
    "queues": (("put", "us"), ("get", "us"), ("open", "ms"), ("memory", "MiB")),
}
UNITS: Final = {"us": 1e-6, "ms": 1e-3, "MiB": MIB}
HAVE_TO_BE_FLAT: Final = ("put", "get", "get + task_done", "open")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    options = parse(arguments)
    sizes = [size for size in SIZES if size <= (QUICK if options.quick else SIZES[-1])]
    needed, free = room(sizes[-1]), shutil.disk_usage(options.dir).free
    print(f"Takes up to {needed / MIB:,.0f} MiB in {options.dir}, removed at the end.", file=sys.stderr)
    if free < 2 * needed:
        print(f"Only {free / MIB:,.0f} MiB are free there: choose another disk with --dir, or --quick", file=sys.stderr)
        return 2
    found = described(options.dir) | measured(options.dir, sizes, COUNTS)
    print(text(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0 if all(flat(found).values()) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"up to {QUICK:,} items")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="the file system to measure on")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values to a file")
    options = parser.parse_args(arguments)
    if not options.dir.is_dir():
        parser.error(f"--dir: {options.dir} is no directory")
    return options


def room(items: int) -> int:
    """Return the bytes that a backlog of so many items takes on the disk, and the queues beside it."""
    return (items // CHUNKSIZE + 4 * max(COUNTS)) * BLOCK


def measured(where: Path, sizes: Sequence[int], counts: Sequence[int]) -> dict[str, Any]:
    """Return the curves: for each size, and for each count, what was measured."""
    with tempfile.TemporaryDirectory(prefix="asyncpq-bench-", dir=where) as folder:
        by_items, by_queues = {}, {}
        for size in sizes:
            progress(f"{size:,} items")
            by_items[size] = in_child(Path(folder), size)
        for count in counts:
            progress(f"{count:,} queues")
            by_queues[count] = renamed(queues.measure(Path(folder), count))
    progress("")
    return {"items": by_items, "queues": by_queues}


def renamed(one: Measured) -> Measured:
    """Return the figures of many queues under the names of the curves."""
    return {"put": one["put"], "get": one["get"], "open": one["open"], "memory": one["resident"]}


# -- one backlog, in a process of its own ---------------------------------------------------------------------


def in_child(where: Path, count: int) -> Measured:
    """Measure a backlog of so many items in a new process; its directory is removed again."""
    with tempfile.TemporaryDirectory(dir=where) as folder:
        command = [sys.executable, "-c", "from bench.scale import child; child()", folder, str(count)]
        root = Path(__file__).parents[1]
        done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    found: Measured = json.loads(done.stdout)
    return found


def child() -> None:
    """Print the figures of one backlog, as JSON."""
    print(json.dumps(asyncio.run(backlog(Path(sys.argv[1]), int(sys.argv[2])), debug=False)))


async def backlog(path: Path, count: int) -> Measured:
    """Fill, put and get beside the backlog, open, drain; return seconds an operation, and the bytes that it took."""
    async with AsyncQueue(path, chunksize=CHUNKSIZE, fsync="never") as queue:
        for _ in range(count // BATCH):
            await queue.put_many([ITEM] * BATCH)
        beside = {"put": lambda: put(queue, SLICE), "get + task_done": lambda: consume(queue, SLICE)}
        found = {name: seconds / SLICE for name, seconds in (await in_slices(SLICES, beside, undisturbed)).items()}
        os.sync()  # together: the close would sync one chunk after the other
    found["open"] = undisturbed([await _opening(path) for _ in range(OPENINGS)])
    async with AsyncQueue(path, fsync="never") as queue:
        while await queue.qsize():
            await queue.get_many(BATCH)
            await queue.task_done()
    return found | {"memory": peak(), "at the end": resident()}


async def _opening(path: Path) -> float:
    queue = AsyncQueue(path)
    with stopwatch() as watch:
        await queue.open()
    await queue.close()
    return watch.seconds


# -- the curves -----------------------------------------------------------------------------------------------


def exponent(points: dict[float, float]) -> float:
    """Return b of the curve y = a * x ** b that lies closest to the points x -> y."""
    logs = [(math.log(x), math.log(y)) for x, y in points.items()]
    return statistics.linear_regression([x for x, _ in logs], [y for _, y in logs]).slope


def curve(found: dict[str, Any], over: str, name: str) -> dict[float, float]:
    """Return the points of one curve; JSON has made text of what was counted."""
    return {float(x): float(figures[name]) for x, figures in found[over].items()}


def flat(found: dict[str, Any]) -> dict[str, bool]:
    """Return which of the curves that have to be flat are."""
    return {
        f"{name} over {over}": exponent(curve(found, over, name)) <= FLAT
        for over, curves in CURVES.items()
        for name, _ in curves
        if name in HAVE_TO_BE_FLAT
    }


def text(found: dict[str, Any]) -> str:
    """Return the figures and the exponents for a terminal."""
    parts = [aligned(rows(found, over)) for over in CURVES]
    bent = [name for name, is_flat in flat(found).items() if not is_flat]
    end = f"Not flat: {', '.join(bent)}" if bent else "put, get and open are flat"
    return "\n\n".join([*parts, f"{end}.", f"{machine(found)}."])


def rows(found: dict[str, Any], over: str) -> list[tuple[str, ...]]:
    """Return the table of the curves over items, or over queues, its heading first."""
    table: list[tuple[str, ...]] = [(over, *(f"{name}, {unit}" for name, unit in CURVES[over]))]
    for x, figures in found[over].items():
        cells = (number(float(figures[name]) / UNITS[unit]) for name, unit in CURVES[over])
        table.append((f"{int(x):,}", *cells))
    exponents = (f"{exponent(curve(found, over, name)):.2f}" for name, _ in CURVES[over])
    return [*table, ("exponent", *exponents)]


if __name__ == "__main__":
    sys.exit(main())
