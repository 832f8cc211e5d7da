"""Items that cannot be written out: a pickle or CBOR may hold one part at many places, or be nested deeply.  Pure.

a = []; b = [a, a]; c = [b, b]; ...        a hundred levels are 700 bytes of pickle, and 2 ** 100 lists in JSON
[[[[ ... ]]]]                              some libraries end the process at 100,000 levels
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asyncpq.serializers import Opaque

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TooBig", "guarded"]

MOST: Final = 16 * 1024 * 1024  # bytes that an item may become, or
TIMES: Final = 16  # times its blob, whichever is more
EACH: Final = 16  # bytes that each part counts for
DEEP: Final = 1000  # levels
# One of these is in each blob that has a part at two places.
MARKERS: Final = {"pickle": (b"h", b"j", b"g"), "cbor2": (b"\x1d",)}


class TooBig(Exception):
    """The item is a bomb, is nested too deeply, or holds itself."""


def guarded(loads: Callable[[bytes], Any], serializer: str) -> Callable[[bytes], Any]:
    """Return *loads*, which raises TooBig for items that cannot be written out; *serializer* made the blobs."""
    markers = MARKERS.get(serializer)
    if markers is None:
        return loads

    def load(blob: bytes) -> Any:
        value = loads(blob)
        if len(blob) <= DEEP:  # a level takes a byte at least
            for marker in markers:
                if marker in blob:
                    break
            else:
                return value
        _weigh(value, max(MOST, TIMES * len(blob)))
        return value

    return load


def _weigh(value: Any, most: int) -> None:
    """Raise TooBig where *value*, each part as often as it is there, is too deep or more than about *most* bytes."""
    level, weight, depth = [value], 0, 0
    while level:
        depth += 1
        inner: list[Any] = []
        for part in level:
            kind = type(part)
            if kind is str or kind is bytes or kind is bytearray:
                weight += len(part)
            elif parts := _parts(part, kind):
                weight += EACH * len(parts)
                if weight <= most:
                    inner.extend(parts)
            if weight > most or depth > DEEP:
                raise TooBig
        level = inner


def _parts(part: Any, kind: type) -> Any:
    if kind is dict:
        return [*part.keys(), *part.values()]
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return part
    return (part.args, part.state, part.items) if kind is Opaque else ()
