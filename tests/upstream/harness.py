"""Runs the tests that persist-queue ships in its wheel against this package; no line of them is copied.

A test file is found in the installed package and parsed; each name that it imports from persist-queue is
bound to its counterpart here instead, and nothing else in it changes, line numbers included.  The classes
that come out are collected by pytest like any others, so that each test of theirs is one test here.
"""

import ast
import inspect
import unittest
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

import pytest

UPSTREAM: Final = "persistqueue"


class Rename(ast.NodeTransformer):
    """Takes the imports from persist-queue out of a module, and remembers which name stood for what."""

    def __init__(self) -> None:
        self.bound: dict[str, str] = {}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        if node.level or not node.module or node.module.partition(".")[0] != UPSTREAM:
            return node
        for alias in node.names:
            self.bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        return ast.copy_location(ast.Pass(), node)

    def visit_Import(self, node: ast.Import) -> ast.stmt:
        # No file used here does so; one that did would test persist-queue against itself, unseen.
        assert all(alias.name.partition(".")[0] != UPSTREAM for alias in node.names), ast.unparse(node)
        return node


def source(file: str) -> Path:
    """Where the installed persist-queue keeps its test *file*; nothing of it is imported to find out."""
    spec = find_spec(UPSTREAM)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "tests" / file


def load(file: str, names: Mapping[str, object]) -> ModuleType:
    """The test *file* as a module that gets *names*, by their full name, where it imports from persist-queue.

    Raises:
        KeyError: the file imports something from persist-queue that *names* does not have.
    """
    path = source(file)
    rename = Rename()
    tree = rename.visit(ast.parse(path.read_bytes(), str(path)))
    module = ModuleType(f"upstream_{path.stem}")
    vars(module).update({name: names[full] for name, full in rename.bound.items()})
    exec(compile(tree, str(path), "exec"), vars(module))
    return module


def counts(module: ModuleType) -> dict[str, int]:
    """How many tests each test class of *module* has, inherited ones too, before its parameters multiply them."""
    return {name: len(tests(value)) for name, value in vars(module).items() if is_test_class(name, value)}


def is_test_class(name: str, value: object) -> bool:
    """Whether pytest collects *value*."""
    return inspect.isclass(value) and (name.startswith("Test") or issubclass(value, unittest.TestCase))


def tests(test_class: type) -> list[str]:
    """The names of its tests."""
    return [name for name in dir(test_class) if name.startswith("test")]


def collected(module: ModuleType, classes: Iterable[str], exceptions: Mapping[str, str]) -> dict[str, Any]:
    """What pytest is to find: those *classes* of *module*, and its fixtures.

    A test in *exceptions* ("Class::test": reason) has to fail, so that the table cannot hold one that passes.

    Raises:
        AttributeError: there is no such test, so the table has rotted.
    """
    for test, reason in exceptions.items():
        name, _, method = test.partition("::")
        of_class = getattr(module, name)
        own = copied(getattr(of_class, method))  # the class that it is inherited from has no exception by that
        setattr(of_class, method, pytest.mark.xfail(strict=True, reason=reason)(own))
    fixtures = {name: value for name, value in vars(module).items() if is_fixture(value)}
    return fixtures | {name: getattr(module, name) for name in classes}


def copied(function: FunctionType) -> FunctionType:
    """The same function once more, without the marks of the first."""
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__kwdefaults__, copy.__doc__ = function.__kwdefaults__, function.__doc__
    return copy


def is_fixture(value: object) -> bool:
    """Whether *value* is what the decorator pytest.fixture returns."""
    return type(value).__name__ == "FixtureFunctionDefinition"
