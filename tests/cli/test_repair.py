"""repair: what it changes is copied aside before, durably; and it says what it did."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from asyncpq.files import OSFiles
from asyncpq.keeping import KeepingFiles
from asyncpq.repairing import _repair  # the same as `repair`, with files that a test can watch
from tests import golden_databases
from tests.cli.conftest import Command
from tests.damaged_dirs import KINDS, damage
from tests.golden_dirs import load
from tests.unit.queue_dirs import QueueDir, Tree, make, tree

ITEMS = 11


def damaged(folder: Path, name: str = "pickle", kind: str = "the body") -> QueueDir:
    made = make(folder, name, items=ITEMS, consumed=0)
    damage(made, [4], kind)
    return made


def in_copy(before: Tree, copies: Path) -> Tree:
    """The files of *before* that *copies* has, as they were."""
    kept = tree(copies)
    assert kept == {name: before[name] for name in kept}
    return kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["pickle", "json", "msgpack", "cbor2"])
def test_every_file_that_a_repair_changes_is_copied_before(
    name: str, kind: str, tmp_path: Path, command: Command
) -> None:
    made = damaged(tmp_path / "jobs", name, kind)
    before = tree(made.path)
    ran = command("repair", made.path)
    assert (ran.status, ran.err) == (0, "")
    copies = tmp_path / "jobs.before-repair-1"
    assert ran.out.endswith(f"as it was: {copies}\n")
    now = tree(made.path)
    changed = {file for file in before if now.get(file) != before[file]}
    assert changed
    assert set(in_copy(before, copies)) >= changed
    assert command("check", made.path).status == 0


def test_the_copies_of_the_next_repair_go_beside_those_of_the_first(tmp_path: Path, command: Command) -> None:
    made = damaged(tmp_path / "jobs")
    (tmp_path / "jobs.before-repair-1").write_text("a file of somebody's", "ascii")
    assert str(tmp_path / "jobs.before-repair-2") in command("repair", made.path).out
    assert (tmp_path / "jobs.before-repair-2" / "info").is_file()


def test_nothing_to_repair_makes_no_copy(tmp_path: Path, command: Command) -> None:
    made = make(tmp_path / "jobs", "pickle")
    ran = command("repair", made.path)
    assert (ran.status, ran.out) == (0, "nothing to repair; 7 items can be read\n")
    assert [path.name for path in tmp_path.iterdir()] == ["jobs"]


def test_a_dry_run_changes_nothing_and_says_what_would_be_done(tmp_path: Path, command: Command) -> None:
    made = damaged(tmp_path / "jobs")
    before = tree(tmp_path)
    ran = command("repair", "--dry-run", made.path)
    assert ran.status == 0
    assert "10 items would be kept, 1 lost" in ran.out
    assert f"would be set aside: {made.path / 'damaged' / 'q00001.'}" in ran.out
    assert tree(tmp_path) == before
    assert json.loads(command("repair", "--dry-run", "--json", made.path).out)["as_it_was"] is None


def test_repair_heals_what_opening_heals(tmp_path: Path, command: Command) -> None:
    path = load("pq110-py311-pickle-torn-head").copy(tmp_path)
    before = tree(path)
    assert command("repair", path).status == 0
    assert set(in_copy(before, tmp_path / "queue.before-repair-1")) == {"info", "q00001"}
    assert command("check", path).status == 0


class Ordered(KeepingFiles):
    """Notes, for each change of a file in the queue's directory, whether its copy was there and whole."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, None, keep=True)
        self.queue, self.before, self.seen = path, tree(path), 0

    def _is_kept(self, fd: int) -> None:
        for name, data in self.before.items():
            file = self.queue / name
            if file.exists() and OSFiles.same_dir(self, fd, str(file)):  # compares any two files
                assert self.copies is not None
                assert (self.copies / name).read_bytes() == data
                self.seen += 1

    def pwrite(self, fd: int, data: Any, offset: int, /) -> int:
        self._is_kept(fd)
        return OSFiles.pwrite(fd, data, offset)

    def truncate(self, fd: int, length: int) -> None:
        self._is_kept(fd)
        super().truncate(fd, length)

    def unlink(self, dirfd: int, name: str) -> None:
        super().unlink(dirfd, name)
        if name in self.before and self.copies is not None:
            assert (self.copies / name).read_bytes() == self.before[name]
            self.seen += 1


@pytest.mark.parametrize("name", ["pickle", "msgpack"])
def test_a_copy_is_there_before_the_first_byte_is_changed(name: str, tmp_path: Path) -> None:
    made = damaged(tmp_path / "jobs", name)
    files = Ordered(made.path)
    assert _repair(files, made.path, None)
    assert files.seen > 2


class Full(KeepingFiles):
    """There is no room for the copies."""

    def fsync(self, fd: int) -> None:
        raise OSError(28, "No space left on device")


def test_where_there_is_no_room_for_copies_nothing_is_changed(tmp_path: Path) -> None:
    path = load("pq110-py311-pickle-torn-head").copy(tmp_path)
    before = tree(path)
    with pytest.raises(OSError, match="No space left"):
        _repair(Full(path, None, keep=True), path, None)
    assert tree(path) == before
    assert not tree(tmp_path / "queue.before-repair-1")


def test_what_stops_the_reading_stops_the_repair_only_while_nothing_is_changed(tmp_path: Path) -> None:
    made = damaged(tmp_path / "jobs")
    before = tree(made.path)

    class Stop(Exception):
        pass

    def stop(count: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        _repair(KeepingFiles(made.path, stop, keep=True), made.path, None)
    assert tree(tmp_path) == {"jobs": None, **{f"jobs/{name}": data for name, data in before.items()}}

    late: list[int] = []

    def stop_late(count: int) -> None:
        if watched._changed:
            late.append(count)
            raise Stop

    watched = KeepingFiles(made.path, stop_late, keep=True)
    assert _repair(watched, made.path, None)
    assert late


def test_a_row_that_cannot_be_read_is_set_aside_and_the_database_is_copied_before(
    tmp_path: Path, command: Command
) -> None:
    golden = next(one for one in golden_databases.GOLDEN if one.kind == "fifo" and one.in_file)
    place = golden.copy(tmp_path)
    with sqlite3.connect(place.database) as database:
        database.execute(f"UPDATE \"{golden.table}\" SET data = x'ff00' WHERE _id = 2")
    database.close()
    assert command("check", place.database).status == 4
    ran = command("repair", place.database)
    assert ran.status == 0
    copy = tmp_path / f"{place.database.name}.before-repair-1"
    assert f"as it was: {copy}" in ran.out
    assert command("check", place.database).status == 0
    assert command("check", copy).status == 4


def test_a_queue_that_is_open_elsewhere_is_not_repaired(tmp_path: Path, command: Command) -> None:
    import fcntl
    import os

    made = damaged(tmp_path / "jobs")
    before = tree(tmp_path)
    fd = os.open(made.path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    ran = command("repair", made.path)
    os.close(fd)
    assert ran.status == 1
    assert "has this directory open" in ran.err
    assert tree(tmp_path) == before
