"""The page shows the figures that were saved, and rendering them again changes nothing."""

import json
import re
from typing import Any

import pytest

from bench import page, scale

MACHINE: dict[str, Any] = {
    "python": "3.12.0",
    "system": "Linux 6.1",
    "processor": "a processor",
    "processors": 2,
    "load": 0.1,
    "file_system": "ext4",
}
MARKS = "\n".join(
    f"# {name}\n{page.BEGIN.format(name)}\n{page.END.format(name)}\nprose of {name}" for name in page.PARTS
)


def figures() -> dict[str, Any]:
    goal = {"name": "put", "what": "put, times faster", "goal": {"bound": 25, "unit": "x", "at_least": True}}
    one = {"put": 6e-6, "get": 1e-6, "get + task_done": 6e-6, "open": 8e-3, "memory": 30 * 1024 * 1024}
    return {
        "goals": {
            "conditions": MACHINE | {"persist_queue": "1.1.0", "rounds": 7, "quick": False},
            "rows": [goal | {"values": [30.0, 31.0, 29.0]}],
            "aims": [goal | {"values": [20.0]}],
            "figures": {"put": "5.8 us"},
        },
        "calls": MACHINE | {"medians": {"test_file_queue.py::test_put": 6e-6}},
        "scale": MACHINE | {over: {"10": one, "1000": one} for over in scale.CURVES},
    }


def test_each_part_stands_between_its_marks_and_the_prose_stays() -> None:
    once = page.page(MARKS, figures())
    assert "| put, times faster | 30.0 x | 29.5 to 30.5 | ≥ 25 x | kept |" in once
    assert "| put, times faster | 20.0 x | 20.0 to 20.0 | ≥ 25 x | missed |" in once
    assert "| put | 6.00 us |" in once
    assert "| exponent | 0.00 | 0.00 | 0.00 | 0.00 |" in once
    assert all(f"prose of {name}" in once for name in page.PARTS)
    assert page.page(once, figures()) == once


def test_what_was_not_measured_is_said_to_be_missing() -> None:
    found = re.sub(r"\s+", " ", page.page(MARKS, {}))
    assert found.count("Not measured yet.") == len(page.PARTS)


@pytest.mark.parametrize("name", page.PARTS)
def test_a_page_without_a_place_for_a_part_is_refused(name: str) -> None:
    for mark in (page.BEGIN, page.END):
        with pytest.raises(ValueError, match="no lines"):
            page.page(MARKS.replace(mark.format(name), ""), {})


def test_the_page_shows_the_figures_of_the_last_run() -> None:
    assert page.page(page.PAGE.read_text("utf-8"), page.load()) == page.PAGE.read_text("utf-8")


def test_the_same_figures_draw_the_same_small_plots(tmp_path: Any) -> None:
    plots = pytest.importorskip("bench.plots", reason="the plots need matplotlib", exc_type=ImportError)
    for folder in ("one", "two"):
        plots.draw(figures()["scale"], tmp_path / folder)
    for over in scale.CURVES:
        one, two = ((tmp_path / folder / f"{over}.svg").read_bytes() for folder in ("one", "two"))
        assert one == two
        assert len(one) < 64 * 1024
        assert b"put, us (x^" in one


def test_every_plot_that_the_page_shows_is_there() -> None:
    shown = re.findall(r"\]\((plots/\w+\.svg)\)", page.PAGE.read_text("utf-8"))
    assert all((page.DOCS / plot).is_file() for plot in shown)
    assert ("scale" in page.load()) == bool(shown)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0, -0.25])
def test_the_exponent_of_a_power_is_found_again(slope: float) -> None:
    points = {x: 3e-6 * x**slope for x in (1e3, 1e4, 1e6, 1e7)}
    assert scale.exponent(points) == pytest.approx(slope)


def test_growth_that_is_not_flat_is_told_by_the_name_of_its_curve() -> None:
    found = figures()["scale"]
    assert all(scale.flat(found).values())
    found["items"]["1000"] = found["items"]["1000"] | {"open": 80e-3}
    assert [name for name, is_flat in scale.flat(found).items() if not is_flat] == ["open over items"]
    assert "Not flat: open over items." in scale.text(json.loads(json.dumps(found)))


def test_a_disk_without_room_is_refused_before_anything_is_written(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scale, "room", lambda items: 1 << 60)
    assert scale.main(["--quick", "--dir", str(tmp_path)]) == 2
    assert "--dir" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_growth_over_items_is_measured_and_leaves_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a size that takes a moment; memory is that of a process of its own."""
    found = scale.measured(tmp_path, [1000], [2])
    assert set(found["items"][1000]) >= {name for name, _ in scale.CURVES["items"]}
    assert set(found["queues"][2]) >= {name for name, _ in scale.CURVES["queues"]}
    assert found["items"][1000]["memory"] > 1024 * 1024
    assert not list(tmp_path.iterdir())
