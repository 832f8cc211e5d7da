"""A queue is converted under its own name, in one step, and the old one is kept."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

import asyncpq
from asyncpq import InTheWay, MigrationError, NeedsGap
from asyncpq.migrating import placing, system
from asyncpq.migrating.partial import Partial
from tests.migrating.moving import items, moved, names, theirs, traces

VALUES: list[Any] = [{"n": n} for n in range(25)]


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system, or a file system, that cannot exchange two names."""
    monkeypatch.setattr(placing, "exchange", lambda one, other: False)


def test_old_and_new_are_exchanged_and_the_old_one_is_kept(folder: Path) -> None:
    source = theirs(folder / "jobs", VALUES)
    before = {os.path.basename(name): trace for name, trace in traces(source).items()} | {"jobs": None}
    report = moved(source, in_place=True, serializer="msgpack")
    assert names(folder) == ["jobs", "jobs.bak"]
    assert items(source) == VALUES
    assert (report.serializer, report.target, report.backup) == ("msgpack", source, folder / "jobs.bak")
    after = {os.path.basename(name): trace for name, trace in traces(folder / "jobs.bak").items()} | {"jobs.bak": None}
    assert {name: trace for name, trace in after.items() if trace} == {n: t for n, t in before.items() if t}


@pytest.mark.parametrize("of", ["file", "sqlite"])
@pytest.mark.parametrize("to", ["file", "sqlite"])
def test_a_queue_of_one_kind_becomes_one_of_the_other_under_its_name(of: str, to: str, folder: Path) -> None:
    first = f"{'sqlite:' if of == 'sqlite' else ''}{folder}/jobs"
    moved(theirs(folder / "source", VALUES), first)
    target = f"{'sqlite:' if to == 'sqlite' else ''}{folder}/jobs"
    moved(first, target, in_place=True, serializer="json")
    assert names(folder) == ["jobs", "jobs.bak", "source"]
    assert items(target) == items(f"{first}.bak") == VALUES
    assert (folder / "jobs").is_dir() == (to == "file" or of == "file")


def test_a_database_keeps_its_form_its_class_and_the_name_of_its_queue(folder: Path) -> None:
    source = theirs(folder / "source", VALUES)
    for form in ("", "/"):
        path = folder / f"jobs{len(form)}"
        moved(source, f"sqlite:{path}{form}#mail", queue_class="filo")
        report = moved(f"sqlite:{path}", in_place=True, serializer="json")
        assert (report.queue_class, report.name, path.is_dir()) == ("filo", "mail", bool(form))
        assert items(f"sqlite:{path}#mail") == VALUES


def test_the_new_one_has_mode_and_owner_of_the_old_one(folder: Path) -> None:
    """It may belong to another user than the one who converts it."""
    source = theirs(folder / "jobs", VALUES, chunksize=10)
    files = [source, *source.iterdir()]
    for path in files:
        path.chmod(0o750 if path.is_dir() else 0o640)
        if os.geteuid() == 0:
            os.chown(path, 1234, 1235)
    moved(source, in_place=True, serializer="json")
    for path in (source, *source.iterdir()):
        facts = path.stat()
        assert stat.S_IMODE(facts.st_mode) == (0o750 if path.is_dir() else 0o640)
        if os.geteuid() == 0:
            assert (facts.st_uid, facts.st_gid) == (1234, 1235)


def test_a_link_to_a_queue_stays_a_link(folder: Path) -> None:
    source = theirs(folder / "real", VALUES)
    (folder / "link").symlink_to("real")
    moved(folder / "link", in_place=True, serializer="json")
    assert names(folder) == ["link", "real", "real.bak"]
    assert items(source) == items(folder / "link") == VALUES


def test_a_backup_that_is_there_is_refused_and_left_alone(folder: Path) -> None:
    source = theirs(folder / "jobs", VALUES)
    (folder / "jobs.bak").write_bytes(b"mine")
    before = traces(folder)
    with pytest.raises(InTheWay, match="the old queue would get this name"):
        moved(source, in_place=True, serializer="json")
    assert traces(folder) == before


@pytest.mark.usefixtures("no_exchange")
def test_where_there_is_no_exchange_a_gap_has_to_be_accepted(folder: Path) -> None:
    source = theirs(folder / "jobs", VALUES)
    before = traces(source)
    with pytest.raises(NeedsGap, match="--gap"):
        moved(source, in_place=True, serializer="json")
    assert names(folder) == ["jobs"]
    assert traces(source) == before
    moved(source, in_place=True, serializer="json", gap=True)
    assert names(folder) == ["jobs", "jobs.bak"]
    assert items(source) == items(folder / "jobs.bak") == VALUES


@pytest.mark.usefixtures("no_exchange")
def test_a_crash_in_the_gap_is_mended_by_the_next_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, rename, calls = theirs(folder / "jobs", VALUES), system.rename_new, []

    def crash(old: Path, new: Path) -> None:
        calls.append(new)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(placing, "rename_new", crash)
        patch.setattr(Partial, "discard", lambda partial: None)
        with pytest.raises(KeyboardInterrupt):
            moved(source, in_place=True, serializer="json", gap=True)
    assert names(folder) == ["jobs.bak", "jobs.partial"]
    report = moved(source, in_place=True, serializer="json", gap=True)
    assert report.items == len(VALUES)
    assert names(folder) == ["jobs", "jobs.bak"]
    assert items(source) == items(folder / "jobs.bak") == VALUES


@pytest.mark.parametrize("wish", [{}, {"chunksize": 3}])
def test_a_crash_between_exchange_and_the_name_of_the_backup_is_mended_by_the_next_run(
    wish: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the next run wishes something else: that is refused then, since the backup is there."""
    source = theirs(folder / "jobs", VALUES)

    def crash(old: Path, new: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(placing, "rename_new", crash)
        with pytest.raises(KeyboardInterrupt):
            moved(source, in_place=True, serializer="json")
    assert names(folder) == ["jobs", "jobs.partial"]
    if wish:
        with pytest.raises(InTheWay):
            moved(source, in_place=True, serializer="json", **wish)
    else:
        assert moved(source, in_place=True, serializer="json").items == len(VALUES)
    assert names(folder) == ["jobs", "jobs.bak"]
    assert items(source) == items(folder / "jobs.bak") == VALUES


async def test_a_database_with_other_tables_is_not_converted_under_its_name(folder: Path) -> None:
    for name in ("one", "two"):
        async with asyncpq.AsyncSQLiteQueue(folder / "jobs.db", name) as queue:
            await queue.put(name)
    with pytest.raises(MigrationError, match="'queue_two' too, which would be missing"):
        moved(f"sqlite:{folder}/jobs.db#one", in_place=True, serializer="json")
    assert names(folder) == ["jobs.db"]


async def test_a_database_with_a_log_beside_it_is_not_converted_under_its_name(folder: Path) -> None:
    """The log would be taken for one of the new database."""
    async with asyncpq.AsyncSQLiteQueue(folder / "open.db") as queue:
        await queue.put(1)
        for name in ("", "-wal"):
            (folder / f"jobs.db{name}").write_bytes((folder / f"open.db{name}").read_bytes())
    before = names(folder)
    with pytest.raises(MigrationError, match="wal_checkpoint"):
        moved(f"sqlite:{folder}/jobs.db", in_place=True, serializer="json")
    assert names(folder) == before
    moved(f"sqlite:{folder}/jobs.db", folder / "target")
    assert items(folder / "target") == [1]
