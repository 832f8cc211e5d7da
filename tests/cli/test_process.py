"""How the command ends: exit statuses, one line on stderr, a closed stdout, Ctrl-C, what is not installed."""

import asyncio
import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from asyncpq.cli.opening import look
from asyncpq.cli.options import Stopped
from asyncpq.cli.progress import meter
from asyncpq.cli.running import Watch, run_watched
from asyncpq.sources import parse
from tests import golden_databases
from tests.cli.command import asyncpq, environment, started, terminal, until
from tests.cli.conftest import Command
from tests.cli.test_items import stored
from tests.golden_dirs import digests, load
from tests.unit.queue_dirs import tree

MIDWAY = load("pq110-py311-pickle-midway").path
MANY = 150_000  # items that take seconds to be looked at


def many(folder: Path, *behind: bytes, count: int = MANY) -> Path:
    """A queue of *count* items in one chunk, and *behind* that bytes which are no record."""
    folder.mkdir()
    record = b"\x80\x04]\x94(K\x01K\x02K\x03K\x04e."
    (folder / "q00000").write_bytes(record * count + b"".join(behind))
    head = [0, count, len(record) * count]
    info = {"chunksize": 10 * count, "size": count, "tail": [0, 0, 0], "head": head}
    (folder / "info").write_bytes(pickle.dumps(info, 4))
    return folder


def test_python_m_asyncpq_is_the_command() -> None:
    ran = asyncpq("--version")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("asyncpq ")


def test_help_lists_every_command_and_exit_status(command: Command) -> None:
    from asyncpq.cli import status
    from asyncpq.cli.app import COMMANDS

    ran = command("--help")
    assert ran.status == 0
    for word in (*COMMANDS, *map(str, status.MEANINGS)):
        assert f"\n  {word} " in ran.out


def test_every_command_has_an_example_in_its_help(command: Command) -> None:
    from asyncpq.cli.app import COMMANDS

    for name in COMMANDS:
        ran = command(name, "--help")
        assert ran.status == 0, name
        assert "Example" in ran.out
        assert f"asyncpq {name}" in ran.out


WRONG = {
    "no such command": ["frobnicate"],
    "a missing argument": ["info"],
    "an unknown option": ["info", "--frobnicate", "jobs"],
    "no number": ["peek", "-n", "many", "jobs"],
    "no path": ["info", "sqlite:"],
    "a name without a path": ["peek", "sqlite:#mail"],
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_command_line_ends_with_2_and_one_line(what: str, command: Command) -> None:
    ran = command(*WRONG[what])
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert "--help' shows how" in ran.err


def test_an_error_is_one_line_and_debug_shows_the_traceback(tmp_path: Path, command: Command) -> None:
    ran = command("info", tmp_path / "jobs")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"asyncpq: {tmp_path / 'jobs'}: there is nothing at this path\n"
    for arguments in (("--debug", "info"), ("info", "--debug")):
        ran = command(*arguments, tmp_path / "jobs")
        assert (ran.status, ran.err.count("Traceback")) == (1, 1)


def test_an_error_cannot_make_a_terminal_do_things(tmp_path: Path, command: Command) -> None:
    ran = command("info", tmp_path / "\x1b[2J\n\x9b31m")
    assert ran.status == 1
    assert ran.err[:-1].isprintable()


@pytest.mark.parametrize("name", ["my jobs", "aufträge-任务", " -n", "a\nb", os.fsdecode(b"jobs-\xff")], ids=ascii)
def test_paths_may_hold_anything(name: str, tmp_path: Path, command: Command) -> None:
    path = tmp_path / name
    assert command("put", path, 1, 2).status == 0
    assert command("peek", path).out == "1\n2\n"
    assert command("info", path).status == 0
    assert command("check", path).status == 0
    assert command("copy", path, tmp_path / f"{name} copy").status == 0
    assert command("get", "--ack", tmp_path / f"{name} copy").out == "1\n"


def test_a_path_may_be_of_another_encoding_than_the_locale(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "任务-\udcff")
    assert asyncpq("put", path, "1", env=environment(LC_ALL="C")).status == 0
    ran = asyncpq("info", path, env=environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"))
    assert (ran.status, ran.err) == (0, "")


# Each command once, so that it is imported; then as a user who may not even read Python's own files.
AS_NOBODY = """
import os, sys
from asyncpq.cli.app import run
good, bad = sys.argv[1:]
calls = [["info"], ["check"], ["peek"], ["repair"], ["export"], ["get"], ["tail", "-n", "1"]]
kept = os.dup(2)
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
for call in calls:
    assert run([*call, good]) == 0, call
os.dup2(kept, 2)
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print([run([*call, bad]) for call in calls])
"""


def test_a_path_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    good, bad = load("pq110-py311-json-midway").copy(tmp_path), tmp_path / "jobs"
    bad.mkdir()
    bad.chmod(0)
    command = [sys.executable, "-c", AS_NOBODY, str(good), str(bad)]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=30, check=False)
    assert ran.stdout.splitlines()[-1] == "[1, 1, 1, 1, 1, 1, 1]"
    assert ran.stderr.splitlines() == [line for line in ran.stderr.splitlines() if "ermission" in line]
    assert ran.stderr.count("\n") == 7


# -- what is not installed --------------------------------------------------------------------------------------

BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name)
BLOCKED = sys.argv[1].split(",")
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in BLOCKED else found(name, *more)
sys.meta_path.insert(0, Blocker())
import json
if sys.argv[2][:1] != "[":
    sys.argv[1:2] = []
    from asyncpq.cli import main
    main()
