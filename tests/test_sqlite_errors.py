"""What a SQLite queue says of a database that it cannot use, and that the database stays as it is.

damaged, locked, read-only, of a later version, of another serializer, no database at all: one error with the path and
a way out.  A full disk: an OSError, nothing lost, and the queue works on.
"""

import errno
import pickle
import random
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import (
    AsyncpqError,
    AsyncSQLiteAckQueue,
    AsyncSQLiteQueue,
    CorruptDatabase,
    CorruptRow,
    DatabaseBusy,
    Empty,
    NotAQueue,
    WrongSerializer,
)
from asyncpq.sqlite.base import SQLiteQueue
from tests.golden_databases import GOLDEN, OURS, Golden, Place, drained, joined
from tests.power import mounts
from tests.power.test_full_disk import Filler

PAGE: Final = 4096  # bytes, SQLite's default
ROOM: Final = 400 * 1024  # bytes that are free on a disk that is nearly full
ITEMS: Final = [f"{number:03d}" * 150 for number in range(30)]
STATES: Final = [
    pytest.param("delete", False, id="theirs"),
    pytest.param("wal", True, id="ours"),
    pytest.param("wal", False, id="theirs in WAL mode", marks=pytest.mark.soak),
    pytest.param("delete", True, id="ours out of WAL mode", marks=pytest.mark.soak),
]

every_kind = pytest.mark.parametrize("kind", OURS)


def files(path: Path) -> dict[str, bytes]:
    """Every file of the folder."""
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


