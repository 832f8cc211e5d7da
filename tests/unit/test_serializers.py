"""What holds for every serializer of ours: the bytes are persist-queue's, and a record's end is found exactly."""

import enum
import importlib
import io
import json
import math
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import cbor2
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from asyncpq import serializers
from asyncpq.serializers import Damaged, Serializer, Torn
from tests.golden_dirs import load

NAMES: Final = ["pickle", "json", "orjson", "msgpack", "cbor2"]
UPSTREAM: Final = ["pickle", "json", "msgpack", "cbor2"]

EDGES: Final[list[Any]] = [None, 0, -1, "", [], b"", False, True, 0.5, (), {}, [46, b"x" * 100_000], "x" * 140_000]

# What every serializer takes: str keys, no bytes, nothing that JSON changes.
PLAIN: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text("abc.\n\x80é(N", max_size=6), inner, max_size=6)
    ),
    max_leaves=25,
)
# What pickle, msgpack and cbor2 take beyond it, with large values in containers.
LARGE: Final = st.sampled_from([b"", b".", b"x" * 65_535, b"." * 65_536, "é" * 70_000, b"\x80\x04." * 30_000])
BINARY: Final = st.recursive(
    PLAIN | LARGE | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=4),
    max_leaves=8,
)


def takes(name: str, value: Any) -> bool:
    """Whether JSON has a word for *value*, where that matters."""
    return name not in ("json", "orjson") or not holds_bytes(value)


def holds_bytes(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(holds_bytes, value.values()))
    return isinstance(value, bytes) or (isinstance(value, list) and any(map(holds_bytes, value)))


