"""Records that are pickles, as persist-queue's default serializer writes them: protocol 4, back to back.

    80 04 95 <8 bytes: n>  <n bytes of opcodes, the last one STOP>     an item of 4 bytes to 64 KiB or so
    80 04 4e 2e                                                         None: too small for a frame

Protocols 0 to 5 are read: Python 2 wrote 0 to 2, Python 3.6 wrote 3.  Loading a pickle runs what it names,
so decode() and loads() are for directories one trusts; skip(), check(), resync() and info_loads() run
nothing.
"""

import pickle
import re
import struct
from collections.abc import Callable
from typing import IO, Any, Final

from asyncpq.serializers._budget import Budget
from asyncpq.serializers._info import as_info
from asyncpq.serializers._opcodes import PROTO, STOP, end_of
from asyncpq.serializers._outcomes import Damaged, Torn, refused
from asyncpq.serializers._plain import plain_loads
from asyncpq.serializers._strict import strict_end

NAME: Final[str] = "pickle"
is_async: Final[bool] = False

PROTOCOL: Final = 4  # persist-queue's; older readers of the directory know no later one
protocol: Final = PROTOCOL  # the name that persist-queue gives it

_dumps: Final = pickle.dumps
_loads: Final = pickle.loads
_head: Final = struct.Struct("<3sQ").unpack_from
_FRAMED: Final = b"\x80\x04\x95"

_BEGINS: Final = re.compile(rb"\x80[\x02-\x05]")
_BEGINS_FRAMED: Final = re.compile(rb"\x80[\x04\x05]\x95.{8}", re.DOTALL)
_BEGINS_OLD: Final = re.compile(rb"(?:\A|(?<=\.))[(IJKLMNFGSTUVXc\])}]")
_ONLY_ZEROS: Final = re.compile(rb"\0*\Z")


def dump(value: Any, fp: IO[bytes]) -> None:
    """Write the record of *value*."""
    fp.write(encode(value))


def load(fp: IO[bytes]) -> Any:
    """Read one record; runs what the pickle names."""
    return pickle.load(fp)


def _encode(value: Any) -> bytes:
    return _dumps(value, PROTOCOL)


# The pickle of a value; raises what pickling raises.  Where the protocol is Python's own default, without a frame of
# Python: each put encodes twice, 45 ns less each.
encode: Final[Callable[[Any], bytes]] = pickle.dumps if pickle.DEFAULT_PROTOCOL == PROTOCOL else _encode

raw_loads: Final = pickle.loads  # as loads(), but raises whatever unpickling raises


def loads(record: bytes) -> Any:
    """The value of one record; runs what the pickle names."""
    try:
        return _loads(record)
    except MemoryError:
        strict_end(record, 0)  # damage can ask for memory without end
        raise
    except Exception as error:
        raise refused(error) from error


def decode(buffer: bytes, start: int) -> tuple[Any, int]:
    """The value of the record at *start*, and the offset behind it; runs what the pickle names.

    The common record, one frame with the next record or the end behind it, is cut out by the frame's length.
    """
    try:
        magic, size = _head(buffer, start)
        end = start + 11 + size
        if magic == _FRAMED and buffer[end - 1] == STOP and (end == len(buffer) or buffer[end] == PROTO):
            return _loads(buffer[start:end]), end
    except Exception:  # too short, or no record of one frame: the walk below knows which
        pass
    end = end_of(buffer, start)
    return loads(buffer[start:end]), end


def skip(buffer: bytes, start: int) -> int:
    """The offset behind the record at *start*; runs and builds nothing."""
    try:
        magic, size = _head(buffer, start)
        end = start + 11 + int(size)
        if magic == _FRAMED and buffer[end - 1] == STOP and buffer[end] == PROTO:
            return end
    except (struct.error, IndexError):  # too short, or the last record of the buffer: the walk knows
        pass
    return end_of(buffer, start)


def check(buffer: bytes, start: int) -> int:
    """Like skip(), but every opcode is looked at, with the height of the stack."""
    return strict_end(buffer, start)


def resync(buffer: bytes, start: int) -> int | None:
    """Where the next whole pickle begins, at *start* or behind it.

    Any pickle of protocol 2 to 5 that passes the strict walk counts.  Only where there is none, protocols 0
    and 1 are looked for (they have no magic): behind a '.', with a pickle, whole or torn, or the end behind them.
    A pickle inside a damaged item, such as bytes that are a pickle, cannot be told from a record.
    """
    budget = Budget(len(buffer) - start)
    for found in _BEGINS.finditer(buffer, start):
        if _whole(buffer, found.start(), budget) is not None:
            return found.start()
        if budget.left < 0:
            return _framed(buffer, found.start())
    budget = Budget(len(buffer) - start)
    for found in _BEGINS_OLD.finditer(buffer, start):
        end = _whole(buffer, found.start(), budget)
        if end is not None and (_ONLY_ZEROS.match(buffer, end) or not _damaged(buffer, end, budget)):
            return found.start()
        if budget.left < 0:
            return None
    return None


def _whole(buffer: bytes, start: int, budget: Budget) -> int | None:
    try:
        return strict_end(buffer, start, budget)
    except (Torn, Damaged):
        return None


def _damaged(buffer: bytes, start: int, budget: Budget) -> bool:
    try:
        strict_end(buffer, start, budget)
    except Torn:
        return False
    except Damaged:
        return True
    return False


def _framed(buffer: bytes, start: int) -> int | None:
    """What resync() does with bytes made to exhaust it: look at the shape of a frame only."""
    for found in _BEGINS_FRAMED.finditer(buffer, start):
        end = found.end() + int.from_bytes(found.group()[3:], "little")
        if end <= len(buffer) and buffer[end - 1] == STOP and buffer[end : end + 1] in (b"", b"\x80"):
            return found.start()
    return None


def info_loads(data: bytes) -> dict[str, Any]:
    """The first record of an info, without unpickling it: plain data only, and nothing runs."""
    return as_info(plain_loads(data, 0, classes=False)[0])
