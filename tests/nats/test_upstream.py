"""persist-queue's own tests of its AsyncQueue, run on the queue on a server."""

from typing import Final

import pytest

import asyncpq
from tests.nats import face
from tests.nats.server import Server
from tests.upstream import harness


@pytest.fixture(autouse=True)
def _server(server: Server) -> None:
    face.use(server)


NAMES: Final[dict[str, object]] = {
    "persistqueue.AsyncQueue": face.nats_queue,
    "persistqueue.AsyncSQLiteQueue": asyncpq.AsyncSQLiteQueue,
    "persistqueue.exceptions.Empty": asyncpq.Empty,
    "persistqueue.exceptions.Full": asyncpq.Full,
}

MAIN: Final = {"TestAsyncQueue": 18}
EDGE: Final = {"TestAsyncQueueEdgeCases": 15}

FILES: Final = "looks at the files of the queue, or at private attributes that hold them"

MAIN_EXCEPTIONS: Final[dict[str, str]] = {
    "TestAsyncQueue::test_async_serializer": "its dump writes no byte and its load reads none",
    "TestAsyncQueue::test_file_operations_error_handling": FILES,
    "TestAsyncQueue::test_context_manager": FILES,
}
EDGE_EXCEPTIONS: Final[dict[str, str]] = {
    "TestAsyncQueueEdgeCases::test_pickle_error_handling": FILES,
    "TestAsyncQueueEdgeCases::test_eof_error_handling": FILES,
    "TestAsyncQueueEdgeCases::test_file_not_found_error": FILES,
    "TestAsyncQueueEdgeCases::test_tempdir_different_filesystem": "there is no tempdir here",
    "TestAsyncQueueEdgeCases::test_queue_close_without_items": FILES,
    "TestAsyncQueueEdgeCases::test_queue_close_with_items": FILES,
}

main = harness.load("test_async_queue.py", NAMES)
edge = harness.load("test_async_edge_cases.py", NAMES)
globals().update(harness.collected(main, MAIN, MAIN_EXCEPTIONS))
globals().update(harness.collected(edge, EDGE, EDGE_EXCEPTIONS))
