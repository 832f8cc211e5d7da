"""`python -m bench.revisions`: the suites of this tree, against a saved run or another revision.

against a saved run      one run now, beside the file that an earlier one left in .benchmarks/
against a revision       its package alone is taken out of git into a temporary directory, and the same suites
                         run with the one and the other in turn, each second round in reverse order
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from bench.conditions import described
from bench.measure import Measured, in_turn, median, middle_half, ratios
from bench.table import aligned, number

ROOT: Final = Path(__file__).parents[1]
SUITES: Final = "bench/suites"
SAVED: Final = ROOT / ".benchmarks"
# No plugin gets in the way of the timer; and *package* is imported, not the one that lies beside the suites.
PLAIN: Final = ("-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--timeout=0", "--import-mode=append")
HEADINGS: Final = ("what", "now", "then", "now / then", "middle half")
UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


Both = tuple[Measured, Measured]  # one round: now and then


class Unusable(Exception):
    """What was asked for cannot be compared; the message says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return 0; 1 when nothing could be compared."""
    options = parse(arguments)
    try:
        if options.now:
            return only_now(options.chosen, options.json)
        if options.rev:
            rounds = against_revision(options.rev, options.rounds, options.chosen)
        else:
            rounds = against_saved(options.saved or latest(SAVED), options.chosen)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 1
    print(table(rounds))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m bench.revisions", description=__doc__)
    parser.add_argument("--rev", help="a revision of this repository; without it: a saved run")
    parser.add_argument("--saved", type=Path, help="the file of a saved run; without it: the last one")
    parser.add_argument("--rounds", type=int, default=5, help="of both in turn, with --rev")
    parser.add_argument("--now", action="store_true", help="run this tree's alone; no comparison")
    parser.add_argument("--json", type=Path, metavar="FILE", help="with --now: write the medians to a file")
    parser.add_argument("-k", dest="chosen", default="", help="only benchmarks that this expression of pytest selects")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def only_now(chosen: str, file: Path | None) -> int:
    """Run the suites of this tree, print the medians, and return 0."""
    found = described(Path(tempfile.gettempdir())) | {"medians": run_suites(ROOT, chosen)}
    print(aligned([(name, duration(seconds)) for name, seconds in found["medians"].items()]))
    if file:
        file.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0


def against_saved(file: Path, chosen: str) -> list[Both]:
    """Return the figures of one run now, and of the one in *file*."""
    then = saved(file)
    print("One run, with whatever else the machine did: a difference of a few percent says nothing.", file=sys.stderr)
    return [(run_suites(ROOT, chosen), then)]


def latest(folder: Path) -> Path:
    """Return the file of the run that was saved last."""
    found = sorted(folder.rglob("*.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise Unusable(f"{folder} holds no saved run: make one with `make bench`, or name a revision: REV=main~5")
    return found[-1]


def saved(file: Path) -> Measured:
    """Return the medians that a run left in *file*, in seconds an operation."""
    try:
        benchmarks = json.loads(file.read_text("utf-8"))["benchmarks"]
        return {_name(found): float(found["stats"]["median"]) for found in benchmarks}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unusable(f"{file} is no saved run of pytest-benchmark ({error})") from error


def _name(benchmark: Mapping[str, Any]) -> str:
    return str(benchmark["fullname"]).removeprefix(f"{SUITES}/")


def against_revision(revision: str, rounds: int, chosen: str) -> list[Both]:
    """Return the figures of each round: of this tree, and of *revision*."""
    with tempfile.TemporaryDirectory(prefix="asyncpq-bench-") as folder:
        other = take_out(revision, Path(folder))
        contenders = {
            "now": lambda: _labelled("now", run_suites(ROOT, chosen)),
            "then": lambda: _labelled("then", run_suites(other, chosen)),
        }
        measured = in_turn(rounds, contenders, f"against {revision}", warm_up=False)
    return [(_of("now", one), _of("then", one)) for one in measured]


def _labelled(label: str, measured: Measured) -> Measured:
    return {f"{label} {name}": seconds for name, seconds in measured.items()}


def _of(label: str, measured: Measured) -> Measured:
    return {name.removeprefix(f"{label} "): value for name, value in measured.items() if name.startswith(f"{label} ")}


def take_out(revision: str, folder: Path) -> Path:
    """Put the package of *revision* into *folder*; return where it is to be imported from."""
    made = subprocess.run(["git", "archive", revision, "asyncpq"], cwd=ROOT, capture_output=True, check=False)
    if made.returncode:
        raise Unusable(f"{revision}: {made.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def run_suites(package: Path, chosen: str = "") -> Measured:
    """Run the suites with the package that lies in *package*; return the medians, in seconds an operation.

    A benchmark of what the package does not have yet fails, and is left out.

    Raises:
        Unusable: no benchmark ran, or another package than this one was imported.
    """
    with tempfile.TemporaryDirectory(prefix="asyncpq-bench-") as folder:
        file = Path(folder) / "run.json"
        command = [sys.executable, "-m", "pytest", SUITES, *PLAIN, f"--benchmark-json={file}", "-k", chosen]
        command += ["-o", f"pythonpath={package} {ROOT}"]
        # Not what says that this run is one of several beside each other: the benchmarks would be left out.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if not file.exists() or not file.stat().st_size:
            raise Unusable(f"no benchmark ran:\n{done.stdout[-2000:]}")
        imported = Path(json.loads(file.read_text("utf-8"))["package"])
        if imported != package.resolve() / "asyncpq":
            raise Unusable(f"{imported} was measured instead of {package}")
        return saved(file)


def table(rounds: Sequence[Both]) -> str:
    """Return what both have, and the ratios: medians over the rounds, and where half of them lie."""
    names = [name for name in rounds[0][0] if all(name in now and name in then for now, then in rounds)]
    if not names:
        raise Unusable("the two runs have no benchmark in common")
    return aligned([HEADINGS, *(_row(name, rounds) for name in names)])


def _row(name: str, rounds: Sequence[Both]) -> tuple[str, ...]:
    both = [{"now": now[name], "then": then[name]} for now, then in rounds]
    values = ratios(both, "now", "then")
    low, high = middle_half(values)
    return (
        name,
        duration(median(both, "now")),
        duration(median(both, "then")),
        f"{number(statistics.median(values))} x",
        f"{number(low)} to {number(high)}",
    )


def duration(seconds: float) -> str:
    """Return *seconds* in the unit that leaves digits before the point."""
    size, unit = next((pair for pair in UNITS if seconds >= pair[0]), UNITS[-1])
    return f"{number(seconds / size)} {unit}"


if __name__ == "__main__":
    sys.exit(main())
