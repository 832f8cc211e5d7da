"""What every test runs under: asyncio's debug mode, unless the test measures time."""

import asyncio
import inspect
import os

import pytest

# For the loops that tests make themselves, and in the processes that they start; asyncio_debug in
# pyproject.toml is for the loop that an async test runs in.
os.environ["PYTHONASYNCIODEBUG"] = "1"


@pytest.fixture
async def _undebugged_loop() -> None:
    asyncio.get_running_loop().set_debug(False)


@pytest.fixture(autouse=True)
def _debug_mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("no_debug"):
        monkeypatch.delenv("PYTHONASYNCIODEBUG")
        if inspect.iscoroutinefunction(request.function):
            request.getfixturevalue("_undebugged_loop")
