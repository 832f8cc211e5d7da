"""The curves of `bench.scale` as small SVG files; the same figures give the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from bench import scale

mpl.rcParams.update({"svg.hashsalt": "asyncpq", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9})

SIZE: Final = (6.4, 3.6)  # inches
GREY: Final = "#777777"  # readable on a white page and on a dark one
COLOURS: Final = ("#3572b0", "#c26a1c", "#3d8f4f", "#a0529a")


def draw(figures: dict[str, Any], folder: Path) -> None:
    """Draw one file for each scale into *folder*."""
    folder.mkdir(exist_ok=True)
    for over, curves in scale.CURVES.items():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot(xscale="log", yscale="log")
        for (name, unit), colour in zip(curves, COLOURS, strict=True):
            points = scale.curve(figures, over, name)
            label = f"{name}, {unit} (x^{scale.exponent(points):.2f})"
            heights = [y / scale.UNITS[unit] for y in points.values()]
            axes.plot(list(points), heights, marker="o", markersize=3, linewidth=1.2, color=colour, label=label)
        axes.set_xlabel(over, color=GREY)
        axes.tick_params(which="both", colors=GREY)
        axes.grid(color=GREY, alpha=0.25, linewidth=0.5)
        for spine in axes.spines.values():
            spine.set_color(GREY)
        axes.legend(frameon=False, labelcolor=GREY)
        figure.savefig(folder / f"{over}.svg", transparent=True, metadata={"Date": None, "Creator": None})
