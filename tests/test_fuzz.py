"""Bytes flipped, cut and zeroed anywhere: right data or a documented error; never a hang, nor anything else.

Each case has a seed, which its failure names.  A record that was touched may decode to something else, since the format
has no checksums; the others must come, in order, as long as info was left alone.
"""

import asyncio
import pickle
import random
import shutil
import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import (
    AsyncQueue,
    CorruptQueue,
    CorruptRecord,
    Empty,
    StorageError,
    WrongSerializer,
    check,
    fsync,
    layout,
    repair,
    serializers,
)
from asyncpq.layout import Mark, Position, chunk_name
from tests.damaged_dirs import NAMES, no_sync
from tests.golden_dirs import listed

CHUNKSIZE: Final = 3
SECONDS: Final = 20  # for one case
MEMORY: Final = 4 * 1024 * 1024  # bytes; the directories have a few KiB, and a length can claim 4 GiB
QUICK: Final = 60  # cases of each serializer
SOAK: Final = 5000

pytestmark = [pytest.mark.usefixtures(no_sync.__name__), pytest.mark.no_debug]


@dataclass
class Fuzzed:
    """A directory before and after."""

    path: Path
    name: str
    records: list[bytes]
    consumed: int
    touched: set[int] = field(default_factory=set)  # records
    info: bool = False  # touched

    def place(self, number: int) -> Position:
        chunk, count = divmod(number, CHUNKSIZE)
        return Position(chunk, count, sum(map(len, self.records[chunk * CHUNKSIZE : number])))

    @property
    def sure(self) -> list[Any]:
        """What must come: no byte of it was touched, nor of a record before it in its chunk that names its length."""
        decode = serializers.get(self.name).loads
        left = []
        for number in range(self.consumed, len(self.records)):
            if number not in self.touched and not (number % CHUNKSIZE and number - 1 in self.touched):
                left.append(listed(decode(self.records[number])))
        return left


def some_item(rng: random.Random) -> Any:
    text = "".join(rng.choices("abcxyz é€", k=rng.randrange(1, 30)))
    return rng.choice(
        [text, {"id": text, "n": rng.randrange(1 << 40)}, [text, None, True, rng.random()], 10**9 + len(text)]
    )


def build(folder: Path, name: str, rng: random.Random) -> Fuzzed:
    folder.mkdir(parents=True)
    serializer = serializers.get(name)
    records = [serializer.encode(some_item(rng)) for _ in range(rng.randrange(1, 12))]
    made = Fuzzed(folder, name, records, rng.randrange(min(3, len(records))))
    tail, head = made.place(made.consumed), made.place(len(records))
    for chunk in range(head.chunk + 1):
        data = b"".join(records[chunk * CHUNKSIZE : (chunk + 1) * CHUNKSIZE])
        (folder / chunk_name(chunk)).write_bytes(data)
    size = layout.distance(CHUNKSIZE, tail, head)
    info = serializer.encode({"chunksize": CHUNKSIZE, "size": size, "tail": list(tail), "head": list(head)})
    if rng.random() < 0.4:
        mark = Mark(rng.choice([fsync.get(p).code for p in ("never", "interval", "always")]), head, tail)
        info = layout.slot(info, layout.mark_prefix(mark))
    (folder / "info").write_bytes(info)
    return made


def hurt(made: Fuzzed, rng: random.Random) -> str:
    """Damage one file, and note which records were touched."""
    names = sorted(p.name for p in made.path.iterdir() if p.is_file() and p.stat().st_size)
    name = rng.choice(names)
    data = bytearray((made.path / name).read_bytes())
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice([1, 1, 2, 8, 60]))
    how = rng.choice(["flip", "set", "zero", "cut", "random"])
    if how == "flip":
        end = start + 1
        data[start] ^= 1 << rng.randrange(8)
    elif how == "set":
        data[start:end] = bytes([rng.choice([0xFF, 0x00, 0x0A, 0x2E, 0x80])]) * (end - start)
    elif how == "zero":
        data[start:end] = bytes(end - start)
    elif how == "random":
        data[start:end] = rng.randbytes(end - start)
    else:
        end = len(data)
        del data[start:]
    (made.path / name).write_bytes(data)
    if name == "info":
        made.info = True
    else:
        note(made, layout.chunk_number(name) or 0, start, end)
    return f"{how} {name}[{start}:{end}]"


def note(made: Fuzzed, chunk: int, start: int, end: int) -> None:
    for number in range(chunk * CHUNKSIZE, min(len(made.records), (chunk + 1) * CHUNKSIZE)):
        at = made.place(number).offset
        if at < end and start < at + len(made.records[number]):
            made.touched.add(number)


def follow(wanted: list[Any], items: Iterable[Any]) -> bool:
    """Whether *wanted* are among *items*, in this order."""
    there = iter(items)
    return all(any(item == other for other in there) for item in wanted)


async def drained(path: Path, **options: Any) -> list[Any]:
    items = []
    async with AsyncQueue(path, fsync="never", **options) as queue:
        while True:
            try:
                items.append(listed(await queue.get_nowait()))
            except Empty:
                return items


