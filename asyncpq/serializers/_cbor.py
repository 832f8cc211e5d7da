"""CBOR without the library: where a value ends, and the plain data that an info holds.

    64 'size'  18 78       a4 <4 keys and values>      9f ... ff
    text of 4  120         map of 4                    array up to the break

Enough to find records, to check them and to read positions where cbor2 is not installed; nothing is built
for it.
"""

import struct
from typing import Any, Final

from asyncpq.serializers._budget import Budget
from asyncpq.serializers._info import as_info
from asyncpq.serializers._outcomes import Damaged
from asyncpq.serializers._prefixed import body_end, search

__all__ = ["check", "info_loads", "resync", "skip", "well_formed"]

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _OTHER = range(8)
_OPEN: Final = -1  # the length of what ends with a break
_IN_ARRAY, _AT_KEY, _AT_VALUE = -1, -2, -3  # levels that end with a break
_NEXT: Final = {_IN_ARRAY: _IN_ARRAY, _AT_KEY: _AT_VALUE, _AT_VALUE: _AT_KEY}
_BREAK: Final = 0xFF
_INFO_DEPTH: Final = 16  # containers in containers; an info has two
_FLOATS: Final = {25: ">e", 26: ">f", 27: ">d"}
_SIMPLE: Final = {20: False, 21: True, 22: None}


def _head(buffer: bytes, pos: int, end: int) -> tuple[int, int, int, int]:
    """Major type, additional information, argument (or _OPEN) and the offset behind the head at *pos*."""
    if pos >= end:
        raise Damaged("a value is longer than its record")
    major, extra = buffer[pos] >> 5, buffer[pos] & 31
    if extra < 24:
        return major, extra, extra, pos + 1
    if extra < 28:
        behind = pos + 1 + (1 << (extra - 24))
        if behind > end:
            raise Damaged("a value is longer than its record")
        return major, extra, int.from_bytes(buffer[pos + 1 : behind], "big"), behind
    if extra < 31 or major in (_UNSIGNED, _NEGATIVE, _TAG):
        raise Damaged(f"0x{buffer[pos]:02x} begins no CBOR value")
    return major, extra, _OPEN, pos + 1


def well_formed(buffer: bytes, start: int, end: int, budget: Budget | None = None) -> None:
    """Damaged unless the bytes from *start* to *end* are exactly one CBOR value."""
    pos, levels = start, [1]  # values missing in each open container, or one of the three below
    while levels:
        if budget:
            budget.spend(1)
        level = levels[-1]
        if level == 0 or (level in (_IN_ARRAY, _AT_KEY) and pos < end and buffer[pos] == _BREAK):
            levels.pop()
            pos += level != 0
        else:
            levels[-1] = level - 1 if level > 0 else _NEXT[level]
            pos = _part(buffer, pos, end, levels)
    if pos != end:
        raise Damaged("bytes lie behind a value in its record")


def _part(buffer: bytes, pos: int, end: int, levels: list[int]) -> int:
    """The offset behind the value at *pos*, or behind its head where it opens a level."""
    major, extra, size, pos = _head(buffer, pos, end)
    if major in (_BYTES, _TEXT):
        return _string_end(buffer, pos, end, major, size)
    if major in (_ARRAY, _MAP):
        each = 1 if major == _ARRAY else 2
        if size * each > end - pos:
            raise Damaged("a value is longer than its record")
        levels.append(size * each if size != _OPEN else _IN_ARRAY if major == _ARRAY else _AT_KEY)
    elif major == _TAG:
        levels.append(1)
    elif major == _OTHER and (size == _OPEN or (extra == 24 and size < 32)):
        raise Damaged("a break, or a simple value, that CBOR does not allow")
    return pos


def _string_end(buffer: bytes, pos: int, end: int, major: int, size: int) -> int:
    if size == _OPEN:
        while pos < end and buffer[pos] != _BREAK:
            kind, _, part, pos = _head(buffer, pos, end)
            if kind != major or part == _OPEN:
                raise Damaged("a string in parts holds something else")
            pos = _string_end(buffer, pos, end, major, part)
        size, major = 1, _BYTES  # the break
    if pos + size > end:
        raise Damaged("a value is longer than its record")
    if major == _TEXT:
        _text(buffer[pos : pos + size])
    return pos + size


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Damaged(f"a text is not UTF-8: {error}") from None


def skip(buffer: bytes, start: int) -> int:
    """The offset behind the record at *start*, whose body is one well-formed value."""
    end = body_end(buffer, start)
    well_formed(buffer, start + 4, end)
    return end


check = skip


def resync(buffer: bytes, start: int) -> int | None:
    """Where the next whole record begins, at *start* or behind it."""
    return search(buffer, start, _whole)


def _whole(buffer: bytes, start: int, end: int, budget: Budget) -> bool:
    well_formed(buffer, start, end, budget)
    return True


def info_loads(data: bytes) -> dict[str, Any]:
    """The first record of an info, by a reader of plain data that is our own."""
    end = skip(data, 0)
    return as_info(_plain(data, 4, end, _INFO_DEPTH)[0])


def _plain(buffer: bytes, pos: int, end: int, depth: int) -> tuple[Any, int]:
    """The plain value at *pos* of what is well formed, and the offset behind it."""
    major, extra, size, pos = _head(buffer, pos, end)
    if not depth or size == _OPEN or major == _TAG:
        raise Damaged("an info holds what no position needs")
    if major in (_UNSIGNED, _NEGATIVE):
        return size if major == _UNSIGNED else -1 - size, pos
    if major in (_BYTES, _TEXT):
        data = buffer[pos : pos + size]
        return data if major == _BYTES else _text(data), pos + size
    if major == _OTHER:
        return _simple(extra, size), pos
    parts: list[Any] = []
    for _ in range(size if major == _ARRAY else 2 * size):
        part, pos = _plain(buffer, pos, end, depth - 1)
        parts.append(part)
    if major == _ARRAY:
        return parts, pos
    if not all(isinstance(key, str | bytes) for key in parts[::2]):
        raise Damaged("an info has a key that is no text")
    return dict(zip(parts[::2], parts[1::2], strict=True)), pos


def _simple(extra: int, bits: int) -> Any:
    if extra in _FLOATS:
        layout = _FLOATS[extra]
        return struct.unpack(layout, bits.to_bytes(struct.calcsize(layout), "big"))[0]
    if extra not in _SIMPLE:
        raise Damaged("an info holds what no position needs")
    return _SIMPLE[extra]