def set_journal(database: Path, mode: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute(f"PRAGMA journal_mode={mode}").fetchone()[0] == mode


async def written(place: Place, journal: str = "wal", *, touched: bool = False) -> Path:
    """The database with ITEMS as persist-queue leaves it; *touched*: as we do."""
    async with place.theirs() as theirs:
        for item in ITEMS:
            await theirs.put(item)
    if touched:
        async with place.ours():
            pass
    set_journal(place.database, journal)
    return place.database


@asynccontextmanager
async def refused(folder: Path, error: type[BaseException], says: str) -> AsyncIterator[Any]:
    """The block raises *error*, with a path below *folder* and *says* in it, and changes no file there."""
    before = files(folder)
    with pytest.raises(error, match=says) as caught:
        yield caught
    assert str(folder) in str(caught.value)
    assert files(folder) == before


# -- damaged ----------------------------------------------------------------------------------------------------------

DAMAGE: Final[dict[str, Callable[[bytes], bytes]]] = {
    "ones": lambda page: b"\xff" * len(page),
    "zeros": lambda page: bytes(len(page)),
    "the first bytes": lambda page: b"\xff" * 8 + page[8:],
    "the last half": lambda page: page[: PAGE // 2] + b"\x5a" * (PAGE // 2),
}


@every_kind
@pytest.mark.parametrize(("journal", "touched"), STATES)
async def test_a_damaged_page_is_met_with_one_error(kind: str, journal: str, touched: bool, tmp_path: Path) -> None:
    """Any page, of a table, an index, or the schema: refused when it is opened, and then nothing is changed.

    A page that only some rows need may be met later; then what was got before it was right.
    """
    place = Place(kind, tmp_path / "queue")
    whole = (await written(place, journal, touched=touched)).read_bytes()
    met = 0
    for start in range(0, len(whole), PAGE):
        for damage in DAMAGE.values():
            place.database.write_bytes(whole[:start] + damage(whole[start : start + PAGE]) + whole[start + PAGE :])
            met += await meets_damage(place)
    assert met > len(whole) // PAGE


async def meets_damage(place: Place) -> bool:
    queue, before, got = place.ours(timeout=1), files(place.path), 0
    expected = ITEMS[::-1] if "filo" in place.kind else ITEMS
    try:
        await queue.open()
        while not await queue.empty():
            assert await queue.get_nowait() == expected[got]
            got += 1
        await queue.close()
    except (CorruptDatabase, CorruptRow) as error:
        said = str(error)
    else:
        assert got == len(ITEMS)
        return False
    assert str(place.database) in said
    assert "asyncpq.sqlite.repair(path)" in said or "on_corrupt" in said
    if queue._engine is None:
        assert files(place.path) == before
    with suppress(CorruptDatabase):  # it has to write, too
        await queue.close()
    assert files(place.path).keys() == before.keys()
    return True


async def test_a_listing_names_the_row_that_cannot_be_read(tmp_path: Path) -> None:
    async with AsyncSQLiteQueue(tmp_path) as queue:
        await queue.put_many(["a", "b"])
        with closing(sqlite3.connect(tmp_path / "data.db")) as connection:
            connection.execute("UPDATE queue_default SET data = x'8004' WHERE _id = 2")
            connection.commit()
        for look in (queue.queue(), queue.get(id=2)):
            with pytest.raises(CorruptRow, match=r"table 'queue_default', _id 2: .*on_corrupt='skip'"):
                await look


async def test_a_row_that_is_counted_and_not_found_is_damage(tmp_path: Path) -> None:
    """And no empty queue, on which a get would wait for ever."""
    database = await written(Place("fifo", tmp_path))
    data = bytearray(database.read_bytes())
    page = data.index(ITEMS[0].encode()) // PAGE * PAGE
    first = page + int.from_bytes(data[page + 8 : page + 10], "big")  # where its first row is
    assert data[first + 2] == 1  # its _id, behind two bytes of a length
    data[first + 2] = 99
    database.write_bytes(data)
    async with AsyncSQLiteQueue(tmp_path) as queue:
        with pytest.raises(CorruptDatabase, match="rows that are not at their place"):
            await queue.get(timeout=30)
        with pytest.raises(CorruptDatabase, match="rows that are not at their place"):
            await queue.get_many(3, timeout=30)


async def test_a_schema_that_is_not_the_one_we_made_is_damage(tmp_path: Path) -> None:
    database = await written(Place("fifo", tmp_path), touched=True)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("ALTER TABLE asyncpq_claims_queue_default RENAME COLUMN expires TO expirfs")
    async with refused(tmp_path, CorruptDatabase, r"SQLite says: .*expires; asyncpq.sqlite.check"):
        await AsyncSQLiteQueue(tmp_path).open()


async def test_a_file_format_of_the_future_is_refused(tmp_path: Path) -> None:
    database = await written(Place("fifo", tmp_path))
    data = bytearray(database.read_bytes())
    data[44:48] = (9).to_bytes(4, "big")  # of the schema; SQLite knows 1 to 4
    database.write_bytes(data)
    async with refused(tmp_path, CorruptDatabase, "unsupported file format"):
        await AsyncSQLiteQueue(tmp_path).open()


@pytest.mark.parametrize("golden", GOLDEN, ids=str)
async def test_no_damage_of_bytes_raises_anything_else(golden: Golden, tmp_path: Path) -> None:
    """Bytes overwritten at random places: what opens and reads does, and all else is an error of asyncpq's."""
    chance = random.Random(golden.name)
    place = golden.copy(tmp_path)
    whole = place.database.read_bytes()
    refused = 0
    for _ in range(30):
        data = bytearray(whole)
        for _ in range(chance.choice([1, 3, 20])):
            at = chance.randrange(len(data) - 8)
            data[at : at + chance.choice([1, 4, 8])] = chance.randbytes(8)[: chance.choice([1, 4, 8])]
        place.database.write_bytes(data)
        queue = place.ours(timeout=1)
        try:
            await queue.open()
            await queue.queue()
            await drained(queue)
        except AsyncpqError:
            refused += 1
        finally:
            with suppress(CorruptDatabase):
                await queue.close()
    assert refused


# -- locked -----------------------------------------------------------------------------------------------------------


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another connection holds the database's lock."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@every_kind
@pytest.mark.parametrize("journal", ["wal", "delete"])
async def test_a_locked_database_cannot_be_opened(kind: str, journal: str, tmp_path: Path) -> None:
    place = Place(kind, tmp_path / "queue")
    database = await written(place, journal)
    queue = place.ours(timeout=0.05)
    before = database.read_bytes()
    with locked(database), pytest.raises(DatabaseBusy, match=r"locked for 0\.05 s; .*timeout=") as caught:
        await queue.open()
    assert caught.value.path == str(database)
    assert files(place.path) == {"data.db": before}
    # The same object opens it when it is free.
    assert await queue.qsize() == len(ITEMS)
    await queue.close()


LOCKED_OUT: Final[dict[str, Callable[[Any], Awaitable[Any]]]] = {
    "put": lambda queue: queue.put("more"),
    "put_many": lambda queue: queue.put_many(["more", "and more"]),
    "get": lambda queue: queue.get(),
    "get_many": lambda queue: queue.get_many(2),
    "update": lambda queue: queue.update("other", 1),
    "clear": lambda queue: queue.clear(),
    "shrink": lambda queue: queue.shrink(),
}


@every_kind
@pytest.mark.parametrize("call", LOCKED_OUT)
async def test_a_call_that_is_locked_out_changes_nothing(kind: str, call: str, tmp_path: Path) -> None:
    """And the queue works on when the lock is gone."""
    items = ["a", "b", "c"]
    async with OURS[kind](tmp_path, timeout=0.05) as queue:
        for item in items:
            await queue.put(item)
        with locked(tmp_path / "data.db"), pytest.raises(DatabaseBusy, match="timeout=") as caught:
            await LOCKED_OUT[call](queue)
        assert caught.value.path == str(tmp_path / "data.db")
        await queue.put("d")
        expected = [*items, "d"]
        assert await drained(queue) == (expected[::-1] if "filo" in kind else expected)


async def test_an_answer_that_is_locked_out_may_be_given_again(tmp_path: Path) -> None:
    async with AsyncSQLiteAckQueue(tmp_path, timeout=0.05) as queue:
        await queue.put_many(["a", "b"])
        first = await queue.get()
        with locked(tmp_path / "data.db"):
            for answer in (queue.ack, queue.nack, queue.ack_failed):
                with pytest.raises(DatabaseBusy):
                    await answer(first)
        assert await queue.unack_count() == 1
        await queue.ack(first)
        assert await queue.acked_count() == 1


async def test_a_task_done_that_is_locked_out_may_be_called_again(tmp_path: Path) -> None:
    async with AsyncSQLiteQueue(tmp_path, auto_commit=False, timeout=0.05) as queue:
        await queue.put("a")
        await queue.get()
        with locked(tmp_path / "data.db"), pytest.raises(DatabaseBusy):
            await queue.task_done()
        await queue.task_done()
        assert await queue.queue() == []


# -- read-only --------------------------------------------------------------------------------------------------------


@contextmanager
def read_only(root: Path) -> Iterator[None]:
    """The file system takes no writes."""
    for option, inside in (("ro", True), ("rw", False)):
        subprocess.run(["mount", "-o", f"remount,{option}", root], check=True)
        if inside:
            yield


@pytest.fixture
def file_system() -> Iterator[Path]:
    if reason := mounts.no_tmpfs():
        pytest.skip(reason)
    with mounts.memory(8 * mounts.MIB) as root:
        yield root


@every_kind
@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("touched", [False, True], ids=["theirs", "ours"])
async def test_a_read_only_database_is_refused(kind: str, journal: str, touched: bool, file_system: Path) -> None:
    place = Place(kind, file_system / "queue")
    await written(place, journal, touched=touched)
    queue = place.ours()
    with read_only(file_system):
        async with refused(place.path, OSError, "read-only; make it writable, or copy the file") as caught:
            await queue.open()
        assert (caught.value.errno, caught.value.filename) == (errno.EROFS, str(place.database))
    assert await queue.qsize() == len(ITEMS)
    await queue.close()


async def test_a_new_queue_on_a_read_only_file_system_is_refused(file_system: Path) -> None:
    for path in (file_system / "queue", f"{file_system / 'folder'}/"):
        queue = AsyncSQLiteQueue(path)
        with read_only(file_system), pytest.raises(OSError, match=str(file_system)) as caught:
            await queue.open()
        assert caught.value.errno == errno.EROFS
        assert list(file_system.iterdir()) == []


# -- of a later version -----------------------------------------------------------------------------------------------


@every_kind
async def test_a_table_with_another_column_is_refused(kind: str, tmp_path: Path) -> None:
    """It may be a later persist-queue's, whose rows this one would store without what belongs there."""
    place = Place(kind, tmp_path)
    database = await written(place, "delete")
    with closing(sqlite3.connect(database)) as connection:
        (table,) = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%queue_default'").fetchone()
        connection.execute(f"ALTER TABLE {table} ADD COLUMN retries INTEGER")
        connection.commit()
    async with refused(tmp_path, NotAQueue, "retries.*a later version wrote it; open it with what made it"):
        await place.ours().open()


@every_kind
@pytest.mark.parametrize("journal", ["wal", "delete"])
async def test_the_format_of_a_later_asyncpq_is_refused(kind: str, journal: str, tmp_path: Path) -> None:
    place = Place(kind, tmp_path)
    database = await written(place, touched=True)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE asyncpq_format SET version = 2")
        connection.commit()
    set_journal(database, journal)
    async with refused(tmp_path, NotAQueue, r"format 2; this one knows 1.*update asyncpq"):
        await place.ours().open()


async def test_the_table_of_another_program_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "data.db")) as connection:
        connection.execute("CREATE TABLE queue_default (id INTEGER, song TEXT)")
    async with refused(tmp_path, NotAQueue, "'queue_default' has the columns id, song"):
        await AsyncSQLiteQueue(tmp_path).open()


