"""Queues that queuelib, litequeue and diskcache wrote come out as those libraries would give them out."""

import json
import os
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import diskcache  # type: ignore[import-untyped]
import litequeue  # type: ignore[import-untyped]
import pytest
import queuelib
from hypothesis import given, settings
from hypothesis import strategies as st
from queuelib.queue import FifoSQLiteQueue

import asyncpq
from asyncpq import AsyncQueue, QueueReader
from asyncpq.errors import CorruptQueue, NotAQueue, QueueLocked, SeveralQueues, WrongSerializer
from asyncpq.serializers import Opaque
from asyncpq.sources import list_queues, open_source
from tests.sources.looked_at import entries, items, untouched

# -- queuelib ---------------------------------------------------------------------------------------------

SOME: Final = [b"", b"a", b"\0" * 300, *(b"item %d" % n for n in range(20)), b"x" * 600_000, b"last"]


def disk_queue(path: Path, pushed: list[bytes], *, popped: int = 0, chunksize: int = 7) -> Path:
    queue = queuelib.FifoDiskQueue(str(path), chunksize=chunksize)
    for item in pushed:
        queue.push(item)
    for _ in range(popped):
        queue.pop()
    queue.close()
    return path


@pytest.mark.parametrize("popped", [0, 1, 7, 8, 24])
@pytest.mark.parametrize("chunksize", [1, 7, 100])
def test_a_directory_of_queuelib_comes_out_in_order(popped: int, chunksize: int, tmp_path: Path) -> None:
    disk_queue(tmp_path / "queue", SOME, popped=popped, chunksize=chunksize)
    with untouched(tmp_path), open_source(tmp_path / "queue") as source:
        assert items(source) == SOME[popped:]
        assert (source.about.kind, source.about.items) == ("queuelib", len(SOME) - popped)
        assert source.about.serializer is None
    with open_source(tmp_path / "queue") as source:
        found = entries(source)
        for place in range(len(found)):
            assert entries(source, found[place].at) == found[place + 1 :]


def test_items_of_queuelib_are_read_with_the_serializer_given(tmp_path: Path) -> None:
    disk_queue(tmp_path / "queue", [b'{"id": 1}', b"not json", b"[2]"])
    with open_source(tmp_path / "queue", serializer="json") as source:
        good, bad, last = entries(source)
        assert [source.loads(entry.blob) for entry in (good, last)] == [{"id": 1}, [2]]
        assert bad.bad is not None
    with pytest.raises(WrongSerializer, match="'json'"):
        open_source(tmp_path / "queue", serializer="pickle")


@pytest.mark.parametrize("items", [1, 20], ids="{} items".format)
async def test_what_reads_file_queues_refuses_a_directory_of_queuelib(items: int, tmp_path: Path) -> None:
    """Its chunks have the same names; to set them aside as damaged would take them from queuelib."""
    path = disk_queue(tmp_path / "queue", SOME[:items])
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: AsyncQueue(path).open(),
        lambda: AsyncQueue(path, repair=True).open(),
        lambda: QueueReader(path).open(),
        lambda: asyncpq.check(path),
        lambda: asyncpq.repair(path),
        lambda: asyncpq.repair(path, dry_run=True),
        lambda: asyncpq.copy(path, tmp_path / "copy"),
    ]
    with untouched(tmp_path):
        for call in calls:
            with pytest.raises(NotAQueue, match="queuelib; 'asyncpq migrate'"):
                await call()


def test_a_queue_of_queuelib_that_is_open_elsewhere_is_refused(tmp_path: Path) -> None:
    disk_queue(tmp_path / "queue", SOME)
    queue = queuelib.FifoDiskQueue(str(tmp_path / "queue"))
    try:
        with pytest.raises(QueueLocked):
            open_source(tmp_path / "queue")
        with open_source(tmp_path / "queue", lock=False) as source:
            assert items(source) == SOME
    finally:
        queue.close()


def damaged_info(path: Path, **said: Any) -> Path:
    info = json.loads((path / "info.json").read_text()) | said
    (path / "info.json").write_text(json.dumps(info))
    return path


@pytest.mark.parametrize(
    "said",
    [
        {"chunksize": 0},
        {"head": [-1, 0]},
        {"tail": [0, 0]},
        {"tail": [0, 0, 2**70]},
        {"head": "ab"},
        {"chunksize": 1.5},
        {"tail": None},
    ],
    ids=str,
)
def test_an_info_of_queuelib_that_says_nonsense_is_refused(said: dict[str, Any], tmp_path: Path) -> None:
    damaged_info(disk_queue(tmp_path / "queue", SOME), **said)
    with pytest.raises(CorruptQueue, match=r"info\.json"):
        open_source(tmp_path / "queue")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"chunksize": ' + "9" * 10_000 + "}"], ids=len)
def test_an_info_of_queuelib_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (disk_queue(tmp_path / "queue", SOME) / "info.json").write_text(text)
    with pytest.raises(CorruptQueue, match=r"info\.json"):
        open_source(tmp_path / "queue")


