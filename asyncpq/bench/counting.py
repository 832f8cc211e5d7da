"""Syncs, bytes and what is at risk, counted for each cell in a run beside the timed ones.

asyncpq file      here, by `WatchedFiles`, at nearly full speed
all others        in a child under strace, where it can be had; else only the bytes, by /proc/self/io
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncpq.bench.calls import TRACED, counts_of
from asyncpq.bench.contenders import make
from asyncpq.bench.contenders.ours import OursFile
from asyncpq.bench.ledger import Ledger
from asyncpq.bench.result import Counts
from asyncpq.bench.watching import WatchedFiles
from asyncpq.bench.waves import Amount, amount, count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncpq.bench.plan import Cell
    from asyncpq.bench.workspace import Workspace

__all__ = ["count_all"]

WATCHED: Final = "asyncpq file"
BY_BYTES: Final = Amount(250, 0.5)  # where there is no strace
OPTIONS: Final = ("-f", "-q", "-y", "-ttt", "--seccomp-bpf", "-s", "32", "-e", "signal=none")
PATIENCE: Final = 10.0  # seconds from the closing of its stdin until the child has ended
FOREVER: Final = 1e9  # seconds
NO_TIME: Final = Counts(why="there was no time left to count it")
_FAILED: Final = re.compile(r"^(\d+) (.+)$", re.MULTILINE)
_BYTES: Final = re.compile(r"^wchar: (\d+)$", re.MULTILINE)


def count_all(
    cells: Sequence[Cell], space: Workspace, *, quick: bool, seconds: float, told: Callable[[Cell], None]
) -> dict[Cell, Counts]:
    """Return the counts of each cell.

    Args:
        cells: what is counted: the first of each contender and policy, then the others.
        space: where.
        quick: count less.
        seconds: no cell begins to be counted later than that.
        told: of the cells that begin.

    Raises:
        OSError: the disk does not take it.
    """
    # A sync that takes longer is no other sync.
    plain = _lengths(_first_of_each([replace(cell, delay=0.0) for cell in cells]), quick)
    ends = time.monotonic() + seconds
    counted: dict[Cell, Counts] = {}
    for cell in (cell for cell in plain if cell.contender == WATCHED):
        told(cell)
        counted[cell] = _watched(cell, space, plain[cell]) if time.monotonic() < ends else NO_TIME
    others = {cell: plain[cell] for cell in plain if cell.contender != WATCHED}
    if others:
        told(next(iter(others)))
        counted |= _traced(others, space, ends - time.monotonic())
    return {cell: counted[replace(cell, delay=0.0)] for cell in cells}


def _first_of_each(cells: list[Cell]) -> list[Cell]:
    """Return the cells without those that are there twice, the first of each contender and policy before the others."""
    first = {cell.name: cell for cell in reversed(cells)}
    return list(dict.fromkeys([*reversed(first.values()), *cells]))


def _lengths(cells: Sequence[Cell], quick: bool) -> dict[Cell, Amount]:
    seen: set[str] = set()
    lengths = {}
    for cell in cells:
        lengths[cell] = amount(cell, quick, cell.name not in seen)
        seen.add(cell.name)
    return lengths


def _watched(cell: Cell, space: Workspace, length: Amount) -> Counts:
    ledger = Ledger()
    files = WatchedFiles(ledger)

    def mark(word: str, puts: int) -> None:
        if word == "begin":
            ledger.begin()
        elif word == "ack":
            files.acked(puts)
        else:
            ledger.end()

    with space.place() as place:
        asyncio.run(count(OursFile(place, cell, files), cell, length, mark), debug=False)
    return _believable(ledger.counts("calls"), cell, length)


# -- under strace ---------------------------------------------------------------------------------------------


def _traced(lengths: dict[Cell, Amount], space: Workspace, seconds: float) -> dict[Cell, Counts]:
    """Return the counts of the cells, from one child that goes through all of them, or as many as it can."""
    cells = list(lengths)
    if shutil.which("strace") is None:
        return {cell: _bytes_only(cell, space, "there is no strace") for cell in cells}
    with space.place() as place:
        told = [(asdict(cell), asdict(length)) for cell, length in lengths.items()]
        order = json.dumps({"where": str(place), "cells": told, "seconds": min(seconds, FOREVER)})
        said = _run_child(place / "calls", order)
        with open(place / "calls", encoding="utf-8", errors="replace") as lines:
            found = counts_of(lines)
    failed = {int(number): why for number, why in _FAILED.findall(said)}
    if not found and not failed:
        return {cell: _bytes_only(cell, space, f"strace: {said.strip()[-200:]}") for cell in cells}
    return {
        cell: Counts(why=failed[number])
        if number in failed
        else _believable(found.get(number, NO_TIME), cell, lengths[cell])
        for number, cell in enumerate(cells)
    }


def _believable(counts: Counts, cell: Cell, length: Amount) -> Counts:
    """Return the counts without what was not seen, or not looked at for long enough."""
    if counts.how and not counts.bytes:
        return Counts(why="none of its writes were seen")
    if cell.window <= length.seconds or counts.at_risk is None:
        return counts
    why = "what a power cut can lose is counted with the first of the options only: --quick has no time for its window"
    return replace(counts, why=why, at_risk=None, exposed=None)


def _run_child(calls: Path, order: str) -> str:
    """Run the child under strace, which writes to *calls*; return what both said on stderr."""
    trace = ("strace", *OPTIONS, "-e", f"trace={','.join(TRACED)}", "-o", os.fspath(calls))
    command = (*trace, sys.executable, "-P", "-m", "asyncpq.bench.child")
    package = os.fspath(Path(__file__).parents[2])  # which this process may have found in another way
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    calm = {**os.environ, "PYTHONPATH": path, "PYTHONASYNCIODEBUG": "", "PYTHONWARNINGS": "ignore"}
    # A session of its own: Ctrl-C is ours to pass on, by closing its stdin.
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=calm,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    with process:
        try:
            process.stdin.write(order + "\n")
            process.stdin.flush()
            return process.stderr.read()
        finally:
            process.stdin.close()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def _bytes_only(cell: Cell, space: Workspace, why: str) -> Counts:
    """Return the bytes that this process writes meanwhile, where the system tells them."""
    marks: list[tuple[int, int]] = []  # puts, and bytes written until then

    def mark(word: str, puts: int) -> None:
        marks.append((puts, _written()))

    with space.place() as place:
        try:
            asyncio.run(count(make(cell, place), cell, BY_BYTES, mark), debug=False)
        except OSError:
            raise
        except Exception as error:  # another library's
            return Counts(why=f"{type(error).__name__}: {error}")
    written = marks[-1][1] - marks[0][1]
    if not marks[-1][1]:
        return Counts(why=why)
    return Counts("wchar", f"only bytes are counted: {why}", sum(puts for puts, _ in marks), bytes=written)


def _written() -> int:
    """Return the bytes that this process has written; 0: the system does not tell."""
    try:
        found = _BYTES.search(Path("/proc/self/io").read_text("ascii"))
    except OSError:
        return 0
    return int(found[1]) if found else 0
