"""What a serializer cannot carry, and what it becomes where that is accepted.  Pure.

    {"at": (1, 2), 7: b"x"}    for json:    {"at": [1, 2], "7": "eA=="}    tuples, keys that are no str, bytes

A value is the same only where its types are: 1, 1.0 and True are three values, NaN is the same as itself.
"""

from __future__ import annotations

import base64
import marshal
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncpq.canonical import canonical
from asyncpq.serializers import Opaque

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BECOMES", "Reduced", "reduced", "same"]

LISTS: Final = "lists"
TUPLES: Final = "tuples"
BYTES: Final = "bytes"
BYTEARRAYS: Final = "bytearrays"
SETS: Final = "sets"
FROZENSETS: Final = "frozensets"
KEYS: Final = "keys that are no str"
BIG: Final = "integers that are too big"
NOT_FINITE: Final = "NaN or Infinity"
SURROGATES: Final = "lone surrogates"
OBJECTS: Final = "objects of classes"
SAME_KEYS: Final = "keys that become the same"
TOO_DEEP: Final = "too much nesting, or itself"
OTHER: Final = "what does not come back as it was"
PRIORITIES: Final = "priorities"
DUPLICATES: Final = "duplicates"

# What each becomes; None: nothing, it is never accepted.
BECOMES: Final[dict[str, str | None]] = {
    LISTS: "tuples",
    TUPLES: "lists",
    BYTES: "their base64",
    BYTEARRAYS: "bytes, or their base64",
    SETS: "lists, or tuples in msgpack",
    FROZENSETS: "sets, or lists",
    KEYS: "str",
    BIG: "their digits",
    NOT_FINITE: "null",
    SURROGATES: "U+FFFD, or the character that a pair stands for",
    OBJECTS: "the name of the class",
    SAME_KEYS: None,
    TOO_DEEP: None,
    OTHER: None,
    PRIORITIES: "the order alone",
    DUPLICATES: "nothing: one of each stays",
}

_WORDS: Final = {None: "null", True: "true", False: "false"}  # keys, as json writes them
_DIGITS_MAX: Final = 4300  # Python turns no longer str of digits into an int
_BITS_OF_DIGITS: Final = math.floor(_DIGITS_MAX * math.log2(10))  # every int of fewer bits has fewer digits
_MARSHAL: Final = 2  # the last version that writes what is equal as the same bytes, whoever shares it


def same(one: Any, other: Any, *, plain: bool = True) -> bool:
    """Return whether *one* and *other* are the same, types included.

    Args:
        one: a value.
        other: what it became.
        plain: there is no bytearray in them, nor anything else that gives its bytes to whoever asks.
    """
    try:
        if plain and marshal.dumps(one, _MARSHAL) == marshal.dumps(other, _MARSHAL):
            return True
    except ValueError:  # nested deeply, or of a class
        pass
    try:
        return canonical(one) == canonical(other)
    except Exception:  # whatever pickling an object raises; or too deep
        return False


@dataclass(frozen=True, slots=True)
class Reduced:
    """A value that can be carried, and what was lost on the way."""

    value: Any
    kinds: frozenset[str]


def reduced(value: Any, name: str, carried: Callable[[Any], bool]) -> Reduced:
    """Return *value* as serializer *name* can carry it.

    Args:
        value: the item.
        name: json, orjson, msgpack, cbor2 or pickle.
        carried: whether an object of a class comes back the same.
    """
    walk = _Walk(name, carried)
    try:
        return Reduced(walk.value(value), frozenset(walk.kinds))
    except RecursionError:
        return Reduced(None, frozenset((TOO_DEEP,)))


