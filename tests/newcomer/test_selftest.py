"""`python -m asyncpq.selftest` says what works, what is missing, and what the disk does not keep."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from asyncpq import selftest
from asyncpq.files import OSFiles

ROOT: Final = Path(__file__).parents[2]
HIDDEN: Final = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"aiosqlite", "cbor2", "click", "rich", "matplotlib", "prometheus_client"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
from asyncpq.selftest import main
sys.exit(main(sys.argv[1:]))
"""


def run(folder: Path, *arguments: str) -> tuple[int, list[str], str]:
    ran = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONASYNCIODEBUG": ""},
        timeout=50,
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout.splitlines(), ran.stderr


def states(lines: list[str]) -> dict[str, str]:
    return {line.split()[0]: line.split()[1] for line in lines[1:-1]}


def test_all_is_checked_in_five_seconds_and_nothing_is_left(tmp_path: Path) -> None:
    """Of the processor, of which others may leave little; what waits for a disk has a bound of its own."""
    before = os.times()
    status, lines, err = run(tmp_path, "-m", "asyncpq.selftest", "--path", str(tmp_path))
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used + selftest.SECONDS < 5
    found = states(lines)
    caution = found.pop("syncs") == selftest.CAUTION
    assert (err, status, set(found.values())) == ("", 3 if caution else 0, {selftest.OK})
    assert lines[-1] == selftest.SUMMARY[status]
    assert set(found) > {"pickle", "json", "orjson", "msgpack", "cbor2", "sqlite", "claims", "policies", "locking"}
    assert list(tmp_path.iterdir()) == []


def test_without_any_extra_it_works_and_says_how_to_install_them(tmp_path: Path) -> None:
    status, lines, err = run(tmp_path, "-c", HIDDEN, "--path", str(tmp_path))
    assert (status in (0, 3), err) == (True, "")
    missing = {line.split()[0]: line for line in lines if f" {selftest.MISSING} " in line}
    assert set(missing) == set(selftest.EXTRAS)
    for name, line in missing.items():
        assert f"not installed: pip install 'asyncpq-engine[{name}]'" in line


def test_a_path_that_is_none_is_a_wrong_argument(tmp_path: Path) -> None:
    status, lines, err = run(tmp_path, "-m", "asyncpq.selftest", "--path", "missing")
    assert (status, lines) == (2, [])
    assert "missing: No such file or directory; name a directory that you may write to" in err


async def found(folder: Path) -> tuple[int, dict[str, selftest.Found]]:
    told: list[selftest.Found] = []
    status = await selftest.run(folder, told.append)
    return status, {one.what: one for one in told}


async def test_what_does_not_work_is_said_and_the_rest_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "checks", lambda: [("broken", broken), ("python", selftest.check_python)])
    status, told = await found(tmp_path)
    assert status == 1
    assert told["broken"].text == "Failed: expected 1, found 2"
    assert told["python"].state == selftest.OK


async def broken(folder: Path) -> selftest.Found:
    selftest.expect(2, 1)
    raise AssertionError("never reached")


@pytest.mark.parametrize(("seconds", "state"), [(1e-6, selftest.CAUTION), (1e-3, selftest.OK), (0.2, selftest.OK)])
async def test_a_sync_that_is_too_fast_is_no_sync(
    seconds: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "sync_seconds", lambda file: seconds)
    told = await selftest.check_syncs(tmp_path)
    assert told.state == state
    assert ("too fast to be a disk" in told.text) == (state == selftest.CAUTION)
    assert ("slow" in told.text) == (seconds > 0.1)


async def test_a_file_system_without_locks_is_a_caution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OSFiles, "lock", lambda self, fd: True)
    monkeypatch.setattr(OSFiles, "lease", lambda self, dirfd, name: True)
    told = await selftest.check_locking(tmp_path)
    assert told.state == selftest.CAUTION
    assert "see to it that only one process opens a queue" in told.text
