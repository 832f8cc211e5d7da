"""``python -m asyncpq.selftest``: does this installation work, on this disk?

    python    ok     3.11.7
    json      ok     5 items of every kind were stored, and came back
    cbor2     --     not installed: pip install 'asyncpq-engine[cbor2]'
    syncs     ?      1 us each: too fast to be a disk, so a power cut may lose what was synced

Exit status: 0 all that is installed works; 1 something does not work; 2 wrong arguments; 3 it works, with a caution:
what the file system promises is less than the fsync policies need.  What is not installed changes nothing.

--path DIR    where to try: the disk that your queues will be on (the temporary directory)
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpq
from asyncpq import serializers
from asyncpq.files import FILES

OK, CAUTION, MISSING, BROKEN = "ok", "?", "--", "FAILED"
STATUS: Final = {OK: 0, MISSING: 0, CAUTION: 3, BROKEN: 1}

# What each extra brings: the modules that tell whether it is installed.
EXTRAS: Final = {
    "sqlite": ("aiosqlite",),
    "cbor2": ("cbor2",),
    "cli": ("click", "rich"),
    "bench": ("matplotlib",),
    "metrics": ("prometheus_client",),
}
SYNCS: Final = 7
TOO_FAST: Final = 20e-6  # seconds: no disk makes a write durable in less
SLOW: Final = 0.05  # seconds; each put under `always` takes two of them
SECONDS: Final = 1.0  # for one check that waits for disks
ITEMS: Final[tuple[Any, ...]] = ("a text: \N{SNOWMAN}", 2**40, {"deep": [1, None, True]}, [], -0.5)


class Found(NamedTuple):
    """What one check found."""

    what: str
    state: str
    text: str


class Failed(Exception):
    """A check did not find what it should; its text says what."""


# -- the checks: each is given a folder of its own ------------------------------------------------------------


async def check_python(folder: Path) -> Found:
    """Which Python, which system, which version."""
    return Found("python", OK, f"{platform.python_version()}, {platform.system()}; asyncpq {asyncpq.__version__}")


async def check_serializer(folder: Path, name: str) -> Found:
    """Items of every kind come back, also after reopening."""
    if name == "cbor2" and not installed("cbor2"):
        return missing("cbor2", "cbor2")
    async with asyncpq.AsyncQueue(folder, chunksize=2, serializer=name) as queue:
        await queue.put_many(ITEMS)
        first = await queue.get()
        await queue.task_done()
    async with asyncpq.AsyncQueue(folder) as queue:
        rest = await queue.get_many(len(ITEMS))
        await queue.task_done()
    expect([plain(item) for item in (first, *rest)], [plain(item) for item in ITEMS])
    return Found(name, OK, f"{len(ITEMS)} items were stored, and came back after reopening")


async def check_claims(folder: Path) -> Found:
    """An item that is given back comes again."""
    async with asyncpq.AsyncQueue(folder / "jobs", dead_letters=folder / "dead", max_attempts=2) as queue:
        await queue.put("item")
        await (await queue.claim()).nack()
        again = await queue.claim()
        expect(again.attempt, 2)
        await again.nack(error="selftest")
        expect(await queue.qsize(), 0)
    expect([letter.error async for letter in asyncpq.dead_letters(folder / "dead")], ["selftest"])
    return Found("claims", OK, "given back, tried again, and moved to the dead letters")


async def check_policies(folder: Path) -> Found:
    """Each policy stores."""
    for name in ("never", "rollover", "interval", "always"):
        async with asyncpq.AsyncQueue(folder / name, fsync=name) as queue:
            await queue.put(name)
            await queue.sync()
            expect((await queue.get(), queue.stats()["not_durable"]), (name, 0))
    return Found("policies", OK, "never, rollover, interval and always store and sync")


async def check_sqlite(folder: Path) -> Found:
    """A database is made, used and left as one file."""
    if not installed("aiosqlite"):
        return missing("sqlite", "sqlite")
    async with asyncpq.AsyncSQLiteAckQueue(folder / "jobs") as queue:
        await queue.put_many(ITEMS)
        item = await queue.get()
        await queue.ack(item)
        expect(await queue.qsize(), len(ITEMS) - 1)
    expect(sorted(os.listdir(folder / "jobs")), ["data.db"])
    return Found("sqlite", OK, f"SQLite {import_module('sqlite3').sqlite_version}: put, got, acknowledged")


async def check_locking(folder: Path) -> Found:
    """A second opener is refused."""
    second = asyncpq.AsyncQueue(folder)
    try:
        async with asyncpq.AsyncQueue(folder) as queue:
            await queue.put(1)
            await second.open()
    except asyncpq.QueueLocked:
        return Found("locking", OK, "a second opener is refused")
    except OSError as error:  # its text says what to do where there are no locks
        return Found("locking", CAUTION, f"{error}")
    finally:
        await second.close()
    return Found("locking", CAUTION, "a second opener is not refused: see to it that only one process opens a queue")


async def check_syncs(folder: Path) -> Found:
    """A sync takes as long as a disk needs."""
    seconds = await asyncio.to_thread(sync_seconds, folder / "file")
    if seconds < TOO_FAST:
        text = "too fast to be a disk (is it in memory?), so a power cut may lose what was synced"
        return Found("syncs", CAUTION, f"{seconds * 1e6:.1f} us each: {text}")
    text = "" if seconds < SLOW else ": slow; the default policy does not wait for them, 'always' does"
    return Found("syncs", OK, f"{seconds * 1000:.2f} ms each{text}")


async def check_extra(folder: Path, name: str) -> Found:
    """The modules of an extra can be imported."""
    if not all(map(installed, EXTRAS[name])):
        return missing(name, name)
    for module in {"cli": ["cli"], "bench": ["bench"], "metrics": ["metrics"]}[name]:
        import_module(f"asyncpq.{module}")
    return Found(name, OK, "can be imported")


def checks() -> Iterator[tuple[str, Callable[[Path], Awaitable[Found]]]]:
    """All of them, in order."""
    yield "python", check_python
    for name in serializers.NAMES:
        yield name, lambda folder, name=name: check_serializer(folder, name)  # type: ignore[misc]  # a default
    yield "claims", check_claims
    yield "policies", check_policies
    yield "sqlite", check_sqlite
    for name in ("cli", "bench", "metrics"):
        yield name, lambda folder, name=name: check_extra(folder, name)  # type: ignore[misc]  # the same
    yield "locking", check_locking
    yield "syncs", check_syncs


# -- what they share ------------------------------------------------------------------------------------------


def installed(module: str) -> bool:
    """Whether *module* can be imported."""
    try:
        import_module(module)
    except ImportError:
        return False
    return True


def missing(what: str, extra: str) -> Found:
    """Say how to install an extra."""
    return Found(what, MISSING, f"not installed: pip install 'asyncpq-engine[{extra}]'")


def expect(found: Any, expected: Any) -> None:
    """Raise Failed where it is something else."""
    if found != expected:
        raise Failed(f"expected {expected!r}, found {found!r}")


def plain(item: Any) -> Any:
    """Return *item* with lists for tuples: msgpack has no other."""
    if isinstance(item, dict):
        return {key: plain(value) for key, value in item.items()}
    return [plain(value) for value in item] if isinstance(item, list | tuple) else item


def sync_seconds(file: Path) -> float:
    """Return how long a write of 4 KiB and its fdatasync take: the median, within SECONDS."""
    took: list[float] = []
    until = time.perf_counter() + SECONDS
    with file.open("wb", buffering=0) as data:
        while len(took) < SYNCS and (not took or time.perf_counter() < until):
            began = time.perf_counter()
            data.write(bytes(4096))
            FILES.fdatasync(data.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took)


async def run(folder: Path, tell: Callable[[Found], object]) -> int:
    """Do every check below *folder*, and return the exit status.

    Cancellation: what was made stays, for who made *folder* to remove.
    """
    status = 0
    for number, (what, check) in enumerate(checks()):
        place = folder / f"{number}"
        place.mkdir()
        try:
            found = await check(place)
        except Exception as error:  # whatever it is, the other checks go on
            found = Found(what, BROKEN, f"{type(error).__name__}: {error}")
        tell(found)
        status = 1 if 1 in (status, STATUS[found.state]) else max(status, STATUS[found.state])
    return status


def tell(found: Found) -> None:
    """Print one line."""
    print(f"{found.what:10} {found.state:7} {found.text}", flush=True)


SUMMARY: Final = {
    0: "All that is installed works here.",
    1: "Something does not work: see above.",
    3: "It works, with a caution: see the lines with '?'.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m asyncpq.selftest",
        description="Check an installation of asyncpq, and the disk that its queues will be on.",
        epilog="exit status: 0 it works; 1 something does not; 2 wrong arguments; 3 it works, with a caution",
    )
    parser.add_argument("--path", metavar="DIR", help="a directory on that disk; the temporary one by default")
    options = parser.parse_args(arguments)
    try:
        temporary = tempfile.TemporaryDirectory(prefix="asyncpq-selftest-", dir=options.path)
    except OSError as error:
        parser.error(f"{options.path}: {error.strerror}; name a directory that you may write to")
    with temporary as folder:
        print(f"asyncpq's check of itself, in {Path(folder).parent}")
        status = asyncio.run(run(Path(folder), tell))
    print(SUMMARY[status])
    return status


if __name__ == "__main__":
    sys.exit(main())