def test_positions_of_queuelib_that_no_chunk_has_are_not_counted_through(tmp_path: Path) -> None:
    damaged_info(disk_queue(tmp_path / "queue", [b"a", b"b"]), head=[10**12, 5], chunksize=10**12)
    with open_source(tmp_path / "queue") as source:
        assert source.about.items is None
        first, second, torn, gone = entries(source)
    assert [first.blob, second.blob] == [b"a", b"b"]
    assert torn.bad is not None
    assert gone.bad is not None


def test_what_is_damaged_in_a_chunk_of_queuelib_is_one_entry_and_the_next_chunk_is_read(tmp_path: Path) -> None:
    disk_queue(tmp_path / "queue", [b"item %02d" % n for n in range(12)], chunksize=5)
    chunk = tmp_path / "queue" / "q00000"
    chunk.write_bytes(chunk.read_bytes()[:22] + b"\xff\xff\xff\xff" + chunk.read_bytes()[26:])
    with open_source(tmp_path / "queue") as source:
        found = entries(source)
        assert [entry.blob for entry in found if not entry.bad] == [b"item %02d" % n for n in (0, 1, *range(5, 12))]
        (bad,) = (entry for entry in found if entry.bad)
        assert bad.blob.startswith(b"\xff\xff\xff\xff")
        assert source.where(bad) == "q00000 at byte 22"
        assert entries(source, bad.at) == found[3:]


def test_a_chunk_of_queuelib_that_is_gone_is_one_entry(tmp_path: Path) -> None:
    disk_queue(tmp_path / "queue", [b"item %02d" % n for n in range(12)], chunksize=5)
    (tmp_path / "queue" / "q00001").unlink()
    with open_source(tmp_path / "queue") as source:
        found = entries(source)
        assert [entry.bad is not None for entry in found] == [False] * 5 + [True] + [False] * 2


def test_what_queuelib_does_not_count_is_not_left_out_in_silence(tmp_path: Path) -> None:
    disk_queue(tmp_path / "queue", [b"a", b"b"])
    info = (tmp_path / "queue" / "info.json").read_bytes()
    disk_queue(tmp_path / "queue", [b"c"])
    (tmp_path / "queue" / "info.json").write_bytes(info)
    with open_source(tmp_path / "queue") as source:
        *counted, behind = entries(source)
    assert [entry.blob for entry in counted] == [b"a", b"b"]
    assert behind.blob == b"\0\0\0\x01c"
    assert behind.bad is not None


def test_a_table_of_queuelib_comes_out_in_order(tmp_path: Path) -> None:
    queue = FifoSQLiteQueue(str(tmp_path / "queue.sqlite"))
    for item in SOME:
        queue.push(item)
    queue.pop()
    queue.close()
    with untouched(tmp_path), open_source(tmp_path / "queue.sqlite") as source:
        assert items(source) == SOME[1:]
        assert source.about.kind == "queuelib"


# -- litequeue --------------------------------------------------------------------------------------------

MESSAGES: Final = ["ready", b"bytes", "", b"", "naïve 文字", "locked", "done", "failed"]


def lite_queue(file: Path, name: str = "Queue") -> Path:
    queue = litequeue.LiteQueue(file, queue_name=name, maxsize=1000)
    for message in MESSAGES[5:] + MESSAGES[:5]:
        queue.put(message)
    queue.pop()
    queue.done(queue.pop().message_id)
    queue.mark_failed(queue.pop().message_id)
    queue.close()
    return file


def test_what_is_ready_or_locked_in_litequeue_is_to_come_in_order(tmp_path: Path) -> None:
    lite_queue(tmp_path / "jobs.db")
    with untouched(tmp_path), open_source(tmp_path / "jobs.db") as source:
        assert items(source) == ["locked", *MESSAGES[:5]]
        assert source.about.kind == "litequeue"
        assert source.about.items == 6
        assert source.about.details["statuses"] == {"ready": 5, "locked": 1, "done": 1, "failed": 1}
        assert [entry.extra["status"] for entry in entries(source)] == [1, 0, 0, 0, 0, 0]
        found = entries(source)
        for place in range(6):
            assert entries(source, found[place].at) == found[place + 1 :]


def test_messages_of_litequeue_are_read_with_the_serializer_given(tmp_path: Path) -> None:
    queue = litequeue.LiteQueue(tmp_path / "jobs.db")
    queue.put('{"id": 1}')
    queue.close()
    with open_source(tmp_path / "jobs.db", serializer="json") as source:
        assert items(source) == [{"id": 1}]
    with pytest.raises(WrongSerializer, match="'json'"):
        open_source(tmp_path / "jobs.db", serializer="pickle")


