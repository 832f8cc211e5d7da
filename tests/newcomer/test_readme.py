"""What README.md says is so: its tables, its commands, and every link and name in it.  Its Python runs in test_docs."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

import asyncpq
from asyncpq import AsyncQueue, fsync
from bench import page

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text("utf-8")
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SHELL: Final = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_pages_show_the_figures_that_were_saved() -> None:
    page.main(["--check"])


def test_a_speed_table_that_was_changed_by_hand_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "README.md"
    changed.write_text(README.replace("us |", "ns |", 1))
    monkeypatch.setattr(page, "README", changed)
    with pytest.raises(SystemExit, match=r"README\.md does not show the figures"):
        page.main(["--check"])


def test_the_policy_table_names_each_policy_and_the_default() -> None:
    named = re.findall(r'^\| `"(\w+)"`', README, re.MULTILINE)
    assert [fsync.get(name).name for name in named] == ["never", "rollover", "interval", "always"]
    assert f'`"{AsyncQueue("jobs").fsync.name}"` (the default)' in README


def test_the_first_commands_install_from_here_and_check() -> None:
    """The soak tests run them in an empty environment."""
    assert SHELL[0] == "python3 -m pip install .\npython3 -m asyncpq.selftest\n"
    assert "pip install asyncpq\n" not in README


def test_the_commands_run(tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONASYNCIODEBUG": "",
    }
    script = """asyncpq put jobs '{"job": 1}'\n""" + SHELL[1]
    command = ["bash", "-e", "-c", script]
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert '{"job": 1}' in ran.stdout.splitlines()
    assert (tmp_path / "backup" / "info").exists()


def test_every_extra_is_named() -> None:
    extras = set(PROJECT["optional-dependencies"]) - {"dev", "docs"}
    said = README.rpartition("extras are ")[2]
    assert {name for name in extras if f"`{name}`" in said} == extras


def test_the_distribution_has_the_name_and_the_version_that_are_said() -> None:
    assert PROJECT["name"] == "asyncpq-engine"
    assert f"## {asyncpq.__version__} (unreleased)" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_every_example_is_linked() -> None:
    linked = set(re.findall(r"docs/examples/(\w+)\.py", README))
    assert linked == {file.stem for file in (ROOT / "docs" / "examples").glob("*.py")}


def test_the_first_example_has_ten_lines_at_most() -> None:
    block = re.search(r"## Ten lines\n\n```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert block is not None
    assert len([line for line in block[1].splitlines() if line]) <= 10
