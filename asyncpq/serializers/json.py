"""Records that are lines of JSON, as persist-queue's json writes them: ASCII, the default separators.

A tuple comes back as a list, and a key that is a number as a str.
"""

import json
import json.encoder
from collections.abc import Callable
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


def _make_encoder() -> Callable[[Any, int], tuple[str, ...]] | None:
    """Return what json.dumps makes anew for each value, which costs more than an item of 200 bytes does.

    It has no memory of the values that it is in, so that threads may share it: where a value holds itself it
    stops at the interpreter's limit, and json.dumps says what is wrong.
    """
    try:
        make: Any = json.encoder.c_make_encoder  # type: ignore[attr-defined]  # not in every interpreter
        escape = json.encoder.encode_basestring_ascii
        own: Any = make(None, json.JSONEncoder().default, escape, None, ": ", ", ", False, False, True)
    except (AttributeError, TypeError):
        return None
    probe = {"a": [1, 2.5, None], "\u00e9": "\n"}
    return own if "".join(own(probe, 0)) == json.dumps(probe) else None


_encoder: Final = _make_encoder()


def encode(value: Any) -> bytes:
    """The line of *value*; TypeError for what JSON has no word for."""
    if _encoder is not None:
        try:
            return "".join(_encoder(value, 0)).encode("utf-8") + b"\n"
        except RecursionError:
            pass
    return json.dumps(value).encode("utf-8") + b"\n"


def dump(value: Any, fp: IO[bytes]) -> None:
    """Write the line of *value*."""
    fp.write(encode(value))
