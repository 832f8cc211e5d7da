r"""Pickles of plain data, built by the C unpickler: only where every opcode was looked at first.

    80 04 | 95 <8> | 7d 94 28 8c 02 'id' 94 4b 07 75 2e
            frame    a run: one regular expression     STOP

    C 10 <16 bytes> ( (    in front, and    t t 86 .    in place of STOP:    (those bytes, ((value,),))

A pickle passes when it holds nothing but opcodes that make plain data, each of a length that is there, and leaves
exactly one value.  Then no class is needed, no memory is asked for that it does not fill, and what is hashed is
hashed in no time: a key is an atom, or a tuple of few parts that stands in one place only.  All others, and whatever
the unpickler refuses, are for plain_loads, which knows why.

Where only the end is asked for, classes may be named: one class that does nothing stands for each of them.
"""

import pickle
import re
from io import BytesIO
from typing import Any, Final, NamedTuple

from asyncpq.serializers._opcodes import FRAME, HIGHEST_PROTOCOL, PROTO, STOP, WIDTH, after, frame

__all__ = ["KEY_PARTS", "PLAIN_MAKERS", "quick_end", "quick_loads"]

KEY_PARTS: Final = 1000  # values in one key of a dict: hashing neither recurses deep nor takes long
_SHORT: Final = 256  # bytes of a text that the regular expression knows by its length
_LONG_INTEGER: Final = 9  # bytes; shorter ones do not have enough hashes in common

_MARKER: Final = b"and one value is"
# Two marks: an APPENDS of nothing would take a single one unseen; between two, it lacks a value to append to.
_FRONT: Final = b"C" + bytes([len(_MARKER)]) + _MARKER + b"(("
_BACK: Final = b"tt\x86."

_MEMOIZE: Final = 0x94
_LONG_PUT: Final = ord("r")
_PUTS: Final = frozenset(b"qr\x94")
_GETS: Final = frozenset(b"hj")
_TUPLES: Final = frozenset(b"t\x85\x86\x87\x91")  # a frozenset holds keys, too
_INTEGERS: Final = frozenset(b"\x8a\x8b")
_TEXTS: Final = frozenset(b"XBTUC\x8c\x8d\x8e\x96")
_ALONE: Final = b"N\x88\x89])}(esualda\x8f\x90"
_GLOBAL: Final = ord("c")
_WITH_CLASSES: Final = frozenset(b"Rb\x81\x92\x93")
_NAMES: Final = re.compile(rb"\S+\n\S+\n")

# Whose calls make plain data, in older protocols.
PLAIN_MAKERS: Final = frozenset(
    ["_codecs.encode"]
    + [
        f"{module}.{kind}"
        for module in ("builtins", "__builtin__")
        for kind in ("bytes", "bytearray", "set", "frozenset")
    ]
)


def _by_length(limit: int, spare: bytes = b"") -> bytes:
    """A pattern of a length, its *spare* bytes, and as many bytes as it says."""
    return b"(?:" + b"|".join(re.escape(bytes([size])) + spare + b".{%d}" % size for size in range(limit)) + b")"


def _runs(gets: bytes) -> re.Pattern[bytes]:
    """A pattern of any number of opcodes that make plain data, but no tuple with anything in it."""
    opcodes = [
        b"[\x94" + re.escape(_ALONE) + b"]",
        b"[Kq" + gets + b"].",
        rb"[\x8cUC]" + _by_length(_SHORT),
        b"G.{8}",
        b"M.{2}",
        b"J.{4}",
        b"X" + _by_length(_SHORT, rb"\0\0\0"),
        rb"\x8a" + _by_length(_LONG_INTEGER),
    ]
    return re.compile(b"(?s:" + b"|".join(opcodes) + b")*+")


_run: Final = _runs(b"h").match
_run_without_gets: Final = _runs(b"").match
_loads: Final = pickle.loads


def quick_loads(buffer: bytes, start: int, encoding: str) -> tuple[Any, int] | None:
    """The plain value of the pickle at *start*, and the offset behind it; None where a closer look is needed."""
    found = _quick(buffer, start, encoding, ends=False)
    return None if found is None else (found[0], found[1])


def quick_end(buffer: bytes, start: int, encoding: str) -> int | None:
    """The offset behind the pickle at *start*, which has the shape and the values that check asks for.

    None where a closer look is needed.
    """
    found = _quick(buffer, start, encoding, ends=True)
    return None if found is None else found[1]


