"""The package: built twice it has the same bytes, it holds what it should, and it works with any set of extras."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path
from typing import Final

import pytest

import asyncpq

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TWO_MINUTES: Final = 120  # seconds, from a clone to the first item

# What each extra brings, and what works with it and with no other.
EXTRAS: Final = {
    "none": ((), "asyncpq.AsyncQueue"),
    "sqlite": (("aiosqlite",), "asyncpq.AsyncSQLiteQueue"),
    "cbor2": (("cbor2",), "asyncpq.serializers.cbor2"),
    "cli": (("click", "rich"), "importlib.import_module('asyncpq.cli.app')"),
    "bench": (("matplotlib",), "importlib.import_module('asyncpq.bench')"),
    "metrics": (("prometheus_client",), "importlib.import_module('asyncpq.metrics')"),
}
OPTIONAL: Final = {module for modules, _ in EXTRAS.values() for module in modules} | {"persistqueue", "uvloop"}
HIDE: Final = """
import importlib, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

HIDDEN = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Hidden())
"""
USE: Final = """
import asyncio, asyncpq
from asyncpq import *

async def main():
    async with AsyncQueue(sys.argv[2]) as queue:
        await queue.put("item")
        print(await queue.get())
        await queue.task_done()

asyncio.run(main())
"""


def run(*command: str, folder: Path, **environment: str) -> str:
    """What the command prints; it ends well."""
    found = {**os.environ, "PYTHONASYNCIODEBUG": "", "PYTHONPATH": ""} | environment
    ran = subprocess.run(command, cwd=folder, env=found, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


# -- the files ------------------------------------------------------------------------------------------------


def build(folder: Path) -> dict[str, str]:
    """Build both; name -> digest."""
    pytest.importorskip("hatchling")
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), folder=ROOT, SOURCE_DATE_EPOCH="1700000000")
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_built_twice_it_is_the_same_and_holds_the_package_and_its_licence_alone(tmp_path: Path) -> None:
    first, second = build(tmp_path / "1"), build(tmp_path / "2")
    assert first == second
    wheel, sdist = (
        f"asyncpq_engine-{asyncpq.__version__}-py3-none-any.whl",
        f"asyncpq_engine-{asyncpq.__version__}.tar.gz",
    )
    assert set(first) == {wheel, sdist}

    with zipfile.ZipFile(tmp_path / "1" / wheel) as archive:
        names = set(archive.namelist())
        meta = next(archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    package = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "asyncpq").rglob("*")
        if file.suffix != ".pyc" and file.is_file()
    }
    info = {name.partition("/")[2] for name in names - package}
    assert names >= package >= {"asyncpq/py.typed", "asyncpq/__main__.py"}
    assert info == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert "License-Expression: BSD-3-Clause" in meta

    with tarfile.open(tmp_path / "1" / sdist) as tar:
        tops = {Path(name).parts[1] for name in tar.getnames() if len(Path(name).parts) > 1}
    assert tops == {
        ".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "PKG-INFO", "README.md", "asyncpq", "bench", "docs",
        "pyproject.toml", "tests",
    }  # fmt: skip


def test_the_pythons_that_are_named_are_those_that_the_makefile_tests() -> None:
    named = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)}
    versions = re.search(r"^VERSIONS := (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert versions is not None
    assert named == set(versions[1].split())
    assert PROJECT["requires-python"] == f">={min(named, key=lambda version: int(version[2:]))}"


# -- extras ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_works_where_no_other_is_installed(extra: str, tmp_path: Path) -> None:
    """And without any of them `import *` and a queue do."""
    modules, name = EXTRAS[extra]
    hidden = ",".join(sorted(OPTIONAL - set(modules)))
    code = HIDE + USE + f"print({name} is not None)"
    assert run(sys.executable, "-c", code, hidden, "q", folder=tmp_path, PYTHONPATH=str(ROOT)) == "item\nTrue\n"


@pytest.mark.parametrize("extra", ["sqlite", "cbor2", "metrics"])
def test_what_needs_an_extra_says_which(extra: str, tmp_path: Path) -> None:
    code = f"""{HIDE}
import asyncpq
try:
    {EXTRAS[extra][1]}
except ImportError as error:
    print(error)
"""
    hidden = ",".join(sorted(OPTIONAL))
    text = run(sys.executable, "-c", code, hidden, folder=tmp_path, PYTHONPATH=str(ROOT))
    assert f"asyncpq-engine[{extra}]" in text


def test_python_m_is_the_command(tmp_path: Path) -> None:
    assert (
        run(sys.executable, "-m", "asyncpq", "--version", folder=tmp_path, PYTHONPATH=str(ROOT))
        .strip()
        .endswith(asyncpq.__version__)
    )


# -- installed ------------------------------------------------------------------------------------------------


def made(folder: Path) -> tuple[str, str]:
    """An environment with nothing in it: its Python, and the folder of its commands."""
    run(sys.executable, "-m", "venv", str(folder), folder=folder.parent)
    return str(folder / "bin" / "python"), str(folder / "bin")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build(folder)
    return next(folder.glob("*.whl"))


@pytest.mark.soak
@pytest.mark.parametrize("extra", EXTRAS)
def test_the_wheel_works_in_an_empty_environment_with_one_extra(extra: str, wheel: Path, tmp_path: Path) -> None:
    python, _ = made(tmp_path / "venv")
    wanted = f"{wheel}[{extra}]" if extra != "none" else str(wheel)
    run(python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", wanted, folder=tmp_path)
    code = f"import importlib, sys; {USE}print({EXTRAS[extra][1]} is not None)"
    assert run(python, "-W", "error", "-c", code, "", "q", folder=tmp_path) == "item\nTrue\n"
    found = run(python, "-m", "asyncpq.selftest", "--path", ".", folder=tmp_path)
    missing = set(re.findall(r"asyncpq-engine\[(\w+)\]", found))
    assert missing == set(EXTRAS) - {"none", extra}
    command = subprocess.run([python, "-m", "asyncpq", "--version"], capture_output=True, text=True, check=False)
    assert command.returncode == (0 if extra == "cli" else 2)
    assert ("asyncpq-engine[cli]" in command.stderr) == (extra != "cli")


@pytest.mark.soak
def test_from_a_clean_clone_to_the_first_item_in_two_minutes(tmp_path: Path) -> None:
    """With what README.md says, letter by letter."""
    readme = (ROOT / "README.md").read_text("utf-8")
    commands = re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)[0]
    first = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)[0]
    began = time.monotonic()
    run("git", "clone", "-q", str(ROOT), "clone", folder=tmp_path)
    _, bin = made(tmp_path / "venv")
    path = f"{bin}{os.pathsep}{os.environ['PATH']}"
    shell = shutil.which("bash") or "sh"
    printed = run(shell, "-e", "-c", commands, folder=tmp_path / "clone", PATH=path)
    assert "works" in printed.splitlines()[-1]
    assert "working on {'job': 1}" in run("python3", "-c", first, folder=tmp_path, PATH=path)
    took = time.monotonic() - began
    print(f"from a clean clone to the first item: {took:.1f} s")
    assert took < TWO_MINUTES
