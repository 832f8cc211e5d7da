"""Records that are lines of JSON, written by orjson in UTF-8; persist-queue's json reads them.

What orjson does not take raises TypeError: keys that are no str, integers beyond 64 bits, lone surrogates.
NaN and Infinity are written as null.  Dataclasses, datetimes, enums and UUIDs come back as plain JSON.
orjson 3.13 refuses 255 lists or dicts in each other, but follows tuples without a limit: some thousand in each other
end the process.
"""

from typing import IO, Any, Final

import orjson

from asyncpq.serializers._lines import check, decode, info_loads, load, loads, resync, skip

__all__ = [
    "NAME",
    "check",
    "decode",
    "dump",
    "encode",
    "info_loads",
    "is_async",
    "load",
    "loads",
    "resync",
    "skip",
]

NAME: Final[str] = "orjson"
is_async: Final[bool] = False

_dumps: Final = orjson.dumps
_APPEND_NEWLINE: Final = orjson.OPT_APPEND_NEWLINE


def encode(value: Any) -> bytes:
    """The line of *value*; TypeError for what orjson does not take."""
    return _dumps(value, None, _APPEND_NEWLINE)


def dump(value: Any, fp: IO[bytes]) -> None:
    """Write the line of *value*."""
    fp.write(encode(value))
