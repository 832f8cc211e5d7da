"""Every fault of persist-queue 1.1.0 that was found has a test here."""

import ast
import re
from pathlib import Path
from typing import Final

# F: the file queue; A: its AsyncQueue; P: the package; S and Q: the sync and the async SQLite queues.
IDS: Final = {
    *(f"f{number:02d}" for number in range(1, 34)),
    *(f"a{number:02d}" for number in range(1, 17)),
    *(f"p{number:02d}" for number in range(1, 4)),
    *(f"s{number:02d}" for number in range(1, 28)),
    *(f"q{number:02d}" for number in range(1, 10)),
    "f06b",
    "f07b",
    "a01b",
}
SHOWN_THERE: Final = (
    "test_persist_queue.py",
    "test_persist_queue_sqlite.py",
)  # these show the fault, and are no test of ours


def functions(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in ast.parse(file.read_bytes()).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    ]


def ids(name: str) -> list[str]:
    """The ids that a test's name begins with."""
    found = re.match(r"test((?:_[fapsq]\d\db?)+)_", name)
    return found[1].split("_")[1:] if found else []


def test_every_row_has_a_test_whose_docstring_says_what_happens_there() -> None:
    told: set[str] = set()
    for file in Path(__file__).parent.glob("test_*.py"):
        if file.name not in (*SHOWN_THERE, Path(__file__).name):
            for test in functions(file):
                assert ids(test.name), f"{file.name}: {test.name} names no fault"
                if "There, " in (ast.get_docstring(test) or ""):
                    told.update(ids(test.name))
    assert told == IDS


def test_what_is_shown_there_is_tested_here() -> None:
    for name in SHOWN_THERE:
        for test in functions(Path(__file__).parent / name):
            shown = set(re.findall(r"(?<=_)[fasq]\d\db?(?=_)", test.name))
            assert shown, test.name
            assert shown <= IDS, test.name
