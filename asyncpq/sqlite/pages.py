"""Pages of a SQLite database, as bytes.  Pure: no files, no clock, no await.

    page 1            100 bytes of header, then a b-tree page like others
    b-tree page       type 1 | freeblock 2 | cells 2 | content 2 | fragments 1 | (interior: last child 4) | pointers
    table leaf        type 13; a cell is: payload length | row id | payload, or its beginning and a page number 4
    table interior    type 5; a cell is: child 4 | row id
    overflow page     next page 4 | more of the payload
    free list trunk   next trunk 4 | count 4 | numbers of free pages, 4 each
    record            header length | a type for each value | the values
                      lengths, row ids and types are varints; all else is big-endian

No length is believed beyond what is there.  Source: sqlite.org/fileformat2.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER: Final = 100  # bytes
MAGIC: Final = b"SQLite format 3\0"
SIZES: Final = (4096, 1024, 8192, 2048, 16384, 32768, 65536, 512)  # bytes of a page; the usual one first
LEAF, INTERIOR = 13, 5
_INDEX_PAGES: Final = (2, 10)
_ENCODINGS: Final = {1: "utf-8", 2: "utf-16-le", 3: "utf-16-be"}
_INTS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # bytes by type


@dataclass(frozen=True, slots=True)
class Header:
    """What page 1 says of the whole file, or what is assumed where it cannot."""

    page_size: int
    reserved: int = 0  # bytes at the end of each page that are not SQLite's
    encoding: str = "utf-8"
    trunk: int = 0  # the first page of the free list
    free: int = 0  # pages of the free list

    @property
    def usable(self) -> int:
        """Bytes of a page that hold anything."""
        return self.page_size - self.reserved


@dataclass(frozen=True, slots=True)
class Cell:
    """A row on a leaf."""

    row: int
    length: int  # bytes of the payload
    begins: bytes  # what of it lies on the leaf
    overflow: int  # the page with the rest; 0: there is none


def read_header(data: bytes) -> Header | None:
    """Return what the header says; None: it is none."""
    if len(data) < HEADER or data[:16] != MAGIC:
        return None
    size = int.from_bytes(data[16:18], "big")
    size = 65536 if size == 1 else size
    if size not in SIZES or data[20] > size - 480:
        return None
    encoding = _ENCODINGS.get(int.from_bytes(data[56:60], "big"), "utf-8")
    return Header(size, data[20], encoding, int.from_bytes(data[32:36], "big"), int.from_bytes(data[36:40], "big"))


def start(number: int) -> int:
    """Return where the b-tree page *number* begins on its page."""
    return HEADER if number == 1 else 0


def looks_like_tree(page: bytes, usable: int, number: int) -> bool:
    """Return whether *page* can be a page of a b-tree."""
    at = start(number)
    if len(page) < at + 8 or page[at] not in (LEAF, INTERIOR, *_INDEX_PAGES):
        return False
    cells = int.from_bytes(page[at + 3 : at + 5], "big")
    content = int.from_bytes(page[at + 5 : at + 7], "big") or 65536
    first = at + (8 if page[at] in (LEAF, 10) else 12)
    return first + 2 * cells <= content <= usable and page[at + 7] <= 60


def reaches_end(page: bytes, usable: int, number: int) -> bool:
    """Return whether a cell lies in the second half of a b-tree page: they begin at its end."""
    at = start(number)
    return max(_pointers(page, at, 8 if page[at] in (LEAF, 10) else 12, usable), default=0) > usable // 2


def _pointers(page: bytes, at: int, head: int, usable: int) -> Iterator[int]:
    count = int.from_bytes(page[at + 3 : at + 5], "big")
    first = at + head
    for where in range(first, min(first + 2 * count, usable - 1), 2):
        yield int.from_bytes(page[where : where + 2], "big")


def cells(page: bytes, header: Header, number: int) -> Iterator[Cell | None]:
    """Yield the cells of a table leaf; None for one that is none."""
    usable = header.usable
    for at in _pointers(page, start(number), 8, usable):
        yield _cell(page, at, usable) if at >= start(number) + 8 else None


def _cell(page: bytes, at: int, usable: int) -> Cell | None:
    try:
        length, at = varint(page, at)
        row, at = varint(page, at)
    except IndexError:
        return None
    local = local_size(length, usable)
    end = at + local + 4 * (local < length)
    if length < 2 or end > usable:
        return None
    overflow = int.from_bytes(page[at + local : end], "big") if local < length else 0
    return Cell(signed(row), length, page[at : at + local], overflow)


def local_size(length: int, usable: int) -> int:
    """Return how many bytes of a payload of *length* lie on the leaf."""
    if length <= usable - 35:
        return length
    least = (usable - 12) * 32 // 255 - 23
    some = least + (length - least) % (usable - 4)
    return some if some <= usable - 35 else least


def children(page: bytes, header: Header, number: int) -> list[tuple[int, int | None]]:
    """Return the pages below an interior page of a table, in order, and the highest row id on each; None: no bound.

    A page number of 0 stands for one that cannot be read.
    """
    at, usable = start(number), header.usable
    found: list[tuple[int, int | None]] = []
    for cell in _pointers(page, at, 12, usable):
        try:
            inside = at + 12 <= cell <= usable - 5
            found.append((int.from_bytes(page[cell : cell + 4], "big") * inside, signed(varint(page, cell + 4)[0])))
        except IndexError:
            found.append((0, None))
    return [*found, (int.from_bytes(page[at + 8 : at + 12], "big"), None)]


def signed(row: int) -> int:
    """Return a varint as the row id that it stands for."""
    return row - 2**64 if row >= 2**63 else row


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at *at*, and where it ends; IndexError where the data ends first."""
    value = 0
    for more in range(8):
        byte = data[at + more]
        value = value << 7 | byte & 127
        if byte < 128:
            return value, at + more + 1
    return value << 8 | data[at + 8], at + 9