def test_one_of_several_queues_of_litequeue_is_named(tmp_path: Path) -> None:
    lite_queue(lite_queue(tmp_path / "jobs.db"), "other")
    with pytest.raises(SeveralQueues, match="'Queue', 'other'; say which one: sqlite:"):
        open_source(tmp_path / "jobs.db")
    assert [spec.name for spec in list_queues(tmp_path / "jobs.db")] == ["Queue", "other"]
    for spec in list_queues(tmp_path / "jobs.db"):
        with open_source(spec) as source:
            assert len(items(source)) == 6
    with pytest.raises(SeveralQueues, match="no queue 'third' in it, but 'Queue', 'other'"):
        open_source(f"sqlite:{tmp_path / 'jobs.db'}#third")


def test_messages_that_are_no_text_are_bad(tmp_path: Path) -> None:
    lite_queue(tmp_path / "jobs.db")
    with sqlite3.connect(tmp_path / "jobs.db") as connection:
        connection.execute("UPDATE Queue SET data = CAST(x'ff' AS TEXT) WHERE rowid = 4")
    connection.close()
    with open_source(tmp_path / "jobs.db") as source:
        assert [entry.bad for entry in entries(source) if entry.bad] == [
            "its text is no UTF-8: invalid start byte at byte 0"
        ]


# -- diskcache --------------------------------------------------------------------------------------------

VALUES: Final = [
    *(1, -(2**63), 2.5, "x", "é" * 40_000, "line\r\nline\r" * 10_000, b"bin", b"y" * 40_000, b"", ""),
    *({"a": (1,)}, [1] * 40_000, None, True, 2**70),
]


@pytest.fixture
def deque(tmp_path: Path) -> Iterator[diskcache.Deque]:
    made = diskcache.Deque(VALUES, str(tmp_path / "deque"))
    made.appendleft("left")
    yield made
    made.cache.close()


def test_a_deque_comes_out_from_left_to_right(deque: diskcache.Deque, tmp_path: Path) -> None:
    deque.popleft()
    deque.appendleft("leftmost")
    deque.cache.close()
    with untouched(tmp_path), open_source(tmp_path / "deque") as source:
        found = items(source)
        assert found == ["leftmost", *VALUES]
        assert [type(value) for value in found[1:]] == [type(value) for value in VALUES]
        assert source.about.kind == "diskcache"
        assert source.about.items == len(found)


def test_a_deque_that_is_open_is_read_beside(deque: diskcache.Deque, tmp_path: Path) -> None:
    with open_source(tmp_path / "deque", lock=False) as source:
        assert items(source) == ["left", *VALUES]


def test_objects_in_a_deque_are_plain_data_unless_they_are_unpickled(deque: diskcache.Deque, tmp_path: Path) -> None:
    deque.clear()
    deque.append(Path("here"))
    deque.cache.close()
    with open_source(tmp_path / "deque") as source:
        (shown,) = items(source)
        assert isinstance(shown, Opaque)
    with open_source(tmp_path / "deque", unpickle=True) as source:
        assert items(source) == [Path("here")]


@pytest.mark.parametrize(
    "name",
    ["../secret", "a/../../secret", "/etc/hostname", "link.val", "link/secret", "fifo", "missing.val", "", ".", "a\0b"],
)
def test_a_file_of_a_deque_is_below_its_directory(name: str, deque: diskcache.Deque, tmp_path: Path) -> None:

    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "deque" / "link.val").symlink_to(tmp_path / "secret")
    (tmp_path / "deque" / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "deque" / "fifo")
    size = len(b"secret")
    deque.cache._sql("UPDATE Cache SET mode = 2, value = NULL, size = ?, filename = ? WHERE rowid = 3", (size, name))
    deque.cache.close()
    with open_source(tmp_path / "deque") as source:
        (bad,) = (entry for entry in entries(source) if entry.bad)
    assert "its file" in str(bad.bad)
    assert b"secret" not in bad.blob


def test_a_file_of_a_deque_that_is_not_as_long_as_it_should_be_is_bad(deque: diskcache.Deque, tmp_path: Path) -> None:
    large = max((tmp_path / "deque").rglob("*.val"), key=lambda file: file.stat().st_size)
    with large.open("r+b") as file:
        file.truncate(2**40)
    deque.cache.close()
    with open_source(tmp_path / "deque") as source:
        (bad,) = (entry for entry in entries(source) if entry.bad)
    assert f"has {2**40} bytes" in str(bad.bad)


def test_a_cache_is_no_deque(tmp_path: Path) -> None:
    with diskcache.Cache(str(tmp_path / "cache")) as cache:
        cache["key"] = "value"
    with pytest.raises(NotAQueue, match="no places in a deque"):
        open_source(tmp_path / "cache")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.text(max_size=40))))
def test_any_messages_come_out_of_litequeue(messages: list[str | bytes]) -> None:

    with tempfile.TemporaryDirectory() as folder:
        queue = litequeue.LiteQueue(f"{folder}/jobs.db")
        with queue.transaction():
            for message in messages:
                queue.put(message)
        queue.close()
        with open_source(f"{folder}/jobs.db") as source:
            assert items(source) == messages
