"""`python -m bench.page`: docs/performance.md, and README.md, show the figures that were saved.

    docs/figures.json          what `--measure` left: each command's own JSON, and the conditions in it
    docs/performance.md        written by hand, but for the parts between two marks:
                               <!-- goals: made by a command --> ... <!-- end of goals -->
    README.md                  the same, with the part "speed"
    docs/plots/*.svg           the curves

--measure      runs the commands (about a quarter of an hour), or those that are named
--check        ends with an error where the page does not show what is saved; draws nothing
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from bench import layers, one_sync, scale
from bench.compare import sentence
from bench.conditions import machine
from bench.revisions import duration
from bench.table import loaded, markdown, markdown_rows

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
FILE: Final = DOCS / "figures.json"
PAGE: Final = DOCS / "performance.md"
README: Final = ROOT / "README.md"
BEGIN: Final = "<!-- {}: made by a command -->"
END: Final = "<!-- end of {} -->"

Saved = dict[str, Any]
CALLS: Final = ("put", "get + task_done")
OTHERS: Final = {
    name: [f"{call}, persist-queue's {name}" for call in CALLS] for name in ("AsyncQueue", "Queue", "AsyncSQLiteQueue")
}


def goals(figures: Saved) -> str:
    """The table of goals and aims."""
    return f"{sentence(figures['conditions'])}\n\n{markdown(loaded(figures))}"


def put_by_layer(figures: Saved) -> str:
    """Where the time of a put goes."""
    return f"{machine(figures)}; the fastest tenth of the slices.\n\n" + markdown_rows(
        [("a part of one put, `never`", "us"), *layers.rows(figures["seconds"])]
    )


def growth(figures: Saved) -> str:
    """The curves over items and over queues."""
    tables = [markdown_rows(scale.rows(figures, over)) for over in scale.CURVES]
    plots = [f"![put, get, open and memory over {over}](plots/{over}.svg)" for over in scale.CURVES]
    return "\n\n".join([f"{machine(figures)}.", *(part for pair in zip(tables, plots, strict=True) for part in pair)])


def each_call(figures: Saved) -> str:
    """The medians of the suites."""
    found = [(name.partition("::test_")[2].replace("_", " "), duration(s)) for name, s in figures["medians"].items()]
    return f"{machine(figures)}.\n\n" + markdown_rows([("one call", "median"), *found])


def fewer_syncs(figures: Saved) -> str:
    """The experiment with one sync a commit."""
    return f"{machine(figures)}.\n\n" + markdown_rows(one_sync.rows(figures))


def speed(figures: Saved) -> str:
    """What the goals were computed from, in the words of a newcomer."""
    found = figures["figures"]
    rows = [(what, *(found.get(key, "") if key else "" for key in keys)) for what, *keys in SPEED]
    return f"{machine(figures['conditions'])}; an item of 21 bytes, medians.\n\n" + markdown_rows(
        [("", "put", "get + task_done"), *rows]
    )


SPEED: Final = (
    ("persist-queue's AsyncQueue (syncs nothing)", *OTHERS["AsyncQueue"]),
    ("persist-queue's Queue", *OTHERS["Queue"]),
    ("**asyncpq**, the default policy", "put, default policy", "get + task_done, default policy"),
    ("**asyncpq**, `never`", "put, `never`", "get + task_done, `never`"),
    ("**asyncpq**, `always`, one producer", "put, `always`, one producer", ""),
    ("**asyncpq**, `always`, 256 producers, each", "put, `always`, 256 producers", ""),
    ("one bare write + fdatasync", "write + fdatasync", ""),
    ("persist-queue's AsyncSQLiteQueue", *OTHERS["AsyncSQLiteQueue"]),
    ("**asyncpq**, SQLite, the same promise", *(f"{call}, SQLite, `interval(items=1)`" for call in CALLS)),
    ("**asyncpq**, SQLite, the default policy", *(f"{call}, SQLite, `interval`" for call in CALLS)),
)
PARTS: Final[dict[str, Callable[[Saved], str]]] = {
    "goals": goals,
    "layers": put_by_layer,
    "scale": growth,
    "calls": each_call,
    "one_sync": fewer_syncs,
}
README_PARTS: Final[dict[str, Callable[[Saved], str]]] = {"speed": speed}
COMMANDS: Final = {
    "goals": ["-m", "bench", "--json"],
    "layers": ["-m", "bench.layers", "--json"],
    "calls": ["-m", "bench.revisions", "--now", "--json"],
    "one_sync": ["-m", "bench.one_sync", "--json"],
    # Last: where many files were just removed, making one is slow for minutes (ext4).
    "scale": ["-m", "bench.scale", "--json"],
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure where that is asked for; then write the page, or check it."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--measure", nargs="*", choices=list(COMMANDS), help="these parts, or all of them")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page is not up to date")
    options = parser.parse_args(arguments)
    figures = load()
    if options.measure is not None:
        for name in options.measure or COMMANDS:
            figures[name] = measure(name)
            FILE.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    for file, parts in ((PAGE, PARTS), (README, README_PARTS)):
        old = file.read_text("utf-8")
        new = page(old, figures | {"speed": figures["goals"]} if "goals" in figures else figures, parts)
        if not options.check:
            file.write_text(new, "utf-8")
        elif new != old:
            sys.exit(f"{file.name} does not show the figures of {FILE.name}: run `python -m bench.page`")
    if not options.check:
        draw(figures)


def load() -> dict[str, Any]:
    """Return what was saved."""
    figures: dict[str, Any] = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    return figures


def measure(name: str) -> Any:
    """Run the command of one part, and return its JSON; a goal that is missed ends nothing.

    Raises:
        SystemExit: it left no figures.
    """
    with tempfile.TemporaryDirectory(prefix="asyncpq-bench-") as folder:
        file = Path(folder) / "figures.json"
        subprocess.run([sys.executable, *COMMANDS[name], str(file)], cwd=ROOT, check=False)
        if not file.exists():
            sys.exit(f"python {' '.join(COMMANDS[name])}: it left no figures; what it said stands above")
        return json.loads(file.read_text("utf-8"))


def page(old: str, figures: Saved, parts: dict[str, Callable[[Saved], str]] = PARTS) -> str:
    """Return the page *old* with what *figures* say between its marks, by *parts*.

    Raises:
        ValueError: it has no place for them.
    """
    for name, text in parts.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, mark, rest = old.partition(begin)
        _, last, after = rest.partition(end)
        if not mark or not last:
            raise ValueError(f"the page has no lines {begin} and {end}")
        shown = text(figures[name]) if name in figures else "Not measured yet."
        old = f"{before}{begin}\n\n{shown}\n\n{end}{after}"
    return old


def draw(figures: Saved) -> None:
    """Draw the curves; without matplotlib say so, and leave those that are there."""
    if "scale" not in figures:
        return
    try:
        from bench import plots
    except ImportError:
        print("The plots are left as they are: they need matplotlib, the extra 'bench'", file=sys.stderr)
        return
    plots.draw(figures["scale"], DOCS / "plots")


if __name__ == "__main__":
    main()
