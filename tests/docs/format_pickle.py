"""The tables of opcodes in docs/format.md, as a machine that builds plain data."""

from __future__ import annotations

import ast
import struct
from collections.abc import Callable
from typing import Any, Final


class NoRecord(Exception):
    """No whole record begins here."""


Argument = Callable[[bytes, int], tuple[bytes, int]]  # what belongs to an opcode, and the offset behind it


def fixed(width: int) -> Argument:
    """So many bytes."""
    return lambda data, pos: (data[pos : pos + width], pos + width)


def lines(number: int) -> Argument:
    """So many lines, without the last newline."""

    def cut(data: bytes, pos: int) -> tuple[bytes, int]:
        end = pos
        for _ in range(number):
            if not (end := data.find(b"\n", end) + 1):
                raise NoRecord
        return data[pos : end - 1], end

    return cut


def counted(width: int) -> Argument:
    """A length, and as many bytes."""

    def cut(data: bytes, pos: int) -> tuple[bytes, int]:
        end = pos + width + int.from_bytes(data[pos : pos + width], "little")
        return data[pos + width : end], end

    return cut


# Section: Pickles, the first table.
ARGUMENTS: Final = [
    (fixed(0), "28 29 2e 30 31 32 4e 51 52 5d 61 62 64 65 6c 6f 73 74 75 7d 81 85 86 87 88 89 8f 90 91 92 93 94 97 98"),
    (fixed(1), "4b 68 71 80 82"),
    (fixed(2), "4d 83"),
    (fixed(4), "4a 6a 72 84"),
    (fixed(8), "47 95"),
    (lines(1), "46 49 4c 50 53 56 67 70"),
    (lines(2), "63 69"),
    (counted(1), "43 55 8a 8c"),
    (counted(4), "42 54 58 8b"),
    (counted(8), "8d 8e 96"),
]
ARGUMENT: Final = {code: cut for cut, codes in ARGUMENTS for code in bytes.fromhex(codes)}
STOP: Final = 0x2E


def steps(data: bytes, start: int) -> tuple[list[tuple[int, bytes]], int]:
    """Walk to STOP: each opcode with its argument, and the offset behind the record."""
    found, pos = [], start
    while pos < len(data):
        code = data[pos]
        if code not in ARGUMENT:
            raise NoRecord
        argument, pos = ARGUMENT[code](data, pos + 1)
        found.append((code, argument))
        if code == STOP and pos <= len(data):
            return found, pos
    raise NoRecord


def unpickled(data: bytes, start: int) -> tuple[Any, int]:
    """The value of the pickle at *start*, and the offset behind it."""
    found, end = steps(data, start)
    machine = Machine()
    for code, argument in found[:-1]:
        machine.step(code, argument)
    (value,) = machine.stack
    return value, end


# What an opcode pushes, made from its argument.
PUSHES: Final[dict[int, Callable[[bytes], Any]]] = {
    0x4E: lambda _: None,
    0x88: lambda _: True,
    0x89: lambda _: False,
    0x49: lambda line: {b"00": False, b"01": True}.get(line, int(line)),
    0x4C: lambda line: int(line.removesuffix(b"L")),
    0x4A: lambda raw: int.from_bytes(raw, "little", signed=True),
    0x4B: lambda raw: raw[0],
    0x4D: lambda raw: int.from_bytes(raw, "little"),
    0x8A: lambda raw: int.from_bytes(raw, "little", signed=True),
    0x8B: lambda raw: int.from_bytes(raw, "little", signed=True),
    0x46: float,
    0x47: lambda raw: struct.unpack(">d", raw)[0],
    0x56: lambda line: line.decode("raw_unicode_escape"),
    0x58: lambda raw: raw.decode("utf-8", "surrogatepass"),
    0x8C: lambda raw: raw.decode("utf-8", "surrogatepass"),
    0x8D: lambda raw: raw.decode("utf-8", "surrogatepass"),
    0x53: lambda line: ast.literal_eval("b" + line.decode("latin-1")).decode("latin-1"),
    0x54: lambda raw: raw.decode("latin-1"),
    0x55: lambda raw: raw.decode("latin-1"),
    0x42: bytes,
    0x43: bytes,
    0x8E: bytes,
    0x96: bytearray,
    0x5D: lambda _: [],
    0x7D: lambda _: {},
    0x29: lambda _: (),
    0x8F: lambda _: set(),
}


class Machine:
    """Section: Pickles, the second table."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def step(self, code: int, argument: bytes) -> None:
        if code in PUSHES:
            self.stack.append(PUSHES[code](argument))
        elif code not in (0x80, 0x95):
            self.DOES[code](self, argument)

    def above(self) -> list[Any]:
        taken, self.stack = self.stack, self.marks.pop()
        return taken

    def mark(self, _: bytes) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def gather(self, make: Callable[[list[Any]], Any]) -> None:
        taken = self.above()
        self.stack.append(make(taken))

    def short_tuple(self, size: int) -> None:
        self.stack[-size:] = [tuple(self.stack[-size:])]

    def append(self, _: bytes) -> None:
        value = self.stack.pop()
        self.stack[-1].append(value)

    def extend(self, _: bytes) -> None:
        taken = self.above()
        self.stack[-1].extend(taken)

    def add(self, _: bytes) -> None:
        taken = self.above()
        self.stack[-1].update(taken)

    def set_one(self, _: bytes) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][key] = value

    def set_many(self, _: bytes) -> None:
        taken = self.above()
        self.stack[-1].update(pairs(taken))

    def put(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def get(self, number: int) -> None:
        self.stack.append(self.memo[number])

    DOES: Final[dict[int, Callable[[Machine, bytes], Any]]] = {
        0x28: mark,
        0x6C: lambda self, _: self.gather(list),
        0x74: lambda self, _: self.gather(tuple),
        0x91: lambda self, _: self.gather(frozenset),
        0x64: lambda self, _: self.gather(pairs),
        0x85: lambda self, _: self.short_tuple(1),
        0x86: lambda self, _: self.short_tuple(2),
        0x87: lambda self, _: self.short_tuple(3),
        0x61: append,
        0x65: extend,
        0x90: add,
        0x73: set_one,
        0x75: set_many,
        0x70: lambda self, line: self.put(int(line)),
        0x71: lambda self, raw: self.put(raw[0]),
        0x72: lambda self, raw: self.put(int.from_bytes(raw, "little")),
        0x94: lambda self, _: self.put(len(self.memo)),
        0x67: lambda self, line: self.get(int(line)),
        0x68: lambda self, raw: self.get(raw[0]),
        0x6A: lambda self, raw: self.get(int.from_bytes(raw, "little")),
        0x30: lambda self, _: self.stack.pop(),
        0x32: lambda self, _: self.stack.append(self.stack[-1]),
        0x31: lambda self, _: self.above(),
    }


def pairs(taken: list[Any]) -> dict[Any, Any]:
    """Key, value, key, value."""
    return dict(zip(taken[::2], taken[1::2], strict=True))
