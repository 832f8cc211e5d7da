"""What decides and what says is apart from what measures: it touches no file, clock or loop."""

import pytest

from tests.test_architecture import IMPURE, MODULES, imports

PURE = ("plan", "result", "ledger", "calls", "advice", "notes", "table", "style")


@pytest.mark.parametrize("name", PURE)
def test_what_decides_touches_nothing(name: str) -> None:
    module = f"bench.{name}"
    tops = {imported.partition(".")[0] for imported in imports(module, MODULES[module])}
    assert not tops & IMPURE


def test_matplotlib_and_rich_are_imported_where_they_are_used_only() -> None:
    """The figures are there without them."""
    for module in (module for module in MODULES if module.startswith("bench")):
        tops = {imported.partition(".")[0] for imported in imports(module, MODULES[module])}
        assert not tops & {"rich", "click"}, module
        assert "matplotlib" not in tops or module == "bench.plots", module
