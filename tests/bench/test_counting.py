"""Each policy is found out by its calls: what it syncs an item, and what can be lost; also one that lies."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from asyncpq.bench import counting
from asyncpq.bench.counting import count_all
from asyncpq.bench.plan import Cell
from asyncpq.bench.result import Counts
from asyncpq.bench.watching import WatchedFiles
from asyncpq.bench.waves import Amount
from asyncpq.bench.workspace import Workspace, workspace

pytestmark = pytest.mark.no_debug


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    with workspace(tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two chunks and a half of puts, however long they take."""
    monkeypatch.setattr(counting, "amount", lambda cell, quick, first: Amount(250, 20.0))


def count(*cells: Cell, space: Workspace) -> list[Counts]:
    found = count_all(cells, space, quick=True, seconds=30.0, told=lambda cell: None)
    return [found[cell] for cell in cells]


def ours(policy: str, producers: int = 1, kind: str = "file") -> Cell:
    return Cell(f"asyncpq {kind}", policy, producers, 20, "pickle")


def need_strace() -> None:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")


def test_always_loses_nothing_and_syncs_twice_a_put(space: Workspace) -> None:
    (counts,) = count(ours("always"), space=space)
    assert (counts.puts, counts.at_risk) == (250, 0)
    assert counts.syncs == 2 * 250 + 2, "two for each put, and the directory for each of two new chunks"


def test_always_with_many_producers_loses_nothing_and_shares_its_syncs(space: Workspace) -> None:
    (counts,) = count(ours("always", 50), space=space)
    assert counts.at_risk == 0
    assert counts.syncs is not None
    assert counts.syncs < 250 / 10


def test_rollover_loses_no_more_than_the_chunk_that_is_not_full(space: Workspace) -> None:
    (counts,) = count(ours("rollover"), space=space)
    assert counts.at_risk is not None
    assert 0 < counts.at_risk <= 100
    assert counts.advanced


def test_never_loses_everything(space: Workspace) -> None:
    (counts,) = count(ours("never"), space=space)
    assert (counts.at_risk, counts.syncs, counts.advanced) == (250, 0, False)


def test_a_window_of_items_is_kept(space: Workspace) -> None:
    (counts,) = count(ours("interval:0.5:10"), space=space)
    assert counts.at_risk is not None
    assert 0 < counts.at_risk <= 10


class NoSyncOfChunks(WatchedFiles):
    """A disk, or a queue, that leaves out what matters."""

    def fdatasync(self, fd: int) -> None:
        if not self._names[fd].startswith("q"):
            super().fdatasync(fd)


def test_a_queue_that_leaves_its_syncs_out_is_found_out(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "WatchedFiles", NoSyncOfChunks)
    (counts,) = count(ours("always"), space=space)
    assert counts.at_risk == 250


def test_strace_and_the_layer_of_files_count_the_same(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    need_strace()
    cells = [ours(policy) for policy in ("always", "rollover", "never")]
    by_files = count(*cells, space=space)
    monkeypatch.setattr(counting, "WATCHED", "nobody")
    by_strace = count(*cells, space=space)
    assert [told.how for told in by_strace] == ["strace"] * 3, by_strace
    facts = [[(one.puts, one.syncs, one.bytes, one.at_risk) for one in counts] for counts in (by_files, by_strace)]
    assert facts[0] == facts[1]


FEW: Final = 110  # puts: a chunk of persist-queue's is full
LOSSES: Final = {
    # what a power cut can lose of so many puts, and the syncs of each
    ours("always", kind="sqlite"): (0, 1.0),
    ours("never", kind="sqlite"): (FEW, 0.0),
    Cell("sqlite3", "", 1, 20, ""): (0, 1.0),
    Cell("persist-queue SQLiteQueue", "", 1, 20, ""): (0, 1.0),
    Cell("persist-queue AsyncSQLiteQueue", "", 1, 20, ""): (1, 4.0),
    Cell("persist-queue AsyncSQLiteQueue", "", 10, 20, ""): (1, 4.0),
    Cell("persist-queue AsyncQueue", "", 1, 20, ""): (FEW, 0.0),
    Cell("persist-queue Queue", "", 1, 20, ""): (FEW, 1 / FEW),
}


def test_what_others_promise_is_what_they_do(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their own words are in `contenders.peers`; here it is read from their calls."""
    need_strace()
    monkeypatch.setattr(counting, "amount", lambda cell, quick, first: Amount(FEW, 20.0))
    counted = dict(zip(LOSSES, count(*LOSSES, space=space), strict=True))
    for cell, (at_risk, syncs) in LOSSES.items():
        counts = counted[cell]
        assert counts.how == "strace", (cell.name, counts.why)
        assert counts.at_risk == at_risk, cell.name
        assert counts.syncs_each == pytest.approx(syncs, abs=0.005), cell.name


def test_without_strace_bytes_are_counted_and_the_rest_is_not_guessed(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (counts,) = count(Cell("sqlite3", "", 1, 20, ""), space=space)
    assert counts.how == "wchar"
    assert (counts.syncs, counts.at_risk, counts.syncs_each) == (None, None, None)
    assert counts.bytes_each is not None
    assert 4096 < counts.bytes_each < 20_000, "a commit to SQLite's log is a page or two"


def test_what_another_library_raises_is_told_and_the_others_are_counted(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_strace()
    broken, whole = Cell("sqlite3", "", 1, 20, ""), ours("always", kind="sqlite")
    monkeypatch.setattr(counting, "amount", lambda cell, quick, first: Amount(5 if cell == whole else -1, 5.0))
    spoiled = Cell("no such library", "", 1, 20, "")
    found = count(spoiled, broken, whole, space=space)
    assert found[0].how == ""
    assert "no such library" in found[0].why
    assert found[2].at_risk == 0


def test_where_no_time_is_left_nothing_is_counted_and_it_is_said(space: Workspace) -> None:
    cell = ours("never")
    counts = count_all([cell], space, quick=True, seconds=-1.0, told=lambda cell: None)[cell]
    assert (counts.how, counts.syncs, counts.why) == ("", None, "there was no time left to count it")
