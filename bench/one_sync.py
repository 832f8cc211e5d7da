"""`python -m bench.one_sync`: what a commit journal beside the chunks would gain under `always`, and what it costs.

    as it is       write chunk    fdatasync    write info    fdatasync
    tried here     write journal  fdatasync                                 chunk and info: written, synced later

    journal        [entry entry entry ...    | entry entry ...          ]   two halves of one preallocated file
    entry          magic number length CRC-32 | head before | lengths | records | info

While one half is filled, a durable commit in the background makes the other one superfluous.  Opening would replay
what the journal holds: each record to its place, then info.  A prototype at the level of the files: it stands in for
`Log.append_durably` of an open queue, knows no full disk and no failing sync, and is no part of asyncpq.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import struct
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from asyncpq import AsyncQueue, threads
from asyncpq.layout import INFO, Position, chunk_name
from bench.conditions import described, machine
from bench.contenders import CHUNKSIZE, bare_sync, folder, put
from bench.measure import Measured, in_turn, median, middle_half, ratios, stopwatch
from bench.table import aligned, microseconds, number

NAME: Final = "commits"
SIZE: Final = 1024 * 1024  # bytes of the journal
HALF: Final = SIZE // 2
MAGIC: Final = b"apqJ"
HEADER: Final = struct.Struct("<4sQII")  # magic, number, bytes that follow, CRC-32 of the number and of them
PLACE: Final = struct.Struct("<QQQI")  # head before: chunk, count, offset; then how many records
LENGTH: Final = struct.Struct("<I")
MANY: Final = 256  # producers
ROUNDS: Final = 7


class Journal:
    """The file that alone is synced before a put is acknowledged."""

    def __init__(self, path: Path) -> None:
        """Make it as long as it will be, durably: then a sync writes no size."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        os.pwrite(self._fd, bytes(SIZE), 0)
        os.fsync(self._fd)
        self._number, self._at, self._end = 1, 0, HALF
        self.syncs = self.bytes = 0

    def write(self, head: Position, records: Sequence[bytes], info: bytes) -> bool:
        """Write one entry; return whether it is the first one of another half."""
        lengths = b"".join(LENGTH.pack(len(record)) for record in records)
        body = b"".join([PLACE.pack(*head, len(records)), lengths, *records, info])
        entry = HEADER.pack(MAGIC, self._number, len(body), _crc(self._number, body)) + body
        turned = self._at + len(entry) > self._end
        if turned:
            self._at = self._end % SIZE
            self._end = self._at + HALF
        os.pwrite(self._fd, entry, self._at)
        self._number += 1
        self._at += len(entry)
        self.bytes += len(entry)
        return turned

    def sync(self) -> None:
        """Make it durable."""
        os.fdatasync(self._fd)
        self.syncs += 1

    def close(self) -> None:
        os.close(self._fd)


class OneSync:
    """Stands in for `Log.append_durably` of one open queue."""

    def __init__(self, log: Any, journal: Journal) -> None:
        self._log, self.journal = log, journal
        self._committed = threading.Event()
        self._committed.set()

    def append_durably(
        self, records: Sequence[bytes], tail: Position | None = None, *, prefix: bool = False
    ) -> dict[int, OSError]:
        """Store *records*; on return the journal has them, durably."""
        log = self._log
        with log._mutex:
            head = log.chunks.head
            failed: dict[int, OSError] = log._store(records, tail, prefix)
            turned = self.journal.write(head, records, log._info._encode(log._info.fields))

        # Commit: the one sync.
        self.journal.sync()

        if turned:
            # The half that is written next must not be needed any more.
            self._committed.wait()
            self._committed.clear()
            threads.pool.submit(self._commit)
        return failed

    def _commit(self) -> None:
        self._log.commit()
        self._committed.set()

    def settle(self) -> None:
        """Wait for the commit in the background."""
        self._committed.wait()


def journal_of(queue: AsyncQueue, path: Path) -> OneSync:
    """Let *queue*, which is open under `always`, commit by a journal."""
    log: Any = queue._engine.log if queue._engine else None
    instead = OneSync(log, Journal(path / NAME))
    log.append_durably = instead.append_durably
    return instead


# -- opening --------------------------------------------------------------------------------------------------


def entries(data: bytes) -> list[bytes]:
    """Return the bodies of the last run of entries, in order; older ones lie behind it, with a gap in between."""
    found: dict[int, bytes] = {}
    for start in (0, HALF):
        while (entry := _entry(data, start)) is not None:
            number, body = entry
            found[number] = body
            start += HEADER.size + len(body)
    first = last = max(found, default=0)
    while first - 1 in found:
        first -= 1
    return [found[number] for number in range(first, last + 1) if number in found]


