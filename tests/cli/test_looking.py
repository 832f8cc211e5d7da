"""info, peek, check and export: they say what is there, run nothing, and change nothing."""

import asyncio
import json
import os
import pickle
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from asyncpq import AsyncPriorityQueue, AsyncQueue, AsyncSQLiteAckQueue
from tests import golden_databases
from tests.cli.conftest import Command
from tests.golden_dirs import GOLDEN, Golden, digests, listed, load
from tests.unit.queue_dirs import make, tree

SOME = [golden for golden in GOLDEN if golden.name.endswith(("-midway", "-large", "-undone", "-empty", "-torn-head"))]


def items(lines: str) -> list[Any]:
    """The items of JSON lines whose forms are lists in what JSON says was written."""
    return [listed(json.loads(line, object_hook=_formless)) for line in lines.splitlines()]


def _formless(value: dict[str, Any]) -> Any:
    return value.get("$tuple", value)


@pytest.mark.parametrize("golden", SOME, ids=str)
def test_export_writes_the_items_of_every_release(golden: Golden, command: Command) -> None:
    before = digests(golden.path)
    ran = command("export", golden.path)
    assert (ran.status, ran.err) == (0, "")
    assert items(ran.out) == golden.items
    assert digests(golden.path) == before


@pytest.mark.parametrize("golden", golden_databases.GOLDEN, ids=str)
def test_export_writes_the_items_of_every_kind_of_database(
    golden: golden_databases.Golden, command: Command, tmp_path: Path
) -> None:
    place = golden.copy(tmp_path)
    spec = f"sqlite:{place.database}#{place.name}"
    before = tree(tmp_path)
    ran = command("export", spec)
    assert (ran.status, ran.err) == (0, "")
    assert items(ran.out) == golden.items
    assert tree(tmp_path) == before


def test_info_says_what_lies_there(command: Command) -> None:
    golden = load("pq110-py311-pickle-midway")
    ran = command("info", golden.path)
    assert ran.status == 0
    assert ran.out.splitlines()[1:6] == [
        "serializer        pickle, protocol 4",
        f"items             {golden.size}",
        "on disk           968 bytes",
        f"items in a chunk  {golden.chunksize}",
        f"tail              chunk {golden.tail[0]}, item {golden.tail[1]}, byte {golden.tail[2]}",
    ]


def test_info_as_json_has_the_numbers_themselves(command: Command) -> None:
    golden = load("pqueue017-py27-pickle-midway")
    ran = command("info", "--json", golden.path)
    told = json.loads(ran.out)
    assert (told["kind"], told["serializer"], told["protocol"]) == ("file", "pickle", 0)
    assert (told["items"], told["chunksize"]) == (golden.size, golden.chunksize)
    assert (tuple(told["tail"]), tuple(told["head"])) == (golden.tail, golden.head)
    assert told["open_elsewhere"] is False


def test_info_says_what_opening_would_heal(command: Command) -> None:
    ran = command("info", load("pq110-py311-pickle-torn-head").path)
    assert "what opening heals:\n  q00001: cut off 7 bytes" in ran.out


def test_info_of_a_queue_that_does_not_open_says_why(command: Command, tmp_path: Path) -> None:
    made = make(tmp_path / "jobs", "pickle")
    (made.path / "info").write_bytes(b"")
    ran = command("info", made.path)
    assert ran.status == 4
    assert "does not open: info is empty; 'asyncpq repair" in ran.out
    assert json.loads(command("info", "--json", made.path).out)["refusal"] == "info is empty"


async def test_info_says_that_it_is_open_elsewhere(tmp_path: Path, command: Command) -> None:
    async with AsyncQueue(tmp_path / "jobs") as queue:
        await queue.put_many(range(5))
        told = json.loads((await asyncio.to_thread(command, "info", "--json", tmp_path / "jobs")).out)
        assert (told["open_elsewhere"], told["items"]) == (True, 5)


