"""The directory, as bytes.  Pure: no files, no clock, no await.

    info      one record: {'chunksize', 'size', 'tail', 'head'}
    q00000    record record record ...
              ^tail              ^head    (chunk number, records before it, byte offset)
    q00001    ...
    acked     what was acknowledged out of order (journal.py)

While a queue is open, `info` is the *slot*, overwritten in place; every reader stops behind the record:

    0                                448                            512
    | record | zero bytes ...         | mark                          |
                                      magic 8 | version 1 | policy 1 | spare 2
                                      head 3 x 8 | tail 3 x 8        (durable: chunk, count, offset)
                                      CRC-32 of the mark up to here and of the record, 4
    all numbers little-endian

A closed queue's `info` is the record alone: exactly what persist-queue writes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

INFO: Final = "info"
DATABASE: Final = "data.db"  # of a SQLite queue, in a directory of its own
INFO_TEMP: Final = "info.tmp"  # a new info before its rename; removed by opening
DAMAGED: Final = "damaged"  # the directory for what opening or repair sets aside

SLOT_SIZE: Final = 512  # bytes; one sector, which a disk writes whole or not at all
MARK_SIZE: Final = 64  # bytes, the last of the slot
INFO_MAX: Final = SLOT_SIZE - MARK_SIZE  # bytes; a longer record is replaced by rename

MAGIC: Final = b"asyncpq\x00"
VERSION: Final = 1
LIMIT: Final = 2**63  # no number in info reaches it: neither a file nor a count can

_MARK: Final = struct.Struct("<8sBBH3Q3Q")
_CRC: Final = struct.Struct("<I")
SLOT: Final = struct.Struct("<448s60sI")  # record and zeros, mark, CRC-32


class Position(NamedTuple):
    """A place in the queue: chunk number, records before it in that chunk, byte offset."""

    chunk: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody asks a position for
    offset: int


START: Final = Position(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Mark:
    """What was durable when the slot was written, and under which policy (its code)."""

    policy: int
    head: Position
    tail: Position


@dataclass(frozen=True, slots=True)
class Info:
    """What an `info` says.  *fields* is all of it in its order, unknown keys included."""

    chunksize: int  # records in a chunk; 0 or less: it never rolls over
    size: int
    tail: Position
    head: Position
    fields: dict[str, Any]


def chunk_name(number: int) -> str:
    """Return the file name of a chunk: q00007, and six digits past 99999."""
    return f"q{number:05d}"


def chunk_number(name: str) -> int | None:
    """Return the number in a chunk's file name, None for any other file."""
    digits = name[1:]
    # Plain tests, not a pattern: opening asks for each of ten thousand names.
    if name[:1] != "q" or not 5 <= len(digits) <= 18 or not (digits.isascii() and digits.isdecimal()):
        return None
    return int(digits) if len(digits) == 5 or digits[0] != "0" else None


def chunk_numbers(names: Iterable[str]) -> list[int]:
    """Return the numbers of the chunk files among *names*, sorted as numbers."""
    return sorted(n for n in map(chunk_number, names) if n is not None)


class Listing(NamedTuple):
    """The names in a directory, told apart."""

    numbers: Sequence[int]  # of the chunk files, sorted; a range where none is missing between first and last
    others: frozenset[str]


def listing(names: Sequence[str]) -> Listing:
    """Return *names* told apart: once, since there may be ten thousand.

    Nearly all have five digits; those are told together, in a third of the time that a call for each takes.
    """
    usual = [name for name in names if len(name) == 6 and name[0] == "q"]
    together = "".join(usual)
    if together.isascii() and together.count("q") == len(usual) and together.replace("q", "").isdecimal():
        numbers, rest = _in_order(usual), [name for name in names if len(name) != 6 or name[0] != "q"]
    else:
        numbers, rest = [], list(names)
    told = {name: chunk_number(name) for name in rest}
    if more := [number for number in told.values() if number is not None]:
        numbers = sorted([*numbers, *more])
        if numbers[-1] - numbers[0] == len(numbers) - 1:
            numbers = range(numbers[0], numbers[-1] + 1)
    return Listing(numbers, frozenset(name for name, number in told.items() if number is None))


