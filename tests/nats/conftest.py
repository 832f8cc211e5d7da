"""One server for all tests of a process; each test has queues of its own."""

from collections.abc import Iterator

import pytest

from tests.nats.server import Server, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for a queue that no other test has."""
    import re
    import uuid

    return re.sub(r"[^A-Za-z0-9_-]", "_", request.node.name)[:60] + "-" + uuid.uuid4().hex[:8]
