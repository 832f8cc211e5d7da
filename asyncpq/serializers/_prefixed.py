"""Records of a length and a body, which msgpack and cbor2 share.

24 00 00 00   84 a9 'chunksize' 0a ...
<L length     body: exactly one value
"""

import re
import struct
from collections.abc import Callable, Iterator
from typing import IO, Final

from asyncpq.serializers._budget import Budget
from asyncpq.serializers._outcomes import Damaged, Torn

__all__ = ["LARGEST", "PREFIX", "body_end", "read_record", "record_of", "search"]

PREFIX: Final = struct.Struct("<L")
LARGEST: Final = 0xFFFF_FFFF  # bytes of a body
WEAK: Final = 2  # a body up to this size is a record by chance too often
_READ: Final = 1 << 20  # bytes asked of a file at a time
_ONLY_ZEROS: Final = re.compile(rb"\0*\Z")

_pack: Final = PREFIX.pack
_unpack: Final = PREFIX.unpack_from


def record_of(body: bytes) -> bytes:
    """The record that holds *body*."""
    if len(body) > LARGEST:
        raise ValueError(f"an item of {len(body)} bytes does not fit a record, whose length has 32 bits")
    return _pack(len(body)) + body


def body_end(buffer: bytes, start: int) -> int:
    """The offset behind the body of the record at *start*, by its length."""
    try:
        (size,) = _unpack(buffer, start)
    except struct.error:
        raise Torn from None
    if not size:
        raise Damaged("a record has the length 0")
    end = start + 4 + int(size)
    if end > len(buffer):
        raise Torn
    return end


def read_record(fp: IO[bytes]) -> bytes:
    """The record that *fp* stands at, read piece by piece, so that a false length costs nothing."""
    pieces = [fp.read(4)]
    if len(pieces[0]) < 4:
        raise Torn
    wanted = int(_unpack(pieces[0])[0])
    while wanted:
        piece = fp.read(min(wanted, _READ))
        if not piece:
            raise Torn
        pieces.append(piece)
        wanted -= len(piece)
    return b"".join(pieces)


Whole = Callable[[bytes, int, int, Budget], bool]  # is buffer[start:end] exactly one value?


def search(buffer: bytes, start: int, whole: Whole) -> int | None:
    """Where the next record begins, at *start* or behind it: a length with one value for a body.

    A body of a byte or two is that by chance too often: it counts when another record, whole or torn, or only
    zeros lie behind it.
    """
    budget = Budget(len(buffer) - start)
    for pos in _lengths(buffer, start):
        end = _whole_end(buffer, pos, whole, budget)
        if end and (end - pos - 4 > WEAK or _followed(buffer, end, whole, budget)):
            return pos
        if budget.left < 0:
            break
    return None


def _whole_end(buffer: bytes, pos: int, whole: Whole, budget: Budget) -> int:
    """The offset behind the whole record at *pos*; 0 if there is none."""
    try:
        end = body_end(buffer, pos)
        return end if whole(buffer, pos + 4, end, budget) else 0
    except (Torn, Damaged):
        return 0


def _followed(buffer: bytes, end: int, whole: Whole, budget: Budget) -> bool:
    """Whether nothing, zeros, or what could be a record lies behind *end*."""
    if _ONLY_ZEROS.match(buffer, end) or len(buffer) - end < 4:
        return True
    torn = end + 4 + int(_unpack(buffer, end)[0]) > len(buffer) and not buffer[end + 3]
    return torn or _whole_end(buffer, end, whole, budget) > 0


def _lengths(buffer: bytes, start: int) -> Iterator[int]:
    """Offsets of four bytes that are a length which could fit: not 0, and not larger than what there is."""
    top = re.escape(bytes([max(0, len(buffer) - start) >> 24 & 0xFF]))
    fits = rb"(?=(?!\0\0\0\0)...[\0-" + top + rb"].)"
    for found in re.compile(rb"\0{16,}(?=\0\0\0)|" + fits, re.DOTALL).finditer(buffer, start):
        if found.end() == found.start():
            yield found.start()
