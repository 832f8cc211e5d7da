"""``asyncpq migrate`` as a process and in this one; and docs/migrating.md, whose every step is run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq.cli.migrate import Phases
from asyncpq.migrating import Progress
from tests.cli.command import ROOT, Ran, asyncpq, environment, started, terminal, until
from tests.cli.test_command_page import BLOCK
from tests.migrating.moving import files, items, names, theirs

Command = Callable[..., Ran]
PAGE: Final = ROOT / "docs" / "migrating.md"
VALUES: Final[list[Any]] = [{"n": n} for n in range(25)]
MANY: Final = 20_000  # items: about a second's work


def test_a_queue_is_moved_and_the_report_says_what_was_done(tmp_path: Path, command: Command) -> None:
    source = theirs(tmp_path / "a queue, ü", VALUES)
    ran = command("migrate", source, tmp_path / "target ß", "--serializer", "json", "--chunksize", "7")
    assert (ran.status, ran.err) == (0, "")
    assert f"target   {tmp_path}/target ß: file queue, json, chunksize 7" in ran.out
    assert "items    25 items" in ran.out
    assert items(tmp_path / "target ß") == VALUES


def test_json_is_the_report_as_one_object(tmp_path: Path, command: Command) -> None:
    source = theirs(tmp_path / "source", [(1,), 2])
    target = f"sqlite:{tmp_path}/db#mail"
    ran = command("migrate", source, target, "--class", "ack", "--serializer", "cbor2", "--lossy", "--json")
    report = json.loads(ran.out)
    assert (report["items"], report["queue_class"], report["name"]) == (2, "ack", "mail")
    assert report["losses"] == [{"kind": "tuples", "items": 1, "becomes": "lists", "where": "q00000 at byte 0"}]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["jobs", "new", "--serializer", "json"], 1, "tuples in 1 item"),
        (["jobs", "there"], 1, "is there already"),
        (["none", "new"], 1, "there is nothing at this path"),
        (["jobs"], 1, "say where the queue should go"),
        (["jobs", "new", "--class", "filo"], 1, "say sqlite:"),
        (["jobs", "new", "--serializer", "yaml"], 2, "--help"),
        (["jobs", "new", "--chunksize", "0"], 2, "--help"),
    ],
    ids=str,
)
def test_an_error_is_one_line_with_the_way_out(
    arguments: list[str], status: int, said: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs(tmp_path / "jobs", [(1,)])
    theirs(tmp_path / "there", [1])
    ran = command("migrate", *arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (status, "", 1)
    assert said in ran.err
    assert names(tmp_path) == ["jobs", "there"]


def test_what_cannot_be_read_goes_to_the_file_that_is_named(tmp_path: Path, command: Command) -> None:
    source = theirs(tmp_path / "source", VALUES)
    data = (source / "q00000").read_bytes()
    (source / "q00000").write_bytes(data[:30] + b"\xff" * 10 + data[40:])
    assert "--skip-bad" in command("migrate", source, tmp_path / "target").err
    ran = command("migrate", source, tmp_path / "target", "--bad-file", tmp_path / "bad")
    assert f"in {tmp_path / 'bad'}" in ran.out
    assert json.loads((tmp_path / "bad").read_text("ascii").splitlines()[0])["where"].startswith("q00000 at byte ")


def test_in_place_keeps_the_old_one(tmp_path: Path, command: Command) -> None:
    source = theirs(tmp_path / "jobs", VALUES)
    before = files(source)
    ran = command("migrate", "--in-place", "--serializer", "json", source)
    assert f"old one  {tmp_path}/jobs.bak" in ran.out
    assert files(tmp_path / "jobs.bak") == before
    assert items(source) == VALUES


def test_unpickle_says_that_pickles_are_run(tmp_path: Path, command: Command) -> None:
    source = theirs(tmp_path / "source", VALUES)
    ran = command("migrate", "--unpickle", source, tmp_path / "target", "--serializer", "json")
    assert (ran.status, ran.err.count("\n")) == (0, 1)
    assert "pickles are run" in ran.err


def test_ctrl_c_leaves_no_target_and_says_so(tmp_path: Path) -> None:
    """Pressed while the target is built: a hundred files are made for each thousand items."""
    source = theirs(tmp_path / "source", [])
    fill(source)
    before = files(source)
    with started("migrate", source, tmp_path / "target", "--chunksize", "1") as process:
        until(lambda: (tmp_path / "target.partial" / "queue" / "q00010").exists())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert err == b"asyncpq: interrupted; nothing was changed, and there is no target\n"
    assert names(tmp_path) == ["source"]
    assert files(source) == before


def fill(source: Path) -> None:
    """Let the queue hold MANY items, whatever they are."""
    ran = asyncpq("import", source, stdin="\n".join(f'{{"n": {n}}}' for n in range(MANY)))
    assert ran.status == 0, ran.err


def test_a_bar_is_drawn_on_a_terminal_for_each_phase(tmp_path: Path) -> None:
    source = theirs(tmp_path / "source", [])
    fill(source)
    with terminal("migrate", source, tmp_path / "target", "--serializer", "msgpack") as shown:
        assert shown.end() == 0
    for phase in (b"scan", b"build", b"verify"):
        assert b"migrate: " + phase in shown.shown
    assert b"20,000 items" in shown.shown


def test_each_phase_has_a_meter_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with Phases() as phases:
        for phase in ("scan", "build", "verify"):
            for items_ in (1, 2):
                phases.reach(Progress(phase, items_, 10, 2))
    assert capsys.readouterr() == ("", "")


def test_the_page_shows_what_the_commands_print(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, arguments in {"asyncpq": "-m asyncpq", "python": ""}.items():
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n', "utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "here").mkdir()
    said = "".join(BLOCK.findall(PAGE.read_text("utf-8")))
    commands = [line.removeprefix("$ ") for line in said.splitlines() if line.startswith("$ ")]
    script = "exec 2>&1\n" + "".join(f"cat <<'END'\n$ {command}\nEND\n{command}\n" for command in commands)
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path / "here",
        env=environment(PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}", LC_ALL="C.UTF-8", PYTHONWARNINGS="ignore"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout == said


def test_the_page_lists_what_a_serializer_cannot_carry() -> None:
    from asyncpq.migrating.values import BECOMES

    page = PAGE.read_text("utf-8").lower()
    missing = [kind for kind, becomes in BECOMES.items() if becomes and kind.split()[0].lower() not in page]
    assert missing == []
