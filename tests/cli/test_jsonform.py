"""The form of items in JSON: exact, unambiguous, and nothing gets by that cannot come back."""

import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncpq.cli.jsonform import NotInJson, NotOurForm, dumps, loads, write
from asyncpq.serializers import plain_loads

texts = st.text(st.characters(codec=None)) | st.sampled_from(["$bytes", "$", "\ud800", "\u2028"])
atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**18)
    | st.floats()
    | texts
    | st.binary(max_size=20)
    | st.binary(max_size=20).map(bytearray)
)
keys = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
items = st.recursive(
    atoms | st.sets(keys, max_size=3) | keys,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(texts, inner, max_size=4)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Whether they are equal in type and value at every depth; NaN equals itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same([*one.keys()], [*other.keys()]) and same([*one.values()], [*other.values()])
    if isinstance(one, set | frozenset):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    return bool(one == other)


@given(items)
def test_an_item_comes_back_as_it_was(item: Any) -> None:
    written = write(item)
    assert written.needs is None
    assert written.text.isascii()
    assert "\n" not in written.text
    assert same(loads(written.text), item)


@given(items)
def test_any_other_program_can_read_it(item: Any) -> None:
    def refused(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    json.loads(dumps(item), parse_constant=refused)


FORMS = {
    "1.5": 1.5,
    '{"a": [1, null, true, "\\u00e9"]}': {"a": [1, None, True, "é"]},
    '{"$bytes": "AAEC/w=="}': b"\x00\x01\x02\xff",
    '{"$bytearray": "AAE="}': bytearray(b"\x00\x01"),
    '{"$tuple": [1, {"$tuple": []}]}': (1, ()),
    '{"$set": [1, 2]}': {2, 1},
    '{"$frozenset": [{"$tuple": [1]}]}': frozenset({(1,)}),
    '{"$float": "inf"}': math.inf,
    '{"$float": "-inf"}': -math.inf,
    '{"$dict": [[1, "one"], [{"$tuple": [1, 2]}, "two"]]}': {1: "one", (1, 2): "two"},
    '{"$dict": [["$bytes", "no form"]]}': {"$bytes": "no form"},
}


@pytest.mark.parametrize("text", FORMS)
def test_the_forms_are_as_they_are_written_down(text: str) -> None:
    assert dumps(FORMS[text]) == text
    assert same(loads(text), FORMS[text])


def test_an_int_of_more_digits_than_python_converts_comes_back() -> None:
    for number in (10**5000, -(10**5000), 10**4000):
        assert loads(dumps(number)) == number
    assert dumps(10**4000) == str(10**4000)


REFUSED = {
    '{"a": 1': "it is no JSON",
    "NaN": '"$float"',
    '{"$bytes": 1}': "$bytes",
    '{"$bytes": "%%%"}': "$bytes",
    '{"$bytes": "AA==", "b": 1}': "$dict",
    '{"$tuple": {}}': "$tuple",
    '{"$set": [[]]}': "$set",
    '{"$float": "1.5"}': "$float",
    '{"$dict": [[1]]}': "$dict",
    '{"$dict": [[1, 2], [1, 3]]}': "the same key twice",
    '{"a": 1, "a": 2}': "the same key twice",
    '{"$unknown": 1}': "$unknown",
    '{"$class": "os.system", "args": ["ls"]}': "os.system",
    "[" * 100_000: "nested too deep",
    "9" * 5000: "digits",
    "\udc80": "",
}


@pytest.mark.parametrize("line", REFUSED, ids=lambda line: line[:30].encode("unicode_escape").decode())
def test_what_is_no_form_is_refused_with_a_reason(line: str) -> None:
    data = line.encode("utf-8", "surrogateescape") if "\udc80" in line else line
    with pytest.raises(NotOurForm) as refused:
        loads(data)
    assert REFUSED[line] in str(refused.value)


def test_what_needs_a_class_is_named_and_refused_when_it_is_read() -> None:
    item = plain_loads(pickle.dumps([1, complex(1, 2)]), 0)[0]
    written = write(item)
    assert written.needs == "builtins.complex"
    assert json.loads(written.text) == [1, {"$class": "builtins.complex", "args": {"$tuple": [1.0, 2.0]}}]
    with pytest.raises(NotOurForm, match=r"builtins\.complex"):
        loads(written.text)


def test_an_object_is_shown_by_its_repr() -> None:
    assert json.loads(dumps(complex(1, 2))) == {"$class": "builtins.complex", "repr": "(1+2j)"}


def test_shared_parts_that_would_fill_the_memory_are_refused() -> None:
    """2 ** 60 values in a pickle of 300 bytes."""
    bomb: list[Any] = []
    for _ in range(60):
        bomb = [bomb, bomb]
    with pytest.raises(NotInJson, match="too large"):
        dumps(bomb)
    for part in ("x" * 1000, [1] * 1000, b"x" * 1000):
        with pytest.raises(NotInJson, match="too large"):
            dumps([part] * 10_000)


def test_a_large_item_without_shared_parts_is_written() -> None:
    item = ["x" * 1_500_000, [[number] for number in range(50_000)], ["short"] * 1_100_000]
    assert loads(dumps(item)) == item


def test_what_holds_itself_is_refused() -> None:
    item: list[Any] = []
    item.append(item)
    with pytest.raises(NotInJson, match="nested too deep"):
        dumps(item)
