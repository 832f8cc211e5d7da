"""A run that was cut short is taken up by the next one, or discarded, and no item comes twice."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import QueueLocked
from asyncpq.migrating import Progress, building, partial
from asyncpq.migrating.partial import Partial
from tests.migrating.moving import files, items, moved, names, theirs

VALUES: Final[list[Any]] = [{"n": n, "text": "x" * (n % 50)} for n in range(6000)]
TARGETS: Final = [
    ("", "json", {}),
    ("", "pickle", {}),
    ("sqlite:", "pickle", {}),
    ("sqlite:", "json", {"queue_class": "filo"}),
]


class Crash(BaseException):
    """The process is gone."""


@contextmanager
def crashing(phase: str, after: int = 0) -> Iterator[Any]:
    """Yield what ends a migration like a kill, at the first batch of *phase* beyond so many items."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Partial, "discard", lambda partial: None)

        def tell(progress: Progress) -> None:
            if progress.phase == phase and progress.items > after:
                raise Crash

        with pytest.raises(Crash):
            yield tell


@pytest.fixture(autouse=True)
def often_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "DURABLE", 20_000)


@pytest.fixture
def source(folder: Path) -> Path:
    return theirs(folder / "source", VALUES, chunksize=500)


@pytest.mark.parametrize(("form", "serializer", "more"), TARGETS)
def test_the_next_run_goes_on_where_it_was(
    form: str, serializer: str, more: dict[str, Any], source: Path, folder: Path
) -> None:
    wanted = moved(source, f"{form}{folder}/wanted", serializer=serializer, **more)
    with crashing("build", 3000) as tell:
        moved(source, f"{form}{folder}/target", serializer=serializer, tell=tell, **more)
    assert names(folder) == ["source", "target.partial", "wanted"]
    report = moved(source, f"{form}{folder}/target", serializer=serializer, **more)
    assert 1000 < report.resumed < len(VALUES)
    assert (report.items, report.bytes, report.digest) == (len(VALUES), wanted.bytes, wanted.digest)
    assert items(f"{form}{folder}/target") == VALUES
    assert names(folder) == ["source", "target", "wanted"]
    if not form:
        assert files(folder / "target") == files(folder / "wanted")


@pytest.mark.parametrize("phase", ["scan", "build", "verify"])
@pytest.mark.parametrize("form", ["", "sqlite:"])
def test_a_run_that_is_cut_short_again_and_again_comes_to_its_end(
    form: str, phase: str, source: Path, folder: Path
) -> None:
    for after in (0, 1500, 2500, 4500) if phase == "build" else (0, 0):
        with crashing(phase, after) as tell:
            moved(source, f"{form}{folder}/target", serializer="json", tell=tell)
    moved(source, f"{form}{folder}/target", serializer="json")
    assert items(f"{form}{folder}/target") == VALUES
    assert names(folder) == ["source", "target"]


@pytest.mark.parametrize("form", ["", "sqlite:"])
def test_a_source_that_has_changed_is_begun_anew(form: str, source: Path, folder: Path) -> None:
    with crashing("build", 3000) as tell:
        moved(source, f"{form}{folder}/target", tell=tell)
    os.utime(source / "q00001")
    report = moved(source, f"{form}{folder}/target")
    assert report.resumed == 0
    assert items(f"{form}{folder}/target") == VALUES


def test_other_wishes_are_begun_anew(source: Path, folder: Path) -> None:
    with crashing("build", 3000) as tell:
        moved(source, folder / "target", tell=tell, chunksize=100)
    report = moved(source, folder / "target", chunksize=200)
    assert (report.resumed, report.chunksize) == (0, 200)
    assert items(folder / "target") == VALUES


@pytest.mark.parametrize("form", ["", "sqlite:"])
@pytest.mark.parametrize("damage", ["a byte", "cut", "gone", "note"])
def test_a_partial_one_that_is_damaged_is_begun_anew(form: str, damage: str, source: Path, folder: Path) -> None:
    with crashing("build", 3000) as tell:
        moved(source, f"{form}{folder}/target", serializer="json", tell=tell)
    built = folder / "target.partial" / "queue"
    first = built / "q00000" if built.is_dir() else built
    data = first.read_bytes()
    at = data.index(b"xxxx")
    if damage == "note":
        note = json.loads((folder / "target.partial" / "note").read_text("utf-8"))
        (folder / "target.partial" / "note").write_text(json.dumps(note | {"digest": "0" * 64}), "utf-8")
    elif damage == "gone":
        first.unlink()
    else:
        first.write_bytes(data[:at] if damage == "cut" else data[:at] + b"y" + data[at + 1 :])
    report = moved(source, f"{form}{folder}/target", serializer="json")
    assert report.resumed == 0
    assert items(f"{form}{folder}/target") == VALUES
    assert names(folder) == ["source", "target"]


