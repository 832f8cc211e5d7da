"""Directories of eleven items, chunks of three, in which some records are damaged in some way."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.unit.queue_dirs import QueueDir, item

NAMES: Final = ["pickle", "json", "msgpack", "cbor2"]
ITEMS: Final = 11  # three full chunks and one of two records


def body(d: QueueDir, record: bytes) -> bytes:
    """A record of the same length whose body is no value; its length or its newline stays."""
    if d.name == "pickle":
        return record[:11] + b"\xff" * (len(record) - 12) + record[-1:]
    if d.name == "json":
        return b"\xff" * (len(record) - 1) + b"\n"
    return record[:4] + b"\xff" * (len(record) - 4)


def whole(d: QueueDir, record: bytes) -> bytes:
    return b"\xff" * len(record)


def zeros(d: QueueDir, record: bytes) -> bytes:
    return bytes(len(record))


def huge(d: QueueDir, record: bytes) -> bytes:
    """A length of 4 GiB; pickle has it in its frame, json has no length."""
    at = {"pickle": 3, "json": 0}.get(d.name, 0)
    return record[:at] + b"\xff\xff\xff\xff" + record[at + 4 :]


def flipped(d: QueueDir, record: bytes) -> bytes:
    return bytes([record[0] ^ 1]) + record[1:]


KINDS: Final[dict[str, Callable[[QueueDir, bytes], bytes]]] = {
    "the body": body,
    "all of it": whole,
    "zeros": zeros,
    "a length of 4 GiB": huge,
    "the first byte": flipped,
}
# By the numbers of the damaged records: the first, one in the middle, and the last of a chunk; two in a row; two apart;
# the first of all; the last of all; a chunk from end to end.
PLACES: Final = [[3], [4], [5], [4, 5], [3, 5], [0], [10], [6, 7, 8], [0, 1, 2, 3]]


def damage(d: QueueDir, numbers: list[int], kind: str) -> tuple[list[str], bytes]:
    """Damage these records; return the items that can be read then, and the bytes that cannot.

    A line of JSON that has lost its newline takes the next one with it.
    """
    lost = set(numbers)
    for number in numbers:
        chunk, _, offset = d.place(number)
        data = bytearray(d.chunk(chunk).read_bytes())
        record = KINDS[kind](d, d.encoded(number))
        data[offset : offset + d.width] = record
        d.chunk(chunk).write_bytes(data)
        if d.name == "json" and record[-1:] != b"\n" and number + 1 < d.items and d.place(number + 1).count:
            lost.add(number + 1)
    lying = b""
    for number in sorted(lost):
        chunk, _, offset = d.place(number)
        lying += d.chunk(chunk).read_bytes()[offset : offset + d.width]
    return [item(n) for n in range(d.items) if n not in lost], lying


def set_aside(path: Path) -> bytes:
    """What lies in damaged/, in the order of the files it comes from."""
    parts = {tuple(p.name.split(".")): p.read_bytes() for p in (path / "damaged").iterdir()}
    return b"".join(parts[key] for key in sorted(parts, key=lambda key: (key[0], int(key[1]))))


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let syncs do nothing: what survives a power cut is the crash explorer's to tell."""
    for call in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, call, os.fstat)
