"""The plots, as SVG to stand in a page.  Needs matplotlib, the extra `bench`.

The colours are variables of the page: --ink for text and axes, --c1 ... for lines.  So one drawing is legible on white
and on black, on a screen and on paper.
"""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncpq.bench.advice import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asyncpq.bench.result import Result, Row

__all__ = ["COLOURS", "Plot", "plots"]

INK: Final = "#010203"  # stands for --ink until the drawing is text
COLOURS: Final = tuple(f"#0102{number:02x}" for number in range(16, 24))  # --c0 to --c7
MARKS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")  # lines are told apart without their colours, too
NAMES: Final = {"file": "file queue", "sqlite": "SQLite queue"}
WIDTH: Final = 4.6  # inches: as wide as a phone, so that text keeps its size there
HEIGHT: Final = 3.1
FEW_DECADES: Final = 50.0  # from the least to the most
_HEAD: Final = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_DROPPED: Final = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
_NAMESPACES: Final = re.compile(r' xmlns(?::\w+)?="[^"]*"')
_IDS: Final = re.compile(r'(id="|url\(#|href="#)')


@dataclass(frozen=True, slots=True)
class Plot:
    """One drawing."""

    title: str
    caption: str
    svg: str


def plots(result: Result) -> list[Plot]:
    """Return the drawings for which there are figures.

    Raises:
        ImportError: matplotlib is not installed.
    """
    drawn: list[Plot] = []
    for draw in (_latencies, _producers, _sizes, _delays):
        for kind in result.options.kinds:
            rows = [row for row in result.rows if row.cell.contender == f"asyncpq {kind}"]
            if plot := draw(rows, result, NAMES[kind]):
                drawn.append(plot)
    if plot := _peers(result):
        drawn.append(plot)
    return [_apart(plot, number) for number, plot in enumerate(drawn)]


# -- what is drawn --------------------------------------------------------------------------------------------


def _latencies(rows: Sequence[Row], result: Result, kind: str) -> Plot | None:
    """How long puts take: the part of them that took longer, over the time."""
    first = [row for row in rows if _key(row) == _first(result)]
    if not first:
        return None

    def draw(axes: Any) -> None:
        for number, row in enumerate(first):
            points = row.latency.curve
            axes.plot(
                [took for _, took in points],
                [100 * (1 - fraction) for fraction, _ in points],
                **_line(number, row.cell.policy, every=8),
            )
        axes.set(xlabel="a put takes longer than", ylabel="of all puts")
        _logarithmic(axes.xaxis, seconds)
        _logarithmic(axes.yaxis, lambda percent: f"{percent:g} %")

    where = _told(result, producers=True)
    return _plot(
        f"Latency of a put, {kind}",
        f"Read it as: so many percent of the puts took longer than so long. {where}",
        draw,
    )


def _producers(rows: Sequence[Row], result: Result, kind: str) -> Plot | None:
    """Puts a second over the number of producers."""
    found = [row for row in rows if _key(row)[1:] == _first(result)[1:]]
    if len({row.cell.producers for row in found}) < 2:
        return None

    def draw(axes: Any) -> None:
        _lines(axes, found, lambda row: row.cell.producers, lambda row: row.puts.median)
        axes.set(xlabel="producers at once", ylabel="puts a second")
        _logarithmic(axes.yaxis, _short)
        _logarithmic(axes.xaxis, _short)
        _ticks(axes.xaxis, result.options.producers)

    return _plot(f"Throughput over producers, {kind}", f"More is better. {_told(result)}", draw)


def _sizes(rows: Sequence[Row], result: Result, kind: str) -> Plot | None:
    """What a put costs over the size of an item, with the floor of the machine."""
    producers, _, serializer, delay = _first(result)
    found = [row for row in rows if (row.cell.producers, *_key(row)[2:]) == (producers, serializer, delay)]
    if len({row.cell.size for row in found}) < 2:
        return None

    def draw(axes: Any) -> None:
        number = _lines(axes, found, lambda row: row.cell.size, lambda row: 1 / row.puts.median)
        floor = result.floor
        for more, (name, values) in enumerate({"bare write": floor.writes, "write + fdatasync": floor.syncs}.items()):
            sizes = sorted(values)
            style = _line(number + more, name) | {"linestyle": ":", "color": INK}
            axes.plot(sizes, [values[size].median for size in sizes], **style)
        axes.set(xlabel="bytes of an item", ylabel="a put takes")
        _logarithmic(axes.yaxis, seconds)
        _logarithmic(axes.xaxis, _short)
        _ticks(axes.xaxis, result.options.sizes)

    caption = f"Less is better; dotted is the floor of this machine. {_count(producers)}, {serializer}."
    return _plot(f"Cost over item size, {kind}", caption, draw)


