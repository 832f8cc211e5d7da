"""put, get and import: what goes in comes out, one item a line, and a bad line loses nothing."""

import asyncio
import json
import os
import sqlite3
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import queuelib

from asyncpq import AsyncQueue, AsyncUniqueQ, QueueReader
from tests.cli.command import asyncpq, started, terminal, until
from tests.cli.conftest import Command
from tests.unit.queue_dirs import tree


def held(path: Path) -> list[Any]:
    """The items of a file queue."""

    async def read() -> list[Any]:
        async with QueueReader(path) as reader:
            return [item async for item in reader]

    return asyncio.run(read(), debug=False)


# -- put ------------------------------------------------------------------------------------------------------


def test_put_makes_the_queue_and_stores_each_argument_as_json(tmp_path: Path, command: Command) -> None:
    assert command("put", tmp_path / "jobs", '{"id": 1}', '[1, {"$bytes": "AA=="}]', "null").status == 0
    assert held(tmp_path / "jobs") == [{"id": 1}, [1, b"\0"], None]


def test_put_as_text_takes_each_argument_as_it_stands(tmp_path: Path, command: Command) -> None:
    assert command("put", "--text", tmp_path / "jobs", "1", "", " x ").status == 0
    assert held(tmp_path / "jobs") == ["1", "", " x "]


def test_put_takes_the_lines_of_stdin(tmp_path: Path) -> None:
    assert asyncpq("put", tmp_path / "jobs", stdin='1\n\n  \n"two"').status == 0
    assert held(tmp_path / "jobs") == [1, "two"]
    assert asyncpq("put", "--text", tmp_path / "texts", stdin="a\n\nb\r\n é").status == 0
    assert held(tmp_path / "texts") == ["a", "", "b\r", " é"]


def test_put_of_what_is_no_json_says_how_to_put_text(tmp_path: Path, command: Command) -> None:
    ran = command("put", tmp_path / "jobs", "1", "hello")
    assert ran.status == 1
    assert ran.err == (
        "asyncpq: item 2: it is no JSON: Expecting value, character 1 (text is put with --text); "
        "1 item stored, up to item 1\n"
    )
    assert held(tmp_path / "jobs") == [1]


def test_put_makes_the_queue_as_it_is_told(tmp_path: Path, command: Command) -> None:
    command("put", "--serializer", "json", "--chunksize", 2, tmp_path / "jobs", 1, 2, 3)
    told = json.loads(command("info", "--json", tmp_path / "jobs").out)
    assert (told["serializer"], told["chunksize"], told["items"]) == ("json", 2, 3)


@pytest.mark.parametrize("kind", ["fifo", "filo", "unique", "priority", "ack", "filo-ack", "unique-ack"])
def test_put_and_get_work_on_every_class_of_sqlite_queue(kind: str, tmp_path: Path, command: Command) -> None:
    spec = f"sqlite:{tmp_path / 'jobs.db'}#mail"
    assert command("put", "--class", kind, spec, 1, 2, 3).status == 0
    order = [3, 2, 1] if "filo" in kind else [1, 2, 3]
    assert command("get", spec).out == f"{order[0]}\n"
    ran = command("get", "--all", "--ack", spec)
    assert (ran.status, ran.out.split()) == (0, [str(one) for one in order])
    assert command("get", spec).status == 5


def test_put_makes_another_queue_in_a_database_where_its_name_is_new(tmp_path: Path, command: Command) -> None:
    database = tmp_path / "jobs.db"
    for name, kind in (("one", "fifo"), ("two", "ack"), ("one", None)):
        more = ["--class", kind] if kind else []
        assert command("put", *more, f"sqlite:{database}#{name}", f'"for {name}"').status == 0
    assert command("peek", f"sqlite:{database}#one").out == "'for one'\n" * 2
    assert command("peek", f"sqlite:{database}#two").out == "'for two'\n"
    ran = command("put", database, 1)
    assert ran.status == 1
    assert f"say which one: sqlite:{database}#" in ran.err


def test_put_makes_no_queue_in_a_database_of_something_else(tmp_path: Path, command: Command) -> None:
    database = tmp_path / "other.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    ran = command("put", database, 1)
    assert ran.status == 1
    assert "'customers'" in ran.err
    assert command("put", f"sqlite:{database}#jobs", 1).status == 0  # that is what was asked for


def test_put_gives_priorities(tmp_path: Path, command: Command) -> None:
    spec = f"sqlite:{tmp_path / 'jobs.db'}"
    command("put", "--class", "priority", "--priority", 5, spec, '"late"')
    command("put", "--priority", 1, spec, '"soon"')
    assert command("get", "--all", spec).out == '"soon"\n"late"\n'


