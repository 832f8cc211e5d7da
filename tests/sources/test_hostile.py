"""Whatever lies there: nothing runs, nothing outside is read, nothing hangs, and memory is taken for what is there."""

import json
import os
import pickle
import sqlite3
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import cbor2
import msgpack  # type: ignore[import-untyped]
import pytest

from asyncpq.errors import CorruptDatabase, CorruptQueue, NotAQueue, SeveralQueues, StorageError
from asyncpq.serializers import Damaged, Opaque
from asyncpq.sources import Entry, list_queues, open_source
from tests.sources.looked_at import entries, items, untouched
from tests.sources.test_database_states import INSERT, TABLE, filled
from tests.unit.queue_dirs import QueueDir, make

MIB: Final = 1024 * 1024


class Bomb:
    """Unpickles to a file that is made."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.target,)


@contextmanager
def little_memory(most: int) -> Iterator[None]:
    """Fail when more than *most* bytes are held at once."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def only_record(tmp_path: Path, name: str, record: bytes) -> QueueDir:
    """A queue of this one record, as info says."""
    d = make(tmp_path / "queue", name, items=1, consumed=0)
    d.chunk(0).write_bytes(record)
    d.write_info(head=[0, 1, len(record)])
    return d


# -- directories ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_something_is_shown_and_not_run(protocol: int, tmp_path: Path) -> None:
    d = only_record(tmp_path, "pickle", pickle.dumps(Bomb(tmp_path / "ran"), protocol))
    with untouched(tmp_path), open_source(d.path) as source:
        (shown,) = items(source)
        assert isinstance(shown, Opaque)
        assert "mkdir" in shown.name


@pytest.mark.parametrize("lock", [True, False])
def test_an_info_that_would_run_something_is_refused_and_not_run(lock: bool, tmp_path: Path) -> None:
    d = make(tmp_path / "queue", "pickle")
    (d.path / "info").write_bytes(pickle.dumps({"chunksize": Bomb(tmp_path / "ran")}))
    with untouched(tmp_path), pytest.raises(CorruptQueue):
        open_source(d.path, lock=lock)


NO_FILES: Final[dict[str, Callable[[Path, Path], None]]] = {
    "a link": lambda path, elsewhere: path.symlink_to(elsewhere),
    "a link to nothing": lambda path, elsewhere: path.symlink_to(elsewhere / "nothing"),
    "a pipe": lambda path, elsewhere: os.mkfifo(path),
    "a device": lambda path, elsewhere: path.symlink_to("/dev/zero"),
    "a directory": lambda path, elsewhere: path.mkdir(),
}


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize("file", ["info", "q00000", "q00002", "acked"])
@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_not_read(kind: str, file: str, lock: bool, tmp_path: Path) -> None:
    d = make(tmp_path / "queue", "json", consumed=0)
    elsewhere = make(tmp_path / "elsewhere", "json").chunk(0)
    (d.path / file).unlink(missing_ok=True)
    NO_FILES[kind](d.path / file, elsewhere)
    with pytest.raises((StorageError, OSError), match=r"regular|directory|missing"):  # noqa: SIM117
        with open_source(d.path, lock=lock) as source:
            entries(source)


@pytest.mark.parametrize("name", ["pickle", "msgpack", "cbor2"])
def test_a_length_of_4_gib_is_one_bad_entry(name: str, tmp_path: Path) -> None:
    length = b"\x80\x04\x95" + struct.pack("<Q", 2**32) if name == "pickle" else b"\xff" * 4
    d = only_record(tmp_path, name, length + b"N" * 100)
    with little_memory(12 * MIB), open_source(d.path) as source:
        (bad,) = entries(source)
        assert bad.bad is not None


def nested_pickle(depth: int) -> bytes:
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


NESTED: Final[dict[str, Callable[[int], bytes]]] = {
    "pickle": nested_pickle,
    "json": lambda depth: b"[" * depth + b"]" * depth + b"\n",
    "msgpack": lambda depth: struct.pack("<L", depth + 1) + b"\x91" * depth + b"\xc0",
    "cbor2": lambda depth: struct.pack("<L", depth + 1) + b"\x81" * depth + b"\xf6",
}


@pytest.mark.parametrize("name", NESTED)
def test_what_is_nested_deep_is_an_entry(name: str, tmp_path: Path) -> None:
    d = only_record(tmp_path, name, NESTED[name](100_000))
    with open_source(d.path) as source:
        (entry,) = entries(source)
        if entry.bad is None:
            source.loads(entry.blob)
        else:
            with pytest.raises(Damaged):
                source.loads(entry.blob)


def test_a_chunk_of_a_tebibyte_of_nothing_is_an_entry_of_some_of_it(tmp_path: Path) -> None:
    d = make(tmp_path / "queue", "json", items=1, consumed=0)
    with d.chunk(0).open("r+b") as file:
        file.truncate(2**26)
    d.write_info(head=[0, 1, 2**26])
    with little_memory(200 * MIB), open_source(d.path) as source:
        found = entries(source)
        assert found[-1].extra["length"] == 2**26 - d.width
        assert len(found[-1].blob) == 16 * MIB


