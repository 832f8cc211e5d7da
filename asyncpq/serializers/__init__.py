"""How items become records: persist-queue's serializers, orjson, and those of a user's own.

    name      a record                                  information lost
    pickle    one pickle of protocol 4                  none; loading runs what the pickle names
    json      a line of JSON                            tuple -> list, keys -> str
    orjson    a line of JSON that json reads            the same; NaN -> null
    msgpack   a length and a msgpack body               list -> tuple; keys are str or bytes
    cbor2     a length and a CBOR body (extra: cbor2)   tuple -> list

A serializer is a module, or any object, with `dump(value, fp)` and `load(fp)`; see Serializer for what ours
have more.
"""

import json as stdlib_json
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from asyncpq.serializers import _cbor, json, msgpack, orjson, pickle
from asyncpq.serializers._custom import Custom, self_delimiting
from asyncpq.serializers._detect import detect, detect_record
from asyncpq.serializers._outcomes import Damaged, Torn
from asyncpq.serializers._plain import Opaque, TooComplex, plain_loads
from asyncpq.serializers._protocol import Serializer
from asyncpq.serializers._quick import quick_end, quick_loads

if TYPE_CHECKING:
    from asyncpq.serializers import cbor2

__all__ = [
    "NAMES",
    "Custom",
    "Damaged",
    "Opaque",
    "Serializer",
    "TooComplex",
    "Torn",
    "cbor2",
    "detect",
    "detect_record",
    "get",
    "info_loads",
    "json",
    "msgpack",
    "orjson",
    "pickle",
    "plain_loads",
    "quick_end",
    "quick_loads",
    "self_delimiting",
]

NAMES: Final = ("pickle", "json", "orjson", "msgpack", "cbor2")

# Modules that write the same bytes as ours, by the name they were imported under.
_SAME_BYTES: Final = {
    "persistqueue.serializers.async_pickle": "pickle",
    "persistqueue.serializers.pickle": "pickle",
    "persistqueue.serializers.json": "json",
    "persistqueue.serializers.msgpack": "msgpack",
    "persistqueue.serializers.cbor2": "cbor2",
}


def __getattr__(name: str) -> ModuleType:
    """Import cbor2 only for those who ask for it: its library is an extra."""
    if name != "cbor2":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.cbor2")


def get(serializer: str | object) -> Serializer:
    """The serializer of this name, or the one that this module or object is.

    persist-queue's own modules stand for ours, which read and write the same bytes.

    Raises:
        ValueError: there is none of this name.
        AttributeError: the object has no dump and load.
        ImportError: the library of cbor2 is not installed.
    """
    if isinstance(serializer, str):
        return _named(serializer)
    if serializer is stdlib_json:  # it writes text, and its load reads on to the end: ours is what is meant
        return _named("json")
    same = _SAME_BYTES.get(getattr(serializer, "__name__", ""))
    if same and isinstance(serializer, ModuleType):
        return _named(same)
    if isinstance(serializer, Serializer) and isinstance(serializer.NAME, str):
        return serializer
    return Custom(serializer)


def _named(name: str) -> Serializer:
    if name not in NAMES:
        raise ValueError(f"there is no serializer {name!r}; there are {', '.join(NAMES)}")
    return cast(Serializer, import_module(f"{__name__}.{name}"))


def info_loads(name: str, data: bytes) -> dict[str, Any]:
    """The first record of an info that serializer *name* wrote; nothing runs, and cbor2 may be missing.

    Raises:
        Torn: the record is not complete.
        Damaged: it is no record of this serializer, or no dict.
    """
    if name == "cbor2":
        return _cbor.info_loads(data)
    return _named(name).info_loads(data)
