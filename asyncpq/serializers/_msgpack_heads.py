"""Where a msgpack value ends, by the first bytes of its parts and without building any.

a3 'abc'       93  01 02 03       c4 <1 byte: n> <n bytes>      dc <2 bytes: n> <n values>
"""

from typing import Final

from asyncpq.serializers._budget import Budget
from asyncpq.serializers._outcomes import Damaged

__all__ = ["value_end"]


def _heads() -> list[tuple[int, int, int]]:
    """By first byte: least width, bytes of a length behind it, and values for each unit of that length."""
    table = [(1, 0, 0)] * 256
    table[0xC1] = (0, 0, 0)
    for first, size in ((0xC4, 1), (0xC5, 2), (0xC6, 4), (0xD9, 1), (0xDA, 2), (0xDB, 4)):  # bin, str
        table[first] = (1 + size, size, 0)
    for first, size in ((0xC7, 1), (0xC8, 2), (0xC9, 4)):  # ext
        table[first] = (2 + size, size, 0)
    for first, width in ((0xCA, 5), (0xCB, 9), (0xCC, 2), (0xCD, 3), (0xCE, 5), (0xCF, 9)):
        table[first] = (width, 0, 0)
    for first, width in ((0xD0, 2), (0xD1, 3), (0xD2, 5), (0xD3, 9)):
        table[first] = (width, 0, 0)
    for first, width in ((0xD4, 3), (0xD5, 4), (0xD6, 6), (0xD7, 10), (0xD8, 18)):  # fixext
        table[first] = (width, 0, 0)
    for first, size, each in ((0xDC, 2, 1), (0xDD, 4, 1), (0xDE, 2, 2), (0xDF, 4, 2)):  # array, map
        table[first] = (1 + size, size, each)
    for n in range(32):
        table[0xA0 + n] = (1 + n, 0, 0)
    return table


_HEADS: Final = _heads()


def value_end(buffer: bytes, start: int, end: int, budget: Budget) -> int:
    """The offset behind the value at *start*; Damaged unless it ends at *end* at the latest."""
    pos, missing = start, 1
    while missing:
        if pos + missing > end:
            raise Damaged("a value is longer than its record")
        first = buffer[pos]
        width, size, each = _HEADS[first]
        if not width:
            raise Damaged("0xc1 begins no msgpack value")
        missing -= 1
        if size:
            count = int.from_bytes(buffer[pos + 1 : pos + 1 + size], "big")
            missing += count * each
            width += 0 if each else count
        elif 0x80 <= first < 0xA0:
            missing += (first & 15) * (1 if first & 16 else 2)
        pos += width
        budget.spend(1)
    if pos > end:
        raise Damaged("a value is longer than its record")
    return pos