def test_what_was_set_aside_before_is_set_aside_once(folder: Path, source: Path) -> None:
    bad = 0
    for name in ("q00001", "q00009"):
        data = bytearray((source / name).read_bytes())
        data[60:64] = b"\xff\xff\xff\xff"
        (source / name).write_bytes(data)
    wanted = moved(source, folder / "wanted", skip_bad=True)
    bad = wanted.set_aside
    assert bad > 1
    with crashing("build", 4000) as tell:
        moved(source, folder / "target", skip_bad=True, tell=tell)
    report = moved(source, folder / "target", skip_bad=True)
    assert report.resumed > 0
    assert (report.set_aside, report.items, report.digest) == (bad, wanted.items, wanted.digest)
    assert (folder / "target.bad.jsonl").read_bytes() == (folder / "wanted.bad.jsonl").read_bytes()


def test_losses_and_duplicates_before_are_counted_once(folder: Path) -> None:
    source = theirs(folder / "source", [(n % 4000,) for n in range(6000)], chunksize=500)
    target = f"sqlite:{folder}/target"
    wishes: dict[str, Any] = {"queue_class": "unique", "serializer": "json", "lossy": True}
    with crashing("build", 3900) as tell:
        moved(source, target, tell=tell, **wishes)
    report = moved(source, target, **wishes)
    assert report.resumed > 0
    assert {loss.kind: loss.items for loss in report.losses} == {"tuples": 6000, "duplicates": 2000}
    assert items(target) == [[n] for n in range(4000)]


@pytest.mark.parametrize("left", [[], [partial.NOTE_TEMP]])
def test_a_partial_one_that_was_just_begun_is_begun_anew(left: list[str], source: Path, folder: Path) -> None:
    (folder / "target.partial").mkdir()
    for name in left:
        (folder / "target.partial" / name).write_bytes(b'{"what')
    moved(source, folder / "target")
    assert names(folder) == ["source", "target"]


def test_a_run_that_was_cut_short_behind_the_rename_is_finished_by_the_next(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Partial, "discard", lambda partial: None)
        report = moved(source, folder / "target")
    assert names(folder) == ["source", "target", "target.partial"]
    assert moved(source, folder / "target") == report
    assert names(folder) == ["source", "target"]
    assert items(folder / "target") == VALUES


@pytest.mark.parametrize("queue_class", ["fifo", "filo"])
def test_what_was_stored_behind_the_note_is_taken_back(
    queue_class: str, source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the commit and the note."""
    target, save, saved = f"sqlite:{folder}/target", Partial.save, []

    def crash(partial: Partial, note: dict[str, Any]) -> None:
        saved.append(note)
        if len(saved) == 4:
            raise Crash
        save(partial, note)

    with monkeypatch.context() as patch:
        patch.setattr(Partial, "save", crash)
        patch.setattr(Partial, "discard", lambda partial: None)
        with pytest.raises(Crash):
            moved(source, target, queue_class=queue_class)
    assert moved(source, target, queue_class=queue_class).resumed > 0
    assert items(target) == VALUES
    with closing(sqlite3.connect(folder / "target")) as database:
        assert database.execute("SELECT seq FROM sqlite_sequence").fetchone() == (len(VALUES),)


def test_two_migrations_to_one_target_do_not_meet(source: Path, folder: Path) -> None:
    other = theirs(folder / "other", [1])

    def meanwhile(progress: Progress) -> None:
        if progress.phase == "verify":
            with pytest.raises(QueueLocked, match="another migration"):
                moved(other, folder / "target")

    moved(source, folder / "target", tell=meanwhile)
    assert items(folder / "target") == VALUES
    assert names(folder) == ["other", "source", "target"]
