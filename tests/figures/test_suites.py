"""The suites for developers run, and a comparison measures the package that it says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from bench import revisions

ROOT: Final = Path(__file__).parents[2]
RUN: Final = [sys.executable, "-m", "pytest", "bench/suites", *revisions.PLAIN, "--benchmark-disable"]


@pytest.mark.soak
def test_each_suite_runs() -> None:
    """Once through each benchmark, untimed: what a change of the API breaks is seen before anybody measures."""
    ran = subprocess.run(RUN, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout
    assert "failed" not in ran.stdout


def saved(file: Path, medians: dict[str, float]) -> Path:
    benchmarks = [
        {"fullname": f"bench/suites/{name}", "stats": {"median": seconds}} for name, seconds in medians.items()
    ]
    file.write_text(json.dumps({"benchmarks": benchmarks}), "utf-8")
    return file


def test_a_saved_run_is_read_in_seconds_an_operation(tmp_path: Path) -> None:
    file = saved(tmp_path / "run.json", {"test_put": 6e-6, "test_get": 1e-6})
    assert revisions.saved(file) == {"test_put": 6e-6, "test_get": 1e-6}


def test_the_run_that_was_saved_last_is_taken(tmp_path: Path) -> None:
    old, new = saved(tmp_path / "b.json", {}), saved(tmp_path / "a.json", {})
    os.utime(old, (1, 1))
    assert revisions.latest(tmp_path) == new


def test_without_a_saved_run_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(revisions.Unusable, match="make bench"):
        revisions.latest(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"benchmarks": [{}]}'])
def test_a_file_that_is_no_saved_run_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text, "utf-8")
    with pytest.raises(revisions.Unusable, match=r"run\.json"):
        revisions.saved(tmp_path / "run.json")


def test_ratios_are_taken_within_a_round() -> None:
    """Twice the noise in both runs of a round is no difference between them."""
    shown = revisions.table([({"put": 6e-6}, {"put": 3e-6}), ({"put": 12e-6}, {"put": 6e-6})])
    assert shown.splitlines()[1].split() == ["put", "9.00", "us", "4.50", "us", "2.00", "x", "2.00", "to", "2.00"]


def test_a_benchmark_that_only_one_of_the_two_has_is_left_out() -> None:
    shown = revisions.table([({"put": 6e-6, "claim": 9e-6}, {"put": 3e-6})])
    assert "claim" not in shown
    with pytest.raises(revisions.Unusable, match="in common"):
        revisions.table([({"claim": 9e-6}, {"put": 3e-6})])


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no repository: an unpacked distribution")
def test_the_package_of_the_revision_is_measured_and_nothing_stays_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides share the suites; which package each of them imported is compared, not assumed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(revisions.Unusable, match="nosuch"):
        revisions.against_revision("nosuch", 1, "test_encode and orjson")
    assert not list(tmp_path.iterdir())
    (now, then), *more = revisions.against_revision("HEAD", 1, "test_encode and orjson and task")
    assert not more
    assert list(now) == list(then) == ["test_serializers.py::test_encode[orjson-a task]"]
    assert not list(tmp_path.iterdir())