# -- no database ------------------------------------------------------------------------------------------------------

NO_DATABASE: Final = {
    "text": b"once upon a time\n" * 100,
    "a PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 20,
    "short": b"short\n",
    "zeros": bytes(2 * PAGE),
    "a header and no more": b"SQLite format 3\0",
    "a pickle": pickle.dumps({"chunksize": 100}),
}


@every_kind
@pytest.mark.parametrize("content", NO_DATABASE)
@pytest.mark.parametrize("in_file", [False, True], ids=["in a directory", "a file"])
async def test_what_is_no_database_is_left_alone(kind: str, content: str, in_file: bool, tmp_path: Path) -> None:
    (tmp_path / "data.db").write_bytes(NO_DATABASE[content])
    path = tmp_path / "data.db" if in_file else tmp_path
    async with refused(tmp_path, CorruptDatabase, r"not a database|malformed"):
        await OURS[kind](path).open()


async def test_a_directory_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.db").mkdir()
    async with refused(tmp_path, NotAQueue, "it is a directory; a database is a file"):
        await AsyncSQLiteQueue(tmp_path).open()
    assert list((tmp_path / "data.db").iterdir()) == []


async def test_a_file_whose_directory_is_missing_is_refused(tmp_path: Path) -> None:
    """As persist-queue's async classes refuse it; a path with a spelling mistake makes no directories."""
    async with refused(tmp_path, NotAQueue, "there is no directory .*missing; make it first"):
        await AsyncSQLiteQueue(tmp_path / "missing" / "queue.db").open()
    assert list(tmp_path.iterdir()) == []


