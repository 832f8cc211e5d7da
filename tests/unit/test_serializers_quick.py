"""The short way of building pickles of plain data: the same values as the long way, and nothing that it refuses."""

import pickle
import tracemalloc
from collections import OrderedDict
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncpq.serializers import Damaged, TooComplex, Torn, plain_loads, quick_end, quick_loads
from asyncpq.serializers._opcodes import WIDTH
from asyncpq.serializers._plain import _Machine
from asyncpq.serializers._strict import strict_end

ATOMS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.floats(),
    st.text(max_size=300),
    st.binary(max_size=300),
    st.binary(max_size=20).map(bytearray),
)
KEYS: Final = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=5), st.binary(max_size=5)),
    lambda keys: st.one_of(st.tuples(keys, keys), st.frozensets(keys, max_size=3)),
    max_leaves=6,
)
VALUES: Final = st.recursive(
    ATOMS,
    lambda values: st.one_of(
        st.lists(values, max_size=6),
        st.lists(values, max_size=5).map(tuple),
        st.dictionaries(KEYS, values, max_size=6),
        st.sets(KEYS, max_size=4),
        values.map(lambda value: [value, value, (value, value)]),
    ),
    max_leaves=25,
)
OPCODES: Final = [op for op in range(256) if WIDTH[op]] + [0x2E]
ARGUMENTS: Final = st.one_of(st.just(b""), st.binary(max_size=4), st.sampled_from([b"\x02ab", b"\x01\0\0\0a", b"\x00"]))
PROGRAMS: Final = st.lists(st.tuples(st.sampled_from(OPCODES), ARGUMENTS), max_size=20).map(
    lambda parts: b"".join(bytes([op]) + argument for op, argument in parts) + b"."
)


def slowly(data: bytes) -> tuple[Any, int]:
    """What the long way makes of *data*."""
    return _Machine(True, "latin-1").run(data, 0)


@settings(deadline=None)
@given(VALUES, st.integers(0, 5))
def test_the_short_way_builds_what_was_pickled(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    quick = quick_loads(data, 0, "latin-1")
    assert repr(plain_loads(data, 0)[0]) == repr(slowly(data)[0])
    if quick is not None:
        assert (repr(quick[0]), quick[1]) == (repr(pickle.loads(data)), len(data))


@given(VALUES, st.integers(2, 5), st.data())
@settings(max_examples=200, deadline=None)
def test_of_damaged_pickles_the_short_way_builds_what_the_long_way_builds(
    value: Any, protocol: int, data: st.DataObject
) -> None:
    damaged = bytearray(pickle.dumps(value, protocol))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(OPCODES)))
    the_same_in_both_ways(bytes(damaged))


@given(PROGRAMS)
@settings(max_examples=600, deadline=None)
@example(b"q(K(.")
@example(b"\x95\x01\0\0\0\0\0\0\0K\x01.")
@example(b"}Nb.")
@example(b"K\x01N\x8f\x86b.")
@example(b"\x80\x04\x8c\x01m\x8c\x01n\x93)\x81}b.")
@example(b"cm\nn\n)R(K\x01e(K\x01K\x02u.")
@example(b"c\nn\n.")
@example(b"cbuiltins\nset\n](\x85R}\x8c\x01k.")
@example(b"\x90(\x8f.")
@example(b"](K\x00K\x01u.")
@example(b"]K\x05aK\x00K\x07s.")
@example(b"K\x01(e.")
@example(b"(K\x01K\x02.")
@example(b"K\x01K\x02.")
@example(b"K\x01\x85\x94h\x00h\x00\x86.")
@example(b"\x96\x01\0\0\0\0\0\0\0aK\x07a.")
def test_of_any_opcodes_the_short_way_builds_what_the_long_way_builds(program: bytes) -> None:
    the_same_in_both_ways(program)


def the_same_in_both_ways(data: bytes) -> None:
    """Whatever goes the short way goes the long way too, and check finds nothing wrong with it."""
    quick = quick_loads(data, 0, "latin-1")
    if quick is not None:
        value, end = slowly(data)
        assert (repr(quick[0]), quick[1]) == (repr(value), end)
    looked_at = quick_end(data, 0, "latin-1")
    if looked_at is not None:
        assert strict_end(data, 0) == looked_at
        with suppress(TooComplex):
            assert slowly(data)[1] == looked_at


