"""A migration is killed, at any point: the source is whole, the target absent or complete, and the next run does it.

at random    SIGKILL from outside after a number of batches; the process goes on meanwhile
at a call    strace kills it before a rename, a sync, a removal, ..., one after the other
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import InTheWay
from tests import counts
from tests.kill.strace import need_strace
from tests.migrating.moving import files, items, moved, names, theirs

ROOT: Final = Path(__file__).parents[2]
VALUES: Final[list[Any]] = [{"n": n, "text": "x" * (n % 50)} for n in range(3000)]
MOST: Final = 45  # letters that a migration of these writes
PATIENCE: Final = 60  # seconds
SOAK: Final = 25  # kills of each case

# What is moved to what, in a folder that has no name yet.
CASES: Final[dict[str, dict[str, Any]]] = {
    "copied": {"target": "{}/target"},
    "converted": {"target": "{}/target", "serializer": "json"},
    "to a database": {"target": "sqlite:{}/target", "queue_class": "filo", "serializer": "msgpack"},
    "in place": {"in_place": True, "serializer": "json"},
}
# Each call, and how many of it are tried: every so many.
CALLS: Final = {
    "rename": 1, "renameat": 1, "renameat2": 1, "mkdir": 1, "rmdir": 1, "syncfs": 1, "fsync": 1, "ftruncate": 1,
    "unlink": 1, "unlinkat": 2, "pwrite64": 9,
}  # fmt: skip


def wishes(case: str, folder: Path) -> dict[str, Any]:
    said = {key: value.format(folder) if isinstance(value, str) else value for key, value in CASES[case].items()}
    return {"source": str(folder / "jobs")} | said


def look(case: str, folder: Path, before: dict[str, bytes]) -> None:
    """Compare what a kill has left with what may be left."""
    left = names(folder)
    if case == "in place":
        assert set(left) <= {"jobs", "jobs.bak", "jobs.partial"}
        assert "jobs" in left
        assert files(folder / "jobs") == before or items(folder / "jobs") == VALUES
        old = [folder / name for name in ("jobs", "jobs.bak", "jobs.partial/queue")]
        assert before in [files(path) for path in old if path.exists()]
    else:
        assert set(left) <= {"jobs", "target", "target.partial"}
        assert files(folder / "jobs") == before
        assert "target" not in left or items(folder / "target") == VALUES


def is_done(case: str, folder: Path) -> bool:
    return names(folder) == (["jobs", "jobs.bak"] if case == "in place" else ["jobs", "target"])


def finish(case: str, folder: Path, before: dict[str, bytes]) -> None:
    """Run it once more, to its end, unless it is there."""
    if not is_done(case, folder):
        # Where only an empty directory was left to be removed, it is done: then there is a target.
        with suppress(InTheWay):
            moved(**wishes(case, folder))
    assert is_done(case, folder)
    new, old = ("jobs", "jobs.bak") if case == "in place" else ("target", "jobs")
    assert items(folder / new) == VALUES
    assert files(folder / old) == before


# -- at random ----------------------------------------------------------------------------------------------


class Server:
    """The process that forks those to be killed."""

    def __init__(self) -> None:
        command, pipe = [sys.executable, "-m", "tests.migrating.killed"], subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, bufsize=0)

    def kill(self, said: dict[str, Any], letters: int, first: Callable[[], None] | None = None) -> bool:
        """Kill one behind so many letters, once *first* was called; False when it was done before."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(said).encode() + b"\n")
        pid = int(self._process.stdout.readline())
        heard = b""
        while len(heard) < letters and not heard.endswith((b"f", b"\n")):
            heard += self._process.stdout.read(1)
        if first is not None:
            first()
        os.kill(pid, signal.SIGKILL)  # it is there, dead or alive, until the server hears the next line
        self._process.stdin.write(b"\n")
        if not heard.endswith(b"\n"):
            self._process.stdout.readline()  # the letters behind
        status = int(self._process.stdout.readline())
        if first is None:
            assert status in (0, signal.SIGKILL)
            return status != 0
        return not heard.endswith(b"f")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def kill_at_random(server: Server, case: str, folder: Path, generator: random.Random) -> int:
    """Kill it until it comes through, at most three times; return how often."""
    before = files(theirs(folder / "jobs", VALUES, chunksize=300))
    kills = 0
    while kills < 3 and not is_done(case, folder):
        kills += server.kill(wishes(case, folder), generator.randrange(MOST))
        look(case, folder, before)
    finish(case, folder, before)
    return kills


@pytest.mark.parametrize("seed", range(10))
def test_killed_at_random_points_it_is_done_by_the_next_run(seed: int, server: Server, folder: Path) -> None:
    kill_at_random(server, list(CASES)[seed % len(CASES)], folder, random.Random(seed))


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES)
def test_killed_at_many_random_points_it_is_done_by_the_next_run(case: str, server: Server, folder: Path) -> None:
    generator, kills = random.Random(case), 0
    while kills < SOAK:
        (folder / "once").mkdir()
        kills += kill_at_random(server, case, folder / "once", generator)
        shutil.rmtree(folder / "once")
    counts.save("migrations killed at random", case, {"kills": kills, "source changed": 0, "items twice or lost": 0})


# -- at a call ----------------------------------------------------------------------------------------------


def killed_at(call: str, when: int, said: dict[str, Any]) -> bool:
    """Kill one before its call number *when*; False when there was no such call."""
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}"]
    injection = ["-e", f"inject={call}:signal=SIGKILL:when={when}"]
    child = [sys.executable, "-m", "tests.migrating.killed", json.dumps(said)]
    done = subprocess.run([*strace, *injection, *child], cwd=ROOT, capture_output=True, check=False, timeout=PATIENCE)
    if done.returncode == 0:
        return False
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
    return True


@pytest.mark.parametrize(("case", "call"), [("copied", "renameat"), ("converted", "rename"), ("in place", "renameat2")])
def test_killed_before_a_rename_it_is_done_by_the_next_run(case: str, call: str, folder: Path) -> None:
    need_strace()
    before = files(theirs(folder / "jobs", VALUES, chunksize=300))
    assert killed_at(call, 1, wishes(case, folder))
    assert files(folder / "jobs") == before
    finish(case, folder, before)


@pytest.mark.soak
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", CASES)
def test_killed_before_any_call_it_is_done_by_the_next_run(case: str, call: str, folder: Path) -> None:
    need_strace()
    when, kills = 1, 0
    while True:
        where = folder / str(when)
        where.mkdir()
        before = files(theirs(where / "jobs", VALUES, chunksize=300))
        if not killed_at(call, when, wishes(case, where)):
            break
        look(case, where, before)
        finish(case, where, before)
        shutil.rmtree(where)
        when, kills = when + CALLS[call], kills + 1
    counts.save("migrations killed before each call", case, {call: kills})
