"""persist-queue's own tests of its sync Queue, run on a sync face of AsyncQueue."""

from collections.abc import Iterator
from typing import Final

import pytest

import asyncpq
from asyncpq.serializers import cbor2, json, msgpack, pickle
from tests.upstream import harness, sync_face

NAMES: Final[dict[str, object]] = {
    "persistqueue.Queue": sync_face.Queue,
    "persistqueue.Empty": asyncpq.Empty,
    "persistqueue.Full": asyncpq.Full,
    "persistqueue.serializers.cbor2": cbor2,
    "persistqueue.serializers.json": json,
    "persistqueue.serializers.msgpack": msgpack,
    "persistqueue.serializers.pickle": pickle,
}

# The class of tests in 1.1.0, and how many it has.
RUN: Final = {"TestPersist": 22}

EXCEPTIONS: Final = {
    "TestPersist::test_del": "looks at the private file objects headf and tailf",
    "TestPersist::test_protocol": "its load reads all there is, so that two items would be one: it is refused",
}

queue = harness.load("test_queue.py", NAMES)
globals().update(harness.collected(queue, RUN, EXCEPTIONS))


@pytest.fixture(scope="module", autouse=True)
def _loop() -> Iterator[None]:
    sync_face.Queue.loop = sync_face.Loop()
    yield
    sync_face.Queue.loop.stop()


def test_no_test_of_theirs_is_left_out_unseen() -> None:
    assert harness.counts(queue) == RUN
