"""Directories and databases made to harm who looks at them: nothing runs, escapes, hangs, or takes memory."""

import json
import os
import pickle
import resource
import sqlite3
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq.serializers import msgpack
from tests.cli.command import started
from tests.cli.conftest import Command
from tests.unit.queue_dirs import tree

LOOKING: Final = ("info", "peek", "check", "export", "tail", "copy", "get", "repair")
SECONDS: Final = 10.0
ROOM: Final = 300 * 1024 * 1024  # bytes of address space more than a look at a small queue takes


class Runs:
    """What a pickle of it would do."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def written(folder: Path, chunk: bytes, info: Any = None, count: int = 1) -> Path:
    """A directory with *chunk* as its only one, of *count* records."""
    path = folder / "jobs"
    path.mkdir()
    (path / "q00000").write_bytes(chunk)
    fields = {"chunksize": 100, "size": count, "tail": [0, 0, 0], "head": [0, count, len(chunk)]}
    (path / "info").write_bytes(pickle.dumps(fields, 4) if info is None else info)
    return path


def deep(depth: int) -> bytes:
    return b"\x80\x04" + b"]" * depth + b"a" * (depth - 1) + b"."


def bomb(levels: int) -> bytes:
    """2 ** levels lists, of which each level holds the one before twice."""
    level = b"]\x94(h%ch%ce"
    parts = [b"\x80\x04]\x94"] + [level % (number, number) for number in range(levels)]
    return b"".join(parts) + b"."


def linked(folder: Path, mark: Path) -> Path:
    """A chunk that is a symbolic link to somebody else's file."""
    path = written(folder, b"")
    secret = folder / "secret"
    secret.write_bytes(pickle.dumps("SECRET", 4))
    (path / "q00000").unlink()
    (path / "q00000").symlink_to(secret)
    head = [0, 1, secret.stat().st_size]
    info = {"chunksize": 100, "size": 1, "tail": [0, 0, 0], "head": head}
    (path / "info").write_bytes(pickle.dumps(info, 4))
    return path


def piped(folder: Path, mark: Path) -> Path:
    """A chunk that is a named pipe, whose reader would wait for ever."""
    path = written(folder, b"x")
    (path / "q00000").unlink()
    os.mkfifo(path / "q00000")
    return path


def far(folder: Path, mark: Path) -> Path:
    """An info that counts 10 ** 18 chunks."""
    info = {"chunksize": 1, "size": 10**18, "tail": [0, 0, 0], "head": [10**18, 0, 0]}
    return written(folder, pickle.dumps(1, 4), pickle.dumps(info, 4))


def of_msgpack(folder: Path, mark: Path) -> Path:
    """A length prefix of 4 GiB."""
    info = {"chunksize": 100, "size": 1, "tail": [0, 0, 0], "head": [0, 1, 12]}
    return written(folder, struct.pack("<L", 2**32 - 1) + b"\xa7message", msgpack.encode(info))


def row(folder: Path, mark: Path, data: Any) -> Path:
    """A database with one row that was not written by a queue."""
    path = folder / "jobs.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE queue (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT)")
        database.execute("INSERT INTO queue (data, timestamp) VALUES (?, 0)", (data,))
    database.close()
    return path


HOSTILE: Final[dict[str, Callable[[Path, Path], Path]]] = {
    "a pickle that runs": lambda folder, mark: written(folder, pickle.dumps(Runs(mark), 4)),
    "an info that runs": lambda folder, mark: written(folder, pickle.dumps(1, 4), pickle.dumps(Runs(mark), 4)),
    "a pickle with a memo index of 4 GiB": lambda folder, mark: written(folder, b"\x80\x02Nr\xff\xff\xff\xff."),
    "an info with a memo index of 4 GiB": lambda folder, mark: written(
        folder, pickle.dumps(1, 4), b"\x80\x02}r\xff\xff\xff\xff."
    ),
    "a pickle that asks for 4 GiB": lambda folder, mark: written(folder, b"\x80\x04\x8d" + struct.pack("<Q", 2**32)),
    "a length prefix of 4 GiB": of_msgpack,
    "lists nested 100,000 deep": lambda folder, mark: written(folder, deep(100_000)),
    "a bomb of shared lists": lambda folder, mark: written(folder, bomb(100)),
    "a symbolic link": linked,
    "a named pipe": piped,
    "a count of 10 ** 18 chunks": far,
    "a text that moves the cursor": lambda folder, mark: written(folder, pickle.dumps("\x1b[2J\x9b31m\n", 4)),
    "a row that runs": lambda folder, mark: row(folder, mark, pickle.dumps(Runs(mark), 4)),
    "a row of text": lambda folder, mark: row(folder, mark, "no blob"),
    "a row of nothing": lambda folder, mark: row(folder, mark, None),
    "a row that is a bomb": lambda folder, mark: row(folder, mark, bomb(100)),
}


def arguments(name: str, path: Path) -> list[object]:
    more: dict[str, list[object]] = {"tail": ["-n", 1], "get": ["--all"]}
    return [*more.get(name, []), path, *([path.with_name("copy")] if name == "copy" else [])]


@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_lies_there_is_looked_at_safely(what: str, tmp_path: Path, command: Command) -> None:
    path, mark = HOSTILE[what](tmp_path, tmp_path / "mark"), tmp_path / "mark"
    before = tree(tmp_path) if what not in ("a named pipe",) else {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in LOOKING:
        began = time.monotonic()
        ran = command(name, *arguments(name, path))
        assert time.monotonic() - began < SECONDS, name
        assert not mark.exists(), name
        assert "this should not happen" not in ran.err, ran.err
        assert all(line.isprintable() for line in (ran.out + ran.err).split("\n")), name
        assert "SECRET" not in ran.out
        if name not in ("repair", "get", "copy") and before:
            now = {file: data for file, data in tree(tmp_path).items() if not file.startswith("copy")}
            assert now == before, name
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024 < ROOM


def test_a_line_of_stdin_without_an_end_takes_no_more_than_its_length(tmp_path: Path) -> None:
    """JSON of 10 MB that is nested too deep: refused, with its line."""
    with started("import", tmp_path / "jobs") as process:
        _, err = process.communicate(b"1\n" + b"[" * 10_000_000, timeout=30)
    assert process.returncode == 1
    assert err == b"asyncpq: line 2: it is nested too deep; 1 item stored, up to line 1\n"


def test_names_in_the_report_of_a_hostile_directory_are_escaped(tmp_path: Path, command: Command) -> None:
    path = tmp_path / "\x1b[2J"
    path.mkdir()
    (path / "\x1b]0;title\x07.db").write_bytes(b"")
    for name in ("info", "peek", "check", "repair"):
        ran = command(name, path)
        assert ran.status == 1
        assert all(line.isprintable() for line in (ran.out + ran.err).split("\n")), ran


def test_json_reports_hold_no_character_that_a_terminal_obeys(tmp_path: Path, command: Command) -> None:
    path = tmp_path / "\x9b31m"
    assert command("put", path, 1).status == 0
    ran = command("info", "--json", path)
    assert ran.out.isascii()
    assert json.loads(ran.out)["path"] == str(path)
