"""The table of goals says by its exit status whether each of them is kept; aims are shown, and change nothing."""

import json
from pathlib import Path

import pytest

from bench import compare
from bench.cases import CASES
from bench.table import Goal, Row, Table, as_dict, loaded, markdown, plain

KEPT = Row("put", "put, times faster", Goal(25, "x", at_least=True), [30.0, 20.0, 40.0])
MISSED = Row("open", "open a backlog", Goal(20, "ms"), [25.0, 30.0, 10.0])


@pytest.mark.parametrize(
    ("goals", "aims", "status"),
    [([KEPT], [KEPT], 0), ([KEPT], [MISSED], 0), ([KEPT, MISSED], [], 1), ([MISSED], [KEPT], 1), ([], [MISSED], 0)],
)
def test_the_exit_status_is_that_of_the_goals_alone(
    goals: list[Row],
    aims: list[Row],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(CASES, "kernel", lambda _: Table(list(goals), [], list(aims)))
    file = tmp_path / "run.json"
    assert compare.main(["--only", "kernel", "--dir", str(tmp_path), "--json", str(file)]) == status
    shown = capsys.readouterr()
    assert all(row.what in shown.out for row in goals + aims)
    assert ("Missed: open" in shown.err) == (status == 1)
    found = loaded(json.loads(file.read_text("utf-8")))
    assert (found.rows, found.aims) == (goals, aims)
    assert list(tmp_path.iterdir()) == [file]


def test_the_median_of_the_rounds_counts() -> None:
    """One round that met another program's work decides nothing."""
    assert Row("put", "put", Goal(25, "x", at_least=True), [30.0, 1.0, 31.0]).kept
    assert not Row("put", "put", Goal(25, "x", at_least=True), [1.0, 31.0, 2.0]).kept


def test_a_table_that_was_saved_is_shown_as_before() -> None:
    table = Table([KEPT], [("put", "5.8 us")], [MISSED])
    again = loaded(json.loads(json.dumps(as_dict(table))))
    assert again == table
    assert (plain(again), markdown(again)) == (plain(table), markdown(table))
