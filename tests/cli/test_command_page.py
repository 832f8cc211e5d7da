"""docs/command.md: each line of its console blocks is run, in turn, in one directory, and shows what the page says."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.cli.command import ROOT, environment

PAGE: Final = ROOT / "docs" / "command.md"
BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_shows_what_the_commands_print(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "asyncpq").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m asyncpq "$@"\n', "utf-8")
    (tmp_path / "bin" / "asyncpq").chmod(0o755)
    (tmp_path / "here").mkdir()
    said = "".join(BLOCK.findall(PAGE.read_text("utf-8")))
    assert played(said, tmp_path) == said


def played(said: str, folder: Path) -> str:
    """The commands of *said*, each with what it prints."""
    commands = [line.removeprefix("$ ") for line in said.splitlines() if line.startswith("$ ")]
    script = "exec 2>&1\n" + "".join(f"cat <<'END'\n$ {command}\nEND\n{command}\n" for command in commands)
    path = f"{folder / 'bin'}:{environment()['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=folder / "here",
        env=environment(PATH=path, LC_ALL="C.UTF-8"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.stdout


def test_the_page_lists_the_exit_statuses_of_the_code() -> None:
    from asyncpq.cli.status import MEANINGS

    assert [int(found) for found in re.findall(r"^\| (\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)] == [*MEANINGS]
