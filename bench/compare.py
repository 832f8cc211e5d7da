"""`python -m bench`: the table of goals; the exit status is 0 when all of them are kept, else 1.

Aims, which lie beyond the goals, are listed below them; one that is missed changes no exit status.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.cases import CASES
from bench.conditions import described, machine
from bench.contenders import making_files, run
from bench.setting import Setting
from bench.table import Table, as_dict, markdown, plain

SLOW_FILE: Final = 60e-6  # seconds to make a file; on a disk that is at rest it takes 10 to 20 us
LEAST_ROUNDS: Final = 5  # a median over fewer says little


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    options = parse(arguments)
    conditions = described(options.dir) | {
        "persist_queue": version("persist-queue"),
        "rounds": options.rounds,
        "quick": options.quick,
    }
    table = Table()
    with tempfile.TemporaryDirectory(prefix="asyncpq-bench-", dir=options.dir) as where:
        warn_about_files(Path(where))
        for name in options.only or CASES:
            table.add(CASES[name](Setting(Path(where), options.rounds, options.quick)))
    if options.markdown:
        print(f"{sentence(conditions)}\n\n{markdown(table)}")
    else:
        print(f"{plain(table)}\n\n{sentence(conditions)}")
    if options.json:
        found = {"conditions": conditions, **as_dict(table)}
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    missed = [row.name for row in table.rows if not row.kept]
    if missed:
        print(f"Missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(CASES), help="this case alone; may be repeated")
    parser.add_argument("--rounds", type=int, default=7, help=f"at least {LEAST_ROUNDS} for figures that count")
    parser.add_argument("--quick", action="store_true", help="fewer operations and smaller backlogs")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="the file system to measure on")
    parser.add_argument("--markdown", action="store_true", help="print the table for a page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values to a file")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if not options.dir.is_dir():
        parser.error(f"--dir: {options.dir} is no directory")
    return options


def warn_about_files(where: Path) -> None:
    """Say so when making a file takes unusually long, which a put under any policy pays once a chunk."""
    took = run(making_files(where, 100))["file"]
    if took > SLOW_FILE:
        print(
            f"Making a file takes {took * 1e6:.0f} us here. ext4 does that for minutes where many files were just "
            f"removed; wait, or choose another directory with --dir.",
            file=sys.stderr,
        )


def sentence(conditions: dict[str, Any]) -> str:
    """Return the conditions in words."""
    return (
        f"{machine(conditions)}, persist-queue {conditions['persist_queue']}; items of 21 bytes, chunksize 100; "
        f"medians of {conditions['rounds']} rounds in turn{', quick' if conditions['quick'] else ''}; "
        f"garbage collected before each, collection on; asyncio's debug mode off."
    )


if __name__ == "__main__":
    sys.exit(main())
