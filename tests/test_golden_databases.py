"""SQLite queues that persist-queue wrote: read, gone on with, and handed back; those under golden/ and others."""

import importlib
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import persistqueue
import pytest

import asyncpq
from asyncpq.sqlite.acks import AckQueue
from asyncpq.sqlite.base import SQLiteQueue
from tests.golden_databases import GOLDEN, OURS, THEIRS_ASYNC, Golden, Place, drained, joined
from tests.golden_dirs import listed

every_golden = pytest.mark.parametrize("golden", GOLDEN, ids=str)
ack_golden = pytest.mark.parametrize("golden", [golden for golden in GOLDEN if golden.kind == "ack"], ids=str)
every_kind = pytest.mark.parametrize("kind", OURS)
every_serializer = pytest.mark.parametrize("serializer", ["pickle", "json", "msgpack", "cbor2"])

# (kind, in_file): every class that persist-queue has.
CLASSES: Final = [(kind, False) for kind in OURS] + [(kind, True) for kind in THEIRS_ASYNC]
every_class = pytest.mark.parametrize(
    ("kind", "in_file"), CLASSES, ids=[f"{kind} in a {'file' if in_file else 'directory'}" for kind, in_file in CLASSES]
)

DIGESTS: Final = {
    "pq110-py311-sqlite-ack": "ac230a9d69340d83fb5a2f328d4542285cab0c1431bff323fd6374d6ba508764",
    "pq110-py311-sqlite-async-fifo": "70d709ea1de4ad8e7e2cdb5b9489cfb5f840eb55b4e708268d4077a17c1346c0",
    "pq110-py311-sqlite-async-filo": "8aba59a282b53479d16131fc69ede997bf0f51f209ef1c18290f9f82eb1bbb1a",
    "pq110-py311-sqlite-async-unique": "8466d4fb6fbbbbc2130a2eaf1c8587a8b0d574a42c24908fc5d717c9e8240006",
    "pq110-py311-sqlite-fifo": "351848028a2435b7dde0dcd9cccd7fb547becf0eb90ad9d565e841f8903ae548",
    "pq110-py311-sqlite-fifo-named": "a6c4b1402547ffcd6eebdf1e39dfdd1813d7654559c3d187390935c6dc8fd8e0",
    "pq110-py311-sqlite-filo": "cf11c61de900f21021f52461ef479ee6d1d3f53a3f74bc5f49b2704578f38723",
    "pq110-py311-sqlite-priority": "d5a9e7de2bb5bfb150b425cc133ac505136636962380ca1def38a5ab84dbdd0c",
    "pq110-py311-sqlite-unique": "20f89c827ccd46ce5e09fa6c4db7198c163b7c9b7c84f83181f93a14a567816b",
}
STATUS: Final = {"unacked": 2, "acked": 5, "failed": 9}

# Characters that SQL, a shell, or a file system might trip over; a backtick breaks persist-queue's own SQL.
NAMES: Final = [
    "my-queue",
    "7",
    "two words",
    'say "hi"',
    "it's",
    "größe 文字",
    "a.b;--",
    "[x]",
    "%s {0} {}",
    "SELECT",
    "",
]


def tables(database: Path) -> set[str]:
    """The tables that are not ours alone, nor SQLite's."""
    with closing(sqlite3.connect(database)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name for name in names if not name.startswith(("asyncpq_", "sqlite_"))}


def statuses(database: Path, table: str) -> list[int]:
    with closing(sqlite3.connect(database)) as connection:
        return [status for (status,) in connection.execute(f"SELECT status FROM {table} ORDER BY _id")]


def their_serializer(name: str) -> Any:
    return importlib.import_module(f"persistqueue.serializers.{name}")


async def put_last(queue: SQLiteQueue, items: list[Any]) -> None:
    """Put *items* so that they come behind all others, or before all others where the newest is the first."""
    for item in items:
        if isinstance(queue, asyncpq.AsyncPriorityQueue):
            await queue.put(item, 100)
        else:
            await queue.put(item)


# -- what a real release left -----------------------------------------------------------------------------------------


def test_all_are_here() -> None:
    assert {golden.name for golden in GOLDEN} == DIGESTS.keys()


@every_golden
def test_the_files_are_what_the_release_wrote(golden: Golden) -> None:
    """Opening one in place would change it, if only its journal mode; and a checkout must not convert it."""
    assert sha256(golden.original.read_bytes()).hexdigest() == DIGESTS[golden.name]
    assert [file.name for file in golden.original.parent.iterdir() if file.suffix != ".json"] == [golden.database.name]


@every_golden
async def test_all_items_are_listed_and_got_in_order(golden: Golden, tmp_path: Path) -> None:
    place = golden.copy(tmp_path)
    async with place.ours() as queue:
        assert await queue.qsize() == len(golden.items)
        shown = [row["data"] for row in await queue.queue() if row.get("status", 0) < STATUS["acked"]]
        assert listed(shown) == golden.items
        assert listed(await drained(queue)) == golden.items
        assert await queue.empty()
    assert tables(place.database) == {golden.table}