async def test_a_name_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queue.db").touch()
    async with refused(tmp_path, NotAQueue, "is a file, so db_file_name='data.db' cannot be in it"):
        await AsyncSQLiteQueue(tmp_path / "queue.db", db_file_name="data.db").open()


# -- another serializer -----------------------------------------------------------------------------------------------

SERIALIZERS: Final = ["pickle", "json", "msgpack", "cbor2"]
PAIRS: Final = [(was, given) for was in SERIALIZERS for given in SERIALIZERS if was != given]


@pytest.mark.parametrize(("was", "given"), PAIRS)
async def test_another_serializer_is_refused(was: str, given: str, tmp_path: Path) -> None:
    async with AsyncSQLiteQueue(tmp_path, serializer=was) as queue:
        await queue.put_many([{"n": 1}, "x"])
    async with refused(tmp_path, WrongSerializer, f"pass serializer='{was}', or none at all"):
        await AsyncSQLiteQueue(tmp_path, serializer=given).open()


@pytest.mark.parametrize(("was", "given"), PAIRS)
async def test_a_row_that_might_be_of_several_is_not_the_last_word(was: str, given: str, tmp_path: Path) -> None:
    """The number 1 is a byte to three of them, and each reads another number in it."""
    async with AsyncSQLiteQueue(tmp_path, serializer=was) as queue:
        await queue.put_many([1, 2, "a longer one"])
    async with refused(tmp_path, WrongSerializer, f"pass serializer='{was}', or none at all"):
        await AsyncSQLiteQueue(tmp_path, serializer=given).open()
    async with AsyncSQLiteQueue(tmp_path) as queue:
        assert await drained(queue) == [1, 2, "a longer one"]


