"""`repair`: the directory opens, every record that can be read is there, and what cannot lies in damaged/."""

import asyncio
import errno
import itertools
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncQueue, CorruptQueue, Empty, check, fsync, opening, repair, repairing, serializers
from asyncpq.files import OSFiles
from asyncpq.layout import Position
from tests.damaged_dirs import ITEMS, KINDS, NAMES, PLACES, damage, no_sync, set_aside
from tests.unit.queue_dirs import QueueDir, drained_by_upstream, item, make, opened, read_back, tree
from tests.unit.test_recovery import CASES, UNCHANGED, Died, Dying, Writeless, damaged

pytestmark = pytest.mark.usefixtures(no_sync.__name__)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def drained(path: Path, **options: Any) -> list[Any]:
    """What a queue gets from *path*, each done before the next."""
    items = []
    async with AsyncQueue(path, fsync="never", **options) as queue:
        with suppress(Empty):
            while True:
                items.append(await queue.get_nowait())
                await queue.task_done()
    return items


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", PLACES, ids=str)
async def test_what_can_be_read_is_kept_in_order(numbers: list[int], kind: str, name: str, tmp_path: Path) -> None:
    d = make(tmp_path / "queue", name, items=ITEMS, consumed=0)
    left, lying = damage(d, numbers, kind)
    before = tree(d.path)
    foretold = await repair(d.path, dry_run=True)
    assert tree(d.path) == before

    report = await repair(d.path)

    assert set_aside(d.path) == lying
    assert (report.kept, report.lost, report.adopted) == (len(left), ITEMS - len(left), 0)
    for fact in ("serializer", "chunksize", "kept", "lost", "adopted", "set_aside", "cut", "removed", "actions"):
        assert getattr(foretold, fact) == getattr(report, fact), fact
    healed = tree(d.path)
    assert not await repair(d.path)
    assert tree(d.path) == healed
    found = await check(d.path)
    assert (found.status, found.closed, found.size, found.items) == ("clean", True, len(left), len(left))
    assert drained_by_upstream(d.path, name, tmp_path / "copy") == left
    assert await drained(d.path) == left


# Opening sets the last one aside: a chunk has no room for it.
TAKEN_IN: Final = {"more records in a chunk than it holds": range(1, 10)}


@pytest.mark.parametrize("title", [t for t in CASES if t not in UNCHANGED])
async def test_the_table_of_opening_is_repaired_alike(title: str, name: str, tmp_path: Path) -> None:
    """The rows of test_recovery; `AsyncQueue(path, repair=True)` comes to the same files, but for the slot."""
    case = CASES[title]
    made, twin = (damaged(case, name, tmp_path / folder) for folder in ("one", "two"))
    given = name if case.given else None
    foretold = await repair(made.path, serializer=given, dry_run=True)
    report = await repair(made.path, serializer=given)
    assert (report.kept, report.lost, report.cut) == (foretold.kept, foretold.lost, foretold.cut)
    assert (report.actions, report.removed) == (foretold.actions, foretold.removed)
    assert (await check(made.path, serializer=given)).status == "clean"
    async with AsyncQueue(twin.path, repair=True, serializer=given, chunksize=100):
        pass
    assert tree(twin.path) == tree(made.path)
    assert not await repair(made.path, serializer=given)
    kept = TAKEN_IN.get(title, case.healed.items)
    assert await drained(made.path, serializer=given) == [item(n) for n in kept]


SCENES: Final[dict[str, tuple[list[int], str, int]]] = {  # damaged records, how, and items consumed
    "a record in a full chunk": ([4], "the body", 0),
    "a record of the tail chunk": ([1], "the body", 1),
    "the last record": ([10], "the body", 1),
    "a whole chunk, and another record": ([3, 4, 5, 7], "the body", 1),
}


def scene(title: str, name: str, folder: Path) -> tuple[QueueDir, list[str]]:
    numbers, kind, consumed = SCENES[title]
    d = make(folder, name, items=ITEMS, consumed=consumed)
    left, _ = damage(d, numbers, kind)
    return d, left[consumed:]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("title", SCENES)
