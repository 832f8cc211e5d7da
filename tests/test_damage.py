"""Damaged directories and what becomes of them, through the public calls: a table in English.

What opening alone heals, and what only a repair opens, is the table of tests/unit/test_recovery.py (info of some
puts ago, info empty or zeros, a chunk that is short, gone or zeros, a wrong size, ...); test_check and test_repair go
through that table too, and through the records of tests/damaged_dirs.py, as test_skip does.  Here is the rest.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncQueue, CorruptQueue, CorruptRecord, Empty, check, layout, repair, serializers
from tests.damaged_dirs import ITEMS, NAMES, no_sync
from tests.unit.queue_dirs import QueueDir, drained_by_upstream, item, make

pytestmark = pytest.mark.usefixtures(no_sync.__name__)

OPENS, REFUSED, STOPS = "opens", "CorruptQueue", "CorruptRecord"


class Fails:
    """Unpickles to an exception."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (int, ("no number",))


@dataclass(frozen=True)
class Row:
    """What is done to eleven items in chunks of three, the first one consumed; and what comes of it."""

    damage: Callable[[QueueDir], None]
    opening: str  # what a queue does: opens and drains; or the error, of opening or of a get
    kept: Callable[[QueueDir], list[int]]  # by repair
    status: str = "damaged"
    only: tuple[str, ...] = tuple(NAMES)
    at_once: tuple[int, ...] | None = None  # what a queue gets without a repair, where that is less


def all_but(*lost: int) -> Callable[[QueueDir], list[int]]:
    return lambda d: [n for n in range(1, ITEMS) if n not in lost]


def older(puts: int) -> Callable[[QueueDir], None]:
    """Info of so many puts ago."""

    def damage(d: QueueDir) -> None:
        d.write_info(head=list(d.place(ITEMS - puts)), size=ITEMS - puts - 1)

    return damage