@every_golden
async def test_what_was_drained_is_empty_to_persist_queue(golden: Golden, tmp_path: Path) -> None:
    place = golden.copy(tmp_path)
    async with place.ours() as queue:
        await drained(queue)
    async with place.theirs() as theirs:
        assert await theirs.qsize() == 0
        with pytest.raises(persistqueue.Empty):
            await theirs.get()


@every_golden
async def test_both_go_on_with_what_the_other_left(golden: Golden, tmp_path: Path) -> None:
    """We put and get; persist-queue gets what it should, puts and gets; and then it is our turn again."""
    place, added = golden.copy(tmp_path), ["one more", {"n": 2}]
    expected = joined(golden.kind, golden.items, added)

    async with place.ours() as queue:
        await put_last(queue, added)
        assert listed(await queue.get()) == expected.pop(0)
        if isinstance(queue, AckQueue):
            await queue.ack(id=2)

    async with place.theirs() as theirs:
        assert await theirs.qsize() == len(expected)
        assert listed(await theirs.get()) == expected.pop(0)
        if golden.kind == "ack":
            theirs.queue.ack(id=4)
        await theirs.put("theirs", **({"priority": 200} if golden.kind == "priority" else {}))
        expected = joined(golden.kind, expected, ["theirs"])

    async with place.ours() as queue:
        await put_last(queue, ["ours"])
        expected = joined(golden.kind, expected, ["ours"])
        if golden.kind == "priority":
            expected[-2:] = ["ours", "theirs"]
        assert listed(await drained(queue)) == expected
    assert tables(place.database) == {golden.table}


@ack_golden
async def test_what_was_in_flight_stays_so_until_it_is_resumed(golden: Golden, tmp_path: Path) -> None:
    place = golden.copy(tmp_path)
    async with place.ours(auto_resume=False) as queue:
        assert isinstance(queue, AckQueue)
        assert await queue.qsize() == len(golden.items) - len(golden.unacked)
        assert await queue.unack_count() == len(golden.unacked)
        rows = await queue.queue()
        found = {key: [row["data"] for row in rows if row["status"] == status] for key, status in STATUS.items()}
        assert found == {key: getattr(golden, key) for key in STATUS}
        assert await queue.resume_unack_tasks() == len(golden.unacked)
        assert await queue.get() == golden.unacked[0]


@ack_golden
async def test_answered_rows_are_counted_and_kept(golden: Golden, tmp_path: Path) -> None:
    place = golden.copy(tmp_path)
    async with place.ours() as queue:
        assert isinstance(queue, AckQueue)
        assert await queue.unack_count() == 0
        assert await queue.acked_count() == len(golden.acked)
        assert await queue.ack_failed_count() == len(golden.failed)
        await queue.ack(await queue.get())
        await queue.ack_failed(await queue.get())
        given_back = await queue.get()
        await queue.get()
        await queue.nack(given_back)
    # acknowledged there, here; failed there, here; given back; in flight; untouched
    assert statuses(place.database, golden.table) == [5, 5, 9, 9, 1, 2, 0]
    async with place.theirs() as theirs:
        assert theirs.queue.acked_count() == len(golden.acked) + 1
        assert theirs.queue.ack_failed_count() == len(golden.failed) + 1
        assert listed(await theirs.drained()) == golden.items[2:]


@pytest.mark.parametrize("golden", [golden for golden in GOLDEN if golden.kind == "unique"], ids=str)
async def test_what_is_there_is_not_put_again_by_either(golden: Golden, tmp_path: Path) -> None:
    place = golden.copy(tmp_path)
    async with place.ours() as queue:
        assert [await queue.put(item) for item in golden.items] == [None] * len(golden.items)
        assert await queue.put("ours") is not None
        assert await queue.qsize() == len(golden.items) + 1
    async with place.theirs() as theirs:
        assert await theirs.put("ours") is None
        assert await theirs.put("theirs") is not None
    async with place.ours() as queue:
        assert await queue.put("theirs") is None


# -- what persist-queue writes here -----------------------------------------------------------------------------------


@every_class
async def test_every_class_reads_and_is_read(kind: str, in_file: bool, tmp_path: Path) -> None:
    """Also the classes of which no release left a database under golden/."""
    place = Place(kind, tmp_path / "queue", in_file=in_file)
    async with place.theirs() as theirs:
        for item in ["a", "b", "c"]:
            await theirs.put(item)
    async with place.ours() as queue:
        await put_last(queue, ["d"])
        assert await drained(queue) == joined(kind, ["c", "b", "a"] if "filo" in kind else ["a", "b", "c"], ["d"])
        await put_last(queue, ["e", "f"])
    async with place.theirs() as theirs:
        assert await theirs.drained() == joined(kind, [], ["e", "f"])
    assert len(tables(place.database)) == 1