def _entry(data: bytes, start: int) -> tuple[int, bytes] | None:
    if start + HEADER.size > len(data):
        return None
    magic, number, length, crc = HEADER.unpack_from(data, start)
    body = data[start + HEADER.size : start + HEADER.size + length]
    return (number, body) if magic == MAGIC and len(body) == length and _crc(number, body) == crc else None


def _crc(number: int, body: bytes) -> int:
    return crc32(body, number & 0xFFFFFFFF)


def replay(path: Path) -> int:
    """Write each record of the journal to its place, then info; return how many there were."""
    count, info = 0, b""
    for body in entries((path / NAME).read_bytes()):
        written, info = _replay(path, body)
        count += written
    if info:
        (path / INFO).write_bytes(info)
    return count


def _replay(path: Path, body: bytes) -> tuple[int, bytes]:
    chunk, count, offset, records = PLACE.unpack_from(body)
    start = PLACE.size + records * LENGTH.size
    for (length,) in LENGTH.iter_unpack(body[PLACE.size : start]):
        _write(path / chunk_name(chunk), body[start : start + length], offset)
        start, count, offset = start + length, count + 1, offset + length
        if count == CHUNKSIZE:
            chunk, count, offset = chunk + 1, 0, 0
            _write(path / chunk_name(chunk), b"", 0)
    return records, body[start:]


def _write(file: Path, record: bytes, offset: int) -> None:
    fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        os.pwrite(fd, record, offset)
        os.ftruncate(fd, offset + len(record))
    finally:
        os.close(fd)


# -- measuring ------------------------------------------------------------------------------------------------


async def putting(where: Path, producers: int, each: int, *, one: bool) -> Measured:
    """Put under `always` by so many producers, with two syncs a commit or with one."""
    path, count = folder(where), producers * each
    name = f"{'one' if one else 'two'} {producers}"
    async with AsyncQueue(path, chunksize=CHUNKSIZE, fsync="always") as queue:
        await put(queue, CHUNKSIZE)
        instead = journal_of(queue, path) if one else None
        before = queue.stats()["syncs"]
        with stopwatch() as watch:
            await asyncio.gather(*(put(queue, each) for _ in range(producers)))
        found = {name: watch.seconds / count}
        if instead:
            instead.settle()
            found[f"journal bytes {producers}"] = instead.journal.bytes / count
        syncs = queue.stats()["syncs"] - before + (instead.journal.syncs if instead else 0)
        found[f"syncs {name}"] = syncs / count
        if instead:
            instead.journal.close()
    return found


def measured(where: Path, rounds: int) -> list[Measured]:
    """Return the rounds: both ways, with one producer and with many, in turn."""
    contenders = {"bare": partial(bare_sync, where, 300)}
    for producers, each in ((1, 300), (MANY, 20)):
        for one in (False, True):
            contenders[f"{producers} {one}"] = partial(_run, where, producers, each, one=one)
    return in_turn(rounds, contenders, "one sync")


def _run(where: Path, producers: int, each: int, *, one: bool) -> Measured:
    return asyncio.run(putting(where, producers, each, one=one), debug=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.one_sync", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="the file system to measure on")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values to a file")
    options = parser.parse_args(arguments)
    found = described(options.dir)
    with tempfile.TemporaryDirectory(prefix="asyncpq-bench-", dir=options.dir) as where:
        found["rounds"] = measured(Path(where), options.rounds)
    print(f"{aligned(rows(found))}\n\n{machine(found)}.")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the table, its heading first."""
    rounds: list[Measured] = found["rounds"]
    table: list[tuple[str, ...]] = [("`always`", "two syncs a commit", "one sync", "two / one", "middle half")]
    for producers in (1, MANY):
        two, one = f"two {producers}", f"one {producers}"
        gained = ratios(rounds, two, one)
        low, high = middle_half(gained)
        table.append(
            (
                f"a put, {producers} producer{'s' * (producers > 1)}",
                microseconds(median(rounds, two)),
                microseconds(median(rounds, one)),
                f"{number(statistics.median(gained))} x",
                f"{number(low)} to {number(high)}",
            )
        )
        syncs = [number(median(rounds, f"syncs {name}")) for name in (two, one)]
        table.append((f"syncs a put, {producers} producer{'s' * (producers > 1)}", *syncs, "", ""))
        journal = number(median(rounds, f"journal bytes {producers}"))
        table.append((f"bytes of the journal a put, {producers} producer{'s' * (producers > 1)}", "0", journal, "", ""))
    return [*table, ("one write + fdatasync", microseconds(median(rounds, "bare")), "", "", "")]


if __name__ == "__main__":
    sys.exit(main())
