r"""Where a record ends by its own account, whatever is wrong with its body.  Pure.

json, orjson     {"id": 7, "na?e"...}\n         behind the newline
msgpack, cbor2   1c 00 00 00 | ????????         where the length says
pickle           80 04 95 <8 bytes> | ????? 2e  where the frame says, if a STOP is its last byte
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncpq.serializers import Custom

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncpq.serializers import Serializer

LINES: Final = ("json", "orjson")
LENGTHS: Final = ("msgpack", "cbor2")

_BLOCK: Final = 64 * 1024  # bytes searched for a newline at a time
_FRAMED: Final = (b"\x80\x04\x95", b"\x80\x05\x95")
_HEAD: Final = 11  # bytes of a pickle before its frame's content
_STOP: Final = b"."


def stated_end(serializer: Serializer, read: Callable[[int, int], bytes], start: int, size: int) -> int | None:
    """Return where the record at *start* says that it ends, at most at *size*; None: it does not say.

    Args:
        serializer: what wrote it.
        read: returns up to so many bytes (second) from an offset (first).
        start: where it begins.
        size: no byte behind it is there.
    """
    if isinstance(serializer, Custom):
        return None
    end: int | None = None
    if serializer.NAME in LINES:
        end = _behind_newline(read, start, size)
    elif serializer.NAME in LENGTHS:
        length = int.from_bytes(read(start, 4), "little")
        end = start + 4 + length if length else None
    elif (head := read(start, _HEAD))[:3] in _FRAMED and len(head) == _HEAD:
        end = start + _HEAD + int.from_bytes(head[3:], "little")
        if end > size or read(end - 1, 1) != _STOP:
            end = None
    return end if end is not None and end <= size else None


def _behind_newline(read: Callable[[int, int], bytes], start: int, size: int) -> int | None:
    while start < size and (block := read(start, _BLOCK)):
        found = block.find(b"\n")
        if found >= 0:
            return start + found + 1
        start += len(block)
    return None
