"""Telling serializers apart by bytes, reading infos, and finding records behind damage."""

from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncpq import serializers
from asyncpq.serializers import Damaged, Torn, detect, detect_record
from asyncpq.serializers._budget import Budget
from tests.golden_dirs import FOLDER
from tests.unit.test_serializers import NAMES, PLAIN

# The queues of files, without the SQLite ones.
QUEUES: Final = sorted(
    path for path in FOLDER.glob("*/queue") if path.parent.name.split("-")[2] in ("pickle", "json", "msgpack", "cbor2")
)
INFOS: Final = [path / "info" for path in QUEUES if (path / "info").exists()]
CHUNKS: Final = [chunk for path in QUEUES for chunk in sorted(path.glob("q0*")) if chunk.stat().st_size]

POSITIONS: Final[dict[str, Any]] = {"chunksize": 10, "size": 20, "tail": [1, 4, 164], "head": [3, 4, 147]}
MARK: Final = bytes(range(1, 65))


def name_of(path: Path) -> str:
    return path.parent.parent.name


def slot(record: bytes) -> bytes:
    """An info while its queue is open: the record, zeros, a mark."""
    return record.ljust(448, b"\0") + MARK


def listed(info: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in info.items()}


@pytest.mark.parametrize("path", INFOS, ids=name_of)
def test_an_info_tells_its_serializer_and_is_read_without_running_it(path: Path) -> None:
    import json

    data, name = path.read_bytes(), name_of(path).split("-")[2]
    expected = json.loads(path.parent.with_name("expected.json").read_text("utf-8"))["info"]
    for form in (data, slot(data), data + bytes(7), data + b"\xff" * 40):
        assert detect(form) == name
        assert listed(serializers.info_loads(name, form)) == expected
    with pytest.raises(Torn):
        serializers.info_loads(name, data[:-1])


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=100)
@given(
    numbers=st.lists(st.integers(0, 2**40), min_size=8, max_size=8),
    unknown=st.dictionaries(st.text("xyz", min_size=1), PLAIN, max_size=3),
)
def test_an_info_of_any_numbers_is_detected_and_read_in_its_order(
    name: str, numbers: list[int], unknown: dict[str, Any]
) -> None:
    chunksize, size, *positions = numbers
    info = {"chunksize": chunksize, "size": size, "tail": positions[:3], "head": positions[3:], **unknown}
    record = serializers.get(name).encode(info)
    data = slot(record) if len(record) <= 448 else record
    assert detect(data) == ("json" if name == "orjson" else name)
    read = serializers.info_loads(name, data)
    assert list(read) == list(info)
    assert listed(read) == listed(serializers.get(name).loads(record))


# Python 2's, by hand: keys in the order of its dict, keys of msgpack as bytes.
OLD_INFOS: Final = {
    "msgpack": bytes.fromhex(
        "28000000 84 c4047461696c 930104 68 c40468656164 930304 68 c4096368756e6b73697a65 0a c40473697a65 14"
    ),
    "pickle": b"(dp0\nS'tail'\np1\n(lp2\nI1\naI4\naI189\nasS'head'\np3\n(lp4\nI3\naI4\naI184\nas.",
}


def test_infos_of_python_2_have_str_keys_in_their_own_order() -> None:
    for name, data in OLD_INFOS.items():
        assert detect(data) == name
        assert list(serializers.info_loads(name, slot(data)))[:2] == ["tail", "head"]
    assert detect(b"}q\x00(U\x04sizeq\x01K\x02u.") == "pickle"
    assert serializers.info_loads("pickle", b"}q\x00(U\x04sizeq\x01K\x02u.") == {"size": 2}


UNTOLD: Final = {
    "empty": b"",
    "zeros": bytes(512),
    "one zero": b"\0",
    "noise": bytes(range(200, 256)),
    "text": b"hello",
    "a torn msgpack info of 40 bytes": b"\x28\0\0\0\x84\xa9chunk",
    "a torn msgpack info": b"\x24\0\0\0\x84\xa9chunk",
    "a msgpack info without its last byte": serializers.msgpack.encode(POSITIONS)[:-1],
    "a msgpack info without its last four bytes": serializers.msgpack.encode(POSITIONS)[:-4],
    "an array in msgpack": b"\x01\0\0\0\x90",
    "a number in JSON": b"12\n",
}


@pytest.mark.parametrize("case", UNTOLD)
def test_what_cannot_be_told_is_none(case: str) -> None:
    assert detect(UNTOLD[case]) is None