async def test_info_of_an_ack_queue_counts_by_status(tmp_path: Path, command: Command) -> None:
    async with AsyncSQLiteAckQueue(tmp_path / "jobs") as queue:
        await queue.put_many(range(5))
        await queue.ack(await queue.get())
    ran = await asyncio.to_thread(command, "info", tmp_path / "jobs")
    assert re.search(r"^items +4$", ran.out, re.MULTILINE)
    assert "4 put, 1 acknowledged" in ran.out


# -- peek -----------------------------------------------------------------------------------------------------


def test_peek_shows_the_first_items_and_leaves_them(command: Command, tmp_path: Path) -> None:
    made = make(tmp_path / "jobs", "json", items=30)
    before = tree(made.path)
    assert command("peek", "-n", 2, made.path).out == "'item 00001'\n'item 00002'\n"
    assert len(command("peek", made.path).out.splitlines()) == 10
    assert tree(made.path) == before


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, 29, 50])
def test_peek_from_the_end_shows_the_last_ones_in_order(command: Command, tmp_path: Path, count: int) -> None:
    made = make(tmp_path / "jobs", "msgpack", items=30)
    ran = command("peek", "--from-end", "-n", count, made.path)
    assert ran.out.splitlines() == [f"'item {number:05d}'" for number in range(max(1, 30 - count), 30)]


def test_peek_from_the_end_finds_enough_although_some_are_damaged(command: Command, tmp_path: Path) -> None:
    made = make(tmp_path / "jobs", "msgpack", items=30)
    for number in (5, 6, 7, 8, 9):
        made.chunk(number).write_bytes(b"\xff" * made.width * 3)
    ran = command("peek", "--from-end", "-n", 5, made.path)
    assert ran.status == 4
    assert "left out: q00009 at byte 0" in ran.err


def test_peek_from_the_end_of_a_long_queue_reads_no_more_than_its_end(command: Command, tmp_path: Path) -> None:
    made = make(tmp_path / "jobs", "msgpack", items=30)
    made.chunk(2).write_bytes(b"\xff" * made.width * 3)
    ran = command("peek", "--from-end", "-n", 5, made.path)
    assert (ran.status, ran.err) == (0, "")


async def test_peek_of_a_priority_queue_is_in_the_order_of_get(tmp_path: Path, command: Command) -> None:
    async with AsyncPriorityQueue(tmp_path / "jobs") as queue:
        for priority in (3, 1, 2):
            await queue.put(f"priority {priority}", priority)
    ran = await asyncio.to_thread(command, "peek", tmp_path / "jobs")
    assert ran.out.split("\n")[:3] == ["'priority 1'", "'priority 2'", "'priority 3'"]
    ran = await asyncio.to_thread(command, "peek", "--from-end", "-n", 1, tmp_path / "jobs")
    assert ran.out == "'priority 3'\n"