def test_an_option_that_does_not_fit_is_refused(tmp_path: Path, command: Command) -> None:
    folder, database = tmp_path / "jobs", f"sqlite:{tmp_path / 'jobs.db'}"
    command("put", folder, 1)
    command("put", database, 1)
    for arguments in (
        ("--class", "ack", folder),
        ("--chunksize", 5, database),
        ("--class", "ack", database),
        ("--priority", 5, database),
        ("--priority", 5, folder),
        ("--chunksize", 5, folder),
        ("--serializer", "json", folder),
    ):
        ran = command("put", *arguments, 2)
        assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1), arguments
    assert held(folder) == [1]


def test_put_names_the_item_that_the_serializer_does_not_take(tmp_path: Path, command: Command) -> None:
    ran = command("put", "--serializer", "json", tmp_path / "jobs", "1", '{"$bytes": "AA=="}', "2")
    assert ran.status == 1
    assert "item 2: serializer 'json' does not take it" in ran.err
    assert "1 item stored, up to item 1" in ran.err
    assert held(tmp_path / "jobs") == [1]


def test_put_says_what_the_serializer_does_not_keep(tmp_path: Path, command: Command) -> None:
    ran = command("put", "--serializer", "json", tmp_path / "jobs", "1", '{"$tuple": [1]}', '{"$dict": [[1, 2]]}')
    assert ran.status == 0
    assert "2 items changed by serializer 'json', the first in item 2: " in ran.err
    assert '{"$tuple": [1]} comes as [1]' in ran.err


async def test_put_into_a_unique_queue_says_what_was_there(tmp_path: Path, command: Command) -> None:
    async with AsyncUniqueQ(tmp_path / "urls.db") as queue:
        await queue.put("a")
    ran = await asyncio.to_thread(command, "put", "--text", tmp_path / "urls.db", "a", "b", "b")
    assert (ran.status, ran.err) == (0, "asyncpq: 2 items there already, and not stored twice\n")


async def test_put_into_a_queue_that_is_open_elsewhere_is_refused(tmp_path: Path, command: Command) -> None:
    async with AsyncQueue(tmp_path / "jobs") as queue:
        await queue.put(1)
        ran = await asyncio.to_thread(command, "put", tmp_path / "jobs", 2)
    assert ran.status == 1
    assert "has this directory open" in ran.err
    assert await asyncio.to_thread(held, tmp_path / "jobs") == [1]


# -- get ------------------------------------------------------------------------------------------------------


def test_get_leaves_the_items_unless_they_are_acknowledged(tmp_path: Path, command: Command) -> None:
    command("put", tmp_path / "jobs", 1, 2, 3, 4)
    ran = command("get", "-n", 2, tmp_path / "jobs")
    assert (ran.out, ran.err) == ("1\n2\n", "asyncpq: 2 items shown, and still in the queue; --ack takes them out\n")
    assert command("get", "--ack", "-n", 3, tmp_path / "jobs").out == "1\n2\n3\n"
    assert held(tmp_path / "jobs") == [4]


def test_get_of_an_empty_queue_prints_nothing_and_ends_with_5(tmp_path: Path, command: Command) -> None:
    command("put", tmp_path / "jobs", 1)
    assert command("get", "--all", "--ack", tmp_path / "jobs").status == 0
    ran = command("get", "--ack", tmp_path / "jobs")
    assert (ran.status, ran.out, ran.err) == (5, "", f"asyncpq: {tmp_path / 'jobs'} is empty\n")


def test_get_of_what_is_not_there_makes_nothing(tmp_path: Path, command: Command) -> None:
    assert command("get", tmp_path / "jobs").status == 1
    assert not list(tmp_path.iterdir())


def test_get_as_text_writes_texts_as_they_stand(tmp_path: Path, command: Command) -> None:
    command("put", tmp_path / "jobs", '"a \\u00e9"', '{"id": 1}', '"two\\nlines"')
    ran = command("get", "--all", "--ack", "--text", tmp_path / "jobs")
    assert (ran.status, ran.out) == (1, 'a é\n{"id": 1}\n')
    assert "a text of several lines; it stays in the queue" in ran.err
    assert held(tmp_path / "jobs") == ["two\nlines"]


def test_get_as_text_refuses_what_is_no_utf_8(tmp_path: Path, command: Command) -> None:
    command("put", tmp_path / "jobs", '"\\ud800"')
    ran = command("get", "--ack", "--text", tmp_path / "jobs")
    assert (ran.status, ran.out) == (1, "")
    assert command("get", "--ack", tmp_path / "jobs").out == '"\\ud800"\n'


def test_get_as_text_writes_nothing_that_a_terminal_obeys(tmp_path: Path, command: Command) -> None:
    command("put", tmp_path / "jobs", '"\\u001b[2J"')
    assert command("get", "--text", tmp_path / "jobs").out == "\x1b[2J\n"
    with terminal("get", "--text", tmp_path / "jobs") as shown:
        assert shown.end() == 0
    assert shown.shown.startswith(rb"\x1b[2J")


