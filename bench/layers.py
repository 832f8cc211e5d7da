"""`python -m bench.layers`: where the time of one put goes, layer by layer.

    queue.put ─┬─ serializer: the item
               └─ engine.put ─┬─ log.append_now ─┬─ pwrite, the record
                              │                  └─ info.overwrite ─┬─ serializer: info
                              │                                     ├─ the slot: padding, mark, CRC-32
                              │                                     └─ pwrite, the slot
                              └─ the read buffer, deadline, fairness

Each call of the picture is timed by itself, all of them in turn, under `never` and in one endless chunk; the fastest
tenth of the slices counts.  What a layer takes by itself is its time less that of the calls below it.  Rolling over,
and a bound by `maxsize`, are differences of whole puts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from asyncpq import AsyncQueue
from asyncpq.infofile import _pack
from bench.conditions import described, machine
from bench.contenders import CHUNKSIZE, ITEM, put
from bench.measure import Measured, in_slices, undisturbed
from bench.table import aligned

CALLS: Final = 500  # of a part in one slice
SLICES: Final = 200
ENDLESS: Final = 10**9  # records in a chunk: it never fills
LAYERS: Final = {
    "queue: the await, room, checks": ("queue.put", "encode item", "engine.put"),
    "serializer: the item": ("encode item",),
    "engine: read buffer, deadline, fairness": ("engine.put", "append_now"),
    "log: positions, lock, errors": ("append_now", "pwrite record", "overwrite"),
    "info: serializer": ("encode info",),
    "info: the slot's padding, mark and CRC-32": ("overwrite", "encode info", "pwrite info"),
    "system call: the record to the chunk": ("pwrite record",),
    "system call: info to the slot": ("pwrite info",),
}
WHOLE, ROLLING, BOUNDED = PUTS = ("queue.put", "put, rolling over", "put, bounded")
BESIDE: Final = {
    "a hundredth of a new chunk": (ROLLING, WHOLE),
    "producer: room under maxsize": (BOUNDED, WHOLE),
}

Part = Callable[[], Awaitable[None]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.layers", description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="the file system to measure on")
    parser.add_argument("--slices", type=int, default=SLICES)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values to a file")
    options = parser.parse_args(arguments)
    found = described(options.dir)
    with tempfile.TemporaryDirectory(prefix="asyncpq-bench-", dir=options.dir) as where:
        found["seconds"] = asyncio.run(calls(Path(where), options.slices), debug=False)
    print(f"{aligned([('part', 'us'), *rows(found['seconds'])])}\n\n{machine(found)}.")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0


async def calls(where: Path, slices: int) -> Measured:
    """Return the seconds that each call of the picture takes."""
    async with (
        AsyncQueue(where / "plain", chunksize=ENDLESS, fsync="never") as queue,
        AsyncQueue(where / "rolling", chunksize=CHUNKSIZE, fsync="never") as rolling,
        AsyncQueue(where / "bounded", maxsize=ENDLESS, chunksize=ENDLESS, fsync="never") as bounded,
    ):
        for each in (queue, rolling, bounded):
            await each.put(ITEM)
        with open(where / "chunk", "wb") as chunk, open(where / "info", "wb") as info:
            found = await in_slices(
                slices,
                {
                    WHOLE: lambda: put(queue, CALLS),
                    ROLLING: lambda: put(rolling, CALLS),
                    BOUNDED: lambda: put(bounded, CALLS),
                    **_parts(inner_calls(queue, chunk.fileno(), info.fileno())),
                },
                undisturbed,
            )
    empty = found.pop("nothing")  # the loop that calls
    return {name: (took - (0 if name in PUTS else empty)) / CALLS for name, took in found.items()}


def inner_calls(queue: AsyncQueue, chunk: int, other: int) -> dict[str, Callable[[], object]]:
    """Return the calls below queue.put: they write to *queue*, the system calls alone to the two descriptors."""
    engine: Any = queue._engine
    encode: Any = queue._encode
    log, info = engine.log, engine.log._info
    record = encode(ITEM)
    encode_info, fields = info._encode, info.fields
    data = slot(info)
    ends = iter(range(0, 1 << 62, len(record)))
    return {
        "encode item": lambda: encode(ITEM),
        "engine.put": lambda: engine.put(record),
        "append_now": lambda: log.append_now(record),
        "overwrite": info.overwrite,
        "encode info": lambda: encode_info(fields),
        "pwrite info": lambda: os.pwrite(other, data, 0),
        "pwrite record": lambda: os.pwrite(chunk, record, next(ends)),
        "nothing": lambda: None,
    }


def slot(info: Any) -> bytes:
    """Return what *info* writes."""
    record = info._encode(info.fields)
    return _pack(record, info._prefix, crc32(record, info._crc))


def _parts(calls: dict[str, Callable[[], object]]) -> dict[str, Part]:
    return {name: _repeated(call) for name, call in calls.items()}


def _repeated(call: Callable[[], object]) -> Part:
    async def part() -> None:
        for _ in range(CALLS):
            call()

    return part


def rows(seconds: Measured) -> list[tuple[str, str]]:
    """Return what each layer takes by itself, in microseconds."""
    found = [(name, _us(_own(seconds, calls))) for name, calls in LAYERS.items()]
    found.append(("a put, no chunk filled", _us(seconds[WHOLE])))
    return found + [(name, _us(_own(seconds, calls))) for name, calls in BESIDE.items()]


def _own(seconds: Measured, calls: tuple[str, ...]) -> float:
    first, *below = calls
    return seconds[first] - sum(seconds[name] for name in below)


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.2f}"


if __name__ == "__main__":
    sys.exit(main())