async def test_cut_anywhere_it_can_be_done_again(title: str, links: bool, tmp_path: Path) -> None:
    """The process dies before the n-th call that changes anything; then a queue opens, and another one repairs."""

    class Cut(Dying):
        def link(self, dirfd: int, old: str, new: str) -> None:
            if not links:
                raise OSError(errno.EPERM, "no links here")
            super().link(dirfd, old, new)

    for number, name in zip(itertools.count(1), itertools.cycle(["json", "msgpack", "pickle"])):
        d, left = scene(title, name, tmp_path / str(number))
        try:
            opened(d.path, Cut(number), repair=True)
        except Died:
            assert await drained(d.path, on_corrupt="skip") == left
        else:
            break
        d, left = scene(title, name, tmp_path / f"{number} again")
        with pytest.raises(Died):
            opened(d.path, Cut(number), repair=True)
        await repair(d.path)
        assert (await check(d.path)).status == "clean"
        assert drained_by_upstream(d.path, name, tmp_path / f"{number} copy") == left
        assert await drained(d.path) == left
    assert number > 10


@pytest.mark.parametrize("title", SCENES)
async def test_a_full_disk_leaves_the_queue_as_it_was(title: str, tmp_path: Path) -> None:
    class Full(OSFiles):
        left = 0

        def __init__(self) -> None:
            self.pwrite = self.write  # type: ignore[assignment]

        def write(self, fd: int, data: bytes, offset: int, /) -> int:
            Full.left -= 1
            if Full.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return os.pwrite(fd, data, offset)

    for number in itertools.count():
        d, left = scene(title, "json", tmp_path / str(number))
        chunks = {file: data for file, data in tree(d.path).items() if file.startswith("q")}
        Full.left = number
        try:
            opened(d.path, Full(), repair=True)
        except OSError:
            assert {file: data for file, data in tree(d.path).items() if file.startswith("q")} == chunks
        else:
            break
        assert (await repair(d.path)).kept == len(left)
    assert number > 2


async def test_chunks_before_the_damage_are_not_copied(name: str, tmp_path: Path) -> None:
    d = make(tmp_path, name, items=ITEMS, consumed=1)
    damage(d, [7], "the body")
    before = [d.chunk(n).stat().st_ino for n in (0, 1)]
    await repair(tmp_path)
    tail = (await check(tmp_path)).tail
    assert [d.chunk(tail.chunk + n).stat().st_ino for n in (0, 1)] == before
    assert tail == Position(tail.chunk, 1, d.width)


async def test_a_record_too_many_is_taken_in_where_it_lies(name: str, tmp_path: Path) -> None:
    """A cancelled put of persist-queue's AsyncQueue leaves one, and the last of its chunk becomes unreachable."""
    d = make(tmp_path, name, items=ITEMS, consumed=0)
    d.append(0, d.encoded(99))
    report = await repair(tmp_path)
    assert (report.kept, report.adopted, report.lost, report.set_aside) == (ITEMS + 1, 1, 0, ())
    assert await drained(tmp_path) == [item(n) for n in (0, 1, 2, 99, *range(3, ITEMS))]


@pytest.mark.parametrize("records", [0, 1])
async def test_a_short_chunk_leaves_nobody_stuck(records: int, name: str, tmp_path: Path) -> None:
    d = make(tmp_path / "queue", name, items=ITEMS, consumed=0)
    d.chunk(1).write_bytes(d.encoded(3) * records)
    report = await repair(d.path)
    left = [item(n) for n in range(ITEMS) if n not in range(3 + records, 6)]
    assert (report.kept, report.lost) == (len(left), 3 - records)
    assert drained_by_upstream(d.path, name, tmp_path / "copy") == left
    async with AsyncQueue(d.path) as queue:
        await queue.put("one more")
        assert [await queue.get() for _ in range(len(left) + 1)] == [*left, "one more"]


async def test_a_queue_without_chunks_that_fill_is_repaired(name: str, tmp_path: Path) -> None:
    d = make(tmp_path, name, items=2, consumed=0)
    d.append(0, *(d.encoded(n) for n in range(2, 7)))
    d.write_info(chunksize=0, size=7, head=[0, 7, 7 * d.width])
    data = bytearray(d.chunk(0).read_bytes())
    data[5 * d.width - 5 : 5 * d.width - 3] = b"\xff\xff"
    d.chunk(0).write_bytes(data)
    assert (await repair(tmp_path)).chunksize == 0
    assert await drained(tmp_path) == [item(n) for n in (0, 1, 2, 3, 5, 6)]


