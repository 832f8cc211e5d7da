"""What is typed becomes cells."""

import pytest

from asyncpq import fsync
from asyncpq.bench.plan import QUICK, Cell, Options, cells, duration, number, policy, size


@pytest.mark.parametrize(
    ("text", "bytes_"), [("20", 20), ("1k", 1024), ("64K", 65536), ("1.5k", 1536), ("2m", 2097152), (" 7 ", 7)]
)
def test_a_size_has_a_unit(text: str, bytes_: int) -> None:
    assert size(text) == bytes_


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("1ms", 0.001), ("5ms", 0.005), ("0.5", 0.5), ("2s", 2.0), ("500us", 0.0005)]
)
def test_a_time_has_a_unit(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("never", fsync.Never()),
        ("interval", fsync.Interval()),
        ("interval:0.2", fsync.Interval(0.2)),
        ("interval:50ms:100", fsync.Interval(0.05, 100)),
        ("always", fsync.Always()),
    ],
)
def test_a_policy_may_have_numbers(text: str, means: fsync.Policy) -> None:
    assert policy(text) == means


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (size, "0"),
        (size, "17m"),
        (size, "k"),
        (size, "-1"),
        (size, "1e3"),
        (duration, "soon"),
        (duration, "-1ms"),
        (duration, "1h"),
        (number, "0"),
        (number, "1.5"),
        (number, "²"),
        (policy, "sometimes"),
        (policy, "always:1"),
        (policy, "interval:0"),
        (policy, "interval:1:0"),
        (policy, "interval:1:2:3"),
        (policy, ""),
    ],
)
def test_what_is_none_is_refused_in_one_line(read: "type[int]", text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        read(text)


def test_one_option_at_a_time_leaves_its_first_value() -> None:
    options = Options(("never",), (1, 2), (20, 30), ("pickle", "json"), ("file",), (0.0, 0.1))
    first = Cell("asyncpq file", "never", 1, 20, "pickle")
    assert cells(options, ["peer"]) == [
        first,
        Cell("asyncpq file", "never", 2, 20, "pickle"),
        Cell("asyncpq file", "never", 1, 30, "pickle"),
        Cell("asyncpq file", "never", 1, 20, "json"),
        Cell("asyncpq file", "never", 1, 20, "pickle", 0.1),
        Cell("peer", "", 1, 20, ""),
        Cell("peer", "", 2, 20, ""),
    ]


def test_no_cell_is_measured_twice() -> None:
    for options in (Options(), QUICK, Options(producers=(1, 1), sizes=(20, 20))):
        planned = cells(options, ["a", "b"])
        assert len(planned) == len(set(planned))


def test_no_peer_stands_beside_asyncpq_on_an_imagined_disk() -> None:
    """The delay cannot be given to it, so it would look better than it is."""
    assert not [cell for cell in cells(Options(delays=(0.001,)), ["peer"]) if cell.contender == "peer"]
