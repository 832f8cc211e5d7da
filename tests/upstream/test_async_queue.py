"""persist-queue's own tests of its AsyncQueue, run on ours."""

from typing import Final

import asyncpq
from tests.upstream import harness

NAMES: Final[dict[str, object]] = {
    "persistqueue.AsyncQueue": asyncpq.AsyncQueue,
    "persistqueue.AsyncSQLiteQueue": None,  # the tests that use it are in LATER
    "persistqueue.exceptions.Empty": asyncpq.Empty,
    "persistqueue.exceptions.Full": asyncpq.Full,
}

# The classes of tests in 1.1.0, and how many each has: the 58 of "its async tests", 33 of them of AsyncQueue.
MAIN: Final = {"TestAsyncQueue": 18}
EDGE: Final = {"TestAsyncQueueEdgeCases": 15}
LATER: Final = {"TestAsyncSQLiteQueue": 12, "TestAsyncSQLiteQueueEdgeCases": 13}

DAMAGE: Final = "wants damage answered with Empty, as if nothing were stored (there the item is lost)"
PRIVATE: Final = "looks at the private file objects headf and tailf"

MAIN_EXCEPTIONS: Final = {
    "TestAsyncQueue::test_context_manager": PRIVATE,
    "TestAsyncQueue::test_async_serializer": "its dump writes no byte and its load reads none: such records cannot "
    "be told apart, and a queue that cannot find its items again is refused",
    "TestAsyncQueue::test_file_operations_error_handling": DAMAGE,
}
EDGE_EXCEPTIONS: Final = {
    "TestAsyncQueueEdgeCases::test_eof_error_handling": DAMAGE,
    "TestAsyncQueueEdgeCases::test_pickle_error_handling": DAMAGE,
    "TestAsyncQueueEdgeCases::test_queue_close_with_items": PRIVATE,
    "TestAsyncQueueEdgeCases::test_queue_close_without_items": PRIVATE,
}

main = harness.load("test_async_queue.py", NAMES)
edge = harness.load("test_async_edge_cases.py", NAMES)
globals().update(harness.collected(main, MAIN, MAIN_EXCEPTIONS))
globals().update(harness.collected(edge, EDGE, EDGE_EXCEPTIONS))


def test_no_test_of_theirs_is_left_out_unseen() -> None:
    found = harness.counts(main) | harness.counts(edge)
    assert found == MAIN | EDGE | LATER
    assert sum(found.values()) == 58
