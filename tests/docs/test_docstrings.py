"""Every public name has a docstring that promises, and a place in docs/async_api.md."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import pytest

import asyncpq

PAGE: Final = (Path(__file__).parents[2] / "docs" / "async_api.md").read_text("utf-8")
MODULES: Final = ("asyncpq", "asyncpq.fsync", "asyncpq.serializers", "asyncpq.sqlite")
DIRECTIVE: Final = re.compile(r"^\.\. (?:auto)?(?:class|exception|function|data):: (\w+)", re.MULTILINE)
SPECIAL: Final = ("__aiter__", "__aenter__", "__aexit__", "__anext__")  # what `async for` and `async with` call

NAMES: Final = [
    (module, name)
    for module in MODULES
    for name in importlib.import_module(module).__all__
    if not inspect.ismodule(getattr(importlib.import_module(module), name))
]


def public(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties of *cls*, also of its bases in the package."""
    for name in sorted({name for base in cls.__mro__ if is_ours(base) for name in vars(base)}):
        value = inspect.getattr_static(cls, name)
        if (name in SPECIAL or not name.startswith("_")) and isinstance(
            value, FunctionType | property | classmethod | staticmethod
        ):
            yield f"{cls.__name__}.{name}", getattr(value, "__func__", value)


def is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "asyncpq"


def documented() -> Iterator[tuple[str, Any]]:
    """Whatever a user can call, by the name under which it is found."""
    for module, name in NAMES:
        found = public(module, name)
        if callable(found):
            yield f"{module}.{name}", found
        if isinstance(found, type):
            yield from members(found)


DOCUMENTED: Final = dict(documented())


def test_every_public_name_has_a_docstring() -> None:
    without = {name for name, found in DOCUMENTED.items() if not (getattr(found, "__doc__", None) or "").strip()}
    assert not without, f"{len(DOCUMENTED) - len(without)} of {len(DOCUMENTED)}"


WAITS: Final = {
    name: found
    for name, found in DOCUMENTED.items()
    if (
        inspect.iscoroutinefunction(found)
        or "Coroutine" in str(getattr(found, "__annotations__", {}).get("return", ""))
    )
    and not name.endswith(SPECIAL)
}


@pytest.mark.parametrize("name", WAITS)
def test_what_waits_says_what_it_raises_and_what_a_cancellation_leaves(name: str) -> None:
    """Or of which other call it is a form; what returns a fact changes nothing, as the page says of all of them."""
    said = WAITS[name].__doc__ or ""
    form, fact = re.search(r"\b[Aa]s `[\w.]+`", said), said.startswith(("Return how many", "Return whether"))
    assert fact or form or ("Cancellation: " in said and re.search(r"\bRaises\b", said)), said


def test_every_public_name_has_its_place_in_the_reference() -> None:
    listed = DIRECTIVE.findall(PAGE)
    assert {name for _, name in NAMES} == set(listed)


def test_the_guide_says_of_every_error_what_to_do() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guide" / "errors.md").read_text("utf-8")
    headings = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    errors = [name for name in asyncpq.__all__ if isinstance(getattr(asyncpq, name), type)]
    assert sorted(headings) == sorted(name for name in errors if issubclass(getattr(asyncpq, name), Exception))
    for part in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        name = part.split("\n", 1)[0]
        assert name in ("AsyncpqError", "StorageError") or ("**Cause.**" in part and "**Mend.**" in part), name