COMMON: Final = {
    "a record": {"id": 7, "url": "https://example.org/", "tags": ["a", "b"], "n": 1.5, "ok": True, "none": None},
    "a tuple": ("job", 7, {"k": b"v"}, (1, 2, 3, 4)),
    "rows with the same keys": [{"key": n, "value": ("x", n)} for n in range(50)],
    "a long text": "x" * 70_000,
    "many frames": ["x" * 1000 for _ in range(500)],
    "2**70": 2**70,
    "sets": {1, 2, frozenset([3])},
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", COMMON)
def test_common_values_go_the_short_way(name: str, protocol: int) -> None:
    if protocol < 4 and name == "sets":
        pytest.skip("sets are calls of a class before protocol 4")
    if protocol < 3 and name == "a tuple":
        pytest.skip("bytes are calls of a function before protocol 3")
    quick = quick_loads(pickle.dumps(COMMON[name], protocol), 0, "latin-1")
    assert quick is not None
    assert quick[0] == COMMON[name]


class Plain:
    """Written by NEWOBJ and BUILD."""

    def __init__(self) -> None:
        self.here = [1, 2]


OBJECTS: Final = {
    "an instance": Plain(),
    "a call": datetime(2020, 1, 1),
    "with items": OrderedDict(a=1, b=(2,)),
    "classes": [Plain, Plain, {Plain: 1}],
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", OBJECTS)
def test_the_end_of_pickled_objects_is_found_the_short_way_and_nothing_is_made(name: str, protocol: int) -> None:
    data = pickle.dumps(OBJECTS[name], protocol)
    if name == "a call" and protocol == 2:  # its state is text, of which a call makes bytes
        assert quick_end(data, 0, "latin-1") is None
    else:
        assert quick_end(data + b"more", 0, "latin-1") == len(data)
    assert quick_loads(data, 0, "latin-1") is None


def doubled(times: int) -> bytes:
    """A tuple of two that are the same, of two that are the same, ... for the key of a dict."""
    shared = b"".join(b"h%c" % n * 2 + b"\x86q%c" % (n + 1) for n in range(times))
    return b"\x80\x02}(K\x01q\x00" + shared + b"tK\x01s."


def nested(depth: int) -> bytes:
    """Tuples in each other, for the key of a dict."""
    return b"\x80\x02})" + b"\x85" * depth + b"K\x01s."


def colliding(count: int) -> bytes:
    """A dict of *count* keys with the same hash; it is never built, which takes seconds."""
    keys = ((n * (2**61 - 1)).to_bytes(10, "little") for n in range(1, count + 1))
    return b"\x80\x04}(" + b"".join(b"\x8a\x0a" + key + b"N" for key in keys) + b"u."


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(doubled(60), id="a key of 2**60 parts"),
        pytest.param(nested(100_000), id="a key so deep that hashing overflows the stack of C"),
        pytest.param(colliding(20_000), id="keys of one hash"),
    ],
)
def test_what_takes_long_to_hash_is_too_complex(data: bytes) -> None:
    assert quick_loads(data, 0, "latin-1") is None
    with pytest.raises(TooComplex):
        plain_loads(data, 0)


def test_many_equal_keys_of_many_dicts_are_not_too_complex() -> None:
    rows = [{(1, 2): n, 2**70: n, 0.5: n} for n in range(3000)]
    for protocol in (0, 4):
        assert plain_loads(pickle.dumps(rows, protocol), 0)[0] == rows


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x80\x02Nr\xff\xff\xff\x07.", id="a large memo index"),
        pytest.param(b"\x80\x02Np134217727\n.", id="a large memo index as text"),
        pytest.param(b"\x80\x04B\xff\xff\xff\x7fab.", id="bytes of 2 GiB"),
        pytest.param(b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00ab.", id="bytes of 1 TiB"),
        pytest.param(b"\x80\x04\x96\xff\xff\xff\xff\xff\x00\x00\x00ab.", id="a bytearray of 1 TiB"),
        pytest.param(b"\x80\x04\x95\xff\xff\xff\xff\xff\x00\x00\x00N.", id="a frame of 1 TiB"),
        pytest.param(b"\x80\x04\x8b\xff\xff\xff\x7fab.", id="an integer of 2 GiB"),
    ],
)
def test_no_length_takes_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with suppress(Torn, Damaged):
            plain_loads(data, 0)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


NEEDING_MORE: Final = {
    "a global": b"\x80\x02cos\nsystem\n.",
    "a call": b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.",
    "a global by the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"\x80\x02K\x01Q.",
    "an instance": b"(ios\nsystem\n.",
    "an object": b"(cos\nsystem\no.",
    "state": b"\x80\x02}}b.",
    "a buffer": b"\x80\x05\x97.",
}


@pytest.mark.parametrize("name", NEEDING_MORE)
def test_what_needs_more_than_plain_data_never_goes_the_short_way(name: str) -> None:
    assert quick_loads(NEEDING_MORE[name], 0, "latin-1") is None


@pytest.mark.parametrize(
    ("encoding", "expected"), [("latin-1", "na\xc3\xafve"), ("utf-8", "naïve"), ("bytes", b"na\xc3\xafve")]
)
@pytest.mark.parametrize("data", [b"\x80\x02U\x06na\xc3\xafve.", b"S'na\\xc3\\xafve'\n."])
def test_byte_strings_of_python_2_are_what_the_encoding_says(data: bytes, encoding: str, expected: object) -> None:
    assert plain_loads(data, 0, encoding=encoding)[0] == expected


def test_a_byte_string_that_the_encoding_does_not_know_is_damaged() -> None:
    with pytest.raises(Damaged, match="utf-8"):
        plain_loads(b"\x80\x02U\x01\xff.", 0, encoding="utf-8")
