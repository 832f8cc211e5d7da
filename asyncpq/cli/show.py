"""An item for people: as Python would write it, what needs a class by its name, cut where it is long.  Pure.

{'id': 7, 'job': <app.Job {'url': 'https://example.org'}>}
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from asyncpq.serializers import Opaque

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["shown"]


def shown(item: Any, most: int | None = None) -> str:
    """Return *item* on one line, without a character that a terminal would obey.

    Args:
        item: anything.
        most: characters; what is longer ends with an ellipsis.  None: all of it.
    """
    parts: list[str] = []
    length = 0
    try:
        for part in _pieces(item, most):
            parts.append(part)
            length += len(part)
            if most is not None and length > most:
                return "".join(parts)[:most] + "..."
    except RecursionError:  # deeper than anybody reads; what came until then is shown
        parts.append("...")
    return "".join(parts)


def _pieces(value: Any, most: int | None) -> Iterator[str]:
    """Yield the text of *value* bit by bit, so that nobody waits for what is cut off anyway."""
    kind = type(value)
    if kind in _BRACKETS and value:
        start, end = _BRACKETS[kind]
        yield start
        yield from _joined(_pieces(one, most) for one in value)
        yield ",)" if kind is tuple and len(value) == 1 else end
    elif kind is dict:
        yield "{"
        yield from _joined(chain(_pieces(key, most), (": ",), _pieces(one, most)) for key, one in value.items())
        yield "}"
    elif kind is Opaque:
        yield f"<{_safe(value.name)}"
        for part in (value.args, value.state, value.items):
            if part not in ((), None, []):
                yield " "
                yield from _pieces(part, most)
        yield ">"
    elif kind in (str, bytes, bytearray) and most is not None and len(value) > most:
        yield repr(value[:most])[:most]
        yield "..."
    else:
        yield _safe(_repr(value))


def _joined(parts: Iterable[Iterable[str]]) -> Iterator[str]:
    first = True
    for part in parts:
        if not first:
            yield ", "
        first = False
        yield from part


def _repr(value: Any) -> str:
    if type(value) is int and value.bit_length() > 14_000:
        return hex(value)  # Python refuses to write so many digits
    try:
        return repr(value)
    except Exception as error:  # an object that was really unpickled
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"


def _safe(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


_BRACKETS: Final[dict[type, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}
