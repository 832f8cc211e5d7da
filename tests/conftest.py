"""What every test runs under: asyncio's debug mode, unless the test measures time; and in memory."""

import asyncio
import gc
import inspect
import linecache
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Final

import pytest

FRAMES: Final = 3  # of where a task, a future or a callback was made: asyncio's own, and the one that tells
MEMORY: Final = Path("/dev/shm")
ROOM: Final = 2**30  # bytes; the tests took 20 MB of it at once

# For the loops that tests make themselves, and in the processes that they start; asyncio_debug in
# pyproject.toml is for the loop that an async test runs in.
os.environ["PYTHONASYNCIODEBUG"] = "1"

# Else each of the processes that the tests start would compile the package anew, and each worker the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell that runs the tests in the background has them ignore Ctrl-C, and so would the commands that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

walk_stack = traceback.walk_stack


def walk_some(f: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    """Debug mode takes the stack of each future and callback; whole ones, pytest's included, were half of the time."""
    return islice(walk_stack(f), FRAMES)


def unchanged(filename: str | None = None) -> None:
    """For each frame of a stack it would be looked whether its source has changed, which it does not meanwhile."""


traceback.walk_stack = walk_some
linecache.checkcache = unchanged


def pytest_configure(config: pytest.Config) -> None:
    """Keep what the tests write in memory, where a sync takes no time: half of the run waited for the disk.

    The soak tests stay on the disk, and so does everything where TMPDIR names a directory.
    """
    if config.getoption("markexpr") == "not soak" and "TMPDIR" not in os.environ and _roomy(MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = os.fspath(MEMORY)


def _roomy(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ROOM


def pytest_collection_finish() -> None:
    """Let the garbage collector leave out the thousands of tests, which took it half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
async def _undebugged_loop() -> None:
    asyncio.get_running_loop().set_debug(False)


@pytest.fixture(autouse=True)
def _debug_mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("no_debug"):
        monkeypatch.delenv("PYTHONASYNCIODEBUG")
        if inspect.iscoroutinefunction(request.function):
            request.getfixturevalue("_undebugged_loop")