async def outcome(path: Path) -> tuple[str, list[Any]]:
    try:
        return "read", await drained(path)
    except CorruptQueue:
        return "refused", []
    except CorruptRecord:
        return "stopped", []


async def try_one(folder: Path, name: str, seed: int, *, measure: bool) -> None:
    rng = random.Random(f"{name} {seed}")
    made = build(folder / "queue", name, rng)
    what = [hurt(made, rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    told = f"{name} seed {seed}: {what}"
    # Where info does not tell, the serializer has to be given.
    given: dict[str, Any] = {"serializer": name}
    for copy in ("opened", "repaired", "skipped"):
        shutil.copytree(made.path, folder / copy)
    if measure:
        tracemalloc.start()
    try:
        report = await check(made.path, **given)
    except WrongSerializer:
        # Documented: nothing tells that the serializer is the right one, so nothing is rewritten with it.
        firsts = range(0, len(made.records), CHUNKSIZE)
        assert made.info, told
        assert made.touched.issuperset(firsts), told
        return
    finally:
        tracing = tracemalloc.is_tracing()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    if tracing:
        assert peak < MEMORY, f"{told}: {peak} bytes"
    how, items = await outcome(folder / "opened")
    agrees = {"refused": report.refusal is not None, "stopped": report.status == "damaged"}
    if how != "read":
        assert agrees[how], f"{told}: {how}, and {report}"
    elif report.status != "damaged":
        assert len(items) == report.items, f"{told}: {len(items)} items, and {report}"
    mended = await repair(folder / "repaired", **given)
    again = await check(folder / "repaired", **given)
    # A pickle that damage made ask for a class, or an extension, is whole: only a get can tell that it is not there.
    asking: dict[str, Any] = {"on_corrupt": "skip"} if name == "pickle" else {}
    kept = await drained(folder / "repaired", **given, **asking)
    assert again.status == "clean", f"{told}: {again}"
    assert mended.kept == again.items == report.items, f"{told}: {mended} {report}"
    fewer = len(made.touched) if asking else 0
    assert mended.kept - fewer <= len(kept) <= mended.kept, f"{told}: {len(kept)} {mended}"
    if not made.info:
        assert follow(made.sure, kept), f"{told}: {made.sure} {kept}"
    if report.refusal is None:
        skipped = await drained(folder / "skipped", on_corrupt="skip", **given)
        # A byte that became a newline can make two lines of one: then the last of the chunk is out of reach.
        reached = not any("never read" in found.why for found in report.damage)
        if not made.info and reached:
            assert follow(made.sure, skipped), f"{told}: {made.sure} {skipped}"


async def fuzz(folder: Path, name: str, seeds: Iterable[int], measure: int) -> None:
    for seed in seeds:
        place = folder / f"{seed}"
        try:
            await asyncio.wait_for(try_one(place, name, seed, measure=seed % measure == 0), SECONDS)
        except StorageError as error:
            raise AssertionError(f"{name} seed {seed}: {error!r}") from error
        shutil.rmtree(place)


@pytest.mark.parametrize("name", NAMES)
async def test_damage_anywhere(name: str, tmp_path: Path) -> None:
    await fuzz(tmp_path, name, range(QUICK), measure=10)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
async def test_damage_anywhere_for_long(name: str, tmp_path: Path) -> None:
    await fuzz(tmp_path, name, range(QUICK, QUICK + SOAK), measure=50)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("exploded", "w"))


class Bomb2:
    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, ("open('exploded', 'w')",))


HOSTILE: Final = [
    *(pickle.dumps(bomb, protocol) for bomb in (Bomb(), Bomb2(), {"chunksize": Bomb()}) for protocol in range(6)),
    b"\x80\x04\x95" + (2**63).to_bytes(8, "little") + b"}.",
    b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b".",
    b"\x80\x02}r\xff\xff\xff\xff.",
    b"(" * 5000 + b".",
    b"]" * 5000 + b"a" * 4999 + b".",
    b"\x80\x04}\x94(" + b"\x8c\x04size" * 1000 + b"u.",
    b"\xff\xff\xff\xff\x84",
    b"\x10\x00\x00\x00\xdf\xff\xff\xff\xff" + bytes(20),
    b"\x10\x00\x00\x00\xbb" + b"\xff" * 20,
    b'{"chunksize":' * 5000,
    b'{"chunksize": ' + b"9" * 5000 + b"}\n",
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
@pytest.mark.parametrize("padded", [False, True])
async def test_info_that_was_made_to_harm(
    number: int, padded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No code runs, and no memory is taken; what can be read is kept."""
    monkeypatch.chdir(tmp_path)
    made = build(tmp_path / "queue", "pickle", random.Random(3))
    data = HOSTILE[number]
    (made.path / "info").write_bytes(data.ljust(512, b"\0") if padded else data)
    tracemalloc.start()
    try:
        report = await check(made.path)
        with pytest.raises(CorruptQueue):
            await drained(made.path)
        mended = await repair(made.path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY
    assert (report.status, report.items, mended.kept) == ("damaged", len(made.records), len(made.records))
    assert len(await drained(made.path)) == len(made.records)
    assert not (tmp_path / "exploded").exists()