def peak(function: Callable[[], Any]) -> int:
    """Bytes of memory that *function* took at most, above what was there."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def outcome(function: Callable[[bytes, int], Any], data: bytes) -> Any:
    """What *function* gives, or the type of what it raises."""
    try:
        return function(data, 0)
    except (Torn, Damaged) as error:
        return type(error)


def upstream_bytes(name: str, value: Any) -> bytes:
    module = importlib.import_module(f"persistqueue.serializers.{name}")
    file = io.BytesIO()
    module.dump(value, file)
    return file.getvalue()


@pytest.mark.parametrize("name", UPSTREAM)
@settings(deadline=None, max_examples=150)
@given(value=BINARY)
@example(value=[46, b"x" * 100_000])
@example(value=[b"x" * 70_000, 1])
def test_a_record_is_what_persist_queue_writes(name: str, value: Any) -> None:
    assume(takes(name, value))
    assert serializers.get(name).encode(value) == upstream_bytes(name, value)


@pytest.mark.parametrize("name", UPSTREAM)
@settings(deadline=None, max_examples=100)
@given(value=BINARY)
def test_persist_queue_and_ours_load_the_same(name: str, value: Any) -> None:
    assume(takes(name, value))
    module = importlib.import_module(f"persistqueue.serializers.{name}")
    record = upstream_bytes(name, value)
    expected = module.load(io.BytesIO(record))

    assert serializers.get(name).loads(record) == expected
    assert serializers.get(name).decode(record, 0) == (expected, len(record))


@settings(deadline=None, max_examples=100)
@given(value=PLAIN)
def test_persist_queues_json_reads_what_orjson_wrote(value: Any) -> None:
    module = importlib.import_module("persistqueue.serializers.json")
    record = serializers.orjson.encode(value)
    assert module.load(io.BytesIO(record)) == value


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=100)
@given(values=st.lists(PLAIN, min_size=1, max_size=4))
def test_records_back_to_back_end_where_they_end(name: str, values: list[Any]) -> None:
    serializer = serializers.get(name)
    records = [serializer.encode(value) for value in values]
    chunk, pos = b"".join(records), 0
    for record in records:
        end = pos + len(record)
        assert serializer.decode(chunk, pos) == (serializer.loads(record), end)
        assert serializer.skip(chunk, pos) == end
        assert serializer.check(chunk, pos) == end
        pos = end


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", EDGES, ids=lambda value: repr(value)[:20])
def test_edges_come_back(name: str, value: Any) -> None:
    if not takes(name, value):
        pytest.skip("JSON has no bytes")
    serializer = serializers.get(name)
    record = serializer.encode(value)
    got, end = serializer.decode(b"\n" + record + record, 1)
    assert end == 1 + len(record)
    if isinstance(value, list | tuple):
        assert list(got) == list(value)
    else:
        assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@given(value=PLAIN)
def test_a_record_that_is_cut_off_anywhere_is_torn(name: str, value: Any) -> None:
    serializer = serializers.get(name)
    record = serializer.encode(value)
    for cut in range(len(record)):
        for function in (serializer.decode, serializer.skip, serializer.check):
            assert outcome(function, record[:cut]) is Torn, (function, cut)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=60))
def test_random_bytes_are_torn_or_damaged_or_a_record(name: str, data: bytes) -> None:
    serializer = serializers.get(name)
    end = outcome(serializer.skip, data)
    assert end in (Torn, Damaged) or 0 < end <= len(data)
    if name != "pickle":  # unpickling random bytes is not for a test
        decoded = outcome(serializer.decode, data)
        assert decoded in (Torn, Damaged) or decoded[1] == end
    found = serializer.resync(data, 0)
    assert found is None or outcome(serializer.check, data[found:]) not in (Torn, Damaged)


@pytest.mark.parametrize("name", NAMES)
def test_zeros_are_damage(name: str) -> None:
    """A sector that was never written reads as zeros: no more bytes would make a record of it."""
    serializer = serializers.get(name)
    assert outcome(serializer.skip, bytes(512)) is Damaged
    assert outcome(serializer.decode, bytes(512)) is Damaged
    assert serializer.resync(bytes(100_000), 0) is None


@pytest.mark.parametrize("name", NAMES)
def test_dump_and_load_work_on_files(name: str) -> None:
    module = importlib.import_module(f"asyncpq.serializers.{name}")
    file = io.BytesIO()
    module.dump({"a": 1}, file)
    module.dump("two", file)
    file.seek(0)
    assert module.load(file) == {"a": 1}
    assert module.load(file) == "two"
    with pytest.raises(EOFError):
        module.load(file)


@pytest.mark.parametrize("name", ["msgpack", "cbor2"])
def test_load_asks_no_file_for_a_length_that_is_a_claim(name: str) -> None:
    class Counting(io.BytesIO):
        largest = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.largest = max(self.largest, size or 0)
            return super().read(size)

    file = Counting(b"\xff\xff\xff\xff\x01")
    with pytest.raises(Torn):
        importlib.import_module(f"asyncpq.serializers.{name}").load(file)
    assert file.largest <= 1 << 20


@pytest.mark.parametrize("name", ["msgpack", "cbor2"])
def test_a_body_longer_than_its_prefix_can_say_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncpq.serializers._prefixed.LARGEST", 10)
    with pytest.raises(ValueError, match="32 bits"):
        serializers.get(name).encode("x" * 11)


REFUSED: Final = {
    "msgpack keys": ("msgpack", {1: 2}, ValueError),
    "msgpack keys deep inside": ("msgpack", [({"a": [{None: 1}]},)], ValueError),
    "msgpack integers": ("msgpack", 2**64, OverflowError),
    "cbor2 tags": ("cbor2", [cbor2.CBORTag(0, 1)], ValueError),
    "cbor2 objects": ("cbor2", object(), Exception),
    "orjson keys": ("orjson", {1: 2}, TypeError),
    "orjson integers": ("orjson", 2**64, TypeError),
    "orjson surrogates": ("orjson", "\ud800", TypeError),
    "json bytes": ("json", b"x", TypeError),
    "pickle functions": ("pickle", lambda: None, Exception),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_not_be_read_again_is_refused_before_it_is_stored(case: str) -> None:
    name, value, error = REFUSED[case]
    with pytest.raises(error):
        serializers.get(name).encode(value)


JSON_ONLY: Final = [
    (b"18446744073709551616\n", 2**64),
    (b"-9223372036854775809\n", -(2**63) - 1),
    (b'{"a": [123456789012345678901234567890]}\n', {"a": [123456789012345678901234567890]}),
    (b'"\\ud800"\n', "\ud800"),
    (b"[Infinity, -Infinity]\n", [math.inf, -math.inf]),
    (b"1E400\n", math.inf),
    (b"1000000000000000000000.0\n", 1e21),
    (b"18446744073709551615\n", 2**64 - 1),
]


@pytest.mark.parametrize("name", ["json", "orjson"])
@pytest.mark.parametrize(("line", "value"), JSON_ONLY)
def test_what_orjson_would_change_is_read_by_json(name: str, line: bytes, value: Any) -> None:
    got, end = serializers.get(name).decode(line + b"1\n", 0)
    assert (got, type(got), end) == (value, type(value), len(line))


@pytest.mark.parametrize("name", ["json", "orjson"])
def test_nan_is_read(name: str) -> None:
    assert math.isnan(serializers.get(name).loads(b"NaN\n"))


@pytest.mark.parametrize("name", ["json", "orjson"])
@pytest.mark.parametrize("record", [b"12", b'{"a": 1}', b""])
def test_a_line_without_its_newline_is_torn(name: str, record: bytes) -> None:
    """`12` may be the beginning of `1234`."""
    serializer = serializers.get(name)
    assert outcome(serializer.decode, record) is Torn
    with pytest.raises(Torn):
        serializer.loads(record)


@pytest.mark.parametrize("name", ["json", "orjson"])
@pytest.mark.parametrize("line", [b"\n", b"{\n", b"1 2\n", b"\xff\n", b'"a\x00"\n', b"[" * 100_000 + b"\n"])
def test_a_line_that_is_no_json_is_damaged(name: str, line: bytes) -> None:
    assert outcome(serializers.get(name).skip, line) is Damaged


CLAIMS: Final = {
    "msgpack": [
        b"\xdd\x7f\xff\xff\xff",
        b"\xdf\x7f\xff\xff\xff",
        b"\xdd\x00\x03\xff\xff" * 500,
        b"\xc6\xff\xff\xff\xff",
    ],
    "cbor2": [b"\x9a\x7f\xff\xff\xff", b"\xbb" + b"\x7f" * 8, b"\x9a\x00\x03\xff\xff" * 500, b"\x5b" + b"\xff" * 8],
}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_inside_a_body_are_not_believed(name: str) -> None:
    serializer = serializers.get(name)
    for claim in CLAIMS[name]:
        body = claim + b"\x00" * 300_000
        record = len(body).to_bytes(4, "little") + body
        assert peak(partial(outcome, serializer.decode, record)) < 16 << 20
        assert outcome(serializer.decode, record) is Damaged
        assert outcome(serializer.skip, record) is Damaged


@pytest.mark.parametrize("name", ["msgpack", "cbor2"])
def test_bytes_behind_a_body_are_damage(name: str) -> None:
    serializer = serializers.get(name)
    with pytest.raises(Damaged):
        serializer.loads(b"\x02\x00\x00\x00\x01\x01" if name == "msgpack" else b"\x01\x00\x00\x00\x01\x01")


def test_names_and_modules_are_serializers() -> None:
    for name in NAMES:
        assert name == serializers.get(name).NAME
        assert serializers.get(importlib.import_module(f"asyncpq.serializers.{name}")) is serializers.get(name)
        assert isinstance(getattr(serializers, name), Serializer)
    assert tuple(NAMES) == serializers.NAMES


def test_persist_queues_own_modules_stand_for_ours() -> None:
    for name in UPSTREAM:
        assert serializers.get(importlib.import_module(f"persistqueue.serializers.{name}")) is serializers.get(name)
    theirs = importlib.import_module("persistqueue.serializers.async_pickle")
    assert serializers.get(theirs) is serializers.get("pickle")


def test_an_unknown_name_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match="pickle, json, orjson, msgpack, cbor2"):
        serializers.get("yaml")
    with pytest.raises(AttributeError, match="yaml"):
        serializers.yaml  # noqa: B018


def test_an_object_without_dump_and_load_is_an_error() -> None:
    with pytest.raises(AttributeError, match="serializer needs 'dump' and 'load'"):
        serializers.get(object())


WITHOUT_CBOR2: Final = """
import sys
import asyncpq.serializers as s
assert "cbor2" not in sys.modules and s.json.NAME == "json"
sys.modules["cbor2"] = None
info = bytes.fromhex(sys.argv[1])
print(s.detect(info), s.info_loads("cbor2", info)["head"])
for ask in (lambda: s.get("cbor2"), lambda: s.cbor2):
    try:
        ask()
    except ImportError as error:
        print(error)
