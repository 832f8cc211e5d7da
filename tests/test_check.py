"""`check`: reads all, says what is there, and leaves no trace."""

import os
import pickle
import stat
from pathlib import Path
from typing import Any

import pytest

from asyncpq import AsyncQueue, CorruptRecord, Damage, NotAQueue, QueueLocked, WrongSerializer, check, repair
from asyncpq.layout import Position
from tests.damaged_dirs import ITEMS, KINDS, NAMES, PLACES, damage, no_sync
from tests.golden_dirs import GOLDEN, Golden
from tests.unit.queue_dirs import CHUNKSIZE, make, tree
from tests.unit.test_recovery import CASES, UNCHANGED, damaged


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """All that could have been changed, times of access too."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        facts = path.lstat()
        times = facts.st_atime_ns, facts.st_mtime_ns, facts.st_ctime_ns
        found[str(path)] = (facts.st_ino, facts.st_mode, facts.st_size, *times)
    return found


pytestmark = pytest.mark.usefixtures(no_sync.__name__)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_closed_queue_is_clean(name: str, tmp_path: Path) -> None:
    made = make(tmp_path, name)
    report = await check(tmp_path)
    assert (report.status, report.serializer, report.chunksize, report.size, report.items) == ("clean", name, 3, 7, 7)
    assert (report.tail, report.head, report.closed) == (made.tail, made.head, True)
    assert (report.damage, report.heals, report.refusal, report.lost) == ((), (), None, 0)
    assert (report.chunks, report.bytes_on_disk) == (3, len(made.record) + 8 * made.width)


@pytest.mark.parametrize("golden", GOLDEN, ids=str)
async def test_what_releases_wrote_is_clean_or_heals_by_itself(golden: Golden, tmp_path: Path) -> None:
    path = golden.copy(tmp_path)
    before = state(path)
    report = await check(path, serializer=None if golden.tells_serializer else golden.serializer)
    assert report.status == ("healable" if golden.has_to_be_healed else "clean")
    assert report.items == len(golden.items)
    assert state(path) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", PLACES, ids=str)
async def test_every_damaged_byte_is_found(numbers: list[int], kind: str, name: str, tmp_path: Path) -> None:
    d = make(tmp_path, name, items=ITEMS, consumed=0)
    left, lying = damage(d, numbers, kind)
    before = state(tmp_path)
    report = await check(tmp_path)
    assert (report.status, report.items, report.size) == ("damaged", len(left), ITEMS)
    assert report.lost == ITEMS - len(left)
    assert lying == b"".join(
        (tmp_path / found.file).read_bytes()[found.offset :][: found.length] for found in report.damage
    )
    assert state(tmp_path) == before


@pytest.mark.parametrize("title", [t for t in CASES if t not in UNCHANGED])
async def test_check_says_what_opening_would_do(title: str, name: str, tmp_path: Path) -> None:
    """The table of test_recovery, looked at."""
    case = CASES[title]
    made = damaged(case, name, tmp_path)
    before = state(made.path)
    report = await check(made.path, serializer=name if case.given else None)
    assert state(made.path) == before
    assert report.status == ("damaged" if case.healed.repair else "healable")
    assert (report.refusal is not None) == case.healed.repair
    assert report.items == len(case.healed.items)
    if report.chunksize == CHUNKSIZE:  # else guessed: info is gone, and no two chunks are alike
        assert report.lost == case.healed.lost
    assert report.heals
    assert [found.file for found in report.damage][:1] == ["info"] * case.healed.repair


async def test_records_that_nobody_would_read_are_damage(name: str, tmp_path: Path) -> None:
    """A cancelled put of persist-queue's AsyncQueue leaves one more record in a chunk."""
    made = make(tmp_path, name)
    made.append(0, made.encoded(99))
    report = await check(tmp_path)
    assert (report.status, report.items, report.lost) == ("damaged", 8, 0)
    assert [(found.file, found.offset, found.length) for found in report.damage] == [
        ("q00000", 3 * made.width, made.width)
    ]


async def test_a_short_chunk_is_damage_without_a_byte(name: str, tmp_path: Path) -> None:
    made = make(tmp_path, name)
    made.chunk(1).write_bytes(made.encoded(3))
    report = await check(tmp_path)
    assert (report.status, report.items, report.lost) == ("damaged", 5, 2)
    (found,) = report.damage
    assert found == Damage("q00001", made.width, 0, found.why)
    assert "3 records were to be read here, and there are 1" in found.why


