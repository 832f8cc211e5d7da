"""The report: one page that refers to nothing outside, without scripts; plots where matplotlib is installed."""

from __future__ import annotations

import html
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from asyncpq.bench.advice import seconds
from asyncpq.bench.style import STYLE
from asyncpq.bench.table import COLUMNS, NUMBERS, floor_rows, sections

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncpq.bench.plots import Plot
    from asyncpq.bench.result import Result
    from asyncpq.bench.table import Section

__all__ = ["INSTALL", "has_plots", "page"]

INSTALL: Final = "pip install 'asyncpq-engine[bench]'"
MEANINGS: Final = {
    "puts/s": "puts that returned, a second, by all producers together; the median of the rounds",
    "spread": "how far the round that lies farthest from it does",
    "gets/s": "items got and marked done, a second, by as many consumers",
    "p50, p99, p99.9": "so many percent of the puts took no longer; where there were fewer than 100 puts (for p99) or "
    "1,000 (for p99.9), too few",
    "syncs/item": "calls of fsync and fdatasync for each put, counted in a run of its own",
    "bytes/item": "bytes written to files for each put, counted there too",
    "stall": "the longest that the event loop was late for a timer of a millisecond",
    "a power cut can lose": "the largest number of puts that had returned and were not durable, read from the order "
    "of writes, syncs and returns; of a policy with a window, the longest time that one of them was not",
}


def page(result: Result) -> str:
    """Return the page."""
    machine = result.machine
    body = "\n".join(
        (
            f"<h1>Which fsync policy can this disk afford?</h1>\n<p>{_text(machine.path)}, {_text(machine.time)}</p>",
            *(f'<p class="warning">{_text(_sentence(warning))}</p>' for warning in result.warnings),
            f'<p class="advice">{_text(result.advice)}</p>',
            _plots(result),
            "<h2>The figures</h2>",
            *(_section(section) for section in sections(result)),
            _meanings(),
            "<h2>The floor of this machine</h2>",
            _table(("what", "median", "from least to most"), floor_rows(result.floor), ("median",)),
            "<h2>What each syncs</h2>",
            _table(("queue", "what is synced, and when"), _promises(result)),
            "<h2>The machine</h2>",
            _table(("what", "is"), _facts(result)),
            "<h2>Notes</h2>",
            f"<ul>{''.join(f'<li>{_text(_sentence(note))}</li>' for note in result.notes)}</ul>",
        )
    )
    return _PAGE.format(style=STYLE, body=body)


_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>asyncpq bench</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _text(value: object) -> str:
    """Return *value* with nothing that HTML would obey; what was no UTF-8 in a file name is shown as escapes."""
    return html.escape(str(value).encode("utf-8", "backslashreplace").decode("utf-8"))


def _sentence(text: str) -> str:
    return f"{text if text.startswith('asyncpq') else text[:1].upper() + text[1:]}."


def has_plots() -> bool:
    """Return whether the page has plots: whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def _plots(result: Result) -> str:
    if not has_plots():
        return (
            f'<p class="missing">Here would be plots; they need matplotlib: <code>{_text(INSTALL)}</code>. '
            f"All figures are in the tables.</p>"
        )
    from asyncpq.bench.plots import plots

    return f'<div class="plots">{"".join(map(_figure, plots(result)))}</div>'


def _figure(plot: Plot) -> str:
    return f"<figure><h2>{_text(plot.title)}</h2>{plot.svg}<figcaption>{_text(plot.caption)}</figcaption></figure>"


def _section(section: Section) -> str:
    groups = "".join(
        f'<tbody><tr><th class="promise" colspan="{len(COLUMNS)}">{_text(_sentence(promise.text))}</th></tr>'
        f"{_rows(COLUMNS, rows, NUMBERS)}</tbody>"
        for promise, rows in section.groups
    )
    return f'<table class="figures"><caption>{_text(section.title)}</caption>{_head(COLUMNS, NUMBERS)}{groups}</table>'


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()) -> str:
    return f"<table>{_head(columns, numbers)}<tbody>{_rows(columns, rows, numbers)}</tbody></table>"


def _head(columns: Sequence[str], numbers: Sequence[str]) -> str:
    cells = "".join(f"<th scope=col{_class(name, numbers)}>{_text(name)}</th>" for name in columns)
    return f"<thead><tr>{cells}</tr></thead>"


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str]) -> str:
    """Return the rows; each cell names its column, for screens on which a row becomes a card."""
    made = []
    for first, *rest in rows:
        cells = "".join(
            f'<td{_class(name, numbers)} data-name="{_text(name)}">{_text(cell)}</td>'
            for name, cell in zip(columns[1:], rest, strict=True)
        )
        made.append(f"<tr><th scope=row>{_text(first)}</th>{cells}</tr>")
    return "".join(made)


def _class(name: str, numbers: Sequence[str]) -> str:
    return ' class="number"' if name in numbers else ""


def _meanings() -> str:
    told = "".join(f"<dt>{_text(name)}</dt><dd>{_text(_sentence(text))}</dd>" for name, text in MEANINGS.items())
    return f"<details open><summary>What the columns mean</summary><dl>{told}</dl></details>"


def _promises(result: Result) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.cell.name, row.syncs) for row in result.rows))


def _facts(result: Result) -> list[tuple[str, str]]:
    machine = result.machine
    return [
        ("command", machine.command),
        ("path", machine.path),
        ("file system", f"{machine.file_system} on {machine.device}"),
        ("processor", f"{machine.processors} x {machine.processor}"),
        ("system", machine.system),
        ("Python", machine.python),
        *machine.versions.items(),
        ("measured", f"{machine.time}, in {seconds(result.seconds)}"),
    ]
