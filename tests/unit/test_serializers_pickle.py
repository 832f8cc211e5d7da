"""Pickles: their end is found exactly, nothing in them runs unless it is asked for, and no length is believed."""

import array
import collections
import datetime
import decimal
import enum
import functools
import ipaddress
import pickle
import pickletools
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncpq import serializers
from asyncpq.serializers import Damaged, Opaque, Torn, plain_loads
from tests.unit.test_serializers import outcome

READERS: Final[list[Callable[[bytes, int], Any]]] = [
    serializers.pickle.skip,
    serializers.pickle.check,
    plain_loads,
]

VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.binary(max_size=5).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.none(), inner, max_size=4)
        | st.frozensets(st.integers() | st.text(max_size=3), max_size=4)
        | st.sets(st.integers(), max_size=4)
    ),
    max_leaves=12,
)

# Written by Python 2.7 (pickle, and cPickle where it says so) and by Python 3.6.
OLD: Final[dict[str, tuple[bytes, Any]]] = {
    "2.7, 0: dict": (b"(dp0\nS'id'\np1\nI7\nsS'tags'\np2\n(lp3\nVa\np4\nas.", {"id": 7, "tags": ["a"]}),
    "2.7, 0: text": (
        b"Vna\xefve \\u20ac\\u000ax\\u005c \\U0001f600\np0\n.",
        "na\xefve \u20ac\nx\\ \U0001f600",
    ),
    "2.7, 0: str": (b"S'\\x00\\xff\\'\"\\n\\\\\\t\\r'\np0\n.", "\x00\xff'\"\n\\\t\r"),
    "2.7, 0: bool": (b"I01\n.", True),
    "2.7, 0: long": (b"L1180591620717411303424L\n.", 2**70),
    "2.7, 0: float": (b"F-1.5\n.", -1.5),
    "2.7, 0: inf": (b"Finf\n.", float("inf")),
    "2.7, 0: tuple": (b"(I1\nI2\nI3\nI4\ntp0\n.", (1, 2, 3, 4)),
    "2.7, 0: set": (b"c__builtin__\nset\np0\n((lp1\nI1\natp2\nRp3\n.", {1}),
    "2.7, 0: bytearray": (
        b"c__builtin__\nbytearray\np0\n(V\x00\xff\np1\nS'latin-1'\np2\ntp3\nRp4\n.",
        bytearray(b"\x00\xff"),
    ),
    "2.7, 1: dict": (
        b"}q\x00(U\x02idq\x01K\x07U\x04tagsq\x02]q\x03X\x01\x00\x00\x00aq\x04au.",
        {"id": 7, "tags": ["a"]},
    ),
    "2.7, 1: text": (b"X\x03\x00\x00\x00\xe2\x82\xacq\x00.", "\u20ac"),
    "2.7, 1: float": (b"G\xbf\xf8\x00\x00\x00\x00\x00\x00.", -1.5),
    "2.7, 2: long": (b"\x80\x02\x8a\t\x00\x00\x00\x00\x00\x00\x00\x00@.", 2**70),
    "2.7, 2: tuple": (b"\x80\x02K\x01K\x02\x86q\x00.", (1, 2)),
    "2.7, 2: cPickle": (b"\x80\x02}q\x01(U\x02idK\x07U\x04tags]q\x02X\x01\x00\x00\x00aau.", {"id": 7, "tags": ["a"]}),
    "3.6, 0: bytes": (b"c_codecs\nencode\np0\n(V\x00\xff\np1\nVlatin1\np2\ntp3\nRp4\n.", b"\x00\xff"),
    "3.6, 0: no bytes": (b"c__builtin__\nbytes\np0\n(tRp1\n.", b""),
    "3.6, 2: set": (b"\x80\x02c__builtin__\nset\nq\x00]q\x01K\x01a\x85q\x02Rq\x03.", {1}),
    "3.6, 2: frozenset": (b"\x80\x02c__builtin__\nfrozenset\nq\x00]q\x01K\x02a\x85q\x02Rq\x03.", frozenset([2])),
    "3.6, 3: bytes": (b"\x80\x03C\x02\x00\xffq\x00.", b"\x00\xff"),
    "3.6, 3: nested": (
        b"\x80\x03}q\x00X\x01\x00\x00\x00kq\x01]q\x02(K\x01K\x02K\x03\x87q\x03}q\x04X\x01\x00\x00\x00aq\x05Nses.",
        {"k": [(1, 2, 3), {"a": None}]},
    ),
    "3.6, 3: bytearray": (
        b"\x80\x03cbuiltins\nbytearray\nq\x00C\x02\x00\xffq\x01\x85q\x02Rq\x03.",
        bytearray(b"\x00\xff"),
    ),
}


@pytest.mark.parametrize("case", OLD)
def test_what_older_pythons_wrote_is_read(case: str) -> None:
    record, value = OLD[case]
    chunk = record + b"N."
    for reader in (serializers.pickle.skip, serializers.pickle.check):
        assert reader(chunk, 0) == len(record)
    got, end = plain_loads(chunk, 0)
    assert (got, type(got), end) == (value, type(value), len(record))
    if case != "2.7, 0: str":  # a str of Python 2 beyond ASCII: pickle wants to be told an encoding
        assert serializers.pickle.decode(chunk, 0) == (value, len(record))
    for cut in range(len(record)):
        assert [outcome(reader, record[:cut]) for reader in READERS] == [Torn] * 3