@every_class
async def test_a_new_queue_is_where_persist_queue_looks(kind: str, in_file: bool, tmp_path: Path) -> None:
    place = Place(kind, tmp_path / "queue", in_file=in_file)
    async with OURS[kind](tmp_path / "queue" if in_file else f"{tmp_path / 'queue'}/") as queue:
        await queue.put("a")
    ours = tables(place.database)
    async with place.theirs() as theirs:
        assert await theirs.drained() == ["a"]
    assert tables(place.database) == ours


@every_kind
@every_serializer
async def test_each_serializer_is_found_and_gone_on_with(kind: str, serializer: str, tmp_path: Path) -> None:
    """persist-queue stores no name of it: it is told by the first row."""
    place, module = Place(kind, tmp_path / "queue"), their_serializer(serializer)
    items = [{"b": [1, 2.5, None], "a": "naïve 文字"}, ["x", "y"], {"n": 1}]
    async with place.theirs(serializer=module) as theirs:
        for item in items:
            await theirs.put(item)
    async with place.ours() as queue:
        await queue.open()
        assert queue.serializer is not None
        assert serializer == queue.serializer.NAME
        await put_last(queue, [{"n": 2}])
        if kind == "unique":
            assert await queue.put({"a": "naïve 文字", "b": [1, 2.5, None]}) is None
    expected = joined(kind, items[::-1] if "filo" in kind else items, [{"n": 2}])
    async with place.theirs(serializer=module) as theirs:
        assert listed([await theirs.get() for _ in range(2)]) == expected[:2]
        if "ack" in kind:
            theirs.queue.ack(id=1 if kind != "filo ack" else 4)
            theirs.queue.ack(id=2 if kind != "filo ack" else 3)
    async with place.ours(serializer=module) as queue:
        assert listed(await drained(queue)) == expected[2:]


@pytest.mark.parametrize("name", NAMES)
async def test_names_are_taken_as_they_are(name: str, tmp_path: Path) -> None:
    """persist-queue quotes them with backticks, so everything else may be in them."""
    place = Place("fifo", tmp_path / "queue", name)
    async with place.theirs() as theirs:
        await theirs.put("a")
        await theirs.put("b")
    async with place.ours() as queue:
        assert await queue.get() == "a"
        await queue.put("c")
    async with place.theirs() as theirs:
        assert await theirs.drained() == ["b", "c"]
    assert tables(place.database) == {f"queue_{name}"}


@every_kind
async def test_two_names_in_one_file_are_two_queues(kind: str, tmp_path: Path) -> None:
    one, two = (Place(kind, tmp_path / "queue", name) for name in ("one", "two"))
    async with one.theirs() as theirs:
        await theirs.put("a")
    async with two.theirs() as theirs:
        await theirs.put("b")
    async with one.ours() as first, two.ours() as second:
        await put_last(first, ["c"])
        await put_last(second, ["d"])
        assert await drained(first) == joined(kind, ["a"], ["c"])
        assert await drained(second) == joined(kind, ["b"], ["d"])


async def test_all_seven_kinds_share_a_file(tmp_path: Path) -> None:
    """As persist-queue's do, whose tables have different names."""
    places = [Place(kind, tmp_path / "queue") for kind in OURS]
    for place in places:
        async with place.theirs() as theirs:
            await theirs.put(place.kind)
    for place in places:
        async with place.ours() as queue:
            assert await queue.get() == place.kind
            assert await queue.empty()


# -- which layout: what exists wins -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", THEIRS_ASYNC)
async def test_a_database_in_a_directory_may_be_of_an_async_class(kind: str, tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    async with Place(kind, tmp_path / "queue" / "data.db", in_file=True).theirs() as theirs:
        await theirs.put("a")
    async with OURS[kind](tmp_path / "queue") as queue:
        assert await queue.get() == "a"
        await queue.put("b")
    async with Place(kind, tmp_path / "queue" / "data.db", in_file=True).theirs() as theirs:
        assert await theirs.get() == "b"


@every_kind
async def test_a_file_may_be_of_a_sync_class(kind: str, tmp_path: Path) -> None:
    place = Place(kind, tmp_path, db_file_name="queue.db")
    async with place.theirs() as theirs:
        await theirs.put("a")
    async with OURS[kind](tmp_path / "queue.db") as queue:
        assert await drained(queue) == ["a"]
        await queue.put("b")
    async with place.theirs() as theirs:
        assert await theirs.get() == "b"


@pytest.mark.parametrize("kind", THEIRS_ASYNC)
async def test_with_both_tables_the_path_decides(kind: str, tmp_path: Path) -> None:
    sync_place = Place(kind, tmp_path / "queue")
    file_place = Place(kind, tmp_path / "queue" / "data.db", in_file=True)
    for place, item in ((sync_place, "sync"), (file_place, "async")):
        async with place.theirs() as theirs:
            await theirs.put(item)
    async with OURS[kind](tmp_path / "queue") as queue:
        assert await drained(queue) == ["sync"]
    async with OURS[kind](tmp_path / "queue" / "data.db") as queue:
        assert await drained(queue) == ["async"]
