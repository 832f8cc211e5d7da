"""Pickle's opcodes as shapes: how many bytes each takes.

    80 04   95 <8 bytes>    8c 03 'abc'    94       .
    PROTO   FRAME length    a short str    to memo  STOP

Tables for protocols 0 to 5, and the way over a record that needs neither values nor a stack.
"""

import struct
from typing import Final

from asyncpq.serializers._outcomes import Damaged, Torn

__all__ = [
    "FRAME",
    "HIGHEST_PROTOCOL",
    "ONE_LINE",
    "PROTO",
    "STOP",
    "TWO_LINES",
    "WIDTH",
    "after",
    "end_of",
    "frame",
    "newline",
]

HIGHEST_PROTOCOL: Final = 5
STOP: Final = 0x2E
PROTO: Final = 0x80
FRAME: Final = 0x95

_u16: Final = struct.Struct("<H").unpack_from
_u32: Final = struct.Struct("<I").unpack_from
_i32: Final = struct.Struct("<i").unpack_from
_u64: Final = struct.Struct("<Q").unpack_from

# The opcodes by what follows them.
_ALONE: Final = b"(012NQR]a}bdelost)u\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98"
_ONE_BYTE: Final = b"Kqh\x82"
_TWO_BYTES: Final = b"M\x83"
_FOUR_BYTES: Final = b"Jrj\x84"
_EIGHT_BYTES: Final = b"G"
_LENGTH_1: Final = b"UC\x8a\x8c"
_LENGTH_4: Final = b"TBX\x8b"
_LENGTH_8: Final = b"\x8d\x8e\x96"
ONE_LINE: Final = b"FILSVPgp"
TWO_LINES: Final = b"ci"

_VARIES: Final = -1


def _widths() -> tuple[int, ...]:
    table = [0] * 256
    fixed = ((_ALONE, 1), (_ONE_BYTE, 2), (_TWO_BYTES, 3), (_FOUR_BYTES, 5), (_EIGHT_BYTES, 9))
    for opcodes, width in fixed:
        for op in opcodes:
            table[op] = width
    for op in _LENGTH_1 + _LENGTH_4 + _LENGTH_8 + ONE_LINE + TWO_LINES + bytes([PROTO, FRAME]):
        table[op] = _VARIES
    return tuple(table)


WIDTH: Final = _widths()  # bytes of an opcode with its argument; -1: it varies; 0: unknown, or STOP


def newline(buffer: bytes, pos: int) -> int:
    """The offset of the newline that ends the text argument at *pos*."""
    found = buffer.find(b"\n", pos)
    if found < 0:
        raise Torn
    return found


def _length(buffer: bytes, pos: int, op: int) -> int:
    """Bytes that the length behind *op* at *pos* and the data behind it take, the opcode included."""
    try:
        if op in _LENGTH_1:
            return 2 + buffer[pos + 1]
        if op == 0x8B:
            (size,) = _i32(buffer, pos + 1)
            if size < 0:
                raise Damaged("a pickled integer has a negative length")
            return 5 + int(size)
        if op in _LENGTH_4:
            return 5 + int(_u32(buffer, pos + 1)[0])
        return 9 + int(_u64(buffer, pos + 1)[0])
    except (struct.error, IndexError):
        raise Torn from None


def after(buffer: bytes, pos: int, op: int) -> int:
    """The offset behind *op* at *pos*, whose argument varies in width (behind the length of a FRAME)."""
    if op in ONE_LINE:
        return newline(buffer, pos + 1) + 1
    if op in TWO_LINES:
        return newline(buffer, newline(buffer, pos + 1) + 1) + 1
    if op == PROTO:
        if buffer[pos + 1 : pos + 2] > bytes([HIGHEST_PROTOCOL]):
            raise Damaged(f"pickle protocol {buffer[pos + 1]} is unknown")
        return pos + 2
    end = pos + _length(buffer, pos, op)
    if end > len(buffer):
        raise Torn
    return pos + 9 if op == FRAME else end


def frame(buffer: bytes, pos: int) -> tuple[int, int]:
    """Where the frame whose FRAME is at *pos* begins and ends."""
    first = after(buffer, pos, FRAME)
    return first, first + int(_u64(buffer, pos + 1)[0])


def end_of(buffer: bytes, start: int) -> int:
    """The offset behind the pickle at *start*: the exact end, found without a value, a stack or a memo.

    A frame is leapt over where that is no guess.  The last frame of a record ends with STOP, but the last
    byte of an argument can look like it: `[46, b"x" * 100_000]` has a frame that ends in `K.`, and a large
    BINBYTES behind it.  So STOP counts when PROTO follows, which never stands inside a record; else the
    frame is walked.  A record that stops inside a frame ends with the frame, as it does for the unpickler.
    """
    size, pos, end, pushed = len(buffer), start, 0, False
    while pos < size:
        op = buffer[pos]
        width = WIDTH[op]
        if width > 0:
            pos, pushed = pos + width, True
        elif op == FRAME:
            pos, end = frame(buffer, pos)
            if end > pos and buffer[end - 1] != STOP:
                pos, pushed = end, True
            elif end > pos and end < size and buffer[end] == PROTO:
                return end
        elif width:
            pos, pushed = after(buffer, pos, op), pushed or op != PROTO
        elif op == STOP and pushed:
            return max(pos + 1, end)
        else:
            raise Damaged("a pickle of nothing" if op == STOP else f"0x{op:02x} is no pickle opcode")
    raise Torn
