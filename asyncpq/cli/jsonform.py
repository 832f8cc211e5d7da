"""Items as JSON, and back exactly.  Pure.

    in the item                      in JSON
    None, bool, int, str, list       null, true, 1, "text", [...]
    a float                          1.5;  {"$float": "nan"}, {"$float": "inf"}, {"$float": "-inf"}
    an int of very many digits       {"$int": "0x1f..."}
    bytes, bytearray                 {"$bytes": "<base64>"}, {"$bytearray": "<base64>"}
    tuple, set, frozenset            {"$tuple": [...]}, {"$set": [...]}, {"$frozenset": [...]}
    dict                             {"key": ...} where all keys are text and none begins with $;
                                     else {"$dict": [[key, value], ...]}
    what needs a class               {"$class": "app.Job", ...}: written, and refused when it is read

An object of JSON in which a key begins with $ is always one of these forms, so nothing is ambiguous.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncpq.serializers import Opaque

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NotInJson", "NotOurForm", "Written", "dumps", "loads", "write"]

DIGITS: Final = 4300  # decimal digits of an int that Python converts; more take time without end
BITS: Final = 14_000  # surely fewer digits than that
SHARED: Final = 1_000_000  # values, characters and bytes that parts which occur again may add: a pickle has them once
LONG: Final = 64  # characters or bytes; what is shorter costs no more than to name it


class NotInJson(ValueError):
    """The item has no form here: it is nested too deep, holds itself, or would be too large."""


class NotOurForm(ValueError):
    """The line is no JSON, or an object in it is none of the forms."""


@dataclass(frozen=True, slots=True)
class Written:
    """A line of JSON."""

    text: str  # ASCII
    needs: str | None  # the first class that stands in it by its name: `loads` refuses the line then


def write(item: Any) -> Written:
    """Return *item* as one line.

    Args:
        item: plain data, `Opaque`, or objects, of which the class and the repr are shown.

    Raises:
        NotInJson: it is nested too deep, holds itself, or has parts so often that it would be huge.
    """
    writer = _Writer()
    try:
        return Written(json.dumps(writer.plain(item), check_circular=False), writer.needs)
    except RecursionError:
        raise NotInJson("it is nested too deep for JSON, or holds itself") from None


def dumps(item: Any) -> str:
    """Return the text of `write`."""
    return write(item).text


def loads(line: str | bytes) -> Any:
    """Return the item of a line that `dumps`, or anything that writes JSON, made.

    Raises:
        NotOurForm: it is none; the text says why.
    """
    try:
        return json.loads(line, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError:
        raise NotOurForm("it is nested too deep") from None
    except UnicodeDecodeError as error:
        raise NotOurForm(f"it is no UTF-8, at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise NotOurForm(f"it is no JSON: {error.msg.removesuffix(' at')}, character {error.pos + 1}") from None
    except ValueError as error:
        raise error if isinstance(error, NotOurForm) else NotOurForm(_long_number(error)) from None


def _long_number(error: ValueError) -> str:
    return f'a number in it has more than {DIGITS} digits; write it as {{"$int": "0x..."}}: {error}'


# -- writing --------------------------------------------------------------------------------------------------


class _Writer:
    """Turns an item into what json takes, and counts what that costs."""

    def __init__(self) -> None:
        self.needs: str | None = None
        self._seen: set[int] = set()
        self._left = SHARED

    def plain(self, value: Any) -> Any:
        """Return *value*, in which every form is a dict."""
        kind = type(value)
        if kind not in _SMALL and (kind not in _SIZED or len(value) > LONG):
            self._count(value)
        if kind is float:
            return value if math.isfinite(value) else {"$float": str(value)}
        if kind is int:
            return value if value.bit_length() < BITS else {"$int": hex(value)}
        if kind in _AS_IT_IS:
            return value
        if kind is dict:
            return self._dict(value)
        if kind is list:
            return [self.plain(one) for one in value]
        form = _FORMS.get(kind)
        if form is None:
            return self._object(value)
        return {form: b64encode(value).decode("ascii") if kind in _BYTES else self._listed(value)}

    def _count(self, value: Any) -> None:
        """Let *value* cost something, where it occurs again."""
        if id(value) not in self._seen:
            self._seen.add(id(value))
            return
        self._left -= 1 + (len(value) if hasattr(value, "__len__") else 0)
        if self._left < 0:
            raise NotInJson("it has parts so often that it would be too large in JSON")

    def _dict(self, value: dict[Any, Any]) -> Any:
        if all(type(key) is str and key[:1] != "$" for key in value):
            return {key: self.plain(one) for key, one in value.items()}
        return {"$dict": [[self.plain(key), self.plain(one)] for key, one in value.items()]}

    def _listed(self, value: Any) -> list[Any]:
        """Return the members; those of a set in an order that does not change from run to run."""
        members = [self.plain(one) for one in value]
        return members if type(value) is tuple else sorted(members, key=json.dumps)

    def _object(self, value: Any) -> dict[str, Any]:
        name = value.name if isinstance(value, Opaque) else _class_name(value)
        self.needs = self.needs or name
        if not isinstance(value, Opaque):
            return {"$class": name, "repr": repr(value)}
        parts = {"args": value.args, "state": value.state, "items": value.items}
        told = {name: self.plain(part) for name, part in parts.items() if part not in ((), None, [])}
        return {"$class": name, **told}


def _class_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


_SMALL: Final = frozenset({type(None), bool, int, float})
_AS_IT_IS: Final = frozenset({type(None), bool, str})
_BYTES: Final = frozenset({bytes, bytearray})
_SIZED: Final = _BYTES | {str}
_FORMS: Final[dict[type, str]] = {
    bytes: "$bytes",
    bytearray: "$bytearray",
    tuple: "$tuple",
    set: "$set",
    frozenset: "$frozenset",
}


# -- reading --------------------------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> Any:
    """Return the value of an object of JSON, in which the inner ones are values already."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise NotOurForm("an object in it has the same key twice")
    name = next((key for key in value if key[:1] == "$"), None)
    if name is None:
        return value
    if name == "$class":
        raise NotOurForm(f"it needs the class {value[name]!r}; only what is plain data can be stored from JSON")
    read = _READERS.get(name)
    if read is None or len(value) != 1:
        raise NotOurForm(f'an object in it has the key {name!r}; write such a dict as {{"$dict": [[key, value], ...]}}')
    try:
        return read(value[name])
    except (ValueError, TypeError, KeyError) as error:
        raise NotOurForm(f"{name!r} in it is followed by something else than it should be: {error}") from None


def _constant(name: str) -> Any:
    raise NotOurForm(f'{name} is no JSON; write {{"$float": ...}}')


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("no text")
    return value


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError("no list")
    return value


def _float(value: Any) -> float:
    return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[_text(value)]


def _pairs(value: Any) -> dict[Any, Any]:
    pairs = [_list(pair) for pair in _list(value)]
    made: dict[Any, Any] = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("the same key twice")
    return made


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$float": _float,
    "$int": lambda value: int(_text(value), 16),
    "$bytes": lambda value: b64decode(_text(value), validate=True),
    "$bytearray": lambda value: bytearray(b64decode(_text(value), validate=True)),
    "$tuple": lambda value: tuple(_list(value)),
    "$set": lambda value: set(_list(value)),
    "$frozenset": lambda value: frozenset(_list(value)),
    "$dict": _pairs,
}
