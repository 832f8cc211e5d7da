"""A database in whatever state is read as it is, and left as it is: no byte changes, and no file comes or goes."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from asyncpq.errors import DatabaseBusy, NotAQueue, QueueLocked
from asyncpq.serializers import pickle
from asyncpq.sources import open_source
from tests.sources.looked_at import entries, items, untouched

TABLE: Final = "CREATE TABLE queue_default (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT)"
INSERT: Final = "INSERT INTO queue_default (data, timestamp) VALUES (?, 0)"
COUNT: Final = 3000  # rows: several pages


def filled(file: Path, mode: str, count: int = COUNT) -> sqlite3.Connection:
    """An open database with *count* items, of which none is in the log."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode={mode}")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN")
    connection.execute(TABLE)
    connection.executemany(INSERT, [(pickle.encode(n),) for n in range(count)])
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return connection


def killed(file: Path, *statements: str) -> None:
    """A program that executed *statements* and was killed."""
    code = (
        "import os, signal, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for statement in sys.argv[2:]: connection.execute(statement)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, file, *statements], check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL


def put(number: int) -> str:
    return f"INSERT INTO queue_default (data, timestamp) VALUES (x'{pickle.encode(number).hex()}', 0)"


def closed_wal(file: Path) -> list[int]:
    filled(file, "wal").close()
    return list(range(COUNT))


def closed_rollback(file: Path) -> list[int]:
    filled(file, "delete").close()
    return list(range(COUNT))


def closed_persist(file: Path) -> list[int]:
    connection = filled(file, "persist")
    connection.execute(put(COUNT))
    connection.close()
    assert Path(f"{file}-journal").stat().st_size
    return list(range(COUNT + 1))


def killed_wal(file: Path) -> list[int]:
    filled(file, "wal").close()
    killed(file, put(COUNT))
    assert {path.suffix for path in file.parent.iterdir()} == {".db", ".db-wal", ".db-shm"}
    return list(range(COUNT + 1))


def log_without_index(file: Path) -> list[int]:
    expected = killed_wal(file)
    Path(f"{file}-shm").unlink()
    return expected


def hot_journal(file: Path) -> list[int]:
    filled(file, "delete").close()
    killed(file, "PRAGMA cache_size=1", "BEGIN", "DELETE FROM queue_default WHERE _id > 1", put(COUNT))
    assert Path(f"{file}-journal").stat().st_size
    torn = sqlite3.connect(f"file:{file}?immutable=1", uri=True)
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):  # pages of the transaction are in the file
        torn.execute("SELECT count(*) FROM queue_default").fetchall()
    torn.close()
    return list(range(COUNT))


STATES: Final[list[Callable[[Path], list[int]]]] = [
    closed_wal,
    closed_rollback,
    closed_persist,
    killed_wal,
    log_without_index,
    hot_journal,
]


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_database_in_any_state_is_read_and_left_as_it_is(
    state: Callable[[Path], list[int]], lock: bool, tmp_path: Path
) -> None:
    (tmp_path / "queue").mkdir()
    expected = state(tmp_path / "queue" / "data.db")
    with untouched(tmp_path), open_source(tmp_path / "queue", lock=lock) as source:
        assert items(source) == expected
        assert source.about.items == len(expected)
        assert source.about.details["journal_mode"] == (
            "wal" if "wal" in str(state) or "log" in str(state) else "rollback"
        )


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Callable[[str], sqlite3.Connection]]:
    """Opens a database that somebody goes on to write to."""
    opened: list[sqlite3.Connection] = []

    def make(mode: str) -> sqlite3.Connection:
        opened.append(filled(tmp_path / "jobs.db", mode))
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()


@pytest.mark.parametrize("lock", [True, False])
def test_beside_a_live_writer_a_locked_source_shows_one_state_and_the_other_the_newest(
    lock: bool, writer: Callable[[str], sqlite3.Connection], tmp_path: Path
) -> None:
    connection = writer("wal")
    connection.execute(put(COUNT))
    with open_source(tmp_path / "jobs.db", lock=lock) as source:
        assert source.about.details["open_elsewhere"] is True
        walk = source.batches()
        first = [entry.at[0] for entry in next(walk)]
        connection.execute(put(COUNT + 1))
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        rest = [entry.at[0] for batch in walk for entry in batch]
        last = COUNT + 1 if lock else COUNT + 2
        assert first + rest == list(range(1, last + 1))


