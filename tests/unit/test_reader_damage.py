"""QueueReader and damage: every refusal names what was found, and no record is hopped over."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncpq import layout
from asyncpq.errors import CorruptQueue, CorruptRecord, NotAQueue, StorageError, WrongSerializer
from asyncpq.layout import Position
from asyncpq.reader import QueueReader
from tests.reader_dirs import info, items_of, slot, two_chunks, write


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _info(data: bytes) -> Callable[[Path], None]:
    return lambda folder: _put(folder / "info", data)


def _put(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def _link(folder: Path) -> None:
    (folder / "info").rename(folder / "elsewhere")
    (folder / "info").symlink_to("elsewhere")


def _pipe(name: str) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return replace


def _only(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for file in folder.iterdir():
            if file.name not in names:
                file.unlink()

    return remove


FAR: Final = Position(10**15, 0, 0)
UNREADABLE: Final[dict[str, tuple[Callable[[Path], None], type[StorageError], str]]] = {
    "nothing in the directory": (_only(), NotAQueue, "neither info nor a chunk"),
    "only other files": (_only("README"), NotAQueue, "neither info nor a chunk"),
    "info gone": (_without("info"), CorruptQueue, "info is missing.*q00000 to q00002"),
    "info empty": (_info(b""), CorruptQueue, "info is empty"),
    "info zeros": (_info(bytes(512)), CorruptQueue, "512 zero bytes"),
    "info noise": (_info(b"\xff\x00 noise"), CorruptQueue, "info cannot be read"),
    "info torn": (_info(b'{"chunksize": 3'), CorruptQueue, "cut off"),
    "info without a tail": (_info(b'{"chunksize": 3, "size": 0}\n'), CorruptQueue, "no 'tail'"),
    "info a link": (_link, CorruptQueue, "not a regular file"),
    "info a pipe": (_pipe("info"), CorruptQueue, "not a regular file"),
    "a chunk a pipe": (_pipe("q00001"), CorruptQueue, "q00001, which is not there"),
    "a hole between tail and head": (_without("q00001"), CorruptQueue, "q00001, which is not there"),
    "the head chunk gone": (_without("q00002"), CorruptQueue, "q00002, which is not there"),
    "the head chunk short": (lambda f: _put(f / "q00002", b"6"), CorruptQueue, "up to byte 2.*has 1 bytes"),
    "a full chunk empty": (lambda f: _put(f / "q00001", b""), CorruptQueue, "3 items in q00001.*has 0 bytes"),
    "a head beyond all files": (
        _info(info(3, layout.START, FAR)),
        CorruptQueue,
        "q00003, which is not there",
    ),
    "a chunksize beyond all files": (
        _info(info(10**15, layout.START, Position(2, 1, 2))),
        CorruptQueue,
        "1000000000000000 items in q00000",
    ),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("found", UNREADABLE)
async def test_what_cannot_be_read_is_refused_with_what_was_found(found: str, tmp_path: Path) -> None:
    damage, error, why = UNREADABLE[found]
    two_chunks(tmp_path)
    damage(tmp_path)
    with pytest.raises(error, match=why):
        await QueueReader(tmp_path).open()


async def test_a_path_without_a_directory_is_not_a_queue(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotAQueue, match="no such directory"):
        await QueueReader(tmp_path / "missing").open()
    with pytest.raises(NotAQueue, match="not a directory"):
        await QueueReader(tmp_path / "file").open()


@pytest.mark.parametrize("name", ["pickle", "msgpack", "cbor2"])
async def test_another_serializer_is_refused_by_the_name_that_fits(name: str, tmp_path: Path) -> None:
    write(tmp_path, [1])
    with pytest.raises(WrongSerializer, match="'json'"):
        await items_of(tmp_path, serializer=name)
    assert await items_of(tmp_path, serializer="orjson") == [1]


async def test_a_queue_without_info_is_checked_by_its_first_record(tmp_path: Path) -> None:
    (tmp_path / "q00000").write_bytes(b'{"a": 1}\n')
    with pytest.raises(WrongSerializer) as caught:
        await items_of(tmp_path)
    assert caught.value.found == "json"
    assert await items_of(tmp_path, serializer="json") == [{"a": 1}]


@pytest.mark.parametrize(
    ("chunk", "data", "offset", "before"),
    [
        ("q00000", b"0\nx\n2\n", 2, [0]),
        ("q00000", b"0\n1\n\0\0", 4, [0, 1]),
        ("q00000", b"0\n1\n22", 4, [0, 1]),
        ("q00001", b"30\n40\n", 6, [0, 1, 2, 30, 40]),
        ("q00002", b"6x\n", 0, [0, 1, 2, 3, 4, 5]),
    ],
)
async def test_a_damaged_record_is_named_and_not_hopped_over(
    chunk: str, data: bytes, offset: int, before: list[int], tmp_path: Path
) -> None:
    two_chunks(tmp_path)
    (tmp_path / chunk).write_bytes(data)
    seen = []

    async def see() -> None:
        async with QueueReader(tmp_path) as reader:
            async for item in reader:
                seen.append(item)

    with pytest.raises(CorruptRecord) as caught:
        await see()
    assert (caught.value.path, caught.value.offset) == (tmp_path / chunk, offset)
    assert seen == before


async def test_no_byte_behind_head_belongs_to_an_item(tmp_path: Path) -> None:
    """A record that begins before head and ends behind it was not whole when info was written."""
    write(tmp_path, [0, 1, 22], chunksize=9)
    (tmp_path / "info").write_bytes(slot(info(9, layout.START, Position(0, 3, 6))))
    async with QueueReader(tmp_path) as reader:
        records = reader.records()
        assert [(await anext(records)).item for _ in range(2)] == [0, 1]
        with pytest.raises(CorruptRecord, match="cut off at byte 4"):
            await anext(records)


async def test_a_tail_chunk_that_is_gone_was_consumed(tmp_path: Path) -> None:
    two_chunks(tmp_path)
    (tmp_path / "q00000").unlink()
    async with QueueReader(tmp_path) as reader:
        assert [item async for item in reader] == [3, 4, 5, 6]
        assert (reader.tail, reader.size) == (Position(1, 0, 0), 4)


async def test_a_tail_past_head_is_an_empty_queue(tmp_path: Path) -> None:
    two_chunks(tmp_path)
    (tmp_path / "info").write_bytes(info(3, Position(5, 0, 0), Position(2, 1, 2)))
    async with QueueReader(tmp_path) as reader:
        assert (reader.size, reader.tail, reader.head) == (0, Position(2, 1, 2), Position(2, 1, 2))
        assert [item async for item in reader] == []


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=600),
    name=st.sampled_from(["pickle", "json", "msgpack"]),
    length=st.integers(0, 60),
)
async def test_no_bytes_do_more_than_raise_a_storage_error(
    data: bytes, name: str, length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("noise")
    (folder / "q00000").write_bytes(data)
    (folder / "info").write_bytes(data if length == 0 else info(9, layout.START, Position(0, 3, length), name))
    with suppress(StorageError):
        async with QueueReader(folder) as reader:
            ends = [record.end async for record in reader.records()]
            assert len(ends) <= len(data)
            assert not ends or ends[-1].offset <= len(data)