def values(payload: bytes, encoding: str) -> tuple[Any, ...] | None:
    """Return the values of a record; None: it is none."""
    try:
        head, at = varint(payload, 0)
        kinds: list[int] = []
        if head > len(payload):
            return None
        while at < head:
            kind, at = varint(payload, at)
            kinds.append(kind)
    except IndexError:
        return None
    sizes = [_size(kind) for kind in kinds]
    if at != head or -1 in sizes or head + sum(sizes) != len(payload):
        return None
    found = []
    for kind, size in zip(kinds, sizes, strict=True):
        found.append(_value(kind, payload[at : at + size], encoding))
        at += size
    return tuple(found)


def _size(kind: int) -> int:
    """Return the bytes of a value; -1: there is no such type."""
    if kind >= 12:
        return (kind - 12) // 2
    return {0: 0, 7: 8, 8: 0, 9: 0}.get(kind, _INTS.get(kind, -1))


def _value(kind: int, data: bytes, encoding: str) -> Any:
    if kind >= 12:
        return data if kind % 2 == 0 else data.decode(encoding, "surrogateescape" if encoding == "utf-8" else "replace")
    if kind == 7:
        return struct.unpack(">d", data)[0]
    if kind in (8, 9):
        return kind - 8
    return int.from_bytes(data, "big", signed=True) if kind else None


def trunk(page: bytes, header: Header, pages: int) -> tuple[int, list[int]] | None:
    """Return the next trunk and the free pages that a page of the free list names; None: it is none."""
    next_one, count = int.from_bytes(page[:4], "big"), int.from_bytes(page[4:8], "big")
    if next_one > pages or count > header.usable // 4 - 2:
        return None
    free = list(struct.unpack(f">{count}I", page[8 : 8 + 4 * count]))
    if len(set(free)) < count or any(not 1 < number <= pages for number in free):
        return None
    return next_one, free
