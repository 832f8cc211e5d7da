"""The recorder sees what the kernel sees: the same script under strace shows the same operations, in order."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
CALLS: Final = "openat,open,creat,mkdir,mkdirat,pwrite64,pwritev,pwritev2,write,writev,ftruncate,truncate,fallocate,\
rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,fsync,fdatasync,sync_file_range,sync,syncfs,copy_file_range"
FD: Final = r"\d+<([^>]*)>"

PATTERNS: Final = (
    (re.compile(rf'openat\({FD}, "([^"]*)", \S*O_CREAT'), "create {1}"),
    (re.compile(r'mkdir(?:at)?\((?:AT_FDCWD<[^>]*>, |\d+<[^>]*>, )?"([^"]*)"'), "mkdir {0}"),
    (re.compile(rf'pwrite64\({FD}, "[^"]*"(?:\.\.\.)?, (\d+), (\d+)'), "pwrite {0} {1} at {2}"),
    (re.compile(rf"ftruncate\({FD}, (\d+)"), "truncate {0} {1}"),
    (re.compile(rf'renameat\({FD}, "([^"]*)", {FD}, "([^"]*)"'), "rename {1} {3}"),
    (re.compile(rf'unlinkat\({FD}, "([^"]*)"'), "unlink {1}"),
    (re.compile(rf"(fsync|fdatasync)\({FD}"), "{0} {1}"),
)


def traced(trace: str, folder: Path) -> Iterator[str]:
    """The operations below *folder* in what strace wrote; whatever it is that changes a file there."""
    for line in trace.splitlines():
        call = line.split(None, 1)[1].strip()
        if str(folder) not in call or " = -1 " in call or "resumed>" in call:
            continue
        if call.startswith("openat(") and "O_CREAT" not in call:
            continue
        found = next(((p.match(call), text) for p, text in PATTERNS if p.match(call)), None)
        if found is None:
            yield f"unknown: {call}"
            continue
        match, text = found
        assert match is not None
        parts = [relative(part, folder) for part in match.groups()]
        yield text.format(*parts)


def relative(part: str, folder: Path) -> str:
    """The last name of a path; the folder itself is `.`."""
    part = part.removesuffix("(deleted)")
    return "." if part == str(folder) else os.path.basename(part)


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
@pytest.mark.parametrize(
    ("script", "policy"),
    [
        ("puts in a new parent", "always"),
        ("puts and gets", "rollover"),
        ("close and reopen", "interval"),
        ("killed while putting", "always"),
        ("killed while consuming", "never"),
    ],
)
def test_the_recorder_sees_what_the_kernel_sees(script: str, policy: str, tmp_path: Path) -> None:
    folder, output = tmp_path / "files", tmp_path / "trace"
    folder.mkdir()
    command = ["strace", "-f", "-qq", "-y", "-s", "0", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(output)]
    try:
        done = subprocess.run(
            [*command, sys.executable, "-m", "tests.crash.traced", str(folder), script, policy],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        if "PTRACE" in error.stderr or "Operation not permitted" in error.stderr:
            pytest.skip("strace may not trace here")
        raise
    assert list(traced(output.read_text(), folder)) == done.stdout.splitlines()