def _in_order(names: list[str]) -> Sequence[int]:
    """Return the numbers in *names* of five digits, sorted; all are different."""
    first, last = int(min(names)[1:]), int(max(names)[1:])
    if last - first == len(names) - 1:
        return range(first, last + 1)
    return sorted(int(name[1:]) for name in names)


def foreign(names: Container[str]) -> str | None:
    """Say whose chunks a directory with these names holds; None: this format's.

    queuelib's are called q00000 too, and are no records.
    """
    if INFO not in names and "info.json" in names:
        return "holds a queue of queuelib; 'asyncpq migrate' makes one of asyncpq's of it"
    return None


def beside_database(names: Container[str]) -> str | None:
    """Say why no new queue is made where a SQLite queue is; None: there is none."""
    if INFO not in names and DATABASE in names:
        return "holds a SQLite queue: open it with AsyncSQLiteQueue (or its class), or choose another path"
    return None


def new_fields(chunksize: int) -> dict[str, Any]:
    """Return the info of a queue that holds nothing, its keys in persist-queue's order."""
    return {"chunksize": chunksize, "size": 0, "tail": [0, 0, 0], "head": [0, 0, 0]}


def distance(chunksize: int, tail: Position, head: Position) -> int:
    """Return the number of records from *tail* to *head*."""
    if tail.chunk == head.chunk:
        return head.count - tail.count
    return (head.chunk - tail.chunk) * chunksize + head.count - tail.count


def following(position: Position, length: int, chunksize: int) -> Position:
    """Return the position behind a record of *length* bytes at *position*."""
    chunk, count, offset = position
    if count + 1 == chunksize:
        return Position(chunk + 1, 0, 0)
    return Position(chunk, count + 1, offset + length)


def validate(fields: Mapping[str, Any]) -> Info:
    """Return *fields* as an Info.

    Raises:
        ValueError: a key is missing or its value is not what an info can hold.
    """
    for key in ("chunksize", "size", "tail", "head"):
        if key not in fields:
            raise ValueError(f"info has no {key!r}")
    chunksize, size = fields["chunksize"], fields["size"]
    if type(chunksize) is not int or not -LIMIT < chunksize < LIMIT:
        raise ValueError(f"info: chunksize is {chunksize!r:.60}, not a number of records")
    if type(size) is not int or not -LIMIT < size < LIMIT:
        raise ValueError(f"info: size is {size!r:.60}, not a number of items")
    tail, head = (_position(key, fields[key]) for key in ("tail", "head"))
    return Info(chunksize, size, tail, head, dict(fields))


def _position(key: str, value: object) -> Position:
    if (
        not isinstance(value, (list, tuple))
        or len(value) != 3
        or not all(type(n) is int and 0 <= n < LIMIT for n in value)
    ):
        raise ValueError(f"info: {key} is {value!r:.60}, not [chunk, count, offset]")
    return Position(*value)


def mark_prefix(mark: Mark) -> bytes:
    """Return a mark's bytes without the CRC, to be kept until the mark changes."""
    return _MARK.pack(MAGIC, VERSION, mark.policy, 0, *mark.head, *mark.tail)


def slot(record: bytes, prefix: bytes) -> bytes:
    """Return the 512 bytes of the slot that holds *record* and the mark with *prefix*."""
    return SLOT.pack(record, prefix, crc32(record, crc32(prefix)))


def read_mark(data: bytes, record_length: int) -> Mark | None:
    """Return the mark in an info file whose record has *record_length* bytes; None if none fits.

    The CRC covers the record too: a mark whose record was torn, or was written by others, does not fit.
    """
    if len(data) != SLOT_SIZE or record_length > INFO_MAX:
        return None
    prefix = data[INFO_MAX : SLOT_SIZE - _CRC.size]
    magic, version, policy, _, *numbers = _MARK.unpack(prefix)
    (crc,) = _CRC.unpack(data[-_CRC.size :])
    if magic != MAGIC or version != VERSION or crc32(data[:record_length], crc32(prefix)) != crc:
        return None
    return Mark(policy, Position(*numbers[:3]), Position(*numbers[3:]))
