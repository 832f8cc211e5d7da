"""`asyncpq.sqlite.repair`: what can be read is there again, what cannot is set aside, and nothing else changes.

The damage is a table: every page of a database in turn, damaged in each way of tests/damaged_databases.py.
"""

import asyncio
import os
import pickle
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import (
    AsyncSQLiteAckQueue,
    AsyncSQLiteQueue,
    AsyncUniqueQ,
    DatabaseOpen,
    NotAQueue,
    WrongSerializer,
)
from asyncpq.sqlite import check, pages, repair, wal
from asyncpq.sqlite.tables import FIFO, FILO, creation
from tests.damaged_databases import PAGES, Map, fill, integrity, mapped, rows_of
from tests.golden_databases import GOLDEN, Golden, drained
from tests.golden_dirs import listed
from tests.power import mounts
from tests.power.test_full_disk import Filler
from tests.sqlite.processes import ROOT, Process
from tests.sqlite.test_bad_rows import execute

FLIGHT: Final = 2  # the status of what is in flight


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def set_aside(database: Path, table: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(
            f"SELECT id, data, timestamp, why FROM asyncpq_damaged_{table} ORDER BY id"
        ).fetchall()


def ready_again(row: tuple[Any, ...], table: str) -> tuple[Any, ...]:
    """A row as a rebuilt database has it: nothing is in flight there."""
    return (*row[:2], 1) if table.startswith("ack") and row[2] == FLIGHT else row


async def rebuilt(database: Path, well: Map, *damaged: int, exact: bool = True) -> None:
    """Repair a database, of which these pages are damaged, and look for every row that lay elsewhere.

    It is in its table, or, where two queues have lost their trees and have rows alike, set aside.

    *exact*: a row id on a damaged page has not become another one.
    """
    report = await repair(database)
    assert integrity(database) == "ok"
    after = rows_of(database)
    unclear = {row[:3] for row in set_aside(database, "unknown")} if "asyncpq_damaged_unknown" in str(report) else set()
    for key, row in well.untouched(*damaged).items():
        there = after.get(key) == ready_again(row, key[0])
        assert there or (key[1], *row[:2]) in unclear, (key, report.actions)
    if exact and well.trunks.isdisjoint(damaged):
        assert after.keys() <= well.rows.keys(), "what was deleted does not come back"
    assert (await check(database)).status == "clean"
    if report.damaged_file is not None:
        report.damaged_file.unlink()


# -- pages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", ["zeros", "the last half"])
@pytest.mark.parametrize("golden", GOLDEN, ids=str)
async def test_what_persist_queue_wrote_survives_the_damage_of_any_page(
    golden: Golden, title: str, tmp_path: Path
) -> None:
    """The pages are: the schema with the header, sqlite_sequence and the table in some order, and an index."""
    await any_page(golden, title, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("title", PAGES)
@pytest.mark.parametrize("golden", GOLDEN, ids=str)
async def test_so_it_does_in_every_way(golden: Golden, title: str, tmp_path: Path) -> None:
    await any_page(golden, title, tmp_path)


async def any_page(golden: Golden, title: str, tmp_path: Path) -> None:
    place = golden.copy(tmp_path)
    well = mapped(place.database)
    for number in range(1, well.count + 1):
        start = (number - 1) * well.page_size
        page = well.data[start : start + well.page_size]
        place.database.write_bytes(well.data[:start] + PAGES[title](page) + well.data[start + len(page) :])
        await rebuilt(place.database, well, number, exact=title == "zeros")
        if number not in set().union(*well.pages.values()):
            async with place.ours() as queue:
                assert listed(await drained(queue)) == golden.items


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Map:
    """Six queues, in trees of more than one level."""
    return mapped(asyncio.run(fill(tmp_path_factory.mktemp("six"))))


@pytest.mark.parametrize("title", ["zeros", "the type of the page"])
async def test_every_row_that_was_not_on_a_damaged_page_is_there(title: str, six: Map, tmp_path: Path) -> None:
    """The first pages and some others: the schema, roots, interior pages, leaves, overflow pages."""
    await each_page(title, six, tmp_path, [*range(1, 6), *range(6, six.count + 1, 23)])


@pytest.mark.soak
@pytest.mark.parametrize("title", PAGES)
async def test_so_it_is_for_every_page_and_every_damage(title: str, six: Map, tmp_path: Path) -> None:
    await each_page(title, six, tmp_path, range(1, six.count + 1))


async def each_page(title: str, well: Map, folder: Path, numbers: Any) -> None:
    database = folder / "data.db"
    for number in numbers:
        start = (number - 1) * well.page_size
        page = well.data[start : start + well.page_size]
        database.write_bytes(well.data[:start] + PAGES[title](page) + well.data[start + len(page) :])
        await rebuilt(database, well, number, exact=title == "zeros")


CUTS: Final[dict[str, Callable[[Map], int]]] = {
    "the last byte": lambda well: len(well.data) - 1,
    "the last page": lambda well: len(well.data) - well.page_size,
    "in the middle of a page": lambda well: len(well.data) // 2 // well.page_size * well.page_size + 100,
    "half of it": lambda well: len(well.data) // 2 // well.page_size * well.page_size,
    "all but ten pages": lambda well: 10 * well.page_size,
}


@pytest.mark.parametrize("title", CUTS)
async def test_a_database_that_was_cut_off_has_the_rows_before_the_cut(title: str, six: Map, tmp_path: Path) -> None:
    cut = CUTS[title](six)
    (tmp_path / "data.db").write_bytes(six.data[:cut])
    await rebuilt(tmp_path / "data.db", six, *range(cut // six.page_size + 1, six.count + 1))


async def noise(seed: int, well: Map, folder: Path) -> None:
    """Flip some bits, or put noise or zeros over a stretch; whatever it is, the repaired database is one."""
    chance, database, data = random.Random(seed), folder / "data.db", bytearray(well.data)
    if chance.random() < 0.5:
        for _ in range(chance.randrange(1, 40)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    else:
        start, length = chance.randrange(len(data)), chance.randrange(1, 4 * well.page_size)
        length = min(length, len(data) - start)
        data[start : start + length] = bytes(length) if seed % 2 else chance.randbytes(length)
    database.write_bytes(data)
    await mended(database)


@pytest.mark.parametrize("seed", range(4))
async def test_noise_never_stops_a_repair(seed: int, six: Map, tmp_path: Path) -> None:
    await noise(seed, six, tmp_path)


@pytest.mark.soak
async def test_much_noise_never_stops_a_repair(six: Map, tmp_path: Path) -> None:
    for seed in range(100, 1100):
        await noise(seed, six, tmp_path)


async def mended(database: Path) -> None:
    """It is a database afterwards, check has said what it will hold, and the damaged one is kept."""
    before, found = database.read_bytes(), await check(database)
    report = await repair(database)
    assert report.kept == found.items
    assert integrity(database) == "ok"
    assert (await check(database)).status == "clean"
    if report.damaged_file:
        assert report.damaged_file.read_bytes() == before
        report.damaged_file.unlink()


async def spoil_names(name: bytes, letters: bytes, well: Map, database: Path) -> None:
    """Spoil each place where *name* stands, in a database that has to be rebuilt."""
    places = [match.start() for match in re.finditer(re.escape(name), well.data)]
    assert places
    for place in places:
        for letter in letters:
            data = bytearray(bytes(100) + well.data[100:])
            data[place + len(name) - 1] = letter
            database.write_bytes(data)
            await mended(database)


@pytest.mark.parametrize("name", [b"asyncpq_claims_ack_queue_default", b"queue_mail"])
async def test_a_name_that_is_spoilt_never_stops_a_repair(name: bytes, six: Map, tmp_path: Path) -> None:
    """A table whose SQL makes another one, and a name that is no text."""
    await spoil_names(name, b"\xe5x", six, tmp_path / "data.db")


@pytest.mark.soak
async def test_no_name_that_is_spoilt_stops_a_repair(six: Map, tmp_path: Path) -> None:
    for name in {table.encode() for table, _ in six.rows} | {b"sqlite_sequence", b"asyncpq_", b"_queue"}:
        await spoil_names(name, b'\xe5\0"', six, tmp_path / "data.db")


async def test_the_damaged_database_is_kept_under_a_name_of_its_own(six: Map, tmp_path: Path) -> None:
    database = tmp_path / "data.db"
    for number in (1, 2):
        damaged = bytes(100) + six.data[100:]
        database.write_bytes(damaged)
        report = await repair(database)
        assert report
        assert report.rebuilt
        assert report.damaged_file == Path(f"{database}.damaged-{number}")
        assert report.damaged_file.read_bytes() == damaged
    assert files(tmp_path).keys() == {"data.db", "data.db.damaged-1", "data.db.damaged-2"}


async def test_other_tables_and_the_highest_ids_are_kept(six: Map, tmp_path: Path) -> None:
    database = tmp_path / "data.db"
    database.write_bytes(bytes(100) + six.data[100:])
    before = max(row for table, row in six.rows if table == "queue_mail")
    await repair(database)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT id, text FROM notes").fetchall() == [(7, "mine")]
        connection.execute("DELETE FROM queue_mail")
        connection.commit()
    async with AsyncSQLiteQueue(tmp_path, "mail") as queue:
        assert await queue.put("new") == before + 1


async def test_claims_keep_their_attempts_and_unique_items_are_known(tmp_path: Path) -> None:
    async with AsyncSQLiteAckQueue(tmp_path, max_attempts=9) as queue, AsyncUniqueQ(tmp_path, "u") as unique:
        await queue.put_many("ab")
        for _ in range(3):
            await (await queue.claim()).nack(error="no")
        await unique.put("once")
    data = (tmp_path / "data.db").read_bytes()
    (tmp_path / "data.db").write_bytes(bytes(100) + data[100:])
    assert (await repair(tmp_path)).rebuilt
    async with AsyncSQLiteAckQueue(tmp_path, max_attempts=9) as queue, AsyncUniqueQ(tmp_path, "u") as unique:
        assert (await queue.claim()).attempt == 4
        assert await unique.put("once") is None


def with_a_log(folder: Path, items: int = 40) -> tuple[bytes, bytes]:
    """A database and its log, as a killed process leaves them; the last transaction was never committed."""
    database = folder / "made.db"
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(creation(FIFO, "queue"))
    connection.execute(creation(FILO, "filo_queue"))
    connection.execute("INSERT INTO filo_queue (data, timestamp) VALUES (x'4e2e', 1)")
    connection.executemany("INSERT INTO queue (data, timestamp) VALUES (?, 1)", [(pickle.dumps(n),) for n in range(5)])
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("PRAGMA cache_size=1")
    for n in range(5, items):
        connection.execute("INSERT INTO queue (data, timestamp) VALUES (?, 1)", (pickle.dumps([n, "x" * 1000]),))
    connection.execute("BEGIN")
    connection.execute("UPDATE queue SET data = x'00'")
    left = database.read_bytes(), Path(f"{database}-wal").read_bytes()
    connection.execute("ROLLBACK")
    connection.close()
    return left


@pytest.mark.parametrize("cut", [0, 1, 5000, 100_000], ids=lambda cut: f"{cut} bytes short")
def test_a_log_is_folded_as_sqlite_would(cut: int, tmp_path: Path) -> None:
    data, log = with_a_log(tmp_path)
    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    for database in (ours, theirs):
        database.write_bytes(data)
        Path(f"{database}-wal").write_bytes(log[: len(log) - cut])
    with ours.open("r+b", buffering=0) as file:
        assert wal.fold(str(ours), file.fileno())
        assert not wal.fold(str(ours), file.fileno())
    with closing(sqlite3.connect(theirs)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert len(rows_of(theirs)) > 5
    assert ours.read_bytes() == theirs.read_bytes()
    assert not Path(f"{ours}-wal").exists()


async def test_what_a_killed_process_committed_counts_though_the_database_is_damaged(tmp_path: Path) -> None:
    """The page of another queue is; it is not in the log."""
    database = tmp_path / "queue.db"
    data, log = with_a_log(tmp_path)
    page = data.index(b"N.") // 4096 * 4096
    database.write_bytes(data[:page] + bytes(4096) + data[page + 4096 :])
    Path(f"{database}-wal").write_bytes(log)
    before = files(tmp_path)
    assert (await check(database)).items == 40
    assert files(tmp_path) == before
    report = await repair(database)
    assert (report.rebuilt, report.kept) == (True, 40)
    assert not Path(f"{database}-wal").exists()
    async with AsyncSQLiteQueue(database) as queue:
        assert len(await queue.get_many(100)) == 40


# -- rows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["AsyncSQLiteQueue", "AsyncSQLiteAckQueue"])
async def test_rows_that_cannot_be_read_are_set_aside_with_their_bytes(kind: str, tmp_path: Path) -> None:
    make = {"AsyncSQLiteQueue": AsyncSQLiteQueue, "AsyncSQLiteAckQueue": AsyncSQLiteAckQueue}[kind]
    table = "queue_default" if make is AsyncSQLiteQueue else "ack_queue_default"
    async with make(tmp_path) as queue:
        await queue.put_many("abcd")
    execute(tmp_path / "data.db", f"UPDATE {table} SET data = x'80049558', timestamp = 12.5 WHERE _id IN (2, 3)")
    report = await repair(tmp_path)
    assert (report.kept, report.lost, report.set_aside, report.rebuilt) == (2, 2, 2, False)
    assert report.actions == (f"{table}: 2 rows that cannot be read are set aside",)
    assert [row[:3] for row in set_aside(tmp_path / "data.db", table)] == [
        (2, b"\x80\x04\x95\x58", 12.5),
        (3, b"\x80\x04\x95\x58", 12.5),
    ]
    assert ("status was 0" in set_aside(tmp_path / "data.db", table)[0][3]) == (make is AsyncSQLiteAckQueue)
    assert not await repair(tmp_path)
    async with make(tmp_path) as queue:
        assert [await queue.get(), await queue.get()] == ["a", "d"]


async def test_what_was_set_aside_before_stays(tmp_path: Path) -> None:
    """Also where it has the id of a row that is set aside now."""
    async with AsyncSQLiteQueue(tmp_path) as queue:
        await queue.put_many("ab")
    database = tmp_path / "data.db"
    execute(database, "UPDATE queue_default SET data = x'01' WHERE _id = 1")
    await repair(database)
    execute(database, "INSERT INTO queue_default VALUES (1, x'02', 0)")
    await repair(database)
    assert sorted(row[1] for row in set_aside(database, "queue_default")) == [b"\1", b"\2"]
    execute(database, "INSERT INTO queue_default VALUES (1, x'03', 0)")
    database.write_bytes(bytes(100) + database.read_bytes()[100:])
    await repair(database)
    assert sorted(row[1] for row in set_aside(database, "queue_default")) == [b"\1", b"\2", b"\3"]


async def test_only_the_queue_that_is_named_is_mended(tmp_path: Path) -> None:
    for name in ("a", "b"):
        async with AsyncSQLiteQueue(tmp_path, name) as queue:
            await queue.put_many("xy")
        execute(tmp_path / "data.db", f"UPDATE queue_{name} SET data = x'00' WHERE _id = 1")
    assert (await repair(tmp_path, name="b")).set_aside == 1
    assert [queue.lost for queue in (await check(tmp_path)).queues] == [1, 0]


async def test_statuses_that_no_get_finds_are_ready_again(tmp_path: Path) -> None:
    async with AsyncSQLiteAckQueue(tmp_path) as queue:
        await queue.put_many("abc")
    execute(tmp_path / "data.db", "UPDATE ack_queue_default SET status = 7 WHERE _id = 2")
    assert (await repair(tmp_path)).kept == 3
    async with AsyncSQLiteAckQueue(tmp_path) as queue:
        assert await queue.get_many(9) == ["a", "b", "c"]


async def test_what_the_dead_held_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    async with AsyncSQLiteAckQueue(path) as queue:
        await queue.put_many("ab")
    with Process(tmp_path / "said", "AsyncSQLiteAckQueue", path, "obey") as worker:
        worker.heard(1)
        assert worker.ask("get") == "got a"
        worker.kill()
    report = await repair(path)
    assert report.given_back == 1
    assert (await check(path)).status == "clean"
    assert files(path).keys() == {"data.db"}


# -- what is refused, and what is left as it is -----------------------------------------------------------------------


@pytest.mark.parametrize("golden", [golden for golden in GOLDEN if not golden.unacked], ids=str)
async def test_where_there_is_nothing_to_repair_nothing_is_written(golden: Golden, tmp_path: Path) -> None:
    place = golden.copy(tmp_path)
    before = place.database.read_bytes(), place.database.stat()
    report = await repair(place.database)
    assert not report
    assert report.kept == len(golden.items)
    assert (place.database.read_bytes(), place.database.stat()[:9]) == (before[0], before[1][:9])


async def test_a_dry_run_says_the_same_and_changes_nothing(six: Map, tmp_path: Path) -> None:
    for header, change in ((bytes(100), None), (six.data[:100], "UPDATE queue_mail SET data = x'00' WHERE _id = 60")):
        (tmp_path / "data.db").write_bytes(header + six.data[100:])
        if change:
            execute(tmp_path / "data.db", change)
        before = files(tmp_path)
        said = await repair(tmp_path, dry_run=True)
        assert (said.dry_run, said.damaged_file, files(tmp_path)) == (True, None, before)
        done = await repair(tmp_path)
        assert (done.actions, done.kept, done.lost, done.set_aside, done.rebuilt) == (
            said.actions,
            said.kept,
            said.lost,
            said.set_aside,
            said.rebuilt,
        )
        if done.damaged_file:
            done.damaged_file.unlink()


@contextmanager
def beside(code: str) -> Iterator[None]:
    """A process that has said something, and goes on until the block is left."""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline()
        yield
        other.stdin.close()


@pytest.mark.parametrize("header", [True, False], ids=["whole", "damaged"])
@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_database_that_is_open_is_refused(header: bool, dry_run: bool, tmp_path: Path) -> None:
    """By a queue of this process, and by another process, also one that does not hold a lock just now."""
    database = tmp_path / "queue.db"
    async with AsyncSQLiteQueue(database) as queue:
        await queue.put(1)
        with pytest.raises(DatabaseOpen, match="this process"):
            await repair(database, dry_run=dry_run)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    if not header:
        database.write_bytes(bytes(100) + database.read_bytes()[100:])
    before = files(tmp_path)
    code = f"import sqlite3, sys; sqlite3.connect({str(database)!r}); print('open', flush=True); sys.stdin.read()"
    with beside(code), pytest.raises(DatabaseOpen, match="another program"):
        await repair(database, dry_run=dry_run)
    assert files(tmp_path) == before


async def test_another_serializer_is_refused(tmp_path: Path) -> None:
    async with AsyncSQLiteQueue(tmp_path, serializer="msgpack") as queue:
        await queue.put_many([{"a": 1}, {"b": 2}])
    data = (tmp_path / "data.db").read_bytes()
    for header in (data[:100], bytes(100)):
        (tmp_path / "data.db").write_bytes(header + data[100:])
        before = files(tmp_path)
        with pytest.raises(WrongSerializer, match="'msgpack'"):
            await repair(tmp_path, serializer="pickle")
        assert files(tmp_path) == before
    assert (await repair(tmp_path)).kept == 2


async def test_a_file_in_which_nothing_is_found_stays(tmp_path: Path) -> None:
    (tmp_path / "data.db").write_bytes(bytes(range(256)) * 100)
    before = files(tmp_path)
    with pytest.raises(NotAQueue, match="no SQLite database, and nothing of a queue"):
        await repair(tmp_path)
    assert files(tmp_path) == before


HOSTILE: Final = {
    "an endless query": "CREATE TABLE bomb AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT 1",
    "a module": "CREATE VIRTUAL TABLE bomb USING fts5(x)",
    "another statement": "DROP TABLE queue_default",
}  # fmt: skip


@pytest.mark.parametrize("title", HOSTILE)
async def test_the_sql_of_a_schema_does_nothing_but_make_tables(title: str, tmp_path: Path) -> None:
    async with AsyncSQLiteQueue(tmp_path) as queue:
        await queue.put_many("abc")
    execute(
        tmp_path / "data.db",
        "PRAGMA writable_schema=ON",
        "CREATE TABLE bomb (x)",
        f"UPDATE sqlite_master SET sql = '{HOSTILE[title]}' WHERE name = 'bomb'",
    )
    data = (tmp_path / "data.db").read_bytes()
    (tmp_path / "data.db").write_bytes(bytes(16) + data[16:])
    report = await repair(tmp_path)
    assert (report.rebuilt, report.kept) == (True, 3)
    assert any("'bomb' is not kept" in action for action in report.actions)
    assert integrity(tmp_path / "data.db") == "ok"


def three_bytes(number: int) -> bytes:
    """The varint."""
    return bytes([number >> 14 | 0x80, number >> 7 & 0x7F | 0x80, number & 0x7F])


@pytest.mark.parametrize("circle", [True, False], ids=["in a circle", "into each other"])
async def test_chains_of_pages_that_lead_nowhere_are_left_in_time(circle: bool, tmp_path: Path) -> None:
    """Each of 300 rows says that it is nearly as long as the file."""
    database = tmp_path / "data.db"
    async with AsyncSQLiteQueue(tmp_path) as queue:
        await queue.put_many(["x" * 20_000] * 300)
        await queue.put("short")
    data, size = bytearray(database.read_bytes()), 4096
    chains = [at for at in range(size, len(data), size) if data[at : at + 2] == bytes(2) and data[at + 4] == ord("x")]
    assert len(chains) > 900
    for at, after in zip(chains, chains if circle else [*chains[1:], chains[0]], strict=True):
        data[at : at + 4] = (after // size + 1).to_bytes(4, "big")
    said, _ = pages.varint(bytes(data), data.index(b"\x81\x9c"))  # how long a row is
    longer = said + 400 * (size - 4)  # as much of which lies on the leaf
    database.write_bytes(data.replace(three_bytes(said), three_bytes(longer)))
    began = time.process_time()
    assert (await repair(database)).kept == 1
    assert time.process_time() - began < 5


# -- crashes --------------------------------------------------------------------------------------------------------

REPAIR: Final = "import asyncio, sys; from asyncpq.sqlite import repair; asyncio.run(repair(sys.argv[1]))"


def killed_after(database: Path, seconds: float) -> None:
    """Repair in another process, which is killed."""
    process = subprocess.Popen([sys.executable, "-c", REPAIR, str(database)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("call", ["link", "rename"])
async def test_a_crash_before_any_call_leaves_the_old_or_the_new(
    call: str, six: Map, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends before the first, the second, ... call of that name; then a repair finishes it."""
    database, damaged = tmp_path / "data.db", bytes(100) + six.data[100:]
    for number in range(1, 4):
        for file in tmp_path.iterdir():
            file.unlink()
        database.write_bytes(damaged)
        code = (
            f"import os, asyncio, sys\nleft, real = {number}, os.{call}\n"
            f"def dies(*a, **k):\n    global left\n    left -= 1\n    os._exit(9) if not left else None\n"
            f"    return real(*a, **k)\nos.{call} = dies\n"
        ) + REPAIR
        done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code, str(database)], cwd=ROOT)
        assert database.read_bytes() == damaged or integrity(database) == "ok"
        await rebuilt(database, six, 1)
        if done.returncode == 0:
            return


@pytest.mark.soak
async def test_kills_at_random_leave_the_old_or_the_new(six: Map, tmp_path: Path) -> None:
    chance, database, damaged = random.Random(3), tmp_path / "data.db", bytes(100) + six.data[100:]
    for _ in range(60):
        database.write_bytes(damaged)
        killed_after(database, chance.uniform(0.2, 1.2))
        assert database.read_bytes() == damaged or integrity(database) == "ok"
        await rebuilt(database, six, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
async def test_a_full_disk_leaves_the_old(six: Map) -> None:
    with mounts.memory(2 * mounts.MIB) as folder:
        damaged = bytes(100) + six.data[100:]
        (folder / "data.db").write_bytes(damaged)
        filler = Filler(folder / "filler")
        filler.fill()
        with pytest.raises(OSError, match="No space left on device"):
            await repair(folder)
        assert (folder / "data.db").read_bytes() == damaged
        filler.close()
        (folder / "filler").unlink()
        await rebuilt(folder / "data.db", six, 1)
