"""When two items are the same, for the unique queues.  Pure.

    dicts            the order of keys does not count, at any depth
    sets             neither does theirs
    1, 1.0, True     three different items; so are "1" and b"1", [1] and (1,), 0.0 and -0.0
    nan              the same as any other nan
    other objects    the same when their pickles are

Where that is not what you mean, give the queue `key=`: a function whose value is compared instead.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

DIGEST_SIZE: Final = 20  # bytes of BLAKE2b: two of 10**12 items share one with a chance of 10**-24

_float: Final = struct.Struct(">d").pack
_NAN: Final = _float(float("nan"))


def digest(item: Any) -> bytes:
    """Return what is equal for the same items.

    Raises:
        ValueError: the item holds itself, or is nested too deeply.
        Exception: what pickling raises, for an object of another class than those above.
    """
    try:
        return hashlib.blake2b(canonical(item), digest_size=DIGEST_SIZE).digest()
    except RecursionError:
        raise ValueError("an item that holds itself has no canonical form; give the queue key=") from None


def canonical(item: Any) -> bytes:
    """Return *item* as bytes: a letter for the type, a length, and what it holds."""
    kind = type(item)
    if item is None or kind is bool:
        return _tagged(b"c", repr(item).encode())
    if kind is int:
        return _tagged(b"i", b"%x" % item if item >= 0 else b"-%x" % -item)
    if kind is float:
        return _tagged(b"f", _float(item) if item == item else _NAN)
    if kind is str:
        return _tagged(b"s", item.encode("utf-8", "surrogatepass"))
    if kind is bytes or kind is bytearray:
        return _tagged(b"b" if kind is bytes else b"a", bytes(item))
    if kind is list or kind is tuple:
        return _tagged(b"l" if kind is list else b"t", b"".join(map(canonical, item)))
    if kind is set or kind is frozenset:
        return _tagged(b"S" if kind is set else b"F", _sorted(map(canonical, item)))
    if kind is dict:
        return _tagged(b"d", _sorted(canonical(key) + canonical(value) for key, value in item.items()))
    return _tagged(b"o", pickle.dumps(item, 4))


def _tagged(tag: bytes, body: bytes) -> bytes:
    return b"%s%d:%s" % (tag, len(body), body)


def _sorted(parts: Iterable[bytes]) -> bytes:
    return b"".join(sorted(parts))
