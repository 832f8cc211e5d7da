"""``asyncpq bench`` as people run it: what it says, what it writes, and that it leaves nothing behind."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq.bench.workspace import PREFIX
from tests.cli.command import Ran, asyncpq, started, terminal, until
from tests.cli.conftest import Command, command
from tests.power.mounts import memory

__all__ = ["command"]  # a fixture

FEW: Final = ("--quick", "--seconds", "0.1", "--producers", "1,4", "--size", "20", "--kind", "file")
POLICIES: Final = "never,rollover,interval:0.2,always"
LEAST: Final = (*FEW, "--policies", "always", "--producers", "1", "--against", "none", "--rounds", "1")
FOREVER: Final = (*LEAST, "--rounds", "1000", "--seconds", "1000")


@contextmanager
def measuring(where: Path) -> Iterator[Any]:
    """A run that is in the middle of its rounds."""
    with started("bench", *FOREVER, where) as process:
        until(lambda: list(where.glob(f"{PREFIX}*/c*/queue/info")))
        yield process


def ended(process: Any) -> Ran:
    out, err = process.communicate(timeout=30)
    return Ran(process.returncode, out.decode(), err.decode())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a short run says to programs."""
    where = tmp_path_factory.mktemp("jobs")
    ran = asyncpq("bench", *FEW, "--policies", POLICIES, "--against", "sqlite3", "--json", where)
    assert (ran.status, [line for line in ran.err.splitlines() if "bench: " not in line]) == (0, [])
    assert list(where.iterdir()) == [], "it leaves nothing behind"
    made: dict[str, Any] = json.loads(ran.out)
    return made | {"where": str(where)}


STYLE: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # what sets a colour, or moves on a terminal
ROW: Final = {
    "cell": dict,
    "promise": str,
    "syncs": str,
    "puts": dict,
    "gets": dict,
    "latency": dict,
    "stall": float,
    "counts": dict,
    "pauses": dict,
    "name": str,
    "lost": str,
}
SCHEMA: Final = {
    "format": int,
    "machine": dict,
    "options": dict,
    "floor": dict,
    "rows": list,
    "warnings": list,
    "notes": list,
    "advice": str,
    "seconds": float,
}


def test_its_json_has_a_form(told: dict[str, Any]) -> None:
    assert {name: type(value) for name, value in told.items() if name != "where"} == SCHEMA
    for row in told["rows"]:
        assert {name: type(value) for name, value in row.items()} == ROW
        assert row["puts"]["median"] > 0 < row["gets"]["median"]
        assert row["latency"]["p50"] <= row["latency"]["longest"]
    assert told["floor"]["syncs"]["20"]["median"] > told["floor"]["writes"]["20"]["median"] > 0
    assert told["machine"]["path"] == told["where"]
    assert told["machine"]["command"].startswith("asyncpq bench --quick")


def test_each_policy_and_peer_is_measured(told: dict[str, Any]) -> None:
    policies = [f"asyncpq file, {name}" for name in POLICIES.split(",")]
    assert [row["name"] for row in told["rows"]] == [*policies, *policies, "sqlite3"]
    assert [row["cell"]["producers"] for row in told["rows"]] == [1] * 4 + [4] * 4 + [1]


def test_what_is_counted_is_what_each_policy_promises(told: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in told["rows"] if row["cell"]["producers"] == 1}
    assert rows["asyncpq file, always"]["lost"] == "nothing"
    assert rows["asyncpq file, always"]["counts"]["syncs_each"] == pytest.approx(2, abs=0.1)
    assert rows["asyncpq file, never"]["lost"].startswith("all: none of ")
    assert rows["asyncpq file, interval:0.2"]["counts"]["exposed"] > 0.15


def test_a_table_is_shown_and_a_report_written(command: Command, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    ran = command("bench", *LEAST, "--report", report, tmp_path)
    assert ran.status == 0, ran.err
    assert "each put is durable when it returns" in ran.out
    assert "write of 20 bytes, and fdatasync" in ran.out
    assert ran.out.rstrip().endswith(".")
    assert "</html>" in report.read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_on_a_terminal_it_shows_how_far_it_is_and_then_a_table_that_fits(tmp_path: Path) -> None:
    with terminal("bench", *LEAST, tmp_path, more={"COLUMNS": "80"}) as shown:
        shown.until(b"round 1 of 1")
        assert shown.end() == 0
    lines = STYLE.sub("", shown.shown.decode()).replace("\r", "\n").splitlines()
    table = lines[lines.index("each put is durable when it returns") - 2 :]
    assert len([line for line in table if line.startswith("  asyncpq file, always")]) == 2, "speed, and safety"
    assert all(len(line) <= 80 for line in table if line.startswith("  asyncpq"))


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)])
def test_when_it_is_interrupted_nothing_is_left_behind(number: signal.Signals, tmp_path: Path) -> None:
    with measuring(tmp_path) as process:
        process.send_signal(number)
        ran = ended(process)
    assert (ran.status, ran.out) == (130, "")
    assert ran.err.splitlines()[-1] == "asyncpq: interrupted; nothing was left behind"
    assert "Traceback" not in ran.err
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_it_counts_ends_the_child_too(tmp_path: Path) -> None:
    """It has a session of its own, so that the terminal's Ctrl-C does not reach it."""
    slow = ("--policies", "interval:30", "--kind", "sqlite", "--size", "20", "--producers", "1", "--against", "none")
    with terminal("bench", "--quick", "--rounds", "1", "--seconds", "0.1", *slow, tmp_path) as shown:
        shown.until(b"counting")
        until(lambda: list(tmp_path.glob(f"{PREFIX}*/c*/c0000/queue.db")) or _no_strace(tmp_path))
        shown.press(b"\x03")
        assert shown.end() == 130
    assert list(tmp_path.iterdir()) == []


