"""From class to class: the order of get, the tables, what is beside an item."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import InTheWay, Unfit
from asyncpq.migrating.plan import KINDS
from tests.golden_databases import OURS, THEIRS, THEIRS_ASYNC, Place, drained
from tests.migrating.moving import items, moved, names, theirs

VALUES: Final[list[Any]] = [{"n": n} for n in range(20)]
CLASSES: Final = [*KINDS]


def kind_of(queue_class: str) -> str:
    return queue_class.replace("-", " ")


def schema(file: Path) -> dict[str, str]:
    """What makes the tables of a database, without its numbers."""
    with closing(sqlite3.connect(file)) as database:
        made = database.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
        return {name: sql.replace("`", "").replace('"', "") for name, sql in made}


def rows(file: Path, table: str, columns: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute(f"SELECT {columns} FROM {table} ORDER BY _id").fetchall()


@pytest.mark.parametrize(
    ("queue_class", "in_directory"),
    [(name, True) for name in CLASSES] + [(name, False) for name in CLASSES if name in THEIRS_ASYNC],
)
async def test_a_new_database_has_the_table_of_persist_queues_class_and_it_reads_it(
    queue_class: str, in_directory: bool, folder: Path
) -> None:
    kind, name = kind_of(queue_class), "mail" if in_directory else "default"  # the async classes have no names
    source = theirs(folder / "source", VALUES)
    moved(source, f"sqlite:{folder}/target{'/' * in_directory}#{name}", queue_class=queue_class)
    wanted = Place(kind, folder / "wanted", name, in_file=not in_directory)
    async with wanted.theirs():
        pass
    target = Place(kind, folder / "target", name, in_file=not in_directory)

    made = schema(target.database)
    assert made.pop("asyncpq_format")
    assert made == schema(wanted.database)
    assert [file.name for file in target.database.parent.iterdir() if file.name.startswith("data")] == (
        ["data.db"] if in_directory else []
    )
    async with target.theirs() as queue:
        assert await queue.drained() == VALUES


@pytest.mark.parametrize("queue_class", CLASSES)
async def test_asyncpq_reads_the_new_database_and_goes_on_with_it(queue_class: str, folder: Path) -> None:
    moved(theirs(folder / "source", VALUES), f"sqlite:{folder}/target", queue_class=queue_class, serializer="msgpack")
    async with OURS[kind_of(queue_class)](folder / "target") as queue:
        assert await drained(queue) == VALUES
        await queue.put("next")
        assert await queue.get() == "next"


@pytest.mark.parametrize("to", CLASSES)
@pytest.mark.parametrize("of", CLASSES)
def test_the_order_of_get_is_kept_from_each_class_to_each(of: str, to: str, folder: Path) -> None:
    moved(theirs(folder / "source", VALUES), f"sqlite:{folder}/first", queue_class=of)
    report = moved(f"sqlite:{folder}/first", f"sqlite:{folder}/second", queue_class=to)
    assert items(f"sqlite:{folder}/second") == VALUES
    assert report.queue_class == to
    moved(f"sqlite:{folder}/second", folder / "back")
    assert items(folder / "back") == VALUES


async def test_the_class_stays_where_none_is_named(folder: Path) -> None:
    moved(theirs(folder / "source", VALUES), f"sqlite:{folder}/first", queue_class="filo-ack")
    report = moved(f"sqlite:{folder}/first", f"sqlite:{folder}/second")
    assert report.queue_class == "filo-ack"
    assert moved(folder / "source", f"sqlite:{folder}/third").queue_class == "fifo"


async def test_what_gives_the_newest_first_says_that_a_file_queue_will_not(folder: Path) -> None:
    moved(theirs(folder / "source", VALUES), f"sqlite:{folder}/first", queue_class="filo")
    report = moved(f"sqlite:{folder}/first", folder / "second")
    assert any("newest item first" in note for note in report.notes)
    assert not moved(f"sqlite:{folder}/first", f"sqlite:{folder}/third").notes


# -- priorities ---------------------------------------------------------------------------------------------


def prioritised(folder: Path, priorities: list[int]) -> str:
    queue = THEIRS["priority"](str(folder / "source"))
    for number, priority in enumerate(priorities):
        queue.put({"n": number}, priority=priority)
    queue.close()
    return f"sqlite:{folder}/source"


def test_priorities_are_kept_where_there_is_a_place_for_them(folder: Path) -> None:
    source = prioritised(folder, [5, 1, 3, 1])
    moved(source, f"sqlite:{folder}/target", serializer="json")
    assert items(f"sqlite:{folder}/target") == [{"n": 1}, {"n": 3}, {"n": 2}, {"n": 0}]
    kept = [priority for (priority,) in rows(folder / "target" / "data.db", "priority_queue_default", "priority")]
    assert kept == [1, 1, 3, 5]


def test_priorities_are_refused_where_there_is_none_and_with_lossy_the_order_is_kept(folder: Path) -> None:
    source = prioritised(folder, [5, 0, 3, 0])
    for target in (f"{folder}/target", f"sqlite:{folder}/target"):
        with pytest.raises(Unfit, match=r"priorities in 2 items .* the order alone"):
            moved(source, target, queue_class="fifo" if "sqlite" in target else None)
    assert names(folder) == ["source"]
    report = moved(source, folder / "target", lossy=True)
    assert items(folder / "target") == [{"n": 1}, {"n": 3}, {"n": 2}, {"n": 0}]
    assert [loss.kind for loss in report.losses] == ["priorities"]


def test_priorities_that_say_nothing_are_no_loss(folder: Path) -> None:
    moved(prioritised(folder, [0, 0, 0]), folder / "target")
    assert items(folder / "target") == [{"n": 0}, {"n": 1}, {"n": 2}]


# -- no item twice ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queue_class", ["unique", "unique-ack"])
def test_duplicates_are_refused_and_with_lossy_one_of_each_stays(queue_class: str, folder: Path) -> None:
    source = theirs(folder / "source", [1, 2, 1, 3, 2, 1])
    with pytest.raises(Unfit, match=r"duplicates in 3 items .*one of each stays"):
        moved(source, f"sqlite:{folder}/target", queue_class=queue_class)
    assert names(folder) == ["source"]
    report = moved(source, f"sqlite:{folder}/target", queue_class=queue_class, lossy=True)
    assert items(f"sqlite:{folder}/target") == [1, 2, 3]
    assert (report.items, report.losses[0].kind, report.losses[0].items) == (3, "duplicates", 3)


# -- acknowledgements ---------------------------------------------------------------------------------------


def acknowledged(folder: Path) -> str:
    """One acknowledged, one failed, one in flight, one given back, two that nobody got."""
    queue = THEIRS["ack"](str(folder / "source"), auto_resume=False)
    for number in range(6):
        queue.put(number)
    queue.ack(queue.get())
    queue.ack_failed(queue.get())
    queue.get()
    queue.nack(queue.get())
    queue.close()
    return f"sqlite:{folder}/source"


def test_what_was_in_flight_is_ready_again_and_what_is_done_does_not_come(folder: Path) -> None:
    report = moved(acknowledged(folder), f"sqlite:{folder}/target")
    assert rows(folder / "target" / "data.db", "ack_queue_default", "status") == [(1,), (1,), (0,), (0,)]
    assert items(f"sqlite:{folder}/target") == [2, 3, 4, 5]
    assert report.notes == (
        "1 in flight: ready to be got again",
        "1 acknowledged: not moved",
        "1 failed: not moved",
    )


def test_the_time_of_an_item_is_kept(folder: Path) -> None:
    source = acknowledged(folder)
    before = rows(folder / "source" / "data.db", "ack_queue_default", "timestamp")[2:]
    moved(source, f"sqlite:{folder}/target")
    assert rows(folder / "target" / "data.db", "ack_queue_default", "timestamp") == before


# -- several queues -----------------------------------------------------------------------------------------


def test_one_of_several_queues_is_moved_by_its_name_and_a_database_that_is_there_is_refused(folder: Path) -> None:
    async def fill() -> None:
        for name in ("one", "two"):
            async with OURS["fifo"](folder / "source.db", name) as queue:
                await queue.put(name)

    asyncio.run(fill())
    moved(f"sqlite:{folder}/source.db#two", folder / "target")
    assert items(folder / "target") == ["two"]
    with pytest.raises(InTheWay, match="is there already"):
        moved(folder / "target", f"sqlite:{folder}/source.db#three")