NO_INFOS: Final = [
    ("pickle", b"\x80\x04]\x94."),
    ("pickle", b"\x80\x04}\x94K\x01K\x02s."),
    ("pickle", b"\x80\x04}\x8c\x01ac__main__\nC\ns."),
    ("json", b"[]\n"),
    ("json", b"1\n"),
    ("msgpack", b"\x01\0\0\0\x90"),
    ("msgpack", b"\x03\0\0\0\x82\xa1a"),
    ("msgpack", b"\x07\0\0\0\x82\xa1a\x01\xc4\x01a\x02"),
    ("cbor2", b"\x01\0\0\0\x80"),
    ("cbor2", b"\x03\0\0\0\xa1\x01\x02"),
    ("cbor2", b"\x04\0\0\0\xbf\x61a\x01"),
    ("cbor2", b"\x05\0\0\0\xa1\x61a\xc1\x01"),
    ("cbor2", b"\x05\0\0\0\xa1\x61a\xf8\x20"),
    ("cbor2", b"\x15\0\0\0\xa1\x61a" + b"\x81" * 17 + b"\x01"),
    ("cbor2", b"\0\0\0\0"),
]


@pytest.mark.parametrize(("name", "data"), NO_INFOS)
def test_what_is_no_dict_of_plain_data_is_no_info(name: str, data: bytes) -> None:
    with pytest.raises(Damaged):
        serializers.info_loads(name, data)


def test_an_info_in_cbor_may_hold_any_plain_data() -> None:
    import cbor2

    info = {"a": [1, -1, 2**40, 1.5, True, None, "é", b"\xff"], "b": {"c": {}}, "d": float("inf")}
    record = serializers.get("cbor2").encode(info)
    assert serializers.info_loads("cbor2", record) == info
    short = b"\xa2\x61a\xf9\x3e\x00\x61b\xfa\x3f\xc0\x00\x00"
    assert cbor2.loads(short) == {"a": 1.5, "b": 1.5}
    assert serializers.info_loads("cbor2", bytes([len(short), 0, 0, 0]) + short) == {"a": 1.5, "b": 1.5}


CBOR: Final = {
    "an array up to a break": (b"\x9f\x01\x9f\xff\xff", True),
    "a map up to a break": (b"\xbf\x61a\x01\xff", True),
    "a key without a value": (b"\xbf\x61a\xff", False),
    "a text in parts": (b"\x7f\x61a\x61b\xff", True),
    "a text with bytes for a part": (b"\x7f\x41a\xff", False),
    "a string in parts of parts": (b"\x5f\x5f\xff\xff", False),
    "bytes in parts": (b"\x5f\x41a\xff", True),
    "parts without an end": (b"\x5f\x41a", False),
    "a tag": (b"\xc1\x01", True),
    "a tag of nothing": (b"\xc1", False),
    "an open tag": (b"\xdf\x01", False),
    "a break alone": (b"\xff", False),
    "a break in a closed array": (b"\x82\x01\xff", False),
    "a simple value": (b"\xf8\x20", True),
    "a simple value in two bytes": (b"\xf8\x10", False),
    "a reserved head": (b"\x1c", False),
    "no UTF-8": (b"\x61\xff", False),
    "half a head": (b"\x19\x01", False),
    "two values": (b"\x01\x01", False),
    "lists in lists": (b"\x81" * 100_000 + b"\x80", True),
}


@pytest.mark.parametrize("case", CBOR)
def test_cbor_is_well_formed_or_not(case: str) -> None:
    body, whole = CBOR[case]
    record = len(body).to_bytes(4, "little") + body
    skip = serializers.get("cbor2").skip
    if whole:
        assert skip(record, 0) == len(record)
    else:
        with pytest.raises(Damaged):
            skip(record, 0)


