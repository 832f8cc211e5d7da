"""From options to the result: what `asyncpq bench` does, without a terminal."""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from asyncpq.bench import notes
from asyncpq.bench.advice import advise, warnings
from asyncpq.bench.contenders import chosen
from asyncpq.bench.machine import describe
from asyncpq.bench.plan import cells
from asyncpq.bench.result import Result
from asyncpq.bench.running import run
from asyncpq.bench.workspace import remove_stale, workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from asyncpq.bench.plan import Options
    from asyncpq.bench.running import Progress

__all__ = ["bench"]


def bench(path: Path, options: Options, against: Sequence[str] | None, command: str, progress: Progress) -> Result:
    """Measure on the file system of the directory *path*; on return nothing of it is left there.

    Args:
        path: a directory that may be written to.
        options: how much to measure.
        against: libraries to measure beside asyncpq; None: those that are installed.
        command: what was typed, for the page.
        progress: is told what is measured.

    Raises:
        OSError: the disk does not take it, or nothing can be made there.
        Whatever asyncpq raises.
    """
    began = time.monotonic()
    options, left_out = _possible(options)
    peers, missing = chosen(against)
    stale = remove_stale(path)
    with workspace(path) as space:
        measured = run(cells(options, peers), options, space, progress)
        rows = measured.rows(space)
    machine, floor = describe(path.absolute(), command), measured.floor()
    warned = warnings(machine.file_system, machine.path, floor)
    noted = [
        *left_out,
        *(f"{name} is not installed and not measured; pip install {name}" for name in missing),
        *(f"{found.name}, which a killed run left behind, was removed" for found in stale),
        *notes.notes(options, rows, measured.rounds, measured.failed),
    ]
    return Result(
        machine=machine,
        options=options,
        floor=floor,
        rows=rows,
        warnings=tuple(warned),
        notes=tuple(noted),
        advice=advise(rows, floor, options, warned),
        seconds=time.monotonic() - began,
    )


def _possible(options: Options) -> tuple[Options, list[str]]:
    """Return the options without the kinds that cannot be measured here, and what is said of those.

    Raises:
        ImportError: no kind is left.
    """
    if "sqlite" not in options.kinds or find_spec("aiosqlite") is not None:
        return options, []
    why = "the SQLite queues need aiosqlite; install it with: pip install 'asyncpq-engine[sqlite]'"
    kinds = tuple(kind for kind in options.kinds if kind != "sqlite")
    if not kinds:
        raise ImportError(why, name="aiosqlite")
    return replace(options, kinds=kinds), [f"asyncpq sqlite is not measured: {why}"]
