"""Imports inside the package point down only, and the lowest layer knows no file, clock or loop."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import asyncpq

PACKAGE: Final = Path(asyncpq.__file__).parent

# From top to bottom; "asyncpq" is what the package itself offers.
LAYERS: Final = [
    ("__main__",),
    ("cli",),
    ("bench", "selftest"),
    ("metrics",),
    ("asyncpq",),
    ("migrating",),
    ("repairing", "deadletters", "sources", "copying", "forwarding"),
    ("nats",),
    ("reader", "queue", "checking", "sqlite"),
    ("lifecycle",),
    ("claims",),
    ("answers",),
    ("opening", "consumer", "producer"),
    ("upkeep",),
    ("engine",),
    ("committer",),
    ("lane",),
    ("log",),
    ("recovery",),
    ("buffer", "chunks", "infofile", "syncing", "directory", "waiting", "deliveries", "turn", "ackfile"),
    ("looking", "keeping"),
    ("files", "threads", "blocks", "placing", "allowance"),
    ("journal",),
    ("layout", "opened", "letters", "latency", "misuse", "canonical", "serializers", "fsync", "errors"),
]
DEPTH: Final = {name: depth for depth, names in enumerate(LAYERS) for name in names}
PURE: Final = LAYERS[-1]

IMPURE: Final = {
    "aiofiles", "asyncio", "concurrent", "fcntl", "mmap", "multiprocessing", "os", "select", "shutil",
    "signal", "socket", "subprocess", "tempfile", "threading", "time",
}  # fmt: skip
ALLOWED: Final = {
    ("errors", "asyncio"): "Empty, Full and QueueClosed are also asyncio's",
    ("errors", "os"): "os.PathLike in signatures",
    ("misuse", "os"): "os.PathLike in signatures",
    ("serializers._custom", "asyncio"): "a user's dump and load may be coroutine functions",
}

MODULES: Final = {
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
}


def layer(module: str) -> str:
    """The name in LAYERS that *module*, relative to the package, belongs to."""
    first = module.partition(".")[0]
    return "asyncpq" if first in ("", "__init__") else first


def imports(module: str, file: Path) -> Iterator[str]:
    """Full names of all that *module* imports, at any depth of its code."""
    is_package = file.name == "__init__.py"
    base = ["asyncpq", *(module.split(".") if module != "__init__" else [])]
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - is_package
            start = [".".join(base[: len(base) - up])] if node.level else []
            origin = ".".join(start + ([node.module] if node.module else []))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def inside(name: str) -> str | None:
    """The layer of the package that the imported *name* lies in; None outside the package."""
    top, _, rest = name.partition(".")
    if top != "asyncpq":
        return None
    first = rest.partition(".")[0]
    return first if first in DEPTH or any(layer(m) == first for m in MODULES) else "asyncpq"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_layer(module: str) -> None:
    assert layer(module) in DEPTH, f"asyncpq/{module}: give it a layer"


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    reached = {name: inside(name) for name in imports(module, MODULES[module])}
    depth = DEPTH.get(layer(module), 0)
    up = [name for name, where in reached.items() if where and DEPTH.get(where, depth) < depth]
    assert not up, f"asyncpq.{module} imports from above itself: {up}"


@pytest.mark.parametrize("module", [module for module in MODULES if layer(module) in PURE])
def test_pure_modules_touch_nothing(module: str) -> None:
    tops = {name.partition(".")[0] for name in imports(module, MODULES[module])}
    impure = {top for top in tops & IMPURE if (module, top) not in ALLOWED}
    assert not impure, f"asyncpq.{module} is pure and imports {impure}"
