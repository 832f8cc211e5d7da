"""Records of a length and a msgpack body, as persist-queue's msgpack serializer writes them.

A list comes back as a tuple.  Keys are str or bytes: what could not be read again is refused by encode().
"""

from typing import IO, Any, Final

import msgpack  # type: ignore[import-untyped]

from asyncpq.serializers._budget import Budget
from asyncpq.serializers._info import as_info
from asyncpq.serializers._msgpack_heads import value_end
from asyncpq.serializers._outcomes import Damaged, refused, unreadable
from asyncpq.serializers._prefixed import PREFIX, body_end, read_record, record_of, search

NAME: Final[str] = "msgpack"
is_async: Final[bool] = False

SMALL: Final = 1024  # bytes of a body whose claims cannot cost more than a few MiB
_HOLDERS: Final = (dict, list, tuple)  # what may hold a key
_CONTAINERS: Final = frozenset([*range(0x80, 0xA0), *range(0xDC, 0xE0)])

_Packer: Final = msgpack.Packer  # one for each item: they are not for two threads
_unpack: Final = msgpack.unpackb
_length: Final = PREFIX.unpack_from


def dump(value: Any, fp: IO[bytes]) -> None:
    """Write the record of *value*."""
    fp.write(encode(value))


def load(fp: IO[bytes]) -> Any:
    """Read one record."""
    return loads(read_record(fp))


def pack(value: Any) -> bytes:
    """The record of *value*, whether or not it can be read again: for those who try."""
    return record_of(_Packer().pack(value))


def unpack(record: bytes) -> Any:
    """The value of a record that `pack` has just made: nothing in it claims what is not there."""
    return _unpack(record[4:], use_list=False, raw=False)


def encode(value: Any) -> bytes:
    """The record of *value*; raises what msgpack raises, also for keys that only reading would refuse."""
    body: bytes = _Packer().pack(value)
    if isinstance(value, _HOLDERS):
        try:
            _unpack(body, use_list=False, raw=False)
        except ValueError as error:
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
    try:
        if len(body) > SMALL and body[0] in _CONTAINERS:
            _count(body)
        return _unpack(body, use_list=False, raw=False)
    except MemoryError:
        raise
    except Exception as error:
        raise refused(error) from error


def _count(body: bytes) -> None:
    """Raise unless all that containers of *body* claim is there: unpacking takes room for it first."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(body))
    unpacker.feed(body)
    unpacker.skip()


def skip(buffer: bytes, start: int) -> int:
    """The offset behind the record at *start*, whose body is exactly one value (plain data: it is built)."""
    return decode(buffer, start)[1]


check = skip


def resync(buffer: bytes, start: int) -> int | None:
    """Where the next whole record begins, at *start* or behind it."""
    return search(buffer, start, _whole)


def _whole(buffer: bytes, start: int, end: int, budget: Budget) -> bool:
    if value_end(buffer, start, end, budget) != end:
        return False
    budget.spend((end - start) >> 4)
    _value(buffer[start:end])
    return True


def info_loads(data: bytes) -> dict[str, Any]:
    """The first record of an info."""
    return as_info(decode(data, 0)[0])
