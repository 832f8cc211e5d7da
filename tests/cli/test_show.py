"""Items on a terminal: readable, on one line, and nothing in them is obeyed."""

import pickle
import time
from datetime import date
from typing import Any

import pytest
from hypothesis import given

from asyncpq.cli.show import shown
from asyncpq.cli.terminal import quantity, safe, size
from asyncpq.serializers import plain_loads
from tests.cli.test_jsonform import items


@given(items)
def test_plain_data_is_shown_as_python_writes_it_on_one_printable_line(item: Any) -> None:
    text = shown(item)
    assert text.isprintable()
    assert text == repr(item)


HOSTILE = ["\x1b[2J", "\x9b31m", "a\nb", "\u202e", "\ud800", "\x07", "\u2028"]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_control_characters_are_shown_as_escapes(text: str) -> None:
    assert shown({text: [text]}).isprintable()
    assert safe(text).isprintable()
    assert safe(f"a{text}") != "a"


def test_what_needs_a_class_is_shown_by_its_name() -> None:
    item = plain_loads(pickle.dumps({"day": date(2024, 2, 29)}), 0)[0]
    assert shown(item) == r"{'day': <datetime.date (b'\x07\xe8\x02\x1d',)>}"


def test_the_name_of_a_class_is_escaped() -> None:
    item = plain_loads(b"c\x1b[2J\nevil\n)R.", 0)[0]
    assert shown(item) == r"<\x1b[2J.evil>"


def test_a_long_item_is_cut() -> None:
    assert shown("x" * 10_000, 20) == "'" + "x" * 19 + "..."
    assert shown(list(range(1000)), 10) == "[0, 1, 2, ..."


def test_a_bomb_is_cut_before_it_is_unfolded() -> None:
    bomb: list[Any] = []
    for _ in range(60):
        bomb = [bomb, bomb]
    began = time.process_time()
    assert len(shown(bomb, 1000)) == 1003
    assert time.process_time() - began < 1


def test_what_is_nested_deeper_than_python_can_go_is_cut() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep).endswith("...")


class Bad:
    def __repr__(self) -> str:
        raise ValueError


def test_an_object_whose_repr_raises_is_shown_all_the_same() -> None:
    assert shown([Bad()]) == "[<Bad whose repr raises ValueError>]"


def test_numbers_for_people() -> None:
    assert [size(n) for n in (1, 999, 1000, 12_345_678, 5 * 10**12)] == [
        "1 bytes",
        "999 bytes",
        "1.0 kB",
        "12.3 MB",
        "5.0 TB",
    ]
    assert (quantity(1, "item"), quantity(0, "item"), quantity(1234, "item")) == ("1 item", "0 items", "1,234 items")
