"""persist-queue's own tests of its AsyncQueue and AsyncSQLiteQueue, run on ours."""

from typing import Final

import asyncpq
from tests.upstream import harness

NAMES: Final[dict[str, object]] = {
    "persistqueue.AsyncQueue": asyncpq.AsyncQueue,
    "persistqueue.AsyncSQLiteQueue": asyncpq.AsyncSQLiteQueue,
    "persistqueue.exceptions.Empty": asyncpq.Empty,
    "persistqueue.exceptions.Full": asyncpq.Full,
}

# The classes of tests in 1.1.0, and how many each has: the 58 of "its async tests".
MAIN: Final = {"TestAsyncQueue": 18, "TestAsyncSQLiteQueue": 12}
EDGE: Final = {"TestAsyncQueueEdgeCases": 15, "TestAsyncSQLiteQueueEdgeCases": 13}

DAMAGE: Final = "wants damage answered with Empty, as if nothing were stored (there the item is lost)"
PRIVATE: Final = "looks at the private file objects headf and tailf"
CONNECTION: Final = "looks at the private attribute _conn"

MAIN_EXCEPTIONS: Final = {
    "TestAsyncQueue::test_context_manager": PRIVATE,
    "TestAsyncQueue::test_async_serializer": "its dump writes no byte and its load reads none: such records cannot "
    "be told apart, and a queue that cannot find its items again is refused",
    "TestAsyncQueue::test_file_operations_error_handling": DAMAGE,
    "TestAsyncSQLiteQueue::test_context_manager": CONNECTION,
}
EDGE_EXCEPTIONS: Final = {
    "TestAsyncQueueEdgeCases::test_eof_error_handling": DAMAGE,
    "TestAsyncQueueEdgeCases::test_pickle_error_handling": DAMAGE,
    "TestAsyncQueueEdgeCases::test_queue_close_with_items": PRIVATE,
    "TestAsyncQueueEdgeCases::test_queue_close_without_items": PRIVATE,
    "TestAsyncSQLiteQueueEdgeCases::test_queue_close_without_connection": CONNECTION,
    "TestAsyncSQLiteQueueEdgeCases::test_queue_close_with_connection": CONNECTION,
}

main = harness.load("test_async_queue.py", NAMES)
edge = harness.load("test_async_edge_cases.py", NAMES)
globals().update(harness.collected(main, MAIN, MAIN_EXCEPTIONS))
globals().update(harness.collected(edge, EDGE, EDGE_EXCEPTIONS))


def test_no_test_of_theirs_is_left_out_unseen() -> None:
    found = harness.counts(main) | harness.counts(edge)
    assert found == MAIN | EDGE
    assert sum(found.values()) == 58
