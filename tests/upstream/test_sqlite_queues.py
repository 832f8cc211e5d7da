"""persist-queue's own tests of its sync SQLite queues without acknowledgements, run on a sync face of ours."""

from collections.abc import Iterator
from typing import Final

import pytest

import asyncpq
from asyncpq.serializers import cbor2, json, msgpack, pickle
from tests.upstream import harness, sync_sqlite

NAMES: Final[dict[str, object]] = {
    "persistqueue.Empty": asyncpq.Empty,
    "persistqueue.FILOSQLiteQueue": sync_sqlite.FILOSQLiteQueue,
    "persistqueue.PriorityQueue": sync_sqlite.PriorityQueue,
    "persistqueue.SQLiteQueue": sync_sqlite.SQLiteQueue,
    "persistqueue.UniqueQ": sync_sqlite.UniqueQ,
    "persistqueue.serializers.cbor2": cbor2,
    "persistqueue.serializers.json": json,
    "persistqueue.serializers.msgpack": msgpack,
    "persistqueue.serializers.pickle": pickle,
}

# The classes of tests in 1.1.0, and how many each has.
SQL: Final = {
    "SQLite3QueueTest": 18,
    "SQLite3QueueNoAutoCommitTest": 18,
    "SQLite3QueueInMemory": 18,
    "FILOSQLite3QueueTest": 1,
    "FILOSQLite3QueueNoAutoCommitTest": 1,
    "SQLite3UniqueQueueTest": 6,
}
PRIORITY: Final = {"TestPriorityQueue": 4}

sql = harness.load("test_sqlqueue.py", NAMES)
priority = harness.load("test_priorityqueue.py", NAMES)
globals().update(harness.collected(sql, SQL, {}))
globals().update(harness.collected(priority, PRIORITY, {}))


@pytest.fixture(scope="module", autouse=True)
def _loop() -> Iterator[None]:
    with sync_sqlite.SQLiteBase.in_a_loop():
        yield


def test_no_test_of_theirs_is_left_out_unseen() -> None:
    assert harness.counts(sql) == SQL
    assert harness.counts(priority) == PRIORITY
