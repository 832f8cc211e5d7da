"""``python -m asyncpq.bench.child``: the process that strace watches; it counts nothing itself.

It reads one line of JSON from stdin, and ends when its parent does: stdin is closed then.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from pathlib import Path

from asyncpq.bench.contenders import make
from asyncpq.bench.plan import Cell
from asyncpq.bench.waves import Amount, count


def main() -> None:
    """Go through the cells, in turn, with a mark for each event."""
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    marks = os.open(os.devnull, os.O_WRONLY)
    ends = time.monotonic() + told["seconds"]
    for number, (cell, length) in enumerate(told["cells"]):
        if time.monotonic() < ends:
            _one(Path(told["where"]), number, Cell(**cell), Amount(**length), marks)


def _one(where: Path, number: int, cell: Cell, length: Amount, marks: int) -> None:
    def mark(word: str, puts: int) -> None:
        os.write(marks, f"{word} {puts if word == 'ack' else number}".encode())

    place = where / f"c{number:04}"
    place.mkdir()
    try:
        asyncio.run(count(make(cell, place), cell, length, mark))
    except Exception as error:  # whatever another library raises: this queue is not counted, the others are
        print(f"{number} {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