class Marks:
    """An item that leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


async def marked(folder: Path, mark: Path) -> None:
    async with AsyncQueue(folder) as queue:
        await queue.put(Marks(mark))
        await queue.put({"day": date(2024, 2, 29)})


@pytest.mark.parametrize("name", ["info", "peek", "check", "export", "get", "repair"])
async def test_no_pickle_is_run(name: str, tmp_path: Path, command: Command) -> None:
    await marked(tmp_path / "jobs", tmp_path / "mark")
    options = ["--all", "--ack"] if name == "get" else []
    ran = await asyncio.to_thread(command, name, *options, tmp_path / "jobs")
    assert not (tmp_path / "mark").exists()
    assert (ran.status == 1) == (name == "get")


@pytest.mark.parametrize("name", ["peek", "export", "get"])
async def test_unpickle_runs_pickles_and_says_so(name: str, tmp_path: Path, command: Command) -> None:
    await marked(tmp_path / "jobs", tmp_path / "mark")
    options = ["--all"] if name == "get" else []
    ran = await asyncio.to_thread(command, name, "--unpickle", *options, tmp_path / "jobs")
    assert "pickles are run" in ran.err
    assert (tmp_path / "mark").is_dir()
    assert "datetime.date(2024, 2, 29)" in ran.out


async def test_export_names_the_classes_that_import_will_refuse(tmp_path: Path, command: Command) -> None:
    await marked(tmp_path / "jobs", tmp_path / "mark")
    ran = await asyncio.to_thread(command, "export", tmp_path / "jobs")
    assert ran.status == 0
    assert json.loads(ran.out.splitlines()[1])["day"]["$class"] == "datetime.date"
    assert "2 items with a class, which import refuses: datetime.date, posix.mkdir" in ran.err


async def test_the_byte_strings_of_python_2_are_read_with_the_encoding(tmp_path: Path, command: Command) -> None:
    async with AsyncQueue(tmp_path / "jobs") as queue:
        await queue.put("x")
    chunk, text = tmp_path / "jobs" / "q00000", "é".encode()
    record = b"\x80\x02U" + bytes([len(text)]) + text + b"."
    chunk.write_bytes(record)
    info = {"chunksize": 100, "size": 1, "tail": [0, 0, 0], "head": [0, 1, len(record)]}
    (tmp_path / "jobs" / "info").write_bytes(pickle.dumps(info, 2))
    for encoding, shown in {"utf-8": '"\\u00e9"', "latin-1": '"\\u00c3\\u00a9"', "bytes": '{"$bytes": "w6k="}'}.items():
        ran = await asyncio.to_thread(command, "export", "--encoding", encoding, tmp_path / "jobs")
        assert (ran.status, ran.out) == (0, shown + "\n")


# -- check ----------------------------------------------------------------------------------------------------


def test_check_of_a_clean_queue_ends_with_0(command: Command) -> None:
    ran = command("check", load("pq110-py311-json-midway").path)
    assert (ran.status, ran.err) == (0, "")
    assert "status          clean\ncan be read     20 items\n" in ran.out


def test_check_of_what_opening_heals_ends_with_3(command: Command) -> None:
    ran = command("check", load("pq110-py311-pickle-torn-head").path)
    assert ran.status == 3
    assert "what opening heals:\n  q00001: cut off 7 bytes" in ran.out


def test_check_lists_what_is_damaged_and_ends_with_4(command: Command, tmp_path: Path) -> None:
    made = make(tmp_path / "jobs", "json", items=30)
    damaged = made.chunk(2).read_bytes()
    made.chunk(2).write_bytes(damaged[: made.width] + b"\xff" * (made.width - 1) + b"\n" + damaged[2 * made.width :])
    before = tree(made.path)
    ran = command("check", made.path)
    assert ran.status == 4
    assert f"│ q00002 │ byte {made.width} │    {made.width} │" in ran.out
    assert "can be read     28 items" in ran.out
    told = json.loads(command("check", "--json", made.path).out)
    assert (told["status"], told["items"], told["lost"], len(told["damage"])) == ("damaged", 28, 1, 1)
    assert tree(made.path) == before


def test_check_cuts_a_long_list_and_says_so(command: Command, tmp_path: Path) -> None:
    made = make(tmp_path / "jobs", "msgpack", items=400)
    for number in range(1, 130, 2):
        data = bytearray(made.chunk(number).read_bytes())
        data[made.width + 4 : made.width + 6] = b"\xc1\xc1"
        made.chunk(number).write_bytes(data)
    assert "and 15 more; --all lists them" in command("check", made.path).out
    assert command("check", "--all", made.path).out.count("│ q00") == 65


def test_check_of_a_database_reads_every_row(command: Command, tmp_path: Path) -> None:
    golden = next(one for one in golden_databases.GOLDEN if one.kind == "ack")
    place = golden.copy(tmp_path)
    before = tree(tmp_path)
    ran = command("check", place.database)
    assert ran.status in (0, 3)
    assert "table ack_queue_default" in ran.out
    assert tree(tmp_path) == before
