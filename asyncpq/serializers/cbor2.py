"""Records of a length and a CBOR body, as persist-queue's cbor2 serializer writes them (extra: cbor2).

A tuple comes back as a list.  What could not be read again, such as 401 lists in each other, is refused by
encode().
"""

import re
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
    "resync",
    "skip",
]

NAME: Final[str] = "cbor2"
is_async: Final[bool] = False

_SAFE: Final = frozenset([str, bytes, int, float, bool, type(None)])  # what these become can always be read
_CLAIMS: Final = re.compile(rb"[\x99-\x9b\xb9-\xbb]")  # heads of arrays and maps with a length of its own
_pack: Final = cbor2.dumps
_unpack: Final = cbor2.loads
_Decoder: Final = cbor2.CBORDecoder


def dump(value: Any, fp: IO[bytes]) -> None:
    """Write the record of *value*."""
    fp.write(encode(value))


def load(fp: IO[bytes]) -> Any:
    """Read one record."""
    return loads(read_record(fp))


def encode(value: Any) -> bytes:
    """The record of *value*; raises what cbor2 raises, also for what only reading would refuse."""
    body = _pack(value)
    if type(value) not in _SAFE:
        try:
            _unpack(body)
        except cbor2.CBORError as error:
            raise unreadable(error) from error
    return record_of(body)


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
    if 0x80 <= body[0] < 0xE0 and _CLAIMS.search(body):
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
