"""Does a whole pickle begin here?  Every opcode is walked, with the height of the stack and the memo.

    80 04 95 ..   ]  94  (  K 01  K 02  e   .
    height        1      |    2     3   1   1 at STOP, no mark open
                       mark

Nothing is built and nothing runs, so this can be asked about any bytes; what random bytes pass it by chance
is rare enough for looking for records in damage.  What a pickler writes always passes: one value left at
STOP, no PROTO but the first, frames that end between opcodes, a memo that is filled before it is read and
in steps of one.
"""

import re
from typing import Final

from asyncpq.serializers._budget import Budget
from asyncpq.serializers._opcodes import FRAME, ONE_LINE, PROTO, STOP, TWO_LINES, WIDTH, after, frame
from asyncpq.serializers._outcomes import Damaged, Torn

__all__ = ["strict_end"]

_DIGITS: Final = 20  # of a memo index in text


def _effects() -> dict[int, tuple[int, int]]:
    """By opcode: values it needs above the last mark, and how the height changes."""
    table = dict.fromkeys(b"FGIJKLMNSTUVXBC\x88\x89\x8a\x8b\x8c\x8d\x8e\x96\x97", (0, 1))
    table |= dict.fromkeys(b"]})\x8fPcghj\x82\x83\x84", (0, 1))
    table |= dict.fromkeys(b"pqr\x94Q\x85\x98", (1, 0))
    table |= dict.fromkeys(b"Rab\x81\x86\x93", (2, -1))
    table |= dict.fromkeys(b"s\x87\x92", (3, -2))
    return table | {ord("2"): (1, 1)}


_EFFECTS: Final = _effects()
_TAKES_MARK: Final = b"tldoi\x91"  # one value takes the place of a mark and of all above it
_ON_VALUE: Final = b"eu\x90"  # these need a value below the mark
_TEXTS: Final = {
    ord("I"): re.compile(rb"-?\d+"),
    ord("L"): re.compile(rb"-?\d+L?"),
    ord("F"): re.compile(rb"-?[0-9.e+-]+|-?inf|-?nan"),
    ord("S"): re.compile(rb"'.*'|\".*\"", re.DOTALL),
    ord("c"): re.compile(rb"\S+\n\S+"),
    ord("i"): re.compile(rb"\S+\n\S+"),
}
_PUTS: Final = b"pqr"
_GETS: Final = b"ghj"
_MEMOIZE: Final = 0x94
_SPARSE: Final = 0xFFFF  # memo indexes that cost the C unpickler no memory to speak of


class _Heights:
    """The stack as a number, its marks, and the memo as a set of indexes."""

    __slots__ = ("height", "marks", "memo")

    def __init__(self) -> None:
        self.height = 0
        self.marks: list[int] = []
        self.memo: set[int] = set()

    def apply(self, op: int) -> None:
        """Do to the heights what *op* does to a stack."""
        if op in _EFFECTS:
            need, change = _EFFECTS[op]
            if self.height - need < (self.marks[-1] if self.marks else 0):
                raise Damaged("a pickle takes more from its stack than there is")
            self.height += change
        elif op == 0x28:
            self.marks.append(self.height)
        elif op == 0x30 and not (self.marks and self.marks[-1] == self.height):
            if not self.height:
                raise Damaged("a pickle takes more from its stack than there is")
            self.height -= 1
        else:
            self._to_mark(op)

    def _to_mark(self, op: int) -> None:
        if not self.marks:
            raise Damaged("a pickle goes back to a mark that it never set")
        above, mark = self.height, self.marks.pop()
        floor = self.marks[-1] if self.marks else 0
        odd = op in b"ud" and (above - mark) % 2
        if odd or (op in _ON_VALUE and mark <= floor) or (op == 0x6F and above == mark):
            raise Damaged("a pickle takes more from its stack than there is")
        self.height = mark + (op in _TAKES_MARK)

    def remember(self, op: int, index: int, limit: int) -> None:
        """Check a memo index against what was stored, and note it."""
        if op in _GETS:
            if index not in self.memo:
                raise Damaged("a pickle reads from its memo what it never stored")
            return
        if index > max(limit, _SPARSE):
            raise Damaged("a pickle stores at an index that no pickler reaches")
        self.memo.add(index)


def _index(buffer: bytes, pos: int, end: int, op: int) -> int:
    if op not in b"pg":
        return int.from_bytes(buffer[pos + 1 : end], "little")
    digits = buffer[pos + 1 : min(end - 1, pos + 2 + _DIGITS)].rstrip(b"\r")
    if not digits.isdigit() or len(digits) > _DIGITS:
        raise Damaged("a memo index is no number")
    return int(digits)


def strict_end(buffer: bytes, start: int, budget: Budget | None = None) -> int:
    """The offset behind the pickle at *start*, which can be loaded if its classes and texts are good."""
    heights, pos, frame_end = _Heights(), start, 0
    budget = budget or Budget(1 << 63)
    while pos < len(buffer):
        op = buffer[pos]
        if op == STOP:
            return _stop(heights, pos, frame_end)
        end = pos + WIDTH[op] if WIDTH[op] > 0 else _behind(buffer, pos, start, budget)
        if end > len(buffer):
            raise Torn
        if op in _TEXTS and not _TEXTS[op].fullmatch(buffer, pos + 1, end - 1):
            raise Damaged("a text argument of a pickle is none that a pickler writes")
        if pos < frame_end and (end > frame_end or op == FRAME):
            raise Damaged("a frame of a pickle ends inside an opcode")
        if op == FRAME:
            frame_end = frame(buffer, pos)[1]
        elif op != PROTO:
            heights.apply(op)
            if op in _PUTS or op in _GETS:
                heights.remember(op, _index(buffer, pos, end, op), pos - start)
            elif op == _MEMOIZE:
                heights.memo.add(len(heights.memo))
        budget.spend(1)
        pos = end
    raise Torn


def _behind(buffer: bytes, pos: int, start: int, budget: Budget) -> int:
    """The offset behind an opcode that is unknown or whose width varies."""
    op = buffer[pos]
    if not WIDTH[op]:
        raise Damaged(f"0x{op:02x} is no pickle opcode")
    if op == PROTO and pos != start:
        raise Damaged("a pickle begins inside another")
    if op in ONE_LINE or op in TWO_LINES:
        return _line(buffer, pos, op, budget)
    return after(buffer, pos, op)


def _line(buffer: bytes, pos: int, op: int, budget: Budget) -> int:
    """after() for arguments of text, paid for by their length."""
    if pos >= budget.no_newline:
        raise Torn
    try:
        end = after(buffer, pos, op)
    except Torn:
        if op in ONE_LINE:
            budget.no_newline = pos
        budget.spend((len(buffer) - pos) >> 6)
        raise
    budget.spend((end - pos) >> 6)
    return end


def _stop(heights: _Heights, pos: int, frame_end: int) -> int:
    if heights.height != 1 or heights.marks:
        raise Damaged("a pickle ends with another number of values than one")
    if pos + 1 < frame_end:
        raise Damaged("a pickle ends before its frame does")
    return pos + 1
