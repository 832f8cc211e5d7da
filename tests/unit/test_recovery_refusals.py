"""What opening refuses, and which serializer it takes: nothing is changed, and nothing in a file runs."""

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from asyncpq import serializers
from asyncpq.errors import CorruptQueue, NotAQueue, WrongSerializer
from asyncpq.files import OSFiles
from tests.golden_dirs import GOLDEN, Golden
from tests.unit.queue_dirs import ITEMS, item, make, opened, read_back, tree
from tests.unit.test_recovery import Writeless

NAMES = ["pickle", "json", "msgpack", "cbor2"]


class Lengths:
    """A serializer of a user's own: a length and text."""

    __name__ = "lengths"

    @staticmethod
    def dump(value: Any, fp: Any) -> None:
        data = repr(value).encode()
        fp.write(b"L%08d" % len(data) + data)

    @staticmethod
    def load(fp: Any) -> Any:
        head = fp.read(9)
        if head[:1] != b"L":
            raise ValueError("no length")
        data = fp.read(int(head[1:]))
        if len(data) < int(head[1:]):
            raise EOFError
        return eval(data)


def written_with(module: Any, folder: Path) -> serializers.Serializer:
    """A directory of five items, written with any serializer."""
    serializer = serializers.get(module)
    records = [serializer.encode(item(n)) for n in range(5)]
    (folder / "q00000").write_bytes(b"".join(records[:3]))
    (folder / "q00001").write_bytes(b"".join(records[3:]))
    head = [1, 2, 2 * len(records[0])]
    fields = {"chunksize": 3, "size": 5, "tail": [0, 0, 0], "head": head}
    (folder / "info").write_bytes(serializer.encode(fields))
    return serializer


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
def test_golden_directory_opens(golden: Golden, tmp_path: Path) -> None:
    path = golden.copy(tmp_path)
    found = opened(path, chunksize=golden.chunksize)
    assert golden.serializer == found.serializer.NAME or not golden.tells_serializer
    assert (found.size, found.tail) == (golden.size + golden.adopted, golden.tail)
    assert found.report.adopted == golden.adopted
    assert all(isinstance(key, str) for key in found.fields)
    assert golden.strays <= set(tree(path))
    assert not opened(path, Writeless()).report


@pytest.mark.parametrize("given", NAMES)
@pytest.mark.parametrize("written", NAMES)
def test_wrong_serializer_is_refused(written: str, given: str, tmp_path: Path) -> None:
    made = make(tmp_path, written)
    if given == written:
        assert opened(tmp_path, serializer=serializers.get(given)).size == ITEMS - 1
        return
    before = tree(tmp_path)
    for repair in (False, True):
        with pytest.raises(WrongSerializer) as caught:
            opened(made.path, serializer=serializers.get(given), repair=repair)
        assert (caught.value.given, caught.value.found) == (given, written)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("written", NAMES)
def test_repair_refuses_a_serializer_that_reads_nothing(written: str, tmp_path: Path) -> None:
    """What it cannot read would be set aside: all there is."""
    made = make(tmp_path, written)
    (tmp_path / "info").write_bytes(b"once upon a time")
    before = tree(tmp_path)
    for given in set(NAMES) - {written}:
        with pytest.raises(WrongSerializer):
            opened(made.path, serializer=serializers.get(given), repair=True)
    assert tree(tmp_path) == before


def test_orjson_reads_what_json_wrote(tmp_path: Path) -> None:
    make(tmp_path, "json")
    assert opened(tmp_path, serializer=serializers.get("orjson")).serializer.NAME == "orjson"
    assert opened(tmp_path).serializer.NAME == "json"


def test_serializer_of_the_users_own_is_tried(tmp_path: Path) -> None:
    own = written_with(Lengths, tmp_path)
    found = opened(tmp_path, Writeless(), serializer=own)
    assert read_back(tmp_path, found) == [item(n) for n in range(5)]
    assert found.self_delimiting


def test_serializer_of_the_users_own_is_never_guessed(tmp_path: Path) -> None:
    written_with(Lengths, tmp_path)
    before = tree(tmp_path)
    with pytest.raises(CorruptQueue, match="known serializers"):
        opened(tmp_path)
    with pytest.raises(WrongSerializer):
        opened(tmp_path, repair=True)
    assert tree(tmp_path) == before


def test_torn_record_of_an_own_serializer_is_set_aside(tmp_path: Path) -> None:
    """Nothing is known of where its records begin, so nothing can be said of what lies behind damage."""
    own = written_with(Lengths, tmp_path)
    with (tmp_path / "q00001").open("ab") as file:
        file.write(own.encode(item(9))[:12])
    found = opened(tmp_path, serializer=own)
    assert (found.size, found.report.cut, len(found.report.set_aside)) == (5, 0, 1)