@pytest.mark.parametrize("lock", [True, False])
def test_chunk_numbers_that_no_file_has_are_not_counted_through(lock: bool, tmp_path: Path) -> None:
    d = make(tmp_path / "queue", "json", consumed=0)
    d.write_info(head=[10**12, 0, 0], size=3 * 10**12)
    with untouched(tmp_path), open_source(d.path, lock=lock) as source:
        assert len(entries(source)) == 8


def test_a_path_that_holds_no_queue_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    for path, found in {
        "letters": "'dear.txt'",
        "letters/dear.txt": "no SQLite database",
        "pipe": "neither a directory nor a file",
        "empty": "no table",
        "missing": "nothing at this path",
        "letters/dear.txt/x": "nothing at this path",
    }.items():
        with pytest.raises(NotAQueue, match=found):
            open_source(tmp_path / path)
        with pytest.raises(NotAQueue, match=found):
            list_queues(tmp_path / path)


def test_a_database_that_a_directory_links_to_is_not_opened(tmp_path: Path) -> None:
    filled(tmp_path / "private.db", "delete", 3).close()
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "data.db").symlink_to(tmp_path / "private.db")
    with pytest.raises(NotAQueue, match="is a link"):
        open_source(tmp_path / "queue")
    with open_source(tmp_path / "private.db") as source:
        assert items(source) == [0, 1, 2]


# -- databases --------------------------------------------------------------------------------------------


