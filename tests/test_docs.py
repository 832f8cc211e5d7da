"""What the documentation says runs: the demo, and each block of Python in a page.

The blocks of a page run in one process, each in a folder of its own: to start Python takes longer than most of them.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\[[^]]*\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
HEADING: Final = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCED: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
OUTSIDE: Final = re.compile(r"https?://[^\s)>\"'`|]*")
SECONDS: Final = 50  # no example takes so long

# Runs the blocks whose files are given; what a block left open, or never awaited, is told before the next begins.
DRIVER: Final = """
import gc, os, sys
from pathlib import Path
for name in sys.argv[1:]:
    print(name, flush=True)
    file = Path(name)
    os.mkdir(file.with_suffix(""))
    os.chdir(file.with_suffix(""))
    exec(compile(file.read_text("utf-8"), name, "exec"), {"__name__": "__main__"})
    gc.collect()
"""


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in *folder*, with the package of this checkout, every warning shown."""
    return subprocess.run(
        [sys.executable, "-W", "default", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONASYNCIODEBUG": ""},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_demo_checks_every_item(tmp_path: Path) -> None:
    ran = run(str(ROOT / "docs" / "examples" / "take_over.py"), folder=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    assert "10,015 came, each of them" in ran.stdout
    assert not list(tmp_path.iterdir())


def test_the_demo_ends_with_an_error_when_an_item_is_missing_twice_or_changed(tmp_path: Path) -> None:
    """A check that cannot fail is none."""
    for lines, word in {
        "drained.pop(100)": "missing",
        "drained.append(drained[100])": "twice",
        "drained.append('other')": "changed",
        "drained[0], drained[1] = drained[1], drained[0]": "order",
        "drained[100], drained[101] = drained[101], drained[100]": "order",
        "done[0] = 0": "first items",
    }.items():
        ran = run("-c", SPOILED.format(lines), str(ROOT / "docs" / "examples"), folder=tmp_path)
        assert ran.returncode == 1, ran.stderr
        assert word in ran.stderr


SPOILED: Final = """
import json, sys
sys.path.insert(0, sys.argv[1])
import take_over
stored = json.loads((take_over.GOLDEN / "expected.json").read_text("utf-8"))["items"]
done, drained = stored[:5], stored[5:] + [take_over.new_item(p, n) for p in range(100) for n in range(100)]
take_over.check(stored, done, drained)
{}
take_over.check(stored, done, drained)
"""


every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_the_blocks_of_python_run(page: Path, tmp_path: Path) -> None:
    files = [
        tmp_path / f"{page.stem}-{number}.py" for number, _ in enumerate(BLOCK.findall(page.read_text("utf-8")), 1)
    ]
    for file, block in zip(files, BLOCK.findall(page.read_text("utf-8")), strict=True):
        file.write_text(block, "utf-8")
    if files:
        ran = run("-c", DRIVER, *map(str, files), folder=tmp_path)
        assert (ran.returncode, ran.stderr) == (0, ""), f"{ran.stdout}\n{ran.stderr}"


def anchors(page: Path) -> set[str]:
    """What the headings of *page* are called in links: as GitHub does, and the site too."""
    headings = HEADING.findall(FENCED.sub("", page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_a_link_between_pages_leads_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(FENCED.sub("", page.read_text("utf-8"))):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@every_page
def test_a_link_to_outside_is_one(page: Path) -> None:
    """Whether something is there, `make docs-links` asks, where there is a network."""
    for address in OUTSIDE.findall(page.read_text("utf-8")):
        parts = urlsplit(address.rstrip(".,;:"))
        assert parts.hostname, address
        assert re.fullmatch(r"localhost|[a-z0-9-]+(\.[a-z0-9-]+)+", parts.hostname), address
