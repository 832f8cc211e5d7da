"""What is the same, and what a serializer cannot carry."""

import datetime
import math
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncpq import serializers
from asyncpq.migrating.converting import Converting, Form
from asyncpq.migrating.values import BECOMES, reduced, same
from asyncpq.serializers import Opaque
from tests.migrating.moving import SERIALIZERS

DIFFERENT: Final = [
    (1, 1.0),
    (1, True),
    (0, False),
    (0.0, -0.0),
    ("1", b"1"),
    (b"1", bytearray(b"1")),
    ([1], (1,)),
    ({1}, frozenset([1])),
    ({"a": 1}, {"a": 1.0}),
    ({1: "a"}, {True: "a"}),
    ([[b"x"]], [[bytearray(b"x")]]),
    (None, False),
    (Opaque("a"), Opaque("a")),
]
THE_SAME: Final = [
    (math.nan, -math.nan),
    ([math.nan], [float("nan")]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (2**70, 2**70),
    (datetime.date(2020, 1, 1), datetime.date(2020, 1, 1)),
    ("\ud800", "\ud800"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_values_of_other_types_are_not_the_same(one: Any, other: Any) -> None:
    assert not same(one, other, plain=False)
    assert not same([one], [other], plain=False)


@pytest.mark.parametrize(("one", "other"), THE_SAME)
def test_equal_values_of_the_same_types_are_the_same(one: Any, other: Any) -> None:
    assert same(one, other, plain=False)
    assert same([one], [other])


def test_a_value_that_holds_itself_is_not_the_same_as_anything() -> None:
    value: list[Any] = []
    value.append(value)
    assert not same(value, value)


# What is lost of a value, by serializer, and what it becomes.
LOST: Final[list[tuple[Any, dict[str, tuple[set[str], Any]]]]] = [
    ((1, 2), {name: ({"tuples"}, [1, 2]) for name in ("json", "orjson", "cbor2")}),
    ([1, [2]], {"msgpack": ({"lists"}, (1, (2,)))}),
    (b"x", {name: ({"bytes"}, "eA==") for name in ("json", "orjson")}),
    (bytearray(b"x"), {"json": ({"bytearrays"}, "eA=="), "cbor2": ({"bytearrays"}, b"x")}),
    ([bytearray(b"x")], {"msgpack": ({"lists", "bytearrays"}, (b"x",))}),
    ({2, 1}, {"json": ({"sets"}, [1, 2]), "msgpack": ({"sets"}, (1, 2))}),
    (frozenset([1]), {"json": ({"frozensets"}, [1]), "cbor2": ({"frozensets"}, {1})}),
    ({7: 1}, {name: ({"keys that are no str"}, {"7": 1}) for name in ("json", "orjson", "msgpack")}),
    ({None: 1, True: 2, 1.5: 3}, {"json": ({"keys that are no str"}, {"null": 1, "true": 2, "1.5": 3})}),
    ({(1, b"x"): 1}, {"msgpack": ({"keys that are no str"}, {"(1, b'x')": 1}), "cbor2": (set(), {(1, b"x"): 1})}),
    ({b"k": 1}, {"json": ({"keys that are no str"}, {"aw==": 1}), "msgpack": (set(), {b"k": 1})}),
    ({1: 1, "1": 2}, {"json": ({"keys that are no str", "keys that become the same"}, {"1": 2})}),
    (2**64, {name: ({"integers that are too big"}, str(2**64)) for name in ("orjson", "msgpack")}),
    (-(2**63) - 1, {name: ({"integers that are too big"}, str(-(2**63) - 1)) for name in ("orjson", "msgpack")}),
    (2**20000, {"json": ({"integers that are too big"}, hex(2**20000)), "cbor2": (set(), 2**20000)}),
    ([math.inf], {"orjson": ({"NaN or Infinity"}, [None]), "json": (set(), [math.inf])}),
    ("a\ud800", {name: ({"lone surrogates"}, "a\ufffd") for name in ("orjson", "msgpack", "cbor2")}),
    ("\ud83d\ude00", {name: ({"lone surrogates"}, "😀") for name in ("json", "orjson", "msgpack", "cbor2")}),
    (Opaque("mod.Name"), {name: ({"objects of classes"}, "mod.Name") for name in SERIALIZERS}),
    (datetime.date(2020, 1, 1), {"json": ({"objects of classes"}, "datetime.date")}),
]  # fmt: skip


LOSSES: Final = [
    pytest.param(value, name, *expected, id=f"{number}-{type(value).__name__}-{name}")
    for number, (value, by_name) in enumerate(LOST)
    for name, expected in by_name.items()
]


@pytest.mark.parametrize(("value", "name", "kinds", "becomes"), LOSSES)
def test_what_a_serializer_does_not_carry_is_named_and_becomes_what_is_said(
    value: Any, name: str, kinds: set[str], becomes: Any
) -> None:
    form = Form.of(serializers.get(name), in_database=False)
    converted = Converting(lambda blob: value, form, plain=False, markers=(), lossless=False).one(b"")
    assert converted.kinds == kinds
    assert converted.why is None
    assert kinds <= set(BECOMES)
    assert same(form.loads(converted.record), becomes, plain=False)


def test_an_item_that_holds_itself_is_never_carried() -> None:
    value: list[Any] = []
    value.append(value)
    for name in SERIALIZERS:
        assert reduced(value, name, lambda part: False).kinds == {"too much nesting, or itself"}
    assert BECOMES["too much nesting, or itself"] is None


def test_what_stands_for_an_object_is_never_pickled() -> None:
    """It would be a pickle of asyncpq's own class."""
    with pytest.raises(TypeError, match=r"stands for an object of mod\.Name"):
        serializers.pickle.encode([Opaque("mod.Name")])


PARTS: Final = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=5)
    | st.text(st.characters(codec=None), max_size=5) | st.binary(max_size=3).map(bytearray)
)  # fmt: skip
KEYS: Final = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.binary(max_size=3)
VALUES: Final = st.recursive(
    PARTS,
    lambda part: (
        st.lists(part, max_size=3) | st.lists(part, max_size=3).map(tuple) | st.dictionaries(KEYS, part, max_size=3)
        | st.sets(KEYS, max_size=3) | st.frozensets(KEYS, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from(SERIALIZERS))
def test_a_value_comes_back_the_same_or_its_loss_is_named(values: list[Any], name: str) -> None:
    """And what it becomes is what is stored, whole; a batch that is taken at once holds nothing that is lost."""
    form = Form.of(serializers.get(name), in_database=False)
    byte = {bytes([number]): value for number, value in enumerate(values)}
    converter = Converting(byte.__getitem__, form, plain=False, markers=(), lossless=False)
    for blob, value in byte.items():
        converted = converter.one(blob)
        if not converted.kinds:
            assert same(form.loads(converted.record), value, plain=False)
        elif all(BECOMES[kind] for kind in converted.kinds):
            less = reduced(value, name, lambda part: False)
            assert same(form.loads(converted.record), less.value, plain=False)
    records = converter.records(list(byte), check=True)
    if records is not None:
        assert same([form.loads(record) for record in records], values, plain=False)
    else:
        assert any(converter.one(blob).kinds for blob in byte)