def database(file: Path, *statements: str) -> Path:
    connection = sqlite3.connect(file, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return file


COLUMNS: Final = "_id INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB, timestamp FLOAT"
NO_TABLES: Final = {
    "a view": ("CREATE TABLE real (_id, data, timestamp)", "CREATE VIEW queue_default AS SELECT * FROM real"),
    "a computed column": (
        f"CREATE TABLE queue_default ({COLUMNS.replace('data BLOB', 'data AS (zeroblob(1000000000))')})",
    ),
    "a virtual table": ("CREATE VIRTUAL TABLE queue_default USING rtree(_id, data, timestamp)",),
    "a hidden column": (f"CREATE TABLE queue_default ({COLUMNS}, more AS (1) VIRTUAL)",),
    "other columns": ("CREATE TABLE queue_default (_id INTEGER PRIMARY KEY, data BLOB)",),
}


@pytest.mark.parametrize("kind", NO_TABLES)
def test_what_is_no_ordinary_table_is_no_queue(kind: str, tmp_path: Path) -> None:
    database(tmp_path / "jobs.db", *NO_TABLES[kind])
    with pytest.raises(NotAQueue, match="database without a queue"):
        open_source(tmp_path / "jobs.db")


@pytest.mark.parametrize("name", ['"', "'", "a b", "x; DROP TABLE y", "文字", "%s{}", "[x]", "\\", "`", "-- "])
def test_a_queue_of_any_name_is_read(name: str, tmp_path: Path) -> None:
    table = '"queue_' + name.replace('"', '""') + '"'
    creation = f"CREATE TABLE {table} ({COLUMNS})"
    database(tmp_path / "jobs.db", creation, TABLE, f"INSERT INTO {table} (data, timestamp) VALUES (x'4e2e', 0)")
    with open_source(tmp_path / "jobs.db", name=name) as source:
        assert items(source) == [None]
        assert source.about.details["name"] == name
    with pytest.raises(SeveralQueues):
        open_source(tmp_path / "jobs.db")


def test_triggers_do_not_fire_and_indexes_of_expressions_do_not_matter(tmp_path: Path) -> None:
    file = database(
        tmp_path / "jobs.db",
        TABLE,
        "CREATE TABLE log (n)",
        "INSERT INTO queue_default (data, timestamp) VALUES (x'4e2e', 0)",
        "CREATE TRIGGER t AFTER UPDATE ON queue_default BEGIN INSERT INTO log VALUES (1); END",
        "CREATE INDEX i ON queue_default (length(data) + 1) WHERE timestamp >= 0",
    )
    with untouched(tmp_path), open_source(file) as source:
        assert items(source) == [None]


def test_data_that_is_no_blob_is_bad_and_the_others_come(tmp_path: Path) -> None:
    values = ["x'4e2e'", "17", "NULL", "1.5", "x'ff'", "x''", "''", "'not a pickle'", "x'4b072e'"]
    file = database(
        tmp_path / "jobs.db",
        TABLE,
        *(f"INSERT INTO queue_default (data, timestamp) VALUES ({value}, 'x')" for value in values),
    )
    with open_source(file) as source:
        found = entries(source)
        assert [source.loads(entry.blob) for entry in found if entry.bad is None] == [None, 7]
        assert [entry.bad is None for entry in found] == [value in ("x'4e2e'", "x'4b072e'") for value in values]
        assert found[1].bad == "data is of type int, not a blob"
        assert source.where(found[1]) == "row 2 of queue_default"
        assert found[0].extra == {"timestamp": "x"}


def test_priorities_of_any_type_come_in_the_order_of_get(tmp_path: Path) -> None:
    columns = f"{COLUMNS}, priority INTEGER"
    values = ["'text'", "2", "NULL", "1.5", "x'00'", "-1", "2", "NULL"]
    file = database(
        tmp_path / "jobs.db",
        f"CREATE TABLE priority_queue_default ({columns})",
        *(
            f"INSERT INTO priority_queue_default (data, timestamp, priority) VALUES (x'4b{n:02x}2e', 0, {value})"
            for n, value in enumerate(values)
        ),
    )
    with open_source(file) as source:
        assert items(source) == [2, 7, 5, 3, 1, 6, 0, 4]
        found = entries(source)
        for place in range(len(found)):
            assert entries(source, found[place].at) == found[place + 1 :]


def test_statuses_of_any_kind_are_counted(tmp_path: Path) -> None:
    columns = f"{COLUMNS}, status INTEGER"
    values = ["0", "1", "2", "5", "9", "NULL", "'odd'", "7"]
    file = database(
        tmp_path / "jobs.db",
        f"CREATE TABLE ack_queue_default ({columns})",
        *(
            f"INSERT INTO ack_queue_default (data, timestamp, status) VALUES (x'4b{n:02x}2e', 0, {value})"
            for n, value in enumerate(values)
        ),
    )
    with open_source(file) as source:
        assert items(source) == [0, 1, 2]
        assert source.about.items == 3
        assert source.about.details["statuses"] == {
            **{"put": 1, "given back": 1, "in flight": 1, "acknowledged": 1, "failed": 1},
            **{"None": 1, "odd": 1, "7": 1},
        }


@pytest.mark.parametrize("place", [0, 18, 100, 2000, 4096, 8192, 12_288, 20_000])
def test_a_damaged_database_gives_rows_or_says_so(place: int, tmp_path: Path) -> None:
    filled(tmp_path / "jobs.db", "delete", 500).close()
    data = bytearray((tmp_path / "jobs.db").read_bytes())
    data[place : place + 64] = b"\xff" * 64
    (tmp_path / "jobs.db").write_bytes(data)
    found: list[Entry] = []
    with little_memory(32 * MIB), suppress(CorruptDatabase, NotAQueue), open_source(tmp_path / "jobs.db") as source:
        found = entries(source)
    assert len(found) <= 500


def test_a_database_cut_short_says_so(tmp_path: Path) -> None:
    filled(tmp_path / "jobs.db", "delete", 500).close()
    with (tmp_path / "jobs.db").open("r+b") as file:
        file.truncate(9000)
    with pytest.raises(CorruptDatabase, match="malformed"), open_source(tmp_path / "jobs.db") as source:
        entries(source)


# -- memory -----------------------------------------------------------------------------------------------

MANY: Final = [30_000, pytest.param(500_000, marks=pytest.mark.soak)]  # each takes 900 bytes, blob and all
ITEM: Final = {"id": 7, "url": "https://example.org/path/000007", "tags": ["alpha", "beta"], "text": "x" * 110}


def encoded(name: str) -> bytes:
    if name in ("msgpack", "cbor2"):
        body = msgpack.packb(ITEM) if name == "msgpack" else cbor2.dumps(ITEM)
        return struct.pack("<L", len(body)) + body
    return pickle.dumps(ITEM, 4) if name == "pickle" else json.dumps(ITEM).encode() + b"\n"


@pytest.mark.parametrize("many", MANY)
@pytest.mark.parametrize("name", ["pickle", "json"])
def test_memory_does_not_grow_with_the_items_of_a_directory(name: str, many: int, tmp_path: Path) -> None:
    d = make(tmp_path / "queue", name, items=0, consumed=0)
    record = encoded(name)
    d.chunk(0).write_bytes(record * many)
    d.write_info(chunksize=many + 1, head=[0, many, many * len(record)], size=many)
    with open_source(d.path) as source:
        assert source.about.items == many
        with little_memory(4 * MIB):
            assert sum(len(batch) for batch in source.batches()) == many


@pytest.mark.parametrize("many", MANY)
@pytest.mark.parametrize("priority", [False, True])
def test_memory_does_not_grow_with_the_rows_of_a_table(priority: bool, many: int, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN")
    table = "priority_queue_default" if priority else "queue_default"
    connection.execute(f"CREATE TABLE {table} ({COLUMNS}{', priority INTEGER' * priority})")
    rows = ((encoded("json")[:-1], n) for n in range(many))
    extra = (", priority", ", 0") if priority else ("", "")
    connection.executemany(f"INSERT INTO {table} (data, timestamp{extra[0]}) VALUES (?, ?{extra[1]})", rows)
    connection.execute("COMMIT")
    connection.close()
    with open_source(tmp_path / "jobs.db") as source, little_memory(4 * MIB):
        assert sum(len(batch) for batch in source.batches()) == many


def test_large_rows_come_a_few_at_a_time(tmp_path: Path) -> None:
    connection = filled(tmp_path / "jobs.db", "delete", 1)
    for _ in range(30):
        connection.execute(INSERT, (pickle.dumps("x" * MIB),))
    connection.close()
    with open_source(tmp_path / "jobs.db") as source:
        assert max(sum(len(entry.blob) for entry in batch) for batch in source.batches()) < 3 * MIB
