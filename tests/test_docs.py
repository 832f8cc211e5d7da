"""What the documentation says runs: the demo, and each block of Python in a page."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK: Final = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\[[^]]*\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
SECONDS: Final = 50  # no example takes so long

BLOCKS: Final = [
    pytest.param(found[1], id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, found in enumerate(BLOCK.finditer(page.read_text("utf-8")), 1)
]


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


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_python_runs(block: str, tmp_path: Path) -> None:
    ran = run("-c", block, folder=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_a_link_between_pages_leads_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()]
    assert not missing
