"""Records that are lines of JSON, as persist-queue's json writes them: ASCII, the default separators.

A tuple comes back as a list, and a key that is a number as a str.
"""

import json
from typing import IO, Any, Final

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

NAME: Final[str] = "json"
is_async: Final[bool] = False

_dumps: Final = json.dumps


def encode(value: Any) -> bytes:
    """The line of *value*; TypeError for what JSON has no word for."""
    return _dumps(value).encode("utf-8") + b"\n"


def dump(value: Any, fp: IO[bytes]) -> None:
    """Write the line of *value*."""
    fp.write(encode(value))