def half_of_info(d: QueueDir) -> None:
    (d.path / "info").write_bytes(d.record[: len(d.record) // 2])


def older_than_an_unlink(d: QueueDir) -> None:
    """The chunk was consumed and removed, and the info that said so was lost."""
    d.chunk(0).unlink()


def change(number: int, new: Callable[[QueueDir, bytes], bytes]) -> Callable[[QueueDir], None]:
    """Put something in the place of a record; what follows moves."""

    def damage(d: QueueDir) -> None:
        chunk, _, offset = d.place(number)
        data = d.chunk(chunk).read_bytes()
        record = new(d, data[offset : offset + d.width])
        d.chunk(chunk).write_bytes(data[:offset] + record + data[offset + d.width :])

    return damage


def zeros_inside(d: QueueDir, record: bytes) -> bytes:
    """Six zeros; zeros in a text would only be another text."""
    start = {"pickle": len(record) - 7, "json": len(record) - 7}.get(d.name, 4)
    return record[:start] + bytes(6) + record[start + 6 :]


def length_of_4_gib(d: QueueDir, record: bytes) -> bytes:
    if d.name == "pickle":
        return record[:3] + (2**32 - 1).to_bytes(8, "little") + record[11:]
    return b"\xff\xff\xff\xff" + record[4:]


def without_its_last_frame(d: QueueDir, record: bytes) -> bytes:
    """A pickle of 200,000 bytes in three frames; the last one is missing."""
    whole = pickle.dumps(["x" * 50_000] * 1 + [f"y{n}" * 10_000 for n in range(8)], protocol=4)
    return whole[: whole.rindex(b"\x95", 0, len(whole) - 9) - 1]


def torn_number(d: QueueDir) -> None:
    """12 of 1234 and a newline."""
    d.append(3, b"12")


def consumed_chunks(d: QueueDir) -> None:
    d.write_info(tail=list(d.place(7)), size=ITEMS - 7)


def past_99999(d: QueueDir) -> None:
    """Chunks 99998 to 100001: by name, the last ones come first."""
    for number in range(4):
        d.chunk(number).rename(d.path / layout.chunk_name(99_998 + number))
    d.write_info(tail=[99_998, 1, d.width], head=[100_001, 2, 2 * d.width])


def past_99999_without_info(d: QueueDir) -> None:
    past_99999(d)
    (d.path / "info").unlink()


def two_protocols(d: QueueDir) -> None:
    """As after a queue of Python 2: protocol 0, 2 and 4 in one chunk."""
    records = [pickle.dumps(item(n), protocol=p) for n, p in ((3, 2), (4, 0), (5, 4))]
    d.chunk(1).write_bytes(b"".join(records))


def two_protocols_and_damage(d: QueueDir) -> None:
    two_protocols(d)
    data = d.chunk(1).read_bytes()
    d.chunk(1).write_bytes(data.replace(b"Vitem 00004", b"Xitem 00004"))


TABLE: Final[dict[str, Row]] = {
    "info is cut to a half": Row(half_of_info, REFUSED, lambda d: list(range(ITEMS))),
    "info is from one put ago": Row(older(1), OPENS, all_but(), "healable"),
    "info is from before a rollover": Row(older(4), OPENS, all_but(), "healable"),
    "info is from before two rollovers": Row(older(7), OPENS, all_but(), "healable"),
    "info is from before an unlink": Row(older_than_an_unlink, OPENS, all_but(1, 2), "healable"),
    "consumed chunks are there": Row(consumed_chunks, OPENS, all_but(*range(1, 7)), "healable"),
    "chunk numbers past 99999": Row(past_99999, OPENS, all_but(), "clean"),
    "chunk numbers past 99999, and no info": Row(past_99999_without_info, REFUSED, lambda d: list(range(ITEMS))),
    "zeros in the middle of a record": Row(change(4, zeros_inside), STOPS, all_but(4)),
    "a record is missing": Row(change(4, lambda d, record: b""), STOPS, all_but(4)),
    "a length of 4 GiB": Row(change(4, length_of_4_gib), STOPS, all_but(4), only=("pickle", "msgpack", "cbor2")),
    "a length of 4 GiB in the last record": Row(
        change(10, length_of_4_gib), STOPS, all_but(10), only=("pickle", "msgpack", "cbor2")
    ),
    "a torn number behind the last line": Row(torn_number, OPENS, all_but(), "healable", only=("json",)),
    "a pickle whose last frame is missing": Row(change(4, without_its_last_frame), STOPS, all_but(4), only=("pickle",)),
    "pickles of several protocols": Row(two_protocols, OPENS, all_but(), "clean", only=("pickle",)),
    "pickles of several protocols, one damaged": Row(two_protocols_and_damage, STOPS, all_but(4), only=("pickle",)),
}
ROWS: Final = [pytest.param(title, name, id=f"{title}-{name}") for title, row in TABLE.items() for name in row.only]


def damaged(title: str, name: str, folder: Path) -> QueueDir:
    d = make(folder / "queue", name, items=ITEMS, consumed=1)
    TABLE[title].damage(d)
    return d


async def drained(path: Path, **options: Any) -> list[Any]:
    items = []
    async with AsyncQueue(path, **options) as queue:
        while True:
            try:
                items.append(await queue.get_nowait())
            except Empty:
                return items
            await queue.task_done()


@pytest.mark.parametrize(("title", "name"), ROWS)
async def test_what_opening_does(title: str, name: str, tmp_path: Path) -> None:
    row, d = TABLE[title], damaged(title, name, tmp_path)
    report = await check(d.path, serializer=name)
    assert (report.status, report.items) == (row.status, len(row.kept(d)))
    if row.opening == REFUSED:
        with pytest.raises(CorruptQueue):
            await drained(d.path, serializer=name)
    elif row.opening == STOPS:
        with pytest.raises(CorruptRecord):
            await drained(d.path)
    else:
        assert await drained(d.path) == [item(n) for n in row.kept(d)]


@pytest.mark.parametrize(("title", "name"), ROWS)
async def test_what_repair_keeps(title: str, name: str, tmp_path: Path) -> None:
    row, d = TABLE[title], damaged(title, name, tmp_path)
    kept = [item(n) for n in row.kept(d)]
    report = await repair(d.path, serializer=name)
    assert (report.kept, bool(report)) == (len(kept), row.status != "clean")
    assert (await check(d.path)).status == "clean"
    assert drained_by_upstream(d.path, name, tmp_path / "copy") == kept
    assert await drained(d.path) == kept


@pytest.mark.parametrize(("title", "name"), [p for p in ROWS if TABLE[str(p.values[0])].opening != REFUSED])
async def test_what_skip_delivers(title: str, name: str, tmp_path: Path) -> None:
    row, d = TABLE[title], damaged(title, name, tmp_path)
    assert await drained(d.path, on_corrupt="skip") == [item(n) for n in row.kept(d)]


async def test_an_item_that_fails_to_unpickle_stops_and_is_skipped(tmp_path: Path) -> None:
    """Check and repair run no pickle, so its record is whole to them: only a get can tell."""
    d = make(tmp_path, "pickle", items=ITEMS, consumed=1)
    change(4, lambda d, record: serializers.pickle.encode(Fails()))(d)
    assert (await check(tmp_path)).status == "clean"
    assert not await repair(tmp_path)
    with pytest.raises(CorruptRecord, match="no number"):
        await drained(tmp_path)
    assert await drained(tmp_path, on_corrupt="skip") == [item(n) for n in range(5, ITEMS)]


async def test_a_pickle_that_asks_for_memory_without_end_is_damaged(tmp_path: Path) -> None:
    """It stores at an index of four thousand millions: the unpickler raises MemoryError."""
    d = make(tmp_path, "pickle", items=ITEMS, consumed=1)
    hostile = b"Nr\xff\xff\xff\xff."
    change(4, lambda d, record: b"\x80\x04\x95" + len(hostile).to_bytes(8, "little") + hostile)(d)
    assert (await check(tmp_path)).damage[0].offset == d.width
    with pytest.raises(CorruptRecord):
        await drained(tmp_path)
    assert await drained(tmp_path, on_corrupt="skip") == [item(n) for n in range(5, ITEMS)]