@pytest.mark.parametrize("what", ["link", "directory", "pipe"])
@pytest.mark.parametrize("name", ["info", "q00002"])
def test_only_regular_files_are_opened(name: str, what: str, tmp_path: Path) -> None:
    """A link can lead anywhere, and opening a pipe can wait for ever."""
    make(tmp_path / "queue", "json")
    (tmp_path / "queue" / name).rename(tmp_path / "moved")
    target = tmp_path / "queue" / name
    if what == "link":
        target.symlink_to(tmp_path / "moved")
    elif what == "directory":
        target.mkdir()
    else:
        os.mkfifo(target)
    with pytest.raises(NotAQueue, match=f"{name}: is no regular file"):
        opened(tmp_path / "queue")


@pytest.mark.parametrize("what", ["link", "file"])
def test_damaged_is_a_directory_of_its_own(what: str, tmp_path: Path) -> None:
    made = make(tmp_path / "queue", "json")
    made.append(4, made.encoded(9))
    (tmp_path / "elsewhere").mkdir()
    if what == "link":
        (made.path / "damaged").symlink_to(tmp_path / "elsewhere")
    else:
        (made.path / "damaged").write_bytes(b"")
    with pytest.raises(NotAQueue, match="damaged"):
        opened(made.path)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert made.chunk(4).exists()


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch exploded",))


@pytest.mark.parametrize("where", ["info", "q00002", "q00003"])
def test_nothing_in_a_file_runs(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "queue", "pickle")
    file = tmp_path / "queue" / where
    file.write_bytes((file.read_bytes() if where == "q00002" else b"") + pickle.dumps(Bomb()))
    for repair in (False, True):
        try:
            opened(tmp_path / "queue", repair=repair)
        except CorruptQueue:
            assert where == "info"
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"chunksize": 3, "size": 0, "tail": [0, 0, 0]},
        {"chunksize": 3, "size": 0, "tail": [0, 0, 0], "head": [0, 0, -1]},
        {"chunksize": 3, "size": 0, "tail": [0, 0, 0], "head": [10**18, 0, 0]},
        {"chunksize": 3, "size": 0, "tail": [0, 0, 0], "head": "head"},
        {"chunksize": 0, "size": 0, "tail": [0, 0, 0], "head": [2, 0, 0]},
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_info_that_cannot_be_one_is_corrupt(name: str, fields: dict[str, Any], tmp_path: Path) -> None:
    make(tmp_path, name)
    (tmp_path / "info").write_bytes(serializers.get(name).encode(fields))
    with pytest.raises(CorruptQueue):
        opened(tmp_path)
    found = opened(tmp_path, repair=True)
    assert [item(n) for n in range(ITEMS)] == read_back(tmp_path, found)


def test_info_of_another_size_than_memory_is_not_read_whole(tmp_path: Path) -> None:
    make(tmp_path, "json")
    with (tmp_path / "info").open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(CorruptQueue, match="more than"):
        opened(tmp_path)


def test_full_disk_while_setting_aside_leaves_the_queue_as_it_was(tmp_path: Path) -> None:
    class Full(OSFiles):
        def create(self, dirfd: int, name: str, mode: int = 0o666) -> int:
            fd = super().create(dirfd, name, mode)
            self.pwrite = self.no_room  # type: ignore[assignment]
            return fd

        def no_room(self, fd: int, data: bytes, offset: int, /) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    made = make(tmp_path, "json")
    made.append(2, b"\xff\xff\n", made.encoded(9))
    chunks = {name: data for name, data in tree(tmp_path).items() if name != "info"}
    with pytest.raises(OSError, match="No space"):
        opened(tmp_path, Full())
    after = tree(tmp_path)
    assert {name: after[name] for name in chunks} == chunks
    assert list((tmp_path / "damaged").iterdir()) == []
    assert opened(tmp_path).report.set_aside


def test_chunksize_is_what_most_full_chunks_hold(tmp_path: Path) -> None:
    """With info gone, the argument cannot know better than the files."""
    make(tmp_path, "json")
    (tmp_path / "info").unlink()
    found = opened(tmp_path, chunksize=100, repair=True)
    assert (found.chunksize, found.head[:2], found.size) == (3, (2, 2), ITEMS)


def test_chunksize_is_the_argument_where_one_chunk_tells_nothing(tmp_path: Path) -> None:
    make(tmp_path, "json", items=2)
    (tmp_path / "info").write_bytes(b"")
    found = opened(tmp_path, chunksize=100, repair=True)
    assert (found.chunksize, found.head[:2], found.size) == (100, (0, 2), 2)


def test_missing_rights_name_the_file(tmp_path: Path) -> None:
    class Refusing(Writeless):
        def open_read(self, dirfd: int, name: str) -> int:
            raise PermissionError(13, "Permission denied", name)

    make(tmp_path, "json")
    with pytest.raises(PermissionError) as caught:
        opened(tmp_path, Refusing())
    assert caught.value.filename == str(tmp_path / "info")
