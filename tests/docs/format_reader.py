"""A reader written from docs/format.md alone: it knows nothing of the package, and no library but Python's own.

    read(folder) ──> info's serializer, tail, head ──> records, chunk by chunk ──> those that `acked` does not name

Where a section of the page is followed, its name stands in the code.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.docs.format_pickle import NoRecord, unpickled

Position = tuple[int, int, int]
Unpack = Callable[[bytes], Any]  # one value of msgpack, or of CBOR: the page leaves these to a library
ALWAYS: Final = 4


class Info(NamedTuple):
    """What the record of info says, and the policy of the mark, if there is one that fits."""

    serializer: str
    chunksize: int
    tail: Position
    head: Position
    policy: int | None


def serializer_of(info: bytes) -> str:
    """Section: Which serializer wrote it."""
    if len(info) > 4 and 4 + int.from_bytes(info[:4], "little") <= len(info):
        kind = info[4]
        if 0x80 <= kind <= 0x8F or kind in (0xDE, 0xDF):
            return "msgpack"
        if 0xA0 <= kind <= 0xBF:
            return "cbor2"
    return {0x7B: "json", 0x80: "pickle", 0x28: "pickle", 0x7D: "pickle"}[info[0]]


def record(data: bytes, start: int, serializer: str, unpack: Unpack | None) -> tuple[Any, int]:
    """Section: Records. The value at *start*, and the offset behind it; NoRecord where no whole one is."""
    if serializer == "json":
        end = data.find(b"\n", start) + 1
        if not end:
            raise NoRecord
        return json.loads(data[start:end].decode()), end
    if serializer == "pickle":
        return unpickled(data, start)
    length = int.from_bytes(data[start : start + 4], "little")
    end = start + 4 + length
    if end > len(data) or not length:
        raise NoRecord
    assert unpack is not None
    return unpack(data[start + 4 : end]), end


def read_info(data: bytes, unpack: Unpack | None) -> Info:
    """Sections: info, The slot."""
    serializer = serializer_of(data)
    value, end = record(data, 0, serializer, unpack)
    fields = {key.decode() if isinstance(key, bytes) else key: field for key, field in value.items()}
    tail, head = (tuple(fields[name]) for name in ("tail", "head"))
    return Info(serializer, fields["chunksize"], tail, head, policy_of(data, data[:end]))


def policy_of(data: bytes, first: bytes) -> int | None:
    """Section: The slot. The fsync policy of a mark that fits."""
    if len(data) != 512 or data[448:456] != b"asyncpq\0" or data[456] != 1:
        return None
    fits = struct.unpack("<I", data[508:]) == (zlib.crc32(data[448:508] + first),)
    return data[457] if fits else None


def acknowledged(folder: Path) -> dict[Position, int]:
    """Section: acked. The CRC-32 of each record that is done with, by its position."""
    data = (folder / "acked").read_bytes() if (folder / "acked").exists() else b""
    done = {}
    for start in range(0, len(data) - 47, 48):
        note = data[start : start + 48]
        kind, crc, _, chunk, count, offset, _, check = struct.unpack("<B3xII3QdI", note)
        if check == zlib.crc32(note[:44]) and kind == 1:
            done[chunk, count, offset] = crc
    return done


def chunks(folder: Path) -> dict[int, Path]:
    """Section: The directory."""
    found = {path.name: path for path in folder.iterdir()}
    return {int(name[1:]): path for name, path in found.items() if re.fullmatch(r"q\d{5}|q[1-9]\d{5,}", name)}


def read(folder: Path, unpack: Unpack | None = None, serializer: str = "pickle") -> list[Any]:
    """Sections: To read a queue, After a crash. *serializer* is for a queue that was never put to."""
    if not (folder / "info").exists():
        info = Info(serializer, 0, (0, 0, 0), (0, 0, 0), None)
    else:
        info = read_info((folder / "info").read_bytes(), unpack)
    done = acknowledged(folder)
    return [
        value for position, raw, value in records(info, chunks(folder), unpack) if done.get(position) != zlib.crc32(raw)
    ]


def records(info: Info, files: dict[int, Path], unpack: Unpack | None) -> Iterator[tuple[Position, bytes, Any]]:
    """Each whole record from the tail on, with its position and its bytes."""
    number, count, offset = info.tail
    if number not in files:  # rule 2
        number, count, offset = min((n for n in files if number < n <= info.head[0]), default=number), 0, 0
    while number in files:
        data = files[number].read_bytes()
        if info.policy == ALWAYS and number == info.head[0]:  # rule 5
            data = data[: info.head[2]]
        while count < info.chunksize or info.chunksize <= 0:  # rules 5 and 6
            try:
                value, end = record(data, offset, info.serializer, unpack)
            except NoRecord:
                return
            yield (number, count, offset), data[offset:end], value
            count, offset = count + 1, end
        number, count, offset = number + 1, 0, 0