def _no_strace(where: Path) -> bool:
    return not list(where.glob(f"{PREFIX}*/c*/calls")) and bool(list(where.glob(f"{PREFIX}*/c*/queue.db")))


def test_what_a_killed_run_left_is_removed_by_the_next_one_and_it_says_so(command: Command, tmp_path: Path) -> None:
    with measuring(tmp_path) as process:
        process.kill()
        process.wait()
    (left,) = tmp_path.iterdir()
    ran = command("bench", *LEAST, tmp_path)
    assert ran.status == 0, ran.err
    assert f"{left.name}, which a killed run left behind, was removed" in ran.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.soak
def test_a_run_beside_another_one_leaves_it_alone(command: Command, tmp_path: Path) -> None:
    with measuring(tmp_path) as process:
        (theirs,) = tmp_path.iterdir()
        assert command("bench", *LEAST, tmp_path).status == 0
        assert list(tmp_path.iterdir()) == [theirs]
        process.send_signal(signal.SIGINT)
        assert ended(process).status == 130


def test_a_full_disk_is_one_line_and_nothing_is_left_behind() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    try:
        with memory(4 * 1024 * 1024) as where:
            ran = asyncpq("bench", *LEAST, "--size", "64k", "--policies", "never", where)
            assert list(where.iterdir()) == []
    except OSError as error:
        pytest.skip(str(error))
    assert (ran.status, ran.out) == (1, "")
    (line,) = [line for line in ran.err.splitlines() if "bench: " not in line]
    assert "no space left" in line
    assert "nothing was left behind" in line


def test_in_memory_it_warns_and_recommends_nothing(command: Command) -> None:
    if not Path("/dev/shm").is_dir():
        pytest.skip("there is no /dev/shm")
    with memory() as where:
        ran = command("bench", *LEAST, where)
    assert ran.status == 0, ran.err
    assert "warning: " in ran.err
    assert "is in memory (tmpfs)" in ran.err
    assert "No policy is recommended" in ran.out


def test_imagined_slower_syncs_are_paid_for(command: Command, tmp_path: Path) -> None:
    ran = command("bench", *LEAST, "--kind", "file,sqlite", "--sync-delay", "0,20ms", "--json", tmp_path)
    assert ran.status == 0, ran.err
    rows = {(row["cell"]["contender"], row["cell"]["delay"]): row["latency"] for row in json.loads(ran.out)["rows"]}
    assert rows["asyncpq file", 0.02]["p50"] >= 0.04, "two syncs a put"
    assert rows["asyncpq sqlite", 0.02]["p50"] >= 0.02
    assert rows["asyncpq file", 0.0]["p50"] < 0.04


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "0"], "from 1 byte"),
        (["--policies", "sometimes"], "is no policy"),
        (["--producers", "many"], "is no whole number"),
        (["--kind", "paper"], "there are: file, sqlite"),
        (["--against", "kafka"], "there are: persist-queue"),
        (["--serializers", "xml"], "there are: "),
        (["/no/such/directory"], "does not exist"),
    ],
)
def test_a_wrong_option_is_said_in_one_line(arguments: list[str], said: str, command: Command) -> None:
    ran = command("bench", *arguments)
    assert (ran.status, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert said in ran.err


def test_a_report_that_cannot_be_written_is_said_before_the_measuring(command: Command, tmp_path: Path) -> None:
    ran = command("bench", *FOREVER, "--report", tmp_path / "no" / "report.html", tmp_path)
    assert (ran.status, len(ran.err.splitlines())) == (1, 1)
    assert "there is no directory" in ran.err


@pytest.mark.soak
def test_quick_takes_less_than_twenty_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    ran = asyncpq("bench", "--quick", "--report", tmp_path / "report.html", tmp_path)
    assert ran.status == 0, ran.err
    assert time.monotonic() - began < 20