def _delays(rows: Sequence[Row], result: Result, kind: str) -> Plot | None:
    """Puts a second over how much slower a sync is imagined."""
    found = [row for row in rows if _key(row)[:3] == _first(result)[:3]]
    if len({row.cell.delay for row in found}) < 2:
        return None

    def draw(axes: Any) -> None:
        _lines(axes, found, lambda row: row.cell.delay * 1e3, lambda row: row.puts.median)
        axes.set(xlabel="each sync takes longer (ms)", ylabel="puts a second")
        _logarithmic(axes.yaxis, _short)

    return _plot(f"On a slower disk, {kind}", f"More is better. {_told(result, producers=True)}", draw)


def _peers(result: Result) -> Plot | None:
    """Puts a second of all, at the first of all options, by promise."""
    first = _first(result)
    found = [row for row in result.rows if _key(row) == first or (not row.cell.policy and _key(row)[:2] == first[:2])]
    if not found:
        return None
    found.sort(key=lambda row: (-row.promise, row.puts.median))

    def draw(axes: Any) -> None:
        for number, row in enumerate(found):
            colour = COLOURS[row.promise]
            axes.barh(number, row.puts.median, color=colour, alpha=1.0 if row.cell.policy else 0.55)
            axes.annotate(
                f"{row.puts.median:,.0f}", (row.puts.median, number), (3, 0), textcoords="offset points", va="center"
            )
        axes.set(xlabel="puts a second")
        _logarithmic(axes.xaxis, _short)
        axes.set_yticks(range(len(found)), [row.cell.name for row in found])
        axes.set_xlim(right=axes.get_xlim()[1] * 8)
        axes.grid(visible=False, axis="y")

    caption = (
        "More is better; one colour is one promise, the strongest on top; asyncpq is in full colour. "
        f"{_told(result, producers=True)}"
    )
    return _plot("asyncpq beside its peers", caption, draw, height=0.9 + 0.24 * len(found), legend=False)


def _key(row: Row) -> tuple[int, int, str, float]:
    return row.cell.producers, row.cell.size, row.cell.serializer, row.cell.delay


def _first(result: Result) -> tuple[int, int, str, float]:
    options = result.options
    return options.producers[0], options.sizes[0], options.serializers[0], options.delays[0]


def _told(result: Result, *, producers: bool = False) -> str:
    count, size, serializer, _ = _first(result)
    return f"{_count(count) + ', i' if producers else 'I'}tems of {size:,} bytes, {serializer}."


def _count(producers: int) -> str:
    return "One producer" if producers == 1 else f"{producers:,} producers"


# -- how ------------------------------------------------------------------------------------------------------


def _lines(axes: Any, rows: Sequence[Row], x: Callable[[Row], float], y: Callable[[Row], float]) -> int:
    """Draw a line for each policy; return how many there are."""
    policies = list(dict.fromkeys(row.cell.policy for row in rows))
    for number, policy in enumerate(policies):
        points = sorted((x(row), y(row)) for row in rows if row.cell.policy == policy)
        axes.plot(*zip(*points, strict=True), **_line(number, policy))
    return len(policies)


def _line(number: int, label: str, every: int = 1) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKS[number % len(MARKS)],
        "markersize": 4,
        "markevery": every,
        "label": label,
    }


def _ticks(axis: Any, values: Sequence[int]) -> None:
    axis.set_ticks(list(values), [f"{value:,}" for value in values])
    axis.set_ticks([], minor=True)


def _logarithmic(axis: Any, text: Callable[[float], str]) -> None:
    """Scale it by powers of ten, with numbers that people read; where it spans few of them, also 2 and 5 of each."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    set_scale = axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale
    set_scale("log")
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1,) if high / low > FEW_DECADES else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    """Return a rate: 500, 20k, 1M."""
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:g}{unit}"
    return f"{value:g}"


def _plot(
    title: str, caption: str, draw: Callable[[Any], None], *, height: float = HEIGHT, legend: bool = True
) -> Plot:
    with _canvas(height) as (figure, axes):
        draw(axes)
        if legend:
            lines = len(axes.get_lines())
            figure.legend(loc="outside lower center", ncols=4 if lines == 4 else 3, frameon=False, columnspacing=1.2)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return Plot(title, caption, _in_page(out.getvalue(), title))


@contextmanager
def _canvas(height: float) -> Iterator[tuple[Any, Any]]:
    import matplotlib
    from matplotlib.figure import Figure  # not pyplot: no window, and nothing global is kept

    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")
    style: Any = dict.fromkeys(inked, INK) | {
        "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and copied
        "svg.hashsalt": "asyncpq",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.grid": True,
        "grid.alpha": 0.2,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.subplots()


def _in_page(svg: str, title: str) -> str:
    """Return the element alone, with the page's colours, and without what refers to anywhere."""
    text = _NAMESPACES.sub("", _DROPPED.sub("", _HEAD.sub("", svg, count=1)))
    text = text.replace("xlink:href", "href").replace(INK, "var(--ink)")
    for number, colour in enumerate(COLOURS):
        text = text.replace(colour, f"var(--c{number})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1).strip()


def _apart(plot: Plot, number: int) -> Plot:
    """Return it with names that no other drawing of the page has."""
    return Plot(plot.title, plot.caption, _IDS.sub(rf"\g<1>plot{number}-", plot.svg))
