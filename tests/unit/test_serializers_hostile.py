"""Pickles that no pickler writes: refused at the cost of their bytes, and never believed."""

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import pytest

from asyncpq import serializers
from asyncpq.serializers import Damaged, TooComplex, Torn, plain_loads
from tests.unit.test_serializers import outcome, peak

READERS: Final[list[Callable[[bytes, int], Any]]] = [
    serializers.pickle.skip,
    serializers.pickle.check,
    plain_loads,
]

BAD: Final = {
    "nothing on the stack": b"\x80\x04.",
    "nothing at all": b".",
    "append to nothing": b"Na.",
    "append to an integer": b"K\x01Na.",
    "set on a list": b"]K\x01K\x02s.",
    "a key without a value": b"}(K\x01u.",
    "an unhashable key": b"}]Ns.",
    "a mark never set": b"Nt.",
    "pop below a mark": b"N(0",
    "memo never stored": b"h\x01.",
    "text memo never stored": b"g1\n.",
    "unknown opcode": b"\x80\x04\xff.",
    "unknown protocol": b"\x80\x09N.",
    "digits without end": b"I" + b"9" * 100_000 + b"\n.",
    "long digits without end": b"L" + b"9" * 100_000 + b"L\n.",
    "no digits": b"Iabc\n.",
    "memo index of many digits": b"Np" + b"9" * 100_000 + b"\n.",
    "no float": b"Fabc\n.",
    "no quotes": b"Sabc\n.",
    "no escape": b"S'\\q'\n.",
    "no UTF-8": b"\x8c\x02\xff\xff.",
    "negative length": b"\x8b\xff\xff\xff\xff.",
    "a call of a number": b"K\x01)R.",
    "state for a number": b"K\x01}b.",
    "a class named by a number": b"K\x01K\x02\x93.",
    "items for a tuple": b")(K\x01e.",
    "a deep key": b"}" + b")" + b"\x85" * 100_000 + b"Ns.",
    "a key as wide as it is deep": b"})" + b"2\x86" * 60 + b"Ns.",
    "a deep member": b"\x8f()" + b"\x85" * 100_000 + b"\x90.",
}


# Whole pickles, whose keys would take too long to hash, or too deep a recursion.
TOO_COMPLEX: Final = ("a deep key", "a key as wide as it is deep", "a deep member")


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_pickle_of_plain_data_is_damaged(case: str) -> None:
    record = BAD[case] if BAD[case].endswith(b".") else BAD[case] + b"00."
    assert outcome(plain_loads, record) is (TooComplex if case in TOO_COMPLEX else Damaged)


WRONG_HEIGHT: Final = {
    "two values": b"\x80\x04NN.",
    "an open mark": b"\x80\x04(N.",
    "no value": b"\x80\x04N0.",
    "pop of nothing": b"\x80\x040N.",
    "append below a mark": b"\x80\x04](Na.",
    "items for nothing": b"\x80\x04(Ne.",
    "a key without a value": b"\x80\x04}(Nu.",
    "no class for an object": b"\x80\x04(o.",
    "a mark never set": b"\x80\x04Nt.",
    "memo never stored": b"\x80\x04h\x00.",
    "text memo never stored": b"\x80\x02g7\n.",
    "a pickle in a pickle": b"\x80\x04\x80\x04N.",
    "no number": b"Iabc\n.",
    "no float": b"Fabc\n.",
    "no quotes": b"Sabc\n.",
    "no name": b"c\n\n.",
    "a frame too short": b"\x80\x04\x95\x02\0\0\0\0\0\0\0J\x01\0\0\0.",
    "a frame too long": b"\x80\x04\x95\x04\0\0\0\0\0\0\0N.NN",
    "a frame in a frame": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x95\x02\0\0\0\0\0\0\0N.",
}


@pytest.mark.parametrize("case", WRONG_HEIGHT)
def test_check_sees_what_no_pickler_writes(case: str) -> None:
    assert outcome(serializers.pickle.check, WRONG_HEIGHT[case]) is Damaged
    assert serializers.pickle.resync(WRONG_HEIGHT[case], 0) in (None, 2)  # 2: the one inside


