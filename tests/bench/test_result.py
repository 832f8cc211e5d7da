"""What is said of figures is no more than they say."""

from dataclasses import replace
from typing import Final

import pytest

from asyncpq.bench.result import Counts, Row, latency, lost, spread, two_digits
from asyncpq.bench.table import COLUMNS, aligned, sections
from tests.bench.figures import EVERYTHING, row


def counted(policy: str, **counts: object) -> Row:
    made = row(policy, 1000.0)
    return replace(made, counts=replace(made.counts, **counts))  # type: ignore[arg-type]  # of all kinds


LOST: Final = {
    "nothing": row("always", 1000.0),
    "99 items": row("rollover", 1000.0),
    "the last item": counted("rollover", at_risk=1),
    "all: none of 1,000 became durable": row("never", 1000.0),
    "1 s: 1,000 items at this rate": row("interval", 1000.0),
    "more than 1.5 s: 1,500 items at this rate": counted("interval", exposed=1.5, advanced=False),
    "not counted": replace(row("always", 1000.0), counts=Counts(why="there is no strace")),
}


@pytest.mark.parametrize("text", LOST)
def test_what_can_be_lost_is_said_in_words(text: str) -> None:
    assert lost(LOST[text]) == text


def test_a_percentile_of_too_few_puts_is_none() -> None:
    assert latency([1.0] * 99, 99, 1.0).p99 is None
    assert latency([1.0] * 100, 100, 1.0).p99 == 1.0
    assert latency([1.0] * 999, 999, 1.0).p999 is None
    assert latency([1.0] * 1000, 1000, 1.0).p999 == 1.0


def test_percentiles_are_those_of_the_puts() -> None:
    took = latency([number / 1000 for number in range(10_000)], 10_000, 9.999)
    assert (took.p50, took.p99, took.p999, took.longest) == (5.0, 9.9, 9.99, 9.999)
    assert took.curve[0] == (0.0, 0.0)
    assert [seconds for _, seconds in took.curve] == sorted(seconds for _, seconds in took.curve)


def test_a_spread_is_of_all_rounds() -> None:
    assert spread([3.0, 1.0, 2.0]) == spread([1.0, 2.0, 3.0])
    assert (spread([3.0, 1.0, 2.0]).median, spread([3.0, 1.0, 2.0]).high) == (2.0, 3.0)


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5"), (9.94, "9.9"), (10.4, "10"), (1234, "1,200"), (98765, "99,000"), (712, "710")]
)
def test_two_digits_are_said_of_a_rate(value: float, text: str) -> None:
    assert two_digits(value) == text


def test_the_same_promise_stands_beside_the_same_promise() -> None:
    first = sections(EVERYTHING)[0]
    assert [(promise.text, [row[0] for row in rows]) for promise, rows in first.groups] == [
        ("each put is durable when it returns", ["asyncpq file, always", "asyncpq sqlite, always"]),
        ("each put but the last is durable when it returns", ["a library <with> a name"]),
        ("durable a bounded time later", ["asyncpq file, interval"]),
        ("durable when a file is full, or a log is moved", ["asyncpq file, rollover"]),
        ("nothing is synced", ["asyncpq file, never", "asyncpq sqlite, never", "another"]),
    ]


def test_each_load_has_a_table_of_its_own() -> None:
    assert [section.title for section in sections(EVERYTHING)] == [
        "1 producer, items of 20 bytes, pickle",
        "16 producers, items of 20 bytes, pickle",
        "1 producer, items of 1,024 bytes, pickle",
        "1 producer, items of 20 bytes, pickle, each sync 1 ms slower",
    ]


def test_the_columns_of_a_table_stand_below_each_other() -> None:
    lines = aligned(sections(EVERYTHING)[0])
    ends = {text.index("not counted") for part, text in lines if part == "row" and "another" in text}
    heads = {text.index("syncs/item") for part, text in lines if part == "head"}
    assert len(ends) == len(heads) == 1
    assert {part for part, _ in lines} == {"title", "head", "promise", "row"}
    assert all(name in lines[1][1] for name in COLUMNS)