@pytest.mark.parametrize("path", CHUNKS, ids=lambda path: f"{name_of(path)}-{path.name}")
def test_a_chunk_tells_its_serializer(path: Path) -> None:
    name, data = name_of(path).split("-")[2], path.read_bytes()
    small_number = name in ("msgpack", "cbor2") and len(data) == 5  # the same in both, or a number in both
    assert detect_record(data) in ({name, None} if small_number else {name})
    assert detect_record(data[: len(data) // 2 + 1]) in (name, None)


UNSURE: Final = [b"", bytes(100), b"\x01\0\0\0\x05" * 3, b"\xff" * 100, b"\x80\x04\x00\x00\x00", b"12"]


@pytest.mark.parametrize("chunk", UNSURE)
def test_a_chunk_that_does_not_tell_is_none(chunk: bytes) -> None:
    """The number 5 has the same record in msgpack and cbor2."""
    assert detect_record(chunk) is None


def test_a_torn_first_pickle_still_tells() -> None:
    assert detect_record(serializers.pickle.encode("x" * 1000)[:500]) == "pickle"


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@given(values=st.lists(PLAIN, min_size=3, max_size=5), data=st.data())
def test_the_record_behind_damage_is_found(name: str, values: list[Any], data: st.DataObject) -> None:
    """Zeros lie over a part of the first record: what is found is no later than the second."""
    serializer = serializers.get(name)
    records = [serializer.encode(value) for value in values]
    length = len(records[0])
    begin = data.draw(st.integers(0, length - 1))
    chunk = records[0][:begin] + bytes(length - begin) + b"".join(records[1:])
    found = serializer.resync(chunk, 1)
    # A line that lost its newline takes the next line with it; and a value may contain what looks like a record.
    limit = length + (len(records[1]) if name in ("json", "orjson") else 0)
    assert found is not None
    assert found <= limit
    assert serializer.check(chunk, found) > found


RESYNC: Final = {
    "pickle": (b"\x80\x04\x95\x10\0\0\0\0\0\0\0garbage", b"\x80\x04N.", b"\x80\x04\x95\x02"),
    "json": (b'{"a": \0\0\0\n', b"1\n", b'{"to'),
    "orjson": (b"x\n", b"[]\n", b""),
    "msgpack": (b"\x09\0\0\0\xc1garbage", b"\x01\0\0\0\x05", b"\x30\0\0\0\x84"),
    "cbor2": (b"\x09\0\0\0\xffgarbage", b"\x01\0\0\0\x05", b"\x30\0"),
}


@pytest.mark.parametrize("name", RESYNC)
def test_a_small_record_before_a_torn_end_is_found(name: str) -> None:
    """It must not be cut off with what is torn."""
    damaged, record, torn = RESYNC[name]
    resync = serializers.get(name).resync
    assert resync(damaged + record + torn, 1) == len(damaged)
    assert resync(damaged + record + bytes(64), 1) == len(damaged)
    assert resync(damaged + record, len(damaged)) == len(damaged)
    assert resync(damaged + record, len(damaged) + 1) is None
    assert resync(damaged + torn, 1) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("start", [0, 5])
def test_nothing_is_found_in_nothing(name: str, start: int) -> None:
    assert serializers.get(name).resync(b"", start) is None


@pytest.mark.parametrize("name", ["msgpack", "cbor2"])
def test_small_numbers_in_damage_are_no_records(name: str) -> None:
    """An array of 32-bit integers is full of ones that could be the length of the next."""
    numbers = b"".join(number.to_bytes(4, "little") for number in (0x101, 1, 5, 7, 1, 5, 7, 0x1000001))
    assert serializers.get(name).resync(numbers, 1) is None


OLD_CHUNK: Final = [b"(dp0\nVid\np1\nI1\ns.", b"I7\n.", b"N.", b"S'a.N.I b'\np0\n.", b"(lp0\nVa\np1\na."]


def test_protocols_without_a_magic_are_found_too() -> None:
    for first in range(len(OLD_CHUNK) - 1):
        damaged = bytes(len(OLD_CHUNK[first]) - 1) + b"."
        chunk = damaged + b"".join(OLD_CHUNK[first + 1 :])
        assert serializers.pickle.resync(chunk, 1) == len(damaged)
    assert serializers.pickle.resync(b"\0\0 It was N. Bohr. (So I think.) ", 0) is None


HOSTILE: Final = {
    "zeros": bytes(4),
    "prose": b"The quick brown fox. N.I think (so). 42\n",
    "pickles that never stop": b"\x80\x04\x8c\x02",
    "pickles with text and no newline": b"\x80\x04S",
    "old pickles that never stop": b".(",
    "arrays of large arrays": b"\xdd\x00\x00\x00",
    "arrays in arrays": b"\x93\x00\x10\x00",
    "open arrays": b"\x9f\x00\x10\x00",
    "texts in texts": b"\x7a\x00\x10\x00",
    "open lines": b"[\n",
    "small numbers": b"\x07\x00\x00\x00",
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("name", NAMES)
def test_a_search_costs_no_square(name: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the budget the square of these bytes would take minutes."""
    monkeypatch.setattr("asyncpq.serializers._budget.SPARE", 1000)
    spend, spent = Budget.spend, 0

    def counting(budget: Budget, steps: int) -> None:
        nonlocal spent
        spent += min(steps, 200_000)
        spend(budget, steps)

    monkeypatch.setattr(Budget, "spend", counting)
    chunk = HOSTILE[case] * (200_000 // len(HOSTILE[case]))
    found = serializers.get(name).resync(chunk, 1)
    assert spent < 1_000_000
    assert found is None or serializers.get(name).check(chunk, found) > found


def test_exhausted_by_hostile_bytes_a_framed_pickle_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncpq.serializers._budget.SPARE", 1000)
    record = serializers.pickle.encode("a record")
    chunk = b"\x80\x04\x8c\x02" * 20_000
    assert serializers.pickle.resync(chunk * 2, 0) is None
    assert serializers.pickle.resync(chunk + b"\x80" + record, 0) == len(chunk) + 1