async def test_a_pickle_that_cannot_be_text_is_found_without_running_it(tmp_path: Path) -> None:
    made = make(tmp_path, "pickle")
    data = bytearray(made.chunk(1).read_bytes())
    data[data.index(b"item")] = 0xFF
    made.chunk(1).write_bytes(data)
    report = await check(tmp_path)
    assert (report.status, report.items, report.damage[0].offset) == ("damaged", 6, 0)
    async with AsyncQueue(tmp_path) as queue:
        await queue.get()
        await queue.get()
        with pytest.raises(CorruptRecord):
            await queue.get()


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch exploded",))


@pytest.mark.parametrize("where", ["info", "q00001", "q00002", "q00003"])
async def test_nothing_runs(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "queue", "pickle")
    (tmp_path / "queue" / where).write_bytes(pickle.dumps(Bomb()))
    await check("queue")
    await repair("queue", dry_run=True)
    await repair("queue")
    await check("queue")
    assert not Path("exploded").exists()


async def test_an_item_of_a_class_is_whole(tmp_path: Path) -> None:
    """Whether the class is there nobody can tell without importing it."""
    async with AsyncQueue(tmp_path) as queue:
        await queue.put(stat.S_ISDIR)
        await queue.put({tuple(range(2000)): "a key of more parts than a check hashes"})
    report = await check(tmp_path)
    assert (report.status, report.items) == ("clean", 2)


async def test_holes_in_a_copy_are_no_damage(tmp_path: Path) -> None:
    """`cp --sparse=always` turns zeros in an item into a hole."""
    async with AsyncQueue(tmp_path, chunksize=2) as queue:
        for _ in range(3):
            await queue.put(bytes(64 * 1024))
    for chunk in tmp_path.glob("q*"):
        data = chunk.read_bytes()
        with chunk.open("wb") as file:
            for at in range(0, len(data), 4096):
                if data[at : at + 4096].count(0) < 4096:
                    file.seek(at)
                    file.write(data[at : at + 4096])
            file.truncate(len(data))
        assert chunk.read_bytes() == data
    report = await check(tmp_path)
    assert (report.status, report.items) == ("clean", 3)
    assert not await repair(tmp_path)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell who has a lock")
async def test_check_looks_at_an_open_queue_and_says_so(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path) as queue:
        await queue.put("an item")
        report = await check(tmp_path)
        assert (report.open_elsewhere, report.closed, report.items) == (True, False, 1)
        assert report.status == "clean"
        await queue.put("another")
        with pytest.raises(QueueLocked):
            await repair(tmp_path)
        with pytest.raises(QueueLocked):
            await repair(tmp_path, dry_run=True)
    assert (await check(tmp_path)).open_elsewhere is False


async def test_check_needs_no_right_to_write(name: str, tmp_path: Path) -> None:
    made = make(tmp_path, name)
    for path in tmp_path.iterdir():
        path.chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert (await check(made.path)).status == "clean"
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("call", [check, repair])
async def test_what_is_no_queue_is_refused_and_nothing_is_made(call: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "README").touch()
    for wrong, why in [("missing", "no such directory"), ("file", "not a directory"), ("folder", "neither info")]:
        with pytest.raises(NotAQueue, match=why):
            await call(tmp_path / wrong)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["README", "file", "folder"]


@pytest.mark.parametrize("call", [check, repair])
async def test_another_serializer_is_refused(call: Any, name: str, tmp_path: Path) -> None:
    make(tmp_path, name)
    before = tree(tmp_path)
    for other in set(NAMES) - {name}:
        with pytest.raises(WrongSerializer):
            await call(tmp_path, serializer=other)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("call", [check, repair])
async def test_a_pipe_for_a_chunk_is_refused(call: Any, tmp_path: Path) -> None:
    made = make(tmp_path, "json")
    made.chunk(1).unlink()
    os.mkfifo(made.chunk(1))
    with pytest.raises(NotAQueue, match="q00001: is no regular file"):
        await call(tmp_path)


async def test_a_queue_that_was_never_put_to_is_clean(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path):
        pass
    report = await check(tmp_path)
    assert (report.status, report.size, report.items, report.tail) == ("clean", None, 0, Position(0, 0, 0))
    assert not await repair(tmp_path)