from asyncpq.cli.app import run
for one in map(json.loads, sys.argv[2:]):
    assert run([*one, *([one[-1] + ".copy"] if one[0] == "copy" else [])]) == 0, one
"""


def without(blocked: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", BLOCK, blocked, *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("blocked", ["click", "rich", "click,rich"])
def test_without_click_or_rich_one_sentence_says_what_to_install(blocked: str) -> None:
    ran = without(blocked, "--help")
    names = blocked.replace(",", " and ")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"asyncpq: the command needs {names}; install it with: pip install 'asyncpq-engine[cli]'\n"


def test_without_aiosqlite_a_sqlite_queue_says_what_to_install(tmp_path: Path) -> None:
    ran = without("aiosqlite", "put", f"sqlite:{tmp_path / 'jobs.db'}", "1")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "asyncpq: the SQLite queues need aiosqlite; install it with: pip install 'asyncpq-engine[sqlite]'\n"
    )


def test_without_aiosqlite_a_database_can_be_looked_at_and_repaired(tmp_path: Path) -> None:
    database = next(one for one in golden_databases.GOLDEN if one.in_file).copy(tmp_path).database
    commands = [["info"], ["peek"], ["export"], ["check"], ["repair"], ["copy"], ["tail", "-n", "1"]]
    ran = without("aiosqlite", *(json.dumps([*command, str(database)]) for command in commands))
    assert (ran.returncode, ran.stderr) == (0, ""), ran


# -- a closed stdout, Ctrl-C ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["export", "peek", "tail", "get"])
def test_a_closed_stdout_ends_it_quietly(name: str, tmp_path: Path) -> None:
    path = load("pq110-py311-json-large").copy(tmp_path)
    options: dict[str, list[object]] = {
        "peek": ["-n", 10**6, "--full"],
        "tail": ["--interval", "0.05"],
        "get": ["--all", "--ack"],
    }
    with started(name, *options.get(name, []), path) as process:
        assert process.stdout is not None
        if name == "tail":
            assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_what_nobody_read_is_not_taken_out_of_the_queue(tmp_path: Path) -> None:
    asyncpq("put", tmp_path / "jobs", *range(10))
    reader, writer = os.pipe()
    os.close(reader)
    with started("get", "--all", "--ack", tmp_path / "jobs", stdout=writer) as process:
        os.close(writer)
        process.communicate(timeout=30)
        assert process.returncode == 141
        assert asyncpq("peek", tmp_path / "jobs").out.split() == [str(number) for number in range(10)]


def test_ctrl_c_in_an_export_says_that_nothing_was_changed(tmp_path: Path) -> None:
    path = many(tmp_path / "jobs")
    before = digests(path)
    with started("export", path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"[1, 2, 3, 4]\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, b"asyncpq: interrupted; nothing was changed\n")
        assert digests(path) == before


@pytest.mark.parametrize("name", ["check", "repair"])
def test_ctrl_c_in_a_check_or_before_a_repair_changes_anything_leaves_all_as_it_was(name: str, tmp_path: Path) -> None:
    path = many(tmp_path / "jobs", b"\xff" * 10)
    before = tree(tmp_path)
    with terminal(name, path) as shown:
        shown.until(b"\xe2\x94\x81")
        shown.press(b"\x03")
        assert shown.end() == 130, shown.shown
    assert b"asyncpq: interrupted; nothing was changed" in shown.shown
    assert tree(tmp_path) == before


def test_ctrl_c_in_an_import_says_what_is_stored(tmp_path: Path) -> None:
    with started("import", tmp_path / "jobs") as process:
        assert process.stdin is not None
        os.write(process.stdin.fileno(), b"1\n2\n3\n")
        until(lambda: stored(tmp_path / "jobs", 3))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, b"asyncpq: interrupted; 3 items stored, up to line 3\n")
        assert asyncpq("export", tmp_path / "jobs").out == "1\n2\n3\n"
        assert asyncpq("check", tmp_path / "jobs").status == 0


def test_ctrl_c_while_get_waits_ends_it(tmp_path: Path) -> None:
    spec = f"sqlite:{tmp_path / 'jobs.db'}"
    asyncpq("put", spec, "1")
    with started("get", "--all", "--ack", "--timeout", 1000, spec) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        until(lambda: look(parse(spec)).items == 0)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (
            130,
            b"asyncpq: interrupted; 1 item taken; the rest is still in the queue\n",
        )


def test_streams_that_are_closed_are_errors_and_not_faults(tmp_path: Path) -> None:
    python = f'"{sys.executable}" -m asyncpq'
    for line, said in (
        (f'{python} put "{tmp_path / "jobs"}" <&-', "asyncpq: stdin is closed: give the items there, one a line\n"),
        (f'{python} export "{MIDWAY}" >&-', "asyncpq: stdout is closed: there is nowhere to write to\n"),
        (f"{python} info nothing 2>&-", ""),
    ):
        ran = subprocess.run(["bash", "-c", line], env=environment(), capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", said)


@pytest.mark.parametrize("changes", [True, False])
def test_ctrl_c_that_comes_too_late_says_so(changes: bool, capsys: pytest.CaptureFixture[str]) -> None:
    async def work(watch: Watch) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
        return "done"

    if changes:
        assert run_watched(meter("repair"), work, changes=True) == "done"
        assert "that is finished" in capsys.readouterr().err
    else:
        with pytest.raises(Stopped, match="nothing was changed"):
            run_watched(meter("check"), work)


# -- completion -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(shell: str, command: Command) -> None:
    ran = command("completion", shell)
    assert ran.status == 0
    assert "_ASYNCPQ_COMPLETE" in ran.out


def test_bash_completes_commands_options_and_leaves_paths_to_the_shell(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_ASYNCPQ_COMPLETE", "bash_complete")
    for words, position, expected in (
        ("asyncpq i", "1", "plain,info\nplain,import\n"),
        ("asyncpq peek --fr", "2", "plain,--from-end\n"),
        ("asyncpq info jo", "2", "file,jo\n"),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", position)
        assert command().out == expected


def test_the_script_works_in_bash(tmp_path: Path) -> None:
    (tmp_path / "asyncpq").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m asyncpq "$@"\n', "utf-8")
    (tmp_path / "asyncpq").chmod(0o755)
    script = (
        'eval "$(asyncpq completion bash)"; COMP_WORDS=(asyncpq ex); COMP_CWORD=1; '
        '_asyncpq_completion asyncpq; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    ran = subprocess.run(["bash", "-c", script], env=environment(PATH=path), capture_output=True, text=True, check=True)
    assert ran.stdout == "export\n"


# -- on a terminal ----------------------------------------------------------------------------------------------


def test_a_bar_is_drawn_on_a_terminal_and_gone_at_the_end(tmp_path: Path) -> None:
    path = many(tmp_path / "jobs")
    with terminal("check", path) as shown:
        shown.until(b"\xe2\x94\x81")
        assert shown.end() == 0
    assert b"\x1b[2K" in shown.shown  # it was taken away
    assert b"can be read" in shown.shown


def test_two_commands_in_a_pipe_draw_one_bar_and_it_is_the_writer_s(tmp_path: Path) -> None:
    path = many(tmp_path / "jobs", count=20_000)  # more than a pipe holds: the writer waits for the reader
    python = f'"{sys.executable}" -m asyncpq'
    with terminal(f'{python} export "{path}" | {python} import "{tmp_path / "new"}"', shell=True) as shown:
        assert shown.end() == 0
    assert b"export " in shown.shown
    assert b"import " not in shown.shown
    assert b"20,000 items stored in" in shown.shown


def test_colours_follow_no_color() -> None:
    coloured, plain = b"\x1b[3", b"can be read"
    for more, has in ({"NO_COLOR": "1"}, False), ({}, True):
        with terminal("check", MIDWAY, more=more) as shown:
            shown.end()
        assert (coloured in shown.shown) is has
        assert plain in shown.shown


def test_ctrl_c_ends_the_check_of_a_database_at_once(tmp_path: Path) -> None:
    """SQLite is in the middle of the pages, or of half a million rows."""
    database = tmp_path / "jobs.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE queue (_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT)")
        count = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500000) "
        connection.execute(f"{count} INSERT INTO queue (data, timestamp) SELECT x'80044b012e', 0 FROM n")
    connection.close()
    with terminal("check", database) as shown:
        shown.until(b"check")
        shown.press(b"\x03")
        assert shown.end() == 130, shown.shown
    assert b"asyncpq: interrupted; nothing was changed" in shown.shown