@pytest.mark.parametrize("behind", [b"", b"\x80\x04N.", b"N."])
def test_a_record_that_stops_inside_its_frame_ends_with_the_frame(behind: bytes) -> None:
    """No pickler writes it; the unpickler reads whole frames, so all three go on behind it."""
    record = b"\x80\x04\x95\x04\0\0\0\0\0\0\0N.N."
    assert serializers.pickle.skip(record + behind, 0) == len(record)
    assert serializers.pickle.decode(record + behind, 0) == (None, len(record))
    assert plain_loads(record + behind, 0) == (None, len(record))


@pytest.mark.parametrize("record", [b".", b"\x80\x04.", b"\x80\x04\xff", b"\x80\x06N."])
def test_skip_refuses_what_holds_nothing_or_is_unknown(record: bytes) -> None:
    assert outcome(serializers.pickle.skip, record) is Damaged


def test_what_picklers_seldom_write_is_checked_and_found() -> None:
    """A mark that POP takes away, POP_MARK, DUP, and the sparse memo of an optimized pickle of Python 2."""
    for record in (b"\x80\x02(0N.", b"\x80\x02](N1.", b"\x80\x02N2\x86.", b"\x80\x02Nq\xf0h\xf0\x86."):
        assert serializers.pickle.check(record, 0) == len(record)
        assert serializers.pickle.resync(b"x" + record, 0) == 1


HOSTILE: Final = {
    "LONG_BINPUT far away": b"\x80\x04Nr\xff\xff\xff\x7f.",
    "PUT far away": b"Np99999999999\n.",
    "BINBYTES8 of 2**62": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62),
    "BINUNICODE8 of 2**63": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 63),
    "BYTEARRAY8": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40),
    "FRAME": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "BINBYTES of 4 GiB": b"\x80\x04B\xff\xff\xff\xffx",
    "LONG4 of 2 GiB": b"\x80\x04\x8b\xff\xff\xff\x7fx",
    "many marks": b"(" * 100_000,
    "deep lists": b"]" * 100_000 + b"a" * 99_999 + b".",
    "deep tuples": b")" + b"\x85" * 100_000 + b".",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickles_cost_no_more_than_their_bytes(case: str) -> None:
    """The C unpickler takes 600 MiB for ten bytes of the first kind."""
    for reader in READERS:
        assert peak(partial(outcome, reader, HOSTILE[case])) < 32 << 20
    with pytest.raises((Torn, Damaged)):
        serializers.pickle.info_loads(HOSTILE[case])


def test_check_refuses_what_would_cost_the_unpickler_its_memory() -> None:
    assert outcome(serializers.pickle.check, HOSTILE["LONG_BINPUT far away"]) is Damaged
    assert outcome(serializers.pickle.check, HOSTILE["PUT far away"]) is Damaged


@pytest.mark.parametrize("reader", [*READERS, serializers.pickle.decode])
@pytest.mark.parametrize("claim", ["BINBYTES8 of 2**62", "FRAME", "BINBYTES of 4 GiB", "LONG4 of 2 GiB"])
def test_a_length_beyond_the_buffer_is_torn(reader: Callable[[bytes, int], Any], claim: str) -> None:
    assert outcome(reader, HOSTILE[claim]) is Torn


def in_each_other(wrap: Callable[[Any], Any], depth: int = 200_000) -> Any:
    item: Any = datetime(2026, 1, 1, tzinfo=UTC)  # which marshal does not know
    for _ in range(depth):
        item = wrap(item)
    return item


WRAPS: Final[dict[str, Callable[[Any], Any]]] = {
    "lists": lambda item: [item],
    "tuples": lambda item: (item, 1),
    "dicts": lambda item: {"a": item},
}
# orjson follows tuples without its limit, and ends the process: the docstring of its module here says so.
NESTED: Final = [(name, wrap) for name in serializers.NAMES for wrap in WRAPS if (name, wrap) != ("orjson", "tuples")]


@pytest.mark.parametrize(("name", "wrap"), NESTED)
def test_an_item_nested_without_end_is_refused_and_not_followed(name: str, wrap: str) -> None:
    """The encoder of cbor2 follows it until the stack ends, and the process with it."""
    with pytest.raises((ValueError, RecursionError, TypeError)):
        serializers.get(name).encode(in_each_other(WRAPS[wrap]))
