"""Take over a directory that persist-queue wrote: look at it, go on with it, and check every item.

    look          what persist-queue left, without opening it
    first use     get some, mark them done; get one and leave it; put 10,000 from 100 producers at once; close
    second use    open again and drain: what was not marked done comes first, and nothing is missing

It works on a copy in a temporary directory.  It ends with an error where an item is missing, twice or changed.
"""

import asyncio
import json
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from asyncpq import AsyncQueue, QueueReader

GOLDEN: Final = Path(__file__).parents[2] / "tests" / "golden" / "pq110-py311-pickle-midway"
PRODUCERS: Final = 100
EACH: Final = 100  # items that one producer puts
DONE: Final = 5  # items of persist-queue that are got and marked done before anything is put
SHOWN: Final = 4  # items to print


@dataclass(slots=True)
class Phase:
    """A part of the work: how many items, and how long."""

    name: str
    items: int
    seconds: float


@dataclass(slots=True)
class Clock:
    """The phases so far, and what the queue counted meanwhile."""

    phases: list[Phase] = field(default_factory=list)
    syncs: int = 0
    chunks: int = 0
    sync_seconds: float = 0.0

    @contextmanager
    def phase(self, name: str, items: int = 0) -> Iterator[Phase]:
        phase = Phase(name, items, 0.0)
        began = time.perf_counter()
        yield phase
        phase.seconds = time.perf_counter() - began
        self.phases.append(phase)

    def add_stats(self, queue: AsyncQueue) -> None:
        stats = queue.stats()
        self.syncs += stats["syncs"]
        self.chunks += stats["chunks_removed"]
        self.sync_seconds += stats["sync_seconds"]


# -- the work -------------------------------------------------------------------------------------------------


async def look(path: Path) -> None:
    """Print what the directory holds.  The reader takes no lock and changes nothing."""
    async with QueueReader(path) as reader:
        print(f"  written with   {reader.serializer}, {reader.chunksize} records in a chunk")
        print(f"  chunk files    {', '.join(f'q{number:05d}' for number in reader.chunks)}")
        print(f"  next item      chunk {reader.tail.chunk}, record {reader.tail.count}, byte {reader.tail.offset}")
        print(f"  items          {reader.size}, in {reader.bytes_on_disk} bytes; the first of them:")
        shown = 0
        async for item in reader:
            print(f"                   {item!r}")
            shown += 1
            if shown == SHOWN:
                break


async def first_use(path: Path, clock: Clock) -> list[Any]:
    """Consume a few items, put many, and close; return the items that were marked done."""
    queue = AsyncQueue(path)
    with clock.phase("open"):
        await queue.open()
    with clock.phase("get and task_done", DONE):
        done = [await consume(queue) for _ in range(DONE)]
    await queue.get()  # and no task_done: this one has to come again
    with clock.phase(f"put, {PRODUCERS} producers", PRODUCERS * EACH):
        async with asyncio.TaskGroup() as group:
            for producer in range(PRODUCERS):
                group.create_task(produce(queue, producer))
    with clock.phase("close"):
        await queue.close()
    clock.add_stats(queue)
    return done


async def second_use(path: Path, clock: Clock) -> list[Any]:
    """Open again, drain, and close; return what was there."""
    queue = AsyncQueue(path)
    with clock.phase("open again"):
        await queue.open()
    drained = []
    with clock.phase("get and task_done") as phase:
        while not await queue.empty():
            drained.append(await consume(queue))
        phase.items = len(drained)
    with clock.phase("close again"):
        await queue.close()
    clock.add_stats(queue)
    return drained


async def consume(queue: AsyncQueue) -> Any:
    item = await queue.get()
    await queue.task_done()
    return item


async def produce(queue: AsyncQueue, producer: int) -> None:
    for number in range(EACH):
        await queue.put(new_item(producer, number))


def new_item(producer: int, number: int) -> dict[str, Any]:
    return {"producer": producer, "number": number, "text": f"item {number} of producer {producer}"}


# -- the check ------------------------------------------------------------------------------------------------


def check(stored: list[Any], done: list[Any], drained: list[Any]) -> None:
    """Exit with a sentence unless what came out is what went in."""
    if texts(done) != texts(stored[:DONE]):
        sys.exit("The first items are not those that persist-queue stored.")
    old, new = stored[DONE:], [new_item(p, n) for p in range(PRODUCERS) for n in range(EACH)]
    expected, found = Counter(texts(old + new)), Counter(texts(drained))
    if missing := expected - found:
        sys.exit(f"{missing.total()} items are missing, among them {next(iter(missing))}")
    if surplus := found - expected:
        text = next(iter(surplus))
        sys.exit(f"{surplus.total()} items are {'there twice' if text in expected else 'changed'}, among them {text}")
    if texts(drained[: len(old)]) != texts(old):
        sys.exit("The items of persist-queue came in another order.")
    last = dict.fromkeys(range(PRODUCERS), -1)
    for item in drained[len(old) :]:
        if item["number"] != last[item["producer"]] + 1:
            sys.exit(f"The items of producer {item['producer']} came in another order.")
        last[item["producer"]] = item["number"]


def texts(items: list[Any]) -> list[str]:
    return [json.dumps(item, sort_keys=True) for item in items]


# -- the report -----------------------------------------------------------------------------------------------


def report(clock: Clock) -> None:
    """Print what each phase took."""
    print(row("", "items", "seconds", "a second", "us each"))
    for phase in clock.phases:
        seconds = f"{phase.seconds:.4f}"
        if phase.items:
            rate, each = f"{phase.items / phase.seconds:,.0f}", f"{phase.seconds / phase.items * 1e6:.1f}"
            print(row(phase.name, f"{phase.items:,}", seconds, rate, each))
        else:
            print(row(phase.name, "", seconds))
    print(row("all of it", "", f"{sum(phase.seconds for phase in clock.phases):.4f}"))
    print(
        f"\n  Behind it: {clock.chunks:,} chunk files made, full and removed; {clock.syncs:,} syncs, which took\n"
        f"  {clock.sync_seconds:.4f} s in worker threads (under the default policy no put waits for a sync)."
    )


def row(name: str, *columns: str) -> str:
    return f"  {name:20}" + "".join(f"{column:>11}" for column in columns)


async def main() -> None:
    said = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="asyncpq-") as folder:
        path = Path(shutil.copytree(GOLDEN / "queue", Path(folder) / "queue"))
        print(f"What persist-queue {said['release']} left (a copy of tests/golden/{GOLDEN.name}):\n")
        await look(path)
        done = await first_use(path, clock)
        drained = await second_use(path, clock)
        check(said["items"], done, drained)
        left = ", ".join(sorted(file.name for file in path.iterdir()))
    print(f"\nWhat asyncpq did with it (Python {platform.python_version()}, {platform.system()}):\n")
    report(clock)
    print(
        f"\nChecked: {len(done)} items were marked done. After the reopening {len(drained):,} came, each of them\n"
        f"once, unchanged and in order; the first was the one that had been got and not marked done.\n"
        f"What is left is what persist-queue would leave: {left}."
    )


if __name__ == "__main__":
    asyncio.run(main())
