r"""Values that stand in a pickle's opcode itself: how the bytes of the argument become one.

    K 07           7           8c 03 'abc'     'abc'
    I7\n           7           S'abc'\n        'abc'

Each is given the argument with the length in front of it, or with the newline behind it.
"""

import re
import struct
from collections.abc import Callable
from typing import Any, Final

from asyncpq.serializers._outcomes import Damaged

__all__ = ["BYTE_STRINGS", "LITERALS", "decimal"]

DIGITS: Final = 4300  # of an integer in text; reading them costs the square

_INTEGER: Final = re.compile(rb"[-+]?(?:0|[1-9][0-9]{0,%d})" % (DIGITS - 1))
_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|.?)", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"\\": b"\\", b"'": b"'", b'"': b'"'}


def _line(arg: bytes) -> bytes:
    return arg[:-1].removesuffix(b"\r")


def decimal(arg: bytes) -> int:
    """An integer in text; a number of digits that takes long to read is Damaged."""
    text = _line(arg).removesuffix(b"L")
    if not _INTEGER.fullmatch(text):
        raise Damaged("a pickled integer is no number, or too long")
    return int(text)


def _int(arg: bytes) -> int | bool:
    text = _line(arg)
    return text == b"01" if text in (b"00", b"01") else decimal(arg)


def _string(arg: bytes) -> bytes:
    text = _line(arg).strip()
    if len(text) < 2 or text[:1] not in b"'\"" or text[:1] != text[-1:]:
        raise Damaged("a pickled str is not quoted")
    return _ESCAPE.sub(_unescape, text[1:-1])


def _unescape(found: re.Match[bytes]) -> bytes:
    what = found.group(1)
    if len(what) == 3:
        return bytes([int(what[1:], 16)])
    if what not in _ESCAPED:
        raise Damaged("a pickled str has an escape that no pickler writes")
    return _ESCAPED[what]


def _signed(arg: bytes) -> int:
    return int.from_bytes(arg, "little", signed=True)


def _text(skipped: int) -> Callable[[bytes], str]:
    return lambda arg: arg[skipped:].decode("utf-8", "surrogatepass")


def _float(arg: bytes) -> float:
    return float(struct.unpack(">d", arg)[0])


LITERALS: Final[dict[int, Callable[[bytes], Any]]] = {
    ord("N"): lambda arg: None,
    0x88: lambda arg: True,
    0x89: lambda arg: False,
    ord("I"): _int,
    ord("L"): decimal,
    ord("F"): lambda arg: float(_line(arg)[:DIGITS]),
    ord("V"): lambda arg: arg[:-1].decode("raw-unicode-escape"),
    ord("J"): _signed,
    ord("K"): lambda arg: arg[0],
    ord("M"): lambda arg: int.from_bytes(arg, "little"),
    ord("G"): _float,
    0x8A: lambda arg: _signed(arg[1:]),
    0x8B: lambda arg: _signed(arg[4:]),
    ord("X"): _text(4),
    0x8C: _text(1),
    0x8D: _text(8),
    ord("C"): lambda arg: arg[1:],
    ord("B"): lambda arg: arg[4:],
    0x8E: lambda arg: arg[8:],
    0x96: lambda arg: bytearray(arg[8:]),
    ord("]"): lambda arg: [],
    ord("}"): lambda arg: {},
    ord(")"): lambda arg: (),
    0x8F: lambda arg: set(),
}

# Python 2's `str`: whoever asks knows what its bytes mean.
BYTE_STRINGS: Final[dict[int, Callable[[bytes], bytes]]] = {
    ord("S"): _string,
    ord("U"): lambda arg: arg[1:],
    ord("T"): lambda arg: arg[4:],
}