@settings(deadline=None, max_examples=200)
@given(value=VALUES, protocol=st.integers(0, 5))
def test_plain_values_of_any_protocol_come_back_without_unpickling(value: Any, protocol: int) -> None:
    record = pickle.dumps(value, protocol)
    assert serializers.pickle.skip(record + record, len(record)) == 2 * len(record)
    assert serializers.pickle.check(record + record, len(record)) == 2 * len(record)
    assert serializers.pickle.decode(record + record, len(record)) == (value, 2 * len(record))
    got, end = plain_loads(record, 0)
    assert (got, type(got), end) == (value, type(value), len(record))


@settings(deadline=None, max_examples=200)
@given(value=VALUES, protocol=st.integers(0, 5), data=st.data())
def test_every_truncation_is_torn(value: Any, protocol: int, data: st.DataObject) -> None:
    """Also of protocols 0 and 1: STOP is the last byte, and every argument before it says where it ends."""
    record = pickle.dumps(value, protocol)
    cut = data.draw(st.integers(0, len(record) - 1))
    for reader in (*READERS, serializers.pickle.decode):
        assert outcome(reader, record[:cut]) is Torn


@settings(deadline=None, max_examples=300)
@given(value=VALUES, protocol=st.integers(0, 5), data=st.data())
def test_damage_is_seen_or_gives_some_record(value: Any, protocol: int, data: st.DataObject) -> None:
    record = bytearray(pickle.dumps(value, protocol))
    record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    for reader in READERS:
        assert outcome(reader, bytes(record)) is not None
    strict, light = (outcome(reader, bytes(record)) for reader in (serializers.pickle.check, serializers.pickle.skip))
    assert strict in (Torn, Damaged, light)


EXACT: Final = {
    "a frame that ends in an argument like STOP": [46, b"x" * 100_000],
    "the same with a text": [46, "x" * 100_000],
    "two frames, the first with STOP inside": [b"." * 100, b"x" * 70_000, b".", 46],
    "many frames": [b"." * 30_000 for _ in range(10)],
    "a pickle in a pickle": [pickle.dumps([46, b"."], 4)] * 3,
    "a large value alone": b"\x80\x04." * 50_000,
    "too small for a frame": None,
    "many small values": [46] * 100_000,
}


@pytest.mark.parametrize("case", EXACT)
@pytest.mark.parametrize("behind", [b"", b"N.", b"\x80\x04N.", b"\x00" * 20, b"B"])
def test_the_end_is_exact(case: str, behind: bytes) -> None:
    record = serializers.pickle.encode(EXACT[case])
    assert serializers.pickle.skip(record + behind, 0) == len(record)
    assert serializers.pickle.check(record + behind, 0) == len(record)
    assert serializers.pickle.decode(record + behind, 0) == (EXACT[case], len(record))


@pytest.mark.parametrize("case", EXACT)
def test_a_torn_end_behind_a_frame_like_a_record_is_torn(case: str) -> None:
    """`]K.` is a whole frame, and a buffer may end there."""
    record = serializers.pickle.encode(EXACT[case])
    for cut in {2, 11, 16, len(record) - 1} - {len(record)}:
        if cut < len(record):
            for reader in (*READERS, serializers.pickle.decode):
                assert outcome(reader, record[:cut]) is Torn, cut


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


class Bag(set[int]):
    """A set with attributes; it pickles its items as an argument and the rest as state."""


class Raw(bytearray):
    """The same of bytes."""


@dataclass(frozen=True)
class Key:
    """An item that can be hashed and holds what cannot."""

    parts: tuple[int, ...]
    extra: dict[str, int]

    def __hash__(self) -> int:
        return hash(self.parts)


def _bag() -> Bag:
    bag = Bag([1, 2])
    bag.name = "bag"  # type: ignore[attr-defined]
    return bag


def _recursive() -> list[Any]:
    inside: list[Any] = []
    inside.append((inside, {"again": inside}))
    return inside


OBJECTS: Final[list[Any]] = [
    Colour.RED, Point(1, 2), _bag(), Raw(b"x"), {Key((1,), {"a": 1}): [Key((2,), {})]}, {Key((1,), {})}, _recursive(),
    datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC), datetime.timedelta(1), decimal.Decimal("1.5"), Fraction(1, 3),
    collections.deque([1], 3), collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]),
    collections.Counter("aab"), array.array("d", [1.5]), 1 + 2j, range(3), slice(1, 2), uuid.UUID(int=7), Path("a"),
    re.compile("a+"), ipaddress.ip_network("10.0.0.0/8"), SimpleNamespace(a=[1]), functools.partial(int, base=2),
    ValueError("x", 1), len, dict, collections.abc.Mapping, frozenset([Point(1, 2)]), {(1, frozenset([2])): None},
    "\ud800", 2**14_000, float("-inf"), b"." * 300,
    [b"." * 70_000, "\x80\x04." * 30_000, bytearray(70_000)], [[]] * 3000,
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: type(item).__name__)
def test_nothing_that_a_pickler_writes_is_refused(item: Any, protocol: int) -> None:
    """Healing would take a good record for damage."""
    record = pickle.dumps(item, protocol)
    for form in (record, pickletools.optimize(record)):
        for reader in (serializers.pickle.skip, serializers.pickle.check):
            assert reader(form + form, 0) == len(form)
        assert plain_loads(form + form, 0)[1] == len(form)
        assert serializers.pickle.decode(form + form, 0)[1] == len(form)


