"""Queues of other libraries are moved as they come."""

import pickle
from pathlib import Path
from typing import Any, Final

import diskcache  # type: ignore[import-untyped]
import litequeue  # type: ignore[import-untyped]
import pytest
import queuelib

from asyncpq import MigrationError, Unreadable
from tests.migrating.moving import items, moved, names

PUSHED: Final = [b"", b"a", *(b"item %d" % n for n in range(20))]


def of_queuelib(folder: Path, pushed: list[bytes]) -> Path:
    queue = queuelib.FifoDiskQueue(str(folder / "old"), chunksize=7)
    for item in pushed:
        queue.push(item)
    queue.close()
    return folder / "old"


@pytest.mark.parametrize("form", ["", "sqlite:"])
@pytest.mark.parametrize("serializer", [None, "msgpack", "cbor2"])
def test_items_of_queuelib_are_bytes_and_go_to_pickle_unless_another_is_named(
    form: str, serializer: str | None, folder: Path
) -> None:
    report = moved(of_queuelib(folder, PUSHED), f"{form}{folder}/new", serializer=serializer)
    assert report.serializer == (serializer or "pickle")
    assert items(f"{form}{folder}/new") == PUSHED


def test_items_of_queuelib_are_read_by_the_serializer_that_scrapy_wrote_them_with(folder: Path) -> None:
    source = of_queuelib(folder, [pickle.dumps({"n": n}) for n in range(5)])
    moved(source, folder / "new", source_serializer="pickle", serializer="json")
    assert items(folder / "new") == [{"n": n} for n in range(5)]


def test_what_is_not_of_the_serializer_that_is_named_is_refused_with_its_place(folder: Path) -> None:
    source = of_queuelib(folder, [b'{"n": 1}', b"not json"])
    with pytest.raises(Unreadable, match="1 place cannot be read"):
        moved(source, folder / "new", source_serializer="json", serializer="pickle")
    assert names(folder) == ["old"]


def test_a_database_of_litequeue_is_moved(folder: Path) -> None:
    queue = litequeue.LiteQueue(str(folder / "old.db"))
    for text in ("one", "zwei", "três"):
        queue.put(text)
    queue.conn.close()
    report = moved(folder / "old.db", folder / "new", serializer="json")
    assert items(folder / "new") == ["one", "zwei", "três"]
    assert "litequeue" in report.what


def test_a_deque_of_diskcache_is_moved(folder: Path) -> None:
    values: list[Any] = ["text", b"bytes", 7, 1.5, {"n": (1, 2)}]
    deque = diskcache.Deque(values, directory=str(folder / "old"))
    deque.cache.close()
    moved(folder / "old", f"sqlite:{folder}/new", queue_class="ack")
    assert items(f"sqlite:{folder}/new") == values


def test_another_librarys_queue_is_converted_under_its_name_only_if_it_is_said_to_what(folder: Path) -> None:
    source = of_queuelib(folder, PUSHED)
    with pytest.raises(MigrationError, match="say what it shall become"):
        moved(source, in_place=True)
    moved(source, source, in_place=True)
    assert items(source) == PUSHED
    assert names(folder) == ["old", "old.bak"]
