"""What opening makes of damaged directories: a table in English, for every serializer."""

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from asyncpq import fsync, serializers
from asyncpq.errors import CorruptQueue
from asyncpq.files import FILES, OSFiles
from asyncpq.layout import START, Position, new_fields
from asyncpq.opened import Opened
from tests.golden_dirs import listed
from tests.unit.queue_dirs import (
    CHUNKSIZE,
    QueueDir,
    drained_by_upstream,
    item,
    make,
    opened,
    read_back,
    tree,
)

NAMES = ["pickle", "json", "msgpack", "cbor2"]


@dataclass(frozen=True)
class Healed:
    """What the queue holds afterwards, and what the report says of it."""

    items: range | list[int]
    head: tuple[int, int]
    tail: tuple[int, int] = (0, 1)
    lost: int = 0
    adopted: int = 0
    cut: bool = False
    removed: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()  # names; * stands for the offset
    repair: bool = False  # without it: CorruptQueue


@dataclass(frozen=True)
class Case:
    damage: Callable[[QueueDir], Any]
    healed: Healed
    mark: tuple[str, int] | None = None
    given: bool = False  # the serializer, which nothing in the directory tells


def append(chunk: int, *parts: int | bytes | str) -> Callable[[QueueDir], None]:
    """Append whole records (numbers), bytes, or half a record (a number as str)."""

    def damage(d: QueueDir) -> None:
        d.append(chunk)
        for part in parts:
            if isinstance(part, bytes):
                d.append(chunk, part)
            elif isinstance(part, int):
                d.append(chunk, d.encoded(part))
            else:
                d.append(chunk, d.encoded(int(part))[: d.width // 2])

    return damage


def cut(chunk: int, records: float) -> Callable[[QueueDir], None]:
    """Leave so many records of a chunk, the last one in part."""

    def damage(d: QueueDir) -> None:
        d.chunk(chunk).write_bytes(d.chunk(chunk).read_bytes()[: int(records * d.width)])

    return damage


def zeros(chunk: int, records: int = 0) -> Callable[[QueueDir], None]:
    """Turn a chunk into zeros, but for its first records."""

    def damage(d: QueueDir) -> None:
        data = d.chunk(chunk).read_bytes()
        d.chunk(chunk).write_bytes(data[: records * d.width].ljust(len(data), b"\0"))

    return damage


def gone(*chunks: int) -> Callable[[QueueDir], None]:
    def damage(d: QueueDir) -> None:
        for number in chunks:
            d.chunk(number).unlink()

    return damage


def both(*damages: Callable[[QueueDir], Any]) -> Callable[[QueueDir], None]:
    def damage(d: QueueDir) -> None:
        for one in damages:
            one(d)

    return damage


def info(data: bytes) -> Callable[[QueueDir], Any]:
    return lambda d: (d.path / "info").write_bytes(data)


def torn_slot(d: QueueDir) -> None:
    d.write_info(("interval", 8))
    data = bytearray((d.path / "info").read_bytes())
    data[d.record.index(b"size") + 1] ^= 1
    data[500] ^= 1
    (d.path / "info").write_bytes(data)


def remove_info(d: QueueDir) -> None:
    (d.path / "info").unlink()


CASES = {
    # -- closed, or persist-queue's
    "whole record behind head": Case(append(2, 8), Healed(range(1, 9), (3, 0), adopted=1)),
    "whole records behind head, in following chunks too": Case(
        both(append(2, 8), append(3, 9, 10)), Healed(range(1, 11), (3, 2), adopted=3)
    ),
    "whole records behind head, then a torn one": Case(
        both(append(2, 8), append(3, 9, "10")), Healed(range(1, 10), (3, 1), adopted=2, cut=True)
    ),
    "a torn record behind head": Case(append(2, "8"), Healed(range(1, 8), (2, 2), cut=True)),
    "zeros behind head": Case(append(2, bytes(300)), Healed(range(1, 8), (2, 2), cut=True)),
    "a torn record behind head, and a whole one behind it": Case(
        append(2, "8", b"\xff", 9), Healed(range(1, 8), (2, 2), set_aside=("q00002.*",))
    ),
    "zeros behind head, and a whole record behind them": Case(
        append(2, bytes(40), 9), Healed(range(1, 8), (2, 2), set_aside=("q00002.*",))
    ),
    "more records in a chunk than it holds": Case(
        append(2, 8, 9), Healed(range(1, 9), (3, 0), adopted=1, set_aside=("q00002.*",))
    ),
    "the last record is half there": Case(cut(2, 1.5), Healed(range(1, 7), (2, 1), lost=1, set_aside=("q00002.*",))),
    "the last record is zeros": Case(zeros(2, 1), Healed(range(1, 8), (2, 2)), None),
    "the head chunk is empty": Case(cut(2, 0), Healed(range(1, 6), (2, 0), lost=2)),
    "the head chunk is short, and the one before it too": Case(
        both(cut(2, 0), cut(1, 2)), Healed(range(1, 5), (1, 2), lost=3, removed=("q00002",))
    ),
    "the head chunk is gone": Case(gone(2), Healed(range(1, 6), (2, 0), lost=2)),
    "the head chunk and the one before it are gone": Case(gone(1, 2), Healed(range(1, 3), (1, 0), lost=5)),
    "the head chunk is gone, the one before it is torn": Case(
        both(gone(2), cut(1, 1.5)), Healed(range(1, 4), (1, 1), lost=4, set_aside=("q00001.*",))
    ),
    "every chunk is gone": Case(gone(0, 1, 2), Healed([], (2, 0), (2, 0), lost=7)),
    "the tail chunk is gone": Case(gone(0), Healed(range(3, 8), (2, 2), (1, 0))),
    "only the head chunk is there": Case(gone(0, 1), Healed(range(6, 8), (2, 2), (2, 0))),
    "only a chunk behind head is there": Case(
        both(gone(0, 1, 2), append(4, 12, 13)), Healed(range(12, 14), (4, 2), (4, 0), adopted=2)
    ),
    "the size is wrong": Case(lambda d: d.write_info(size=99), Healed(range(1, 8), (2, 2))),
    "the count of head is wrong, and the file is longer": Case(
        both(lambda d: d.write_info(head=[2, 1, 2 * d.width]), append(2, "8")),
        Healed(range(1, 8), (2, 2), cut=True),
    ),
    "an empty chunk behind head": Case(append(3), Healed(range(1, 8), (2, 2), removed=("q00003",))),
    "a chunk behind head that does not follow": Case(append(4, 99), Healed(range(1, 8), (2, 2), set_aside=("q00004",))),
    "info is from three puts ago": Case(
        lambda d: d.write_info(head=list(d.place(5)), size=4), Healed(range(1, 8), (2, 2), adopted=3)
    ),
    "the tail is behind the head": Case(
        both(lambda d: d.write_info(tail=list(d.place(7)), size=1), cut(2, 0)),
        Healed([], (2, 0), (2, 0), lost=1, removed=("q00000", "q00001")),
    ),
    "a new info that was never finished": Case(
        lambda d: (d.path / "info.tmp").write_bytes(b"{"), Healed(range(1, 8), (2, 2), removed=("info.tmp",))
    ),
    "a consumed chunk is still there": Case(
        lambda d: d.write_info(tail=list(d.place(4)), size=4),
        Healed(range(4, 8), (2, 2), (1, 1), removed=("q00000",)),
    ),
    "the count of the tail is more than a chunk holds": Case(
        lambda d: d.write_info(tail=[0, 4, d.width], size=4), Healed(range(1, 8), (2, 2))
    ),
    # -- open when the power went: the mark says how much was durable
    "interval, whole record behind head": Case(append(2, 8), Healed(range(1, 9), (3, 0), adopted=1), ("interval", 4)),
    "interval, an unsynced chunk is zeros and a later one whole": Case(
        zeros(1), Healed(range(1, 3), (1, 0), lost=5, cut=True, set_aside=("q00002",)), ("interval", 3)
    ),
    "interval, an unsynced chunk is empty and a later one whole": Case(
        cut(1, 0), Healed(range(1, 3), (1, 0), lost=5, set_aside=("q00002",)), ("interval", 2)
    ),
    "interval, an unsynced chunk is short and a later one whole": Case(
        cut(1, 1), Healed(range(1, 4), (1, 1), lost=4, set_aside=("q00002",)), ("interval", 2)
    ),
    "interval, an unsynced chunk is gone and a later one whole": Case(
        gone(1), Healed(range(1, 3), (1, 0), lost=5, set_aside=("q00002",)), ("interval", 2)
    ),
    "interval, zeros in an unsynced chunk and whole records behind them": Case(
        both(zeros(1, 1), lambda d: d.append(1, d.encoded(5))),
        Healed(range(1, 4), (1, 1), lost=4, set_aside=("q00001.*", "q00002")),
        ("interval", 4),
    ),
    "interval, the tail lies behind what is left": Case(
        both(lambda d: d.write_info(("interval", 4), tail=list(d.place(7)), size=1), cut(2, 0), gone(0)),
        Healed([], (2, 0), (2, 0), lost=1, removed=("q00001",)),
    ),
    "always, a whole record behind head": Case(append(2, 8), Healed(range(1, 8), (2, 2), cut=True), ("always", 8)),
    "always, an empty chunk behind head": Case(
        both(append(2, 8), append(3)),
        Healed(range(1, 8), (2, 2), cut=True, removed=("q00003",)),
        ("always", 8),
    ),
    "always, a chunk with records behind head": Case(
        both(append(2, 8), append(3, 9)),
        Healed(range(1, 8), (2, 2), cut=True, set_aside=("q00003",)),
        ("always", 8),
    ),
    # -- what only a repair opens
    "info is gone": Case(remove_info, Healed(range(8), (2, 2), (0, 0), repair=True)),
    "info is empty": Case(info(b""), Healed(range(8), (2, 2), (0, 0), repair=True)),
    "info is zeros": Case(info(bytes(512)), Healed(range(8), (2, 2), (0, 0), repair=True)),
    "info is something else": Case(
        info(b"once upon a time"), Healed(range(8), (2, 2), (0, 0), repair=True, set_aside=("info",))
    ),
    "the slot was torn": Case(torn_slot, Healed(range(8), (2, 2), (0, 0), repair=True, set_aside=("info",))),
    "info is gone, and the last record is torn": Case(
        both(remove_info, cut(2, 1.5)),
        Healed(range(7), (2, 1), (0, 0), repair=True, set_aside=("q00002.*",)),
    ),
    "info is gone, and the head chunk is empty": Case(
        both(remove_info, cut(2, 0)), Healed(range(6), (2, 0), (0, 0), repair=True)
    ),
    "info is gone, and a chunk holds more records than the others": Case(
        both(remove_info, append(0, 99)),
        Healed([0, 1, 2, 99, *range(3, 8)], (7, 0), (4, 0), adopted=1, repair=True),
    ),
    "info is gone, and all chunks are zeros": Case(
        both(remove_info, zeros(0), zeros(1), zeros(2)),
        Healed([], (0, 0), (0, 0), cut=True, repair=True, removed=("q00001", "q00002")),
        given=True,
    ),
    "info is gone, and all chunks are full": Case(
        both(remove_info, append(2, 8)), Healed(range(9), (3, 0), (0, 0), repair=True)
    ),
    "a chunk in the middle is gone": Case(gone(1), Healed([1, 2, 6, 7], (1, 2), lost=3, repair=True)),
    "a chunk in the middle is gone, though it was durable": Case(
        gone(1), Healed([1, 2, 6, 7], (1, 2), lost=3, repair=True), ("interval", 7)
    ),
    "a chunk is gone, and another one is zeros": Case(
        both(
            append(2, 8),
            append(3, 9, 10),
            gone(1),
            zeros(2),
            lambda d: d.write_info(head=list(d.place(11)), size=10),
        ),
        Healed([1, 2, 9, 10], (1, 2), lost=6, repair=True, removed=("q00002",)),
    ),
}
UNCHANGED = {"the last record is zeros"}


def damaged(case: Case, name: str, folder: Path) -> QueueDir:
    made = make(folder / "queue", name)
    if case.mark:
        made.write_info(case.mark)
    case.damage(made)
    return made


def heal(made: QueueDir, case: Case, files: OSFiles | None = None) -> Opened:
    given = serializers.get(made.name) if case.given else None
    return opened(made.path, files or FILES, repair=case.healed.repair, serializer=given)


def patterns(names: tuple[str, ...]) -> list[str]:
    return sorted(name.partition(".")[0] + ".*" if "." in name else name for name in names)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("title", [t for t in CASES if t not in UNCHANGED])
def test_damage_is_healed(title: str, name: str, tmp_path: Path) -> None:
    case = CASES[title]
    expected = case.healed
    made = damaged(case, name, tmp_path)
    if expected.repair:
        before = tree(made.path)
        with pytest.raises(CorruptQueue):
            opened(made.path)
        assert tree(made.path) == before

    found = heal(made, case)

    assert (found.head[:2], found.tail[:2]) == (expected.head, expected.tail)
    assert read_back(made.path, found) == [item(n) for n in expected.items]
    report = found.report
    assert report
    assert (report.lost, report.adopted, report.cut > 0) == (expected.lost, expected.adopted, expected.cut)
    assert report.removed == expected.removed
    assert patterns(report.set_aside) == patterns(expected.set_aside)
    lying = [p.name for p in (made.path / "damaged").iterdir()] if (made.path / "damaged").exists() else []
    assert sorted(lying) == sorted(report.set_aside)


@pytest.mark.parametrize("title", [t for t in CASES if t not in UNCHANGED])
def test_healed_directory_opens_unchanged(title: str, name: str, tmp_path: Path) -> None:
    made = damaged(CASES[title], name, tmp_path)
    first = heal(made, CASES[title])
    healed = tree(made.path)

    # Where nothing is stored, the directory is synced again: who made info may have been killed before he did it.
    again = opened(made.path, Writeless("fsync_dir"))

    assert tree(made.path) == healed
    assert not again.report
    assert (again.tail, again.head, again.size) == (first.tail, first.head, first.size)
    assert listed(again.fields) == listed(first.fields)


@pytest.mark.parametrize("title", [t for t in CASES if t not in UNCHANGED])
def test_persist_queue_drains_the_healed_directory(title: str, name: str, tmp_path: Path) -> None:
    made = damaged(CASES[title], name, tmp_path)
    heal(made, CASES[title])
    assert drained_by_upstream(made.path, name, tmp_path / "copy") == [item(n) for n in CASES[title].healed.items]


@pytest.mark.parametrize("title", [t for t in CASES if t not in UNCHANGED])
def test_cut_inside_healing_ends_the_same(title: str, name: str, tmp_path: Path) -> None:
    """After any number of changing calls the process dies; the next opening comes to the same files."""
    case = CASES[title]
    whole = damaged(case, name, tmp_path / "whole")
    found = heal(whole, case)
    for number in itertools.count(1):
        made = damaged(case, name, tmp_path / str(number))
        dying = Dying(number)
        try:
            heal(made, case, dying)
        except Died:
            again = heal(made, case)
            assert (again.tail, again.head, again.size) == (found.tail, found.head, found.size)
            assert chunk_files(made.path) == chunk_files(whole.path)
            assert stored_info(made) == stored_info(whole)
        else:
            break
    assert number > 1


def chunk_files(path: Path) -> dict[str, bytes | None]:
    return {name: data for name, data in tree(path).items() if not name.startswith(("damaged", "info"))}


def stored_info(made: QueueDir) -> dict[str, Any]:
    """What info says; a queue without one is empty."""
    file = made.path / "info"
    if not file.exists():
        return new_fields(CHUNKSIZE)
    return {key: listed(value) for key, value in serializers.get(made.name).info_loads(file.read_bytes()).items()}


class Died(Exception):
    """The process is gone."""


CHANGES = ("make_dir", "create", "pwrite", "truncate", "fsync", "fdatasync", "fsync_dir", "rename", "link", "unlink")


class Dying(OSFiles):
    """Raises at the n-th call that changes something, and at every one after it."""

    def __init__(self, left: int) -> None:
        self.left = left
        for call in CHANGES:
            setattr(
                self,
                call,
                self._counted(getattr(OSFiles, call) if call == "pwrite" else getattr(super(), call)),
            )

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.left -= 1
            if self.left <= 0:
                raise Died
            return call(*args)

        return counted


class Writeless(OSFiles):
    """Refuses every change and every sync, except for *allowed*, and counts the other calls."""

    def __init__(self, *allowed: str) -> None:
        self.calls = 0
        for call in set(CHANGES).difference(allowed):
            setattr(self, call, self._refuse)

    def _refuse(self, *args: Any) -> Any:
        raise AssertionError(f"a change: {args}")

    def open_read(self, dirfd: int, name: str) -> int:
        self.calls += 1
        return super().open_read(dirfd, name)


# -- directories with nothing to heal ------------------------------------------------------------------------


def test_closed_directory_is_only_looked_at(name: str, tmp_path: Path) -> None:
    made = make(tmp_path, name)
    found = opened(made.path, Writeless())
    assert found.report.closed
    assert not found.report
    assert name == found.serializer.NAME
    assert read_back(made.path, found) == [item(n) for n in range(1, 8)]
    assert (found.info_length, found.info_slot, found.self_delimiting) == (len(made.record), False, True)
    assert (found.unsynced, found.durable_head) == ((2,), made.head)


def test_zeros_inside_a_closed_queue_are_left_to_get(name: str, tmp_path: Path) -> None:
    """Sizes fit an exact info, so no record is verified: opening costs the same for any backlog."""
    made = damaged(CASES["the last record is zeros"], name, tmp_path)
    assert opened(made.path, Writeless()).report.closed


def test_killed_queue_tells_what_is_not_durable(name: str, tmp_path: Path) -> None:
    made = make(tmp_path, name)
    made.write_info(("interval", 4))
    found = opened(made.path, Writeless())
    assert (found.info_slot, found.report.closed, bool(found.report)) == (True, False, False)
    assert (found.durable_head, found.durable_tail) == (made.place(4), START)
    assert (found.unsynced, found.names_dirty) == ((1, 2), True)


def test_durable_queue_has_nothing_to_sync(name: str, tmp_path: Path) -> None:
    made = make(tmp_path, name)
    made.write_info(("always", 8))
    found = opened(made.path, Writeless())
    assert (found.unsynced, found.names_dirty) == ((), False)


@pytest.mark.parametrize("padding", [1, 100, 600])
def test_info_with_bytes_behind_it_is_read(padding: int, name: str, tmp_path: Path) -> None:
    made = make(tmp_path, name)
    (made.path / "info").write_bytes(made.record + bytes(padding))
    found = opened(made.path)
    assert (found.size, found.report.closed) == (7, False)
    assert bool(found.report) == (padding > 512)
    assert not opened(made.path, Writeless()).report


def test_new_directory_gets_an_empty_chunk_and_no_info(tmp_path: Path) -> None:
    found = opened(tmp_path)
    assert tree(tmp_path) == {"q00000": b""}
    assert (found.serializer.NAME, found.size, found.info_length) == ("pickle", 0, 0)
    assert (found.unsynced, found.names_dirty, found.report.closed) == ((0,), True, True)
    assert found.fields == {"chunksize": 3, "size": 0, "tail": [0, 0, 0], "head": [0, 0, 0]}
    assert not opened(tmp_path, Writeless()).report


@pytest.mark.parametrize("chunksize", [0, -1])
def test_new_directory_needs_a_chunksize(chunksize: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        opened(tmp_path, chunksize=chunksize)
    assert not tree(tmp_path)


@pytest.mark.parametrize("chunksize", [0, -1])
def test_stored_chunksize_below_one_never_rolls_over(chunksize: int, name: str, tmp_path: Path) -> None:
    made = make(tmp_path, name, items=2, consumed=0)
    made.append(0, *(made.encoded(n) for n in range(2, 7)), b"\0")
    made.write_info(chunksize=chunksize)
    found = opened(tmp_path, chunksize=5)
    assert (found.chunksize, found.head) == (chunksize, Position(0, 7, 7 * made.width))


def test_first_put_that_was_cut_short_is_adopted(name: str, tmp_path: Path) -> None:
    made = make(tmp_path, name, items=2, consumed=0)
    (tmp_path / "info").unlink()
    found = opened(tmp_path, serializer=serializers.get(name))
    assert read_back(tmp_path, found) == [item(0), item(1)]
    assert found.report.adopted == 2
    assert not opened(made.path, Writeless()).report


def test_damage_with_whole_records_behind_it_stays_for_get(name: str, tmp_path: Path) -> None:
    """Opening counts it, as info did; get() says where it is."""
    made = make(tmp_path, name)
    data = bytearray(made.chunk(2).read_bytes())
    data[: made.width - 1] = b"\xff" * (made.width - 1)
    made.chunk(2).write_bytes(data)
    made.append(2, b"\xff")
    found = opened(tmp_path)
    assert (found.head, found.size, found.report.lost) == (made.head, 7, 0)
    assert made.chunk(2).read_bytes() == bytes(data)


def test_ten_thousand_chunks_cost_two_files(tmp_path: Path) -> None:
    """Time would depend on the machine; what opens and is looked at does not."""
    made = make(tmp_path, "pickle")
    for number in range(3, 10_000):
        made.chunk(number).touch()
    made.write_info(head=[9_999, 0, 0], size=29_996)
    counting = Writeless()
    found = opened(tmp_path, counting)
    assert (found.report.closed, found.size, counting.calls) == (True, 29_996, 2)


def test_claims_of_info_cost_nothing(name: str, tmp_path: Path) -> None:
    """A chunk number is a claim: loops run over the files that are there."""
    made = make(tmp_path, name)
    made.write_info(head=[10**15, 0, 0], size=3)
    found = opened(tmp_path)
    assert (found.head[:2], read_back(tmp_path, found)) == ((2, 2), [item(n) for n in range(1, 8)])


def test_unknown_keys_and_their_order_are_kept(name: str, tmp_path: Path) -> None:
    made = make(tmp_path, name)
    fields = {"head": list(made.head), "mine": 7, "tail": list(made.tail), "size": 7, "chunksize": 3}
    (tmp_path / "info").write_bytes(serializers.get(name).encode(fields))
    made.append(2, made.encoded(8))
    found = opened(tmp_path)
    assert list(found.fields) == ["head", "mine", "tail", "size", "chunksize"]
    assert list(opened(tmp_path).fields) == list(found.fields)


def test_long_info_is_replaced(name: str, tmp_path: Path) -> None:
    made = make(tmp_path, name)
    made.write_info(note="x" * 500)
    made.append(2, made.encoded(8))
    found = opened(tmp_path)
    assert (found.report.adopted, found.info_slot) == (1, False)
    assert len((tmp_path / "info").read_bytes()) == found.info_length > 448
    assert not opened(tmp_path, Writeless()).report


def test_healing_is_logged_once_and_without_contents(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make(tmp_path, name)
    made.append(2, made.encoded(8))
    opened(tmp_path)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("asyncpq", logging.WARNING)
    assert "item 0" not in record.getMessage()


def test_names_in_damaged_are_never_used_twice(name: str, tmp_path: Path) -> None:
    made = make(tmp_path, name)
    for number in range(3):
        made.append(4, made.encoded(number))
        opened(tmp_path)
    assert sorted(p.name for p in (tmp_path / "damaged").iterdir()) == ["q00004", "q00004.1", "q00004.2"]
    assert (tmp_path / "damaged").stat().st_mode & 0o777 == 0o700


def test_policy_of_the_healed_mark_is_the_one_asked_for(tmp_path: Path) -> None:
    made = make(tmp_path, "json")
    made.append(2, made.encoded(8))
    opened(tmp_path, policy=fsync.get("always"))
    made.append(3, made.encoded(9))
    assert opened(tmp_path).report.cut == made.width