class Touch:
    """Runs when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


class Unloadable(Exception):
    """An exception as an item: it pickles, and cannot be unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


class Interrupts:
    """An item that the user's Ctrl-C arrives in."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _interrupt, ()


class Counts:
    """Counts how often it is built."""

    built = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _build, ()


def _build() -> None:
    Counts.built += 1


def test_an_item_is_built_once_though_its_frame_ends_like_a_record() -> None:
    Counts.built = 0
    record = serializers.pickle.encode([Counts(), 46, b"x" * 100_000])
    value, end = serializers.pickle.decode(record, 0)
    assert (value[1], end, Counts.built) == (46, len(record), 1)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _out_of_memory() -> None:
    raise MemoryError


class Exhausts:
    def __reduce__(self) -> tuple[Any, ...]:
        return _out_of_memory, ()


def test_looking_runs_nothing(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    for protocol in range(6):
        record = pickle.dumps({"chunksize": Touch(target)}, protocol)
        for reader in READERS:
            assert outcome(reader, record) not in (Torn, Damaged)
        assert serializers.pickle.resync(record * 2, 1) == len(record)
        with pytest.raises(Damaged, match="not plain data"):
            serializers.pickle.info_loads(record)
        assert not target.exists()
    serializers.pickle.loads(record)
    assert target.exists()


def test_a_class_is_shown_by_its_name() -> None:
    for protocol in range(6):
        (shown, *_), _ = plain_loads(pickle.dumps([Unloadable(1, 2), 5], protocol), 0)
        assert isinstance(shown, Opaque)
        assert shown.name == f"{__name__}.Unloadable"
        assert shown.args == ("1 2",)


def test_what_a_class_makes_of_a_pickle_is_kept_as_plain_data() -> None:
    """Old-style classes, extensions, persistent ids, items of subclasses and keyword arguments."""
    cases = {
        b"(i__main__\nOld\np0\n(dp1\nS'x'\np2\nI1\nsb.": Opaque("__main__.Old", (), {"x": 1}),
        b"\x80\x02(c__main__\nOld\nq\x00oq\x01}q\x02U\x01xK\x01sb.": Opaque("__main__.Old", (), {"x": 1}),
        b"ccopy_reg\n_reconstructor\n(c__main__\nC\nc__builtin__\nobject\nNtR.": Opaque("__main__.C"),
        b"\x80\x02\x82\x07.": Opaque("extension 7"),
        b"Pone\n.": Opaque("a persistent id", ("one",)),
        b"K\x01Q.": Opaque("a persistent id", (1,)),
        b"\x80\x04cm\nL\n)\x81(K\x01K\x02e.": Opaque("m.L", (), None, [1, 2]),
        b"\x80\x04cm\nD\n)\x81(K\x01K\x02u.": Opaque("m.D", (), None, [(1, 2)]),
        b"\x80\x04cm\nC\nK\x01\x85}\x92.": Opaque("m.C", ((1,), {})),
        b"\x80\x05\x97.": Opaque("a buffer kept elsewhere"),
    }
    for record, expected in cases.items():
        assert repr(plain_loads(record, 0)[0]) == repr(expected)
        assert serializers.pickle.check(record, 0) == len(record)


def test_an_item_that_cannot_be_built_is_damaged_with_its_reason() -> None:
    record = serializers.pickle.encode(Unloadable(1, 2))
    for load in (serializers.pickle.loads, lambda data: serializers.pickle.decode(data, 0)):
        with pytest.raises(Damaged, match="TypeError") as caught:
            load(record)
        assert isinstance(caught.value.__cause__, TypeError)
    assert serializers.pickle.skip(record, 0) == len(record)


def test_a_class_that_is_gone_is_damaged_with_its_name() -> None:
    with pytest.raises(Damaged, match="no_such_module"):
        serializers.pickle.decode(b"\x80\x04cno_such_module\nC\n.", 0)


@pytest.mark.parametrize(("item", "error"), [(Interrupts(), KeyboardInterrupt), (Exhausts(), MemoryError)])
def test_what_is_not_the_items_fault_is_not_damage(item: object, error: type[BaseException]) -> None:
    record = serializers.pickle.encode(item)
    with pytest.raises(error):
        serializers.pickle.loads(record)
    with pytest.raises(error):
        serializers.pickle.decode(record, 0)


def test_python_2_text_beyond_ascii_is_shown_byte_by_byte() -> None:
    assert plain_loads(b"\x80\x02U\x02\xc3\xa9q\x00.", 0)[0] == "\xc3\xa9"
