"""Which serializer wrote this?  Told by bytes alone; nothing is loaded.

    24 00 00 00 84 ...   msgpack: a length that fits, then a map
    26 00 00 00 a4 ...   cbor2: the same with another map
    7b 22 ...            json (or orjson, which json reads)
    80 04 95 ...         pickle; '(d' and '}q' in protocols 0 and 1

The lengths are looked at first: one of 40 is also '('.
"""

import re
from typing import Final

from asyncpq.serializers import _cbor, _lines, msgpack, pickle
from asyncpq.serializers._outcomes import Damaged, Torn
from asyncpq.serializers._prefixed import PREFIX

__all__ = ["detect", "detect_record"]

_PICKLED_DICT: Final = re.compile(rb"\x80[\x02-\x05]|\(d|}[.(0-2qr]|[\x80(}]\Z")
_PICKLED: Final = re.compile(rb"\x80[\x02-\x05](?:\x95|[^\0-'])")
_ENOUGH: Final = 16  # records that agree
_CONVINCING: Final = 8  # bytes of whole records before damage

_WALKS: Final = {
    "pickle": pickle.check,
    "json": _lines.check,
    "msgpack": msgpack.check,
    "cbor2": _cbor.check,
}


def detect(info: bytes) -> str | None:
    """The name of the serializer that wrote *info*; None where they do not tell (empty, zeros, noise)."""
    if len(info) > 4 and 4 + PREFIX.unpack_from(info)[0] <= len(info):
        if info[4] & 0xF0 == 0x80 or info[4] in (0xDE, 0xDF):
            return "msgpack"
        if info[4] & 0xE0 == 0xA0:
            return "cbor2"
    if info[:1] == b"{":
        return "json"
    return "pickle" if _PICKLED_DICT.match(info) else None


def detect_record(chunk: bytes) -> str | None:
    """The only serializer whose whole records *chunk*, cut off anywhere, begins with; None: unsure."""
    reached = {name: _reached(chunk, name) for name in _WALKS}
    best = max(reached.values())
    if best == (False, 0):
        return "pickle" if _PICKLED.match(chunk) else None
    names = [name for name, how in reached.items() if how == best]
    return names[0] if len(names) == 1 and (best[0] or best[1] >= _CONVINCING) else None


def _reached(chunk: bytes, name: str) -> tuple[bool, int]:
    """Whether nothing is damaged in *chunk*, up to _ENOUGH records, and how far the whole ones reach."""
    walk, pos = _WALKS[name], 0
    try:
        for _ in range(_ENOUGH):
            pos = walk(chunk, pos)
    except Torn:
        return pos > 0, pos
    except Damaged:
        return False, pos
    return True, pos
