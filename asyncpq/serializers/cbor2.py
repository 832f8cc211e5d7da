"""Records of a length and a CBOR body, as persist-queue's cbor2 serializer writes them (extra: cbor2).

A tuple comes back as a list.  What could not be read again, such as 401 lists in each other, is refused by
encode().
"""

import marshal
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import IO, Any, Final

from asyncpq.serializers._cbor import check, info_loads, resync, skip, well_formed
from asyncpq.serializers._outcomes import Damaged, refused, unreadable
from asyncpq.serializers._prefixed import body_end, read_record, record_of

try:
    import cbor2
except ImportError as error:
    raise ImportError("this needs the cbor2 library: pip install 'asyncpq-engine[cbor2]'") from error

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
    "pack",
    "resync",
    "skip",
    "unpack",
]

NAME: Final[str] = "cbor2"
is_async: Final[bool] = False

DEPTH_MAX: Final = 1000  # levels of an item

_SAFE: Final = frozenset([str, bytes, int, float, bool, type(None)])  # what these become can always be read
_CLAIMS: Final = bytes(byte in b"\x99\x9a\x9b\xb9\xba\xbb" for byte in range(256))  # 1: a head with a length
_pack: Final = cbor2.dumps
_unpack: Final = cbor2.loads
_Decoder: Final = cbor2.CBORDecoder


def dump(value: Any, fp: IO[bytes]) -> None:
    """Write the record of *value*."""
    fp.write(encode(value))


def load(fp: IO[bytes]) -> Any:
    """Read one record."""
    return loads(read_record(fp))


def pack(value: Any) -> bytes:
    """The record of *value*, whether or not it can be read again: for those who try."""
    return record_of(_pack(value))


def unpack(record: bytes) -> Any:
    """The value of a record that `pack` has just made: nothing in it claims what is not there."""
    return _unpack(record[4:])


def encode(value: Any) -> bytes:
    """The record of *value*; raises what cbor2 raises, also for what only reading would refuse."""
    if type(value) not in _SAFE:
        _refuse_deep(value)
    body = _pack(value)
    if type(value) not in _SAFE:
        try:
            _unpack(body)
        except cbor2.CBORError as error:
            raise unreadable(error) from error
    return record_of(body)


def _refuse_deep(value: Any) -> None:
    """Raise ValueError for what nests deeper than cbor2's encoder can follow: it would end the process."""
    try:
        marshal.dumps(value)  # follows 2,000 levels, fast, and knows only plain data
    except ValueError:
        if _deeper_than(value, DEPTH_MAX):
            raise ValueError(f"this item is nested more than {DEPTH_MAX} levels deep, or holds itself") from None


def _deeper_than(value: Any, most: int) -> bool:
    level = {0: value}  # by identity: what is there twice is followed once
    for _ in range(most + 1):
        level = {id(part): part for whole in level.values() for part in _parts(whole)}
        if not level:
            return False
    return True


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return (*value, *value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return value
    return (value.value,) if isinstance(value, cbor2.CBORTag) else ()


def loads(record: bytes) -> Any:
    """The value of one record."""
    if body_end(record, 0) != len(record):
        raise Damaged("bytes lie behind a record")
    return _value(record[4:])


def decode(buffer: bytes, start: int) -> tuple[Any, int]:
    """The value of the record at *start*, and the offset behind it."""
    end = body_end(buffer, start)
    return _value(buffer[start + 4 : end]), end


def _value(body: bytes) -> Any:
    """The one value of *body*; older cbor2 takes room for what a head claims, so claims are checked."""
    if 0x80 <= body[0] < 0xE0 and b"\x01" in body.translate(_CLAIMS):
        well_formed(body, 0, len(body))
    file = BytesIO(body)
    try:
        value = _Decoder(file).decode()
    except MemoryError:
        raise
    except Exception as error:
        raise refused(error) from error
    if file.tell() != len(body):  # loads() would not tell
        raise Damaged("bytes lie behind a value in its record")
    return value