class _Stand:
    """An object of any class."""

    __slots__ = ()

    def __new__(cls, *args: Any, **named: Any) -> "_Stand":
        return object.__new__(cls)

    def _take(self, value: Any) -> None:
        """Do nothing with it."""

    append = extend = add = __setstate__ = _take

    def __setitem__(self, key: Any, value: Any) -> None:
        """Do nothing with them."""


class _Shape(pickle.Unpickler):
    """Follows a pickle, and makes nothing of its classes."""

    def find_class(self, module: str, name: str) -> type[_Stand]:
        if f"{module}.{name}" in PLAIN_MAKERS:
            raise pickle.UnpicklingError("this makes plain data, which may be hashed")
        return _Stand


def _quick(buffer: bytes, start: int, encoding: str, *, ends: bool) -> tuple[Any, int] | None:
    """The value and the end of the pickle at *start*; with *ends* only the end counts, and all that check asks."""
    try:
        first = start + 2 if buffer[start] == PROTO and buffer[start + 1] <= HIGHEST_PROTOCOL else start
        found = _walk(buffer, first)
        if found is None or (ends and not found.neat) or (found.classes and not ends):
            return None
        data = b"".join((_FRONT, buffer[first : found.stop], _BACK))
        if found.classes:
            marker, ((value,),) = _Shape(BytesIO(data), encoding=encoding).load()
        else:
            marker, ((value,),) = _loads(data, encoding=encoding)
    except MemoryError:
        raise
    except Exception:  # whatever the unpickler says, plain_loads says it better
        return None
    return (value, found.stop + 1) if marker == _MARKER else None


class _Walked(NamedTuple):
    """What was found on the way over a pickle."""

    stop: int
    neat: bool  # each frame ends with its last opcode
    classes: bool  # are named


def _walk(buffer: bytes, start: int) -> _Walked | None:
    """Follow the pickle at *start* to its STOP; None: it holds more than plain opcodes and classes."""
    pos, frame_end, neat, run, keys, shared, classes = start, 0, True, _run, False, False, False
    while True:
        pos = run(buffer, pos).end()  # type: ignore[union-attr]  # it matches nothing, too
        op = buffer[pos]
        if op == STOP:
            break
        if op in _TEXTS:
            pos = after(buffer, pos, op)
        elif op == FRAME and pos >= frame_end:
            neat = neat and frame_end in (0, pos)
            pos, frame_end = frame(buffer, pos)
        elif op in _TUPLES or op in _INTEGERS:
            keys, run = True, _run if shared else _run_without_gets
            pos = pos + 1 if op in _TUPLES else after(buffer, pos, op)
        elif op in _GETS:
            shared, run, pos = keys, _run, pos + WIDTH[op]
        elif op == _LONG_PUT and int.from_bytes(buffer[pos + 1 : pos + 5], "little") < pos - start:
            pos += WIDTH[op]
        elif op in _WITH_CLASSES:
            classes, pos = True, pos + 1
        elif op == _GLOBAL and (names := _NAMES.match(buffer, pos + 1)):
            classes, pos = True, names.end()
        else:
            return None
    if frame_end > pos + 1 or (keys and (shared or pos - start > KEY_PARTS) and not _has_small_keys(buffer, start)):
        return None
    return _Walked(pos, neat and frame_end in (0, pos + 1), classes)


def _has_small_keys(buffer: bytes, pos: int) -> bool:
    """Whether there are few opcodes up to STOP, and no tuple is taken from the memo: as many parts make a key."""
    memo: set[int] = set()
    tuples: set[int] = set()  # memo indexes
    is_tuple = False  # is what the last opcode has left on top
    for _ in range(KEY_PARTS):
        op = buffer[pos]
        if op == STOP:
            return True
        end = pos + WIDTH[op] if WIDTH[op] > 0 else after(buffer, pos, op)
        if op in _PUTS:
            index = len(memo) if op == _MEMOIZE else int.from_bytes(buffer[pos + 1 : end], "little")
            memo.add(index)
            if is_tuple:
                tuples.add(index)
        elif op in _GETS and int.from_bytes(buffer[pos + 1 : end], "little") in tuples:
            return False
        elif op != FRAME:
            is_tuple = op in _TUPLES
        pos = end
    return False
