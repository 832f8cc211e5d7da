r"""Records that are lines of JSON: what json and orjson share, who only write them differently.

    {"id": 7, "name": "caf\u00e9"}\n

orjson reads most lines, json the few that orjson refuses or would round: integers beyond 64 bits, NaN,
Infinity and lone surrogates.  A line without its newline is torn, however complete it looks.
"""

import json
import re
from typing import IO, Any, Final

import orjson

from asyncpq.serializers._info import as_info
from asyncpq.serializers._outcomes import Damaged, Torn, refused

__all__ = ["check", "decode", "info_loads", "load", "loads", "resync", "skip"]

_read: Final = orjson.loads
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_NUMBER: Final = b"0" * 19  # digits; fewer fit into 64 bits
_EXACT: Final = frozenset([str, int, bool, type(None)])  # orjson gives these only where they were meant


def loads(record: bytes) -> Any:
    """The value of one line, as json would read it."""
    if record[-1:] != b"\n":
        raise Torn("a line of JSON without its newline")
    try:
        value = _read(record)
    except ValueError:
        return _by_json(record)
    if type(value) in _EXACT or len(record) <= 19 or _LONG_NUMBER not in record.translate(_DIGITS):
        return value
    return _by_json(record)


def _by_json(record: bytes) -> Any:
    try:
        return json.loads(record.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise refused(error) from error


def decode(buffer: bytes, start: int) -> tuple[Any, int]:
    """The value of the line at *start*, and the offset behind its newline."""
    end = buffer.find(b"\n", start) + 1
    if not end:
        raise _unfinished(buffer, start)
    return loads(buffer[start:end]), end


def _unfinished(buffer: bytes, start: int) -> Torn | Damaged:
    """What a line without an end is: zeros, say, are none that could be completed."""
    if control := _CONTROL.search(buffer, start):
        return Damaged(f"a line of JSON holds a byte 0x{control.group()[0]:02x}")
    return Torn()


def skip(buffer: bytes, start: int) -> int:
    """The offset behind the line at *start*, which is valid JSON."""
    return decode(buffer, start)[1]


check = skip


def resync(buffer: bytes, start: int) -> int | None:
    """Where the next line of valid JSON begins, at *start* (if a line begins there) or behind it."""
    pos = start if start == 0 or buffer[start - 1 : start] == b"\n" else buffer.find(b"\n", start) + 1
    while pos or start == 0:
        end = buffer.find(b"\n", pos) + 1
        if not end:
            break
        try:
            loads(buffer[pos:end])
        except (Torn, Damaged):
            pos = end
        else:
            return pos
    return None


def load(fp: IO[bytes]) -> Any:
    """Read one line."""
    return loads(fp.readline())


def info_loads(data: bytes) -> dict[str, Any]:
    """The first line of an info."""
    return as_info(decode(data, 0)[0])