class _Walk:
    """One item on its way."""

    def __init__(self, name: str, carried: Callable[[Any], bool]) -> None:
        self.kinds: set[str] = set()
        self._name, self._carried = name, carried
        self._json = name in ("json", "orjson")
        self._actions: dict[type, Callable[[Any], Any]] = {
            type(None): _itself,
            bool: _itself,
            int: self._int,
            float: self._float,
            str: self._str,
            bytes: self._bytes,
            bytearray: self._bytearray,
            list: self._list,
            tuple: self._tuple,
            set: self._set,
            frozenset: self._frozenset,
            dict: self._dict,
        }

    def value(self, value: Any) -> Any:
        """Return what is carried instead of *value*."""
        return self._actions.get(type(value), self._object)(value)

    def _became(self, kind: str, value: Any) -> Any:
        self.kinds.add(kind)
        return value

    def _int(self, value: int) -> Any:
        if self._name in ("orjson", "msgpack"):
            fits = -(2**63) <= value < 2**64
        else:
            fits = self._name != "json" or value.bit_length() < _BITS_OF_DIGITS
        return value if fits else self._became(BIG, _digits(value))

    def _float(self, value: float) -> Any:
        return value if math.isfinite(value) or self._name != "orjson" else self._became(NOT_FINITE, None)

    def _str(self, value: str) -> str:
        if value.isascii() or self._name == "pickle":
            return value
        joined = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if joined == value:
            return value
        if self._name == "json":  # it carries those that are alone, and joins pairs
            pairs = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
            return value if pairs == value else self._became(SURROGATES, pairs)
        return str(self._became(SURROGATES, joined))

    def _bytes(self, value: bytes) -> Any:
        return self._became(BYTES, base64.b64encode(value).decode("ascii")) if self._json else value

    def _bytearray(self, value: bytearray) -> Any:
        if self._name == "pickle":
            return value
        return self._became(BYTEARRAYS, base64.b64encode(value).decode("ascii") if self._json else bytes(value))

    def _list(self, value: list[Any]) -> Any:
        parts = map(self.value, value)
        return self._became(LISTS, tuple(parts)) if self._name == "msgpack" else list(parts)

    def _tuple(self, value: tuple[Any, ...]) -> Any:
        parts = map(self.value, value)
        return tuple(parts) if self._name in ("msgpack", "pickle") else self._became(TUPLES, list(parts))

    def _set(self, value: set[Any]) -> Any:
        if self._name in ("cbor2", "pickle"):
            return {self._member(part) for part in value}
        return self._became(SETS, self._in_order(value))

    def _frozenset(self, value: frozenset[Any]) -> Any:
        if self._name == "pickle":
            return frozenset(self._member(part) for part in value)
        parts = {self._member(part) for part in value} if self._name == "cbor2" else self._in_order(value)
        return self._became(FROZENSETS, parts)

    def _in_order(self, value: set[Any] | frozenset[Any]) -> Any:
        parts = [self.value(part) for part in sorted(value, key=canonical)]
        return tuple(parts) if self._name == "msgpack" else parts

    def _member(self, value: Any) -> Any:
        """Return a part of a set, or a key of cbor2 or pickle: they carry what can be hashed, tuples included."""
        if type(value) is tuple:
            return tuple(map(self._member, value))
        if type(value) is frozenset:
            return frozenset(map(self._member, value))
        return self.value(value)

    def _dict(self, value: dict[Any, Any]) -> dict[Any, Any]:
        key = self._member if self._name in ("cbor2", "pickle") else self._key
        made = {key(name): self.value(part) for name, part in value.items()}
        if len(made) != len(value):
            self.kinds.add(SAME_KEYS)
        return made

    def _key(self, value: Any) -> Any:
        if type(value) is str or (type(value) is bytes and self._name == "msgpack"):
            return self.value(value)
        return self._became(KEYS, self._text(value))

    def _text(self, value: Any) -> str:
        """Return a key as text: numbers and words as json has them."""
        if value is None or type(value) is bool:
            return _WORDS[value]
        if type(value) is int:
            return _digits(value)
        if type(value) is bytes:
            return base64.b64encode(value).decode("ascii")
        return repr(value) if type(value) in (float, tuple, frozenset) else str(self._object(value))

    def _object(self, value: Any) -> Any:
        """Return an object of a class, where it is carried."""
        if isinstance(value, Opaque):
            return self._became(OBJECTS, value.name)
        return value if self._carried(value) else self._became(OBJECTS, _named(type(value)))


def _itself(value: Any) -> Any:
    return value


def _digits(value: int) -> str:
    return str(value) if value.bit_length() < _BITS_OF_DIGITS else hex(value)


def _named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
