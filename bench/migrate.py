"""`python -m bench.migrate [ITEMS]`: what a migration costs beside reading alone, and the memory that it takes.

Reading alone is a walk over all items of the source, decoded where they are converted.  Both are measured in turn in
one run; the ratio is taken within a round, and the median counts.  Memory is measured in a process of its own.
"""

from __future__ import annotations

import gc
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from asyncpq import serializers
from asyncpq.migrating.directory import DirectoryTarget
from asyncpq.migrating.plan import make_wish
from asyncpq.migrating.work import migrate_now
from asyncpq.sources import open_source
from bench.memory import peak, resident

ROUNDS: Final = 3
ITEMS: Final = 1_000_000
CHUNKSIZE: Final = 1000
GOAL: Final = 0.5  # of the rate of reading alone, at least
GOAL_MEMORY: Final = 64 * 1024 * 1024  # bytes, at most
# From, to, in a database.
CASES: Final = (
    ("pickle", "pickle", False),
    ("json", "json", False),
    ("json", "pickle", False),
    ("pickle", "json", False),
    ("pickle", "msgpack", False),
    ("pickle", "pickle", True),
    ("pickle", "json", True),
)
# Their sources are read so fast that writing, reading back and comparing each item takes longer than reading it twice.
FAST: Final = (
    ("json", "json", True),
    ("msgpack", "msgpack", True),
    ("json", "msgpack", False),
    ("json", "cbor2", False),
    ("msgpack", "json", False),
)


def item(number: int) -> dict[str, Any]:
    """An item of about 200 bytes, whatever the serializer."""
    return {"id": number, "text": "x" * 160, "none": None}


def make(folder: Path, name: str, count: int) -> Path:
    """Write a file queue of *count* items."""
    serializer = serializers.get(name)
    target = DirectoryTarget(folder / name, serializer, CHUNKSIZE)
    target.begin()
    for start in range(0, count, CHUNKSIZE):
        target.append([serializer.encode(item(n)) for n in range(start, min(count, start + CHUNKSIZE))], ())
    target.finish()
    target.close()
    return target.path


def read(source: Path, *, decoded: bool) -> float:
    """Return the seconds that reading *source* takes."""
    began = time.perf_counter()
    with open_source(source) as opened:
        for batch in opened.batches():
            if decoded:
                for entry in batch:
                    opened.loads(entry.blob)
    return time.perf_counter() - began


def migrated(source: Path, target: Path, serializer: str, in_database: bool) -> float:
    """Return the seconds that a migration takes; the target is removed again."""
    began = time.perf_counter()
    migrate_now(
        make_wish(source, f"{'sqlite:' if in_database else ''}{target}", serializer=serializer), lambda at: None
    )
    took = time.perf_counter() - began
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    return took


def measured(folder: Path, count: int) -> Iterator[tuple[str, float]]:
    """Yield each case with a goal and its ratio, and print the figures of all."""
    for of, to, in_database in (*CASES, *FAST):
        source = folder / of if (folder / of).exists() else make(folder, of, count)
        pairs = []
        for _ in range(ROUNDS):
            gc.collect()
            reading = read(source, decoded=of != to)
            pairs.append((reading, migrated(source, folder / "target", to, in_database)))
        ratio = statistics.median(reading / migrating for reading, migrating in pairs)
        one, other = (statistics.median(took) / count * 1e6 for took in zip(*pairs, strict=True))
        name = f"{of} to {to}{' in a database' if in_database else ''}"
        has_goal = (of, to, in_database) in CASES
        told = "" if has_goal else "  (no goal)"
        print(f"{name:31} reading {one:5.2f} us, migrating {other:5.2f} us an item: {ratio:.2f}{told}", flush=True)
        if has_goal:
            yield name, ratio


def gained(folder: Path, of: str, to: str, in_database: bool) -> int:
    """Return by how much the memory grows at most, in bytes, once a small queue was migrated."""
    migrated(make(folder / "small", of, 5 * CHUNKSIZE), folder / "small" / "target", to, in_database)
    gc.collect()
    before = resident()
    migrated(folder / of, folder / "target", to, in_database)
    return peak() - before


def memory(folder: Path) -> int:
    """Print the memory of each case; return the most."""
    most = 0
    for case in CASES:
        (folder / "small").mkdir()
        command = [sys.executable, "-m", "bench.migrate", "--memory", json.dumps([str(folder), *case])]
        done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True, check=True)
        shutil.rmtree(folder / "small")
        print(f"{case[0]} to {case[1]}{' in a database' if case[2] else ''}: {int(done.stdout) / 2**20:.1f} MiB more")
        most = max(most, int(done.stdout))
    return most


def main() -> int:
    """Measure, print, and return 1 when a goal is missed."""
    if sys.argv[1:2] == ["--memory"]:
        where, of, to, in_database = json.loads(sys.argv[2])
        print(gained(Path(where), of, to, in_database))
        return 0
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ITEMS
    with tempfile.TemporaryDirectory(prefix="asyncpq-bench-") as name:
        ratios = dict(measured(Path(name), count))
        most = memory(Path(name))
    print(
        f"least: {min(ratios.values()):.2f} of the rate of reading (goal: {GOAL}); most memory: {most / 2**20:.1f} MiB"
    )
    return 0 if min(ratios.values()) >= GOAL and most <= GOAL_MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