async def test_a_long_info_is_replaced(name: str, tmp_path: Path) -> None:
    d = make(tmp_path, name, items=ITEMS, consumed=0)
    d.write_info(note="x" * 500)
    damage(d, [4], "the body")
    await repair(tmp_path)
    assert (await check(tmp_path)).status == "clean"
    assert b"x" * 500 in (tmp_path / "info").read_bytes()


async def test_nothing_is_written_where_nothing_is_wrong(name: str, tmp_path: Path) -> None:
    d = make(tmp_path, name, items=ITEMS)
    d.write_info(("interval", 4))  # killed: the slot stays, too
    opened(d.path, Writeless(), repair=True)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert not await repair(tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


async def test_strangers_stay(name: str, tmp_path: Path) -> None:
    d = make(tmp_path, name, items=ITEMS, consumed=0)
    damage(d, [4], "the body")
    (tmp_path / "q1").write_bytes(b"no chunk: four digits are missing")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read me").write_bytes(b"mine")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / f"q00001.{d.width}").write_bytes(b"from an earlier time")
    report = await repair(tmp_path)
    found = tree(tmp_path)
    assert found["q1"] == b"no chunk: four digits are missing"
    assert found["notes/read me"] == b"mine"
    assert found[f"damaged/q00001.{d.width}"] == b"from an earlier time"
    assert report.set_aside == (f"q00001.{d.width}.1",)


async def test_a_repair_that_is_cancelled_goes_on_and_frees_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = make(tmp_path, "json", items=ITEMS, consumed=0)
    left, _ = damage(d, [4], "the body")
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    real = opening.open_files

    def slow(*args: Any, **options: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(20)
        return real(*args, **options)

    monkeypatch.setattr(repairing, "open_files", slow)
    task = asyncio.create_task(repair(tmp_path))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    for _ in range(200):
        await asyncio.sleep(0.02)
        if (await check(tmp_path)).status == "clean":
            break
    assert await drained(tmp_path) == left


async def test_what_only_a_repair_opens_says_so(tmp_path: Path) -> None:
    make(tmp_path, "json")
    (tmp_path / "info").unlink()
    with pytest.raises(CorruptQueue, match=r"asyncpq\.check.*asyncpq\.repair.*repair=True"):
        async with AsyncQueue(tmp_path):
            pass


# -- a directory that a group shares -------------------------------------------------------------------------


def modes(path: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for file in path.iterdir():
        facts = file.stat()
        if stat.S_ISREG(facts.st_mode):
            found[file.name] = (stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid)
    return found


def shared(path: Path) -> tuple[int, int, int]:
    """Give all files a mode and, where this user may, an owner that new files would not get."""
    ids = (1234, 2345) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    for file in path.iterdir():
        os.chown(file, *ids)
        file.chmod(0o664)
    return (0o664, *ids)


async def test_repair_keeps_mode_and_owner(name: str, tmp_path: Path) -> None:
    d = make(tmp_path, name, items=ITEMS, consumed=0)
    damage(d, [1], "the body")
    d.write_info(note="x" * 500)  # replaced by rename
    facts = shared(tmp_path)
    await repair(tmp_path)
    assert set(modes(tmp_path).values()) == {facts}


@pytest.mark.parametrize("note", ["", "x" * 500], ids=["slot", "rename"])
async def test_a_queue_keeps_mode_and_owner_of_info(note: str, name: str, tmp_path: Path) -> None:
    """persist-queue gives info the mode 0600 with every save, and locks its group out."""
    d = make(tmp_path, name, items=ITEMS, consumed=0)
    d.write_info(note=note)
    d.append(3, d.encoded(11))  # healed
    facts = shared(tmp_path)
    async with AsyncQueue(tmp_path) as queue:
        await queue.put("one more")
        await queue.get()
        await queue.task_done()
    assert modes(tmp_path)["info"] == facts


def test_same_records_under_every_policy(tmp_path: Path) -> None:
    """The mark of a repaired info counts as the policy's: nothing lies behind it."""
    for policy in ("never", "rollover", "interval", "always"):
        d = make(tmp_path / policy, "json", items=ITEMS, consumed=0)
        left, _ = damage(d, [4], "the body")
        found = opened(d.path, repair=True, policy=fsync.get(policy))
        assert read_back(d.path, found) == left
        again = opened(d.path, Writeless(), policy=fsync.get(policy))
        assert (again.tail, again.head, again.size) == (found.tail, found.head, found.size)
        assert serializers.get("json").info_loads((d.path / "info").read_bytes())["size"] == len(left)