async def test_rows_that_all_might_be_of_several_need_a_serializer(tmp_path: Path) -> None:
    """Taken for pickles they could not be read, and new items would be stored as such between them."""
    async with AsyncSQLiteQueue(tmp_path, serializer="json") as queue:
        await queue.put_many([1, 2])
    async with refused(tmp_path, WrongSerializer, "pass the one that wrote it"):
        await AsyncSQLiteQueue(tmp_path).open()
    async with AsyncSQLiteQueue(tmp_path, serializer="json") as queue:
        assert await drained(queue) == [1, 2]


# -- a full disk ------------------------------------------------------------------------------------------------------


async def put_until_full(queue: SQLiteQueue) -> list[str]:
    """Put until a put is refused; return what is stored."""
    stored: list[str] = []
    while True:
        item = f"{len(stored):05d}" * 500
        try:
            await queue.put(item)
        except OSError as error:
            if not says_full(error):
                raise
            return stored
        stored.append(item)


def says_full(error: OSError) -> bool:
    return error.errno == errno.ENOSPC and "make room, then try again" in str(error)


@every_kind
@pytest.mark.parametrize("policy", ["never", "always"])
async def test_a_full_database_refuses_what_does_not_fit(kind: str, policy: str, tmp_path: Path) -> None:
    """With a bound on its pages, which SQLite answers as it answers a full disk."""
    async with OURS[kind](tmp_path, fsync=policy) as queue:
        engine = queue._engine
        assert engine is not None
        database = engine.store.database
        database.execute("PRAGMA max_page_count=60")
        stored = await put_until_full(queue)
        assert len(stored) > 10
        with pytest.raises(OSError, match="make room") as caught:
            await queue.put_many(["x" * 2500] * 100)
        assert caught.value.errno == errno.ENOSPC
        assert await queue.qsize() == len(stored) + caught.value.stored  # type: ignore[attr-defined]
        database.execute("PRAGMA max_page_count=1000")
        await queue.put("there is room again")
    async with OURS[kind](tmp_path) as queue:
        expected = [*stored, "there is room again"]
        assert await drained(queue) == (expected[::-1] if "filo" in kind else expected)


@every_kind
@pytest.mark.parametrize("policy", ["interval", "always"])
async def test_a_full_disk_loses_nothing(kind: str, policy: str, file_system: Path) -> None:
    """A get has to write, too: where it cannot, it is refused, and its item stays."""
    path = file_system / "queue"
    path.mkdir()
    with closing(Filler(file_system / "filler")) as filler:
        async with OURS[kind](path, fsync=policy) as queue:
            filler.fill()
            filler.give(ROOM)
            stored = await put_until_full(queue)
            expected = stored[::-1] if "filo" in kind else stored
            filler.fill()
            got = await get_until_full(queue)
            assert got == expected[: len(got)]
            filler.give(2 * ROOM)
            await queue.put("there is room again")
        left = expected if "ack" in kind else expected[len(got) :]  # what was not acknowledged comes again
        async with OURS[kind](path) as queue:
            assert await drained(queue) == joined(kind, left, ["there is room again"])


async def get_until_full(queue: SQLiteQueue) -> list[Any]:
    got: list[Any] = []
    while True:
        try:
            got.append(await queue.get_nowait())
        except OSError as error:
            if not says_full(error):
                raise
            return got
        except Empty:
            return got


@every_kind
@pytest.mark.parametrize("room", [0, 8192, 40_000], ids="{} bytes free".format)
@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
async def test_a_queue_that_has_no_room_to_open_is_refused(
    kind: str, room: int, there: bool, file_system: Path
) -> None:
    """The log, its index and the tables all need some; whichever it is, the error is the same."""
    place = Place(kind, file_system / "queue")
    place.path.mkdir()
    if there:
        await written(place)
    queue = place.ours()
    with closing(Filler(file_system / "filler")) as filler:
        filler.fill()
        filler.give(room)
        with pytest.raises(OSError, match="make room, then try again") as caught:
            await queue.open()
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(place.database))
        filler.give(ROOM)
        await queue.put("there is room")
        assert await queue.qsize() == there * len(ITEMS) + 1
        await queue.close()