@pytest.mark.parametrize("name", ["put", "get", "check", "repair", "copy"])
def test_a_queue_of_queuelib_is_left_alone(name: str, tmp_path: Path, command: Command) -> None:
    """Its chunks are called as ours are, and what ours would make of them is no good to it."""
    folder = tmp_path / "requests"
    queue = queuelib.FifoDiskQueue(str(folder))
    for number in range(3):
        queue.push(b"%d" % number)
    queue.close()
    before = tree(tmp_path)
    more: dict[str, list[object]] = {"put": [1], "copy": [tmp_path / "copy"]}
    ran = command(name, folder, *more.get(name, []))
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "which can be exported, peeked into and migrated only" in ran.err
    assert tree(tmp_path) == before
    assert command("export", folder).out == "".join(f'{{"$bytes": "{code}"}}\n' for code in ("MA==", "MQ==", "Mg=="))
    assert command("info", folder).status == 0
    assert command("tail", "-n", 1, folder).out.startswith(f"{folder}  3 items")


async def test_get_refuses_an_item_that_needs_a_class_and_leaves_it(tmp_path: Path, command: Command) -> None:
    async with AsyncQueue(tmp_path / "jobs") as queue:
        await queue.put_many([1, date(2024, 2, 29), 3])
    ran = await asyncio.to_thread(command, "get", "--all", "--ack", tmp_path / "jobs")
    assert (ran.status, ran.out) == (1, "1\n")
    assert "the next item needs datetime.date; it stays in the queue" in ran.err
    assert "--unpickle" in ran.err
    ran = await asyncio.to_thread(command, "get", "--all", "--ack", "--unpickle", tmp_path / "jobs")
    assert (ran.status, ran.out.splitlines()[1]) == (0, "3")


def test_get_waits_for_an_item(tmp_path: Path) -> None:
    spec = f"sqlite:{tmp_path / 'jobs.db'}"
    asyncpq("put", spec, "0")
    asyncpq("get", "--ack", spec)
    with started("get", "--ack", "--timeout", 20, spec) as waiting:
        asyncpq("put", spec, '"late"')
        out, err = waiting.communicate(timeout=30)
        assert (waiting.returncode, out, err) == (0, b'"late"\n', b"")


# -- import ---------------------------------------------------------------------------------------------------

LINES = '{"id": 1}\n{"$tuple": [1, 2]}\n\n{"$float": "nan"}\n'


def test_export_and_import_between_two_queues_round_trip(tmp_path: Path) -> None:
    ran = asyncpq("import", tmp_path / "one", stdin=LINES)
    assert (ran.status, ran.out, ran.err) == (0, "", f"asyncpq: 3 items stored in {tmp_path / 'one'}\n")
    first = asyncpq("export", tmp_path / "one").out
    spec = f"sqlite:{tmp_path / 'two.db'}#mail"
    assert asyncpq("import", "--serializer", "cbor2", spec, stdin=first).status == 0
    second = asyncpq("export", spec).out
    assert first == LINES.replace("\n\n", "\n")
    assert second == first.replace('{"$tuple": [1, 2]}', "[1, 2]")


def test_a_bad_line_is_named_and_what_came_before_is_stored(tmp_path: Path) -> None:
    ran = asyncpq("import", tmp_path / "jobs", stdin='1\n\n2\n{"a":\n3\n')
    assert ran.status == 1
    assert ran.err == "asyncpq: line 4: it is no JSON: Expecting value, character 6; 2 items stored, up to line 3\n"
    assert held(tmp_path / "jobs") == [1, 2]


@pytest.mark.parametrize("from_file", [True, False], ids=["file", "pipe"])
def test_with_check_a_bad_line_stores_nothing(tmp_path: Path, from_file: bool) -> None:
    good = "".join(f"{number}\n" for number in range(20_000))
    for data, status in ((good + "oops\n", 1), (good, 0)):
        (tmp_path / "lines").write_text(data, "ascii")
        if from_file:
            with (
                (tmp_path / "lines").open("rb") as file,
                started("import", "--check", tmp_path / "jobs", stdin=file) as it,
            ):
                it.communicate(timeout=30)
                ended = it.returncode
        else:
            ended = asyncpq("import", "--check", tmp_path / "jobs", stdin=data).status
        assert ended == status
        assert (tmp_path / "jobs").exists() is not status
    assert held(tmp_path / "jobs") == [*range(20_000)]


def test_lines_are_stored_as_they_come(tmp_path: Path) -> None:
    """A program that writes a line now and then need not end for its items to be stored."""
    folder = tmp_path / "jobs"
    with started("put", folder) as process:
        assert process.stdin is not None
        for number in range(3):
            os.write(process.stdin.fileno(), b"%d\n" % number)
            until(partial(stored, folder, number + 1))
        process.communicate(timeout=30)
        assert process.returncode == 0


def stored(folder: Path, count: int) -> bool:
    """Whether there are so many items."""
    return (folder / "q00000").exists() and len(held(folder)) == count
