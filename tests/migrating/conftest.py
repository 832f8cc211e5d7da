from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.power.mounts import memory


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory in memory, where nothing waits for a disk."""
    with memory() as path:
        yield path