"""


def test_positions_can_be_read_without_the_cbor2_library() -> None:
    info = load("pq110-py311-cbor2-midway").path.joinpath("info").read_bytes().hex()
    command = [sys.executable, "-c", WITHOUT_CBOR2, info]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0] == "cbor2 [3, 4, 106]"
    assert lines[1] == lines[2] == "this needs the cbor2 library: pip install 'asyncpq-engine[cbor2]'"


def test_json_says_what_the_library_says_of_what_holds_itself_or_is_nested_too_deeply() -> None:
    itself: list[Any] = [1]
    itself.append({"a": itself})
    with pytest.raises(ValueError, match="Circular reference detected"):
        serializers.json.encode(itself)
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecursionError):
        serializers.json.encode(deep)
    assert serializers.json.encode([1]) == b"[1]\n"


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    "value",
    [
        math.nan, [math.inf, -math.inf], {1: 2, 2.5: 3, False: 4, None: 5}, (1, (2,)), 10**400, "\ud800", "\u2028\x7f",
        Level.HIGH, {Level.HIGH: Level.HIGH}, {"a": {"b": [{}, []]}}, "", [], 1e16, -0.0,
    ],
    ids=repr,
)  # fmt: skip
def test_json_writes_what_the_library_writes(value: Any) -> None:
    assert serializers.json.encode(value) == json.dumps(value).encode() + b"\n"


def test_json_says_of_an_object_what_the_library_says() -> None:
    with pytest.raises(TypeError, match="Object of type object is not JSON serializable"):
        serializers.json.encode({"a": [object()]})
