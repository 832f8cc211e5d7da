"""persist-queue's own tests of its acknowledged SQLite queues, run on a sync face of ours."""

from collections.abc import Iterator
from typing import Final

import pytest

import asyncpq
from tests.upstream import harness, sync_sqlite

NAMES: Final[dict[str, object]] = {
    "persistqueue.Empty": asyncpq.Empty,
    "persistqueue.sqlackqueue.FILOSQLiteAckQueue": sync_sqlite.FILOSQLiteAckQueue,
    "persistqueue.sqlackqueue.SQLiteAckQueue": sync_sqlite.SQLiteAckQueue,
    "persistqueue.sqlackqueue.UniqueAckQ": sync_sqlite.UniqueAckQ,
}

# The classes of tests in 1.1.0, and how many each has.
ACK: Final = {
    "SQLite3AckQueueTest": 23,
    "SQLite3QueueInMemory": 24,
    "FILOSQLite3AckQueueTest": 23,
    "SQLite3UniqueAckQueueTest": 24,
}

UNKNOWN: Final = "wants the answer to an object that get never returned to be ignored (here: NotInFlight)"

EXCEPTIONS: Final = {f"{name}::test_ack_unknown_item": UNKNOWN for name in ACK}

ack = harness.load("test_sqlackqueue.py", NAMES)
globals().update(harness.collected(ack, ACK, EXCEPTIONS))


@pytest.fixture(scope="module", autouse=True)
def _loop() -> Iterator[None]:
    with sync_sqlite.SQLiteBase.in_a_loop():
        yield


def test_no_test_of_theirs_is_left_out_unseen() -> None:
    assert harness.counts(ack) == ACK