def test_a_locked_source_keeps_writers_out_of_a_database_without_a_log(
    writer: Callable[[str], sqlite3.Connection], tmp_path: Path
) -> None:
    connection = writer("delete")
    connection.execute("PRAGMA busy_timeout=10")
    with open_source(tmp_path / "jobs.db"), pytest.raises(sqlite3.OperationalError, match="locked"):
        connection.execute(put(COUNT))
    connection.execute(put(COUNT))
    with open_source(tmp_path / "jobs.db", lock=False) as source:
        next(source.batches())
        connection.execute(put(COUNT + 1))
        assert items(source)[-1] == COUNT + 1


def test_a_writer_in_the_middle_of_a_commit_is_waited_for_and_then_named(
    writer: Callable[[str], sqlite3.Connection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncpq.sources.database.TIMEOUT", 0.01)
    writer("delete").execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseBusy, match="locked"):
        open_source(tmp_path / "jobs.db")


def test_a_locked_source_says_when_a_program_that_came_later_has_changed_the_file(tmp_path: Path) -> None:
    filled(tmp_path / "jobs.db", "wal").close()
    with open_source(tmp_path / "jobs.db") as source:
        walk = source.batches()
        next(walk)
        with sqlite3.connect(tmp_path / "jobs.db") as late:
            late.execute(put(COUNT))
        late.close()
        with pytest.raises(QueueLocked, match="while it was read"):
            list(walk)


def test_an_open_source_goes_on_in_the_new_state_when_it_holds_no_lock(tmp_path: Path) -> None:
    filled(tmp_path / "jobs.db", "wal").close()
    with open_source(tmp_path / "jobs.db", lock=False) as source:
        walk = source.batches()
        seen = [entry.at[0] for entry in next(walk)]
        late = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
        late.execute(put(COUNT))
        late.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        seen += [entry.at[0] for batch in walk for entry in batch]
        late.close()
    assert seen == list(range(1, COUNT + 2))


def test_a_log_that_a_killed_program_left_is_not_written_to_by_another_unnoticed(tmp_path: Path) -> None:
    killed_wal(tmp_path / "jobs.db")
    with open_source(tmp_path / "jobs.db") as source:
        walk = source.batches()
        next(walk)
        killed(tmp_path / "jobs.db", put(COUNT + 1), "PRAGMA wal_checkpoint(PASSIVE)")
        with pytest.raises(QueueLocked, match="while it was read"):
            list(walk)


@pytest.mark.parametrize("companion", ["-wal", "-shm", "-journal"])
def test_what_lies_beside_a_database_is_a_file(companion: str, tmp_path: Path) -> None:
    filled(tmp_path / "jobs.db", "wal", 3).close()
    Path(f"{tmp_path / 'jobs.db'}{companion}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotAQueue, match=f"jobs.db{companion}: is no regular file"):
        open_source(tmp_path / "jobs.db")


@pytest.mark.parametrize("name", ["a b", "naïve 文字", "what?mode=rw", "100%41", "a#b", "it's", '"'])
def test_the_path_of_a_database_may_hold_any_character(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    filled(tmp_path / name / "data.db", "wal", 3).close()
    with untouched(tmp_path), open_source(tmp_path / name) as source:
        assert items(source) == [0, 1, 2]


def test_any_row_is_a_place_to_go_on_from(tmp_path: Path) -> None:
    filled(tmp_path / "jobs.db", "wal", 40).close()
    with open_source(tmp_path / "jobs.db") as source:
        found = entries(source)
        for place in range(40):
            assert entries(source, found[place].at) == found[place + 1 :]


def test_a_copy_of_a_database_is_gone_with_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "copies"))
    log_without_index(tmp_path / "queue" / "data.db")
    with open_source(tmp_path / "queue") as source:
        assert len(os.listdir(tmp_path / "copies")) == 1
        assert len(items(source)) == COUNT + 1
    assert os.listdir(tmp_path / "copies") == []
