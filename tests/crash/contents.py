"""What a file can hold after a power cut: the contents that are certain, and the operations that may be there.

    certain   AAAAAAAA AAAA           as it was at the last sync
    pending            bbbb cccccccc ccc          two appends
    block     |--- 4 KiB ----|--- 4 KiB ----|

    xfs       in order, whole blocks: a prefix; what is overwritten before the new size
    ext4      also: the size with zeros inside the block that was there, new blocks that were never written
    posix     each sector old or new, the size without the data, a later write without an earlier one

A block that was never written is a hole: it reads as zeros, and the file system can tell.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.crash.operations import Data, Write

BLOCK: Final = 4096  # bytes that a file system writes together
SECTOR: Final = 512  # bytes that a disk writes together
FEW: Final = 6  # so many sectors or blocks are tried in every combination


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file; *holes* are the numbers of the blocks that were never written."""

    data: bytes = b""
    holes: frozenset[int] = frozenset()

    @property
    def size(self) -> int:
        return len(self.data)


EMPTY: Final = Content()


def blocks_of(start: int, end: int) -> range:
    """The numbers of the blocks that bytes *start* to *end* lie in."""
    return range(start // BLOCK, -(-end // BLOCK)) if end > start else range(0)


def resized(content: Content, length: int) -> Content:
    """*content* with another length; what is added is a hole, but for the rest of a block that is there."""
    if length <= content.size:
        return Content(content.data[:length], frozenset(n for n in content.holes if n * BLOCK < length))
    new = frozenset(range(-(-content.size // BLOCK), -(-length // BLOCK)))
    return Content(content.data.ljust(length, b"\0"), content.holes | new)


def applied(content: Content, operation: Data) -> Content:
    """*content* after *operation*."""
    if not isinstance(operation, Write):
        return resized(content, operation.length)
    start, end = operation.offset, operation.offset + len(operation.data)
    if end > content.size:
        content = resized(content, end)
    data = content.data[:start] + operation.data + content.data[end:]
    return Content(data, content.holes.difference(blocks_of(start, end)))


def prefixes(certain: Content, pending: Sequence[Data]) -> list[Content]:
    """What the file holds after none, one, two ... of the pending operations."""
    return list(itertools.accumulate(pending, applied, initial=certain))


def _parts(certain: Content, pending: Sequence[Data]) -> Iterator[Content]:
    """Prefixes, and those that end inside a write, at the end of a block."""
    content = certain
    yield content
    for operation in pending:
        if isinstance(operation, Write):
            end = operation.offset + len(operation.data)
            for edge in range(operation.offset - operation.offset % BLOCK + BLOCK, end, BLOCK):
                part = Write(operation.node, operation.offset, operation.data[: edge - operation.offset])
                yield applied(content, part)
        content = applied(content, operation)
        yield content


def xfs(certain: Content, pending: Sequence[Data], _: random.Random) -> list[Content]:
    """In order, whole blocks."""
    parts = unique(_parts(certain, pending))
    return unique([*parts, *_before_the_size(parts)])


def _before_the_size(parts: Sequence[Content]) -> Iterator[Content]:
    """The bytes of a later state with the size of an earlier one: a block is written before the size is."""
    for i, old in enumerate(parts):
        yield from (resized(new, old.size) for new in parts[i + 1 :] if new.size > old.size)


def ext4(certain: Content, pending: Sequence[Data], _: random.Random) -> list[Content]:
    """In order, whole blocks; the last block that was there with zeros; new blocks that are holes."""
    parts = unique(_parts(certain, pending))
    found = [*parts, *_before_the_size(parts)]
    for i, old in enumerate(parts):
        edge = -(-old.size // BLOCK) * BLOCK
        for new in parts[i + 1 :]:
            if old.size % BLOCK and new.size > old.size:
                # The block was there, and so is the new size; its new bytes are not.
                tail = old.data.ljust(min(new.size, edge), b"\0")
                found.append(Content(tail + new.data[edge:], new.holes | old.holes))
            fresh = [n for n in range(edge // BLOCK, -(-new.size // BLOCK)) if n not in new.holes]
            for lost in _subsets(fresh):
                found.append(_without_blocks(new, lost))
    return unique(found)


def _subsets(numbers: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All subsets but the empty one, of a few; of many, one alone and all but one."""
    if len(numbers) <= FEW:
        for length in range(1, len(numbers) + 1):
            yield from itertools.combinations(numbers, length)
    else:
        yield from ((n,) for n in numbers)
        yield from (tuple(m for m in numbers if m != n) for n in numbers)
        yield tuple(numbers)


def _without_blocks(content: Content, lost: Sequence[int]) -> Content:
    data = bytearray(content.data)
    for number in lost:
        end = min((number + 1) * BLOCK, len(data))
        data[number * BLOCK : end] = bytes(end - number * BLOCK)
    return Content(bytes(data), content.holes.union(lost))


def posix(certain: Content, pending: Sequence[Data], chance: random.Random) -> list[Content]:
    """Each sector as any operation left it, with the size of any of them."""
    versions = prefixes(certain, pending)
    found = list(versions)
    for number in range(len(pending)):
        # One without those before it, and all without it.
        found.append(applied(certain, pending[number]))
        found.append(prefixes(certain, [*pending[:number], *pending[number + 1 :]])[-1])
    sectors = _sectors(versions)
    sizes = sorted({version.size for version in versions})
    total = len(sizes)
    for choices in sectors.values():
        total *= len(choices)
    if total <= 4**FEW // 16:
        picks = itertools.product(*sectors.values())
        found += [_of_sectors(certain, size, dict(zip(sectors, pick, strict=True))) for pick in picks for size in sizes]
    else:
        for _ in range(48):
            pick = {number: chance.choice(choices) for number, choices in sectors.items()}
            found.append(_of_sectors(certain, chance.choice(sizes), pick))
        for number in sectors:
            # All new but one sector: what a checksum would find.
            pick = {n: choices[0] if n == number else choices[-1] for n, choices in sectors.items()}
            found.append(_of_sectors(certain, sizes[-1], pick))
    return unique(found)


def _sectors(versions: Sequence[Content]) -> dict[int, list[bytes | None]]:
    """The bytes that each sector which was written can hold; None: it was not there."""
    longest = max(version.size for version in versions)
    sectors: dict[int, list[bytes | None]] = {}
    for number in range(-(-longest // SECTOR)):
        seen = [_sector(version, number) for version in versions]
        # Growing into the sector is writing it: bytes behind the size are zeros.
        choices = list(dict.fromkeys(seen))
        if len(choices) > 1:
            sectors[number] = choices
    return sectors


def _sector(content: Content, number: int) -> bytes | None:
    start = number * SECTOR
    if start >= content.size or start // BLOCK in content.holes:
        return None
    return content.data[start : start + SECTOR].ljust(SECTOR, b"\0")


def _of_sectors(certain: Content, size: int, picked: dict[int, bytes | None]) -> Content:
    data = bytearray(certain.data.ljust(size, b"\0"))
    there = set(blocks_of(0, certain.size)) - certain.holes
    for number, sector in picked.items():
        start = number * SECTOR
        if start >= size or sector is None:
            continue
        data[start : start + SECTOR] = sector
        there.add(start // BLOCK)
    holes = frozenset(n for n in blocks_of(0, size) if n not in there)
    return Content(bytes(data[:size]), holes)


def unique(contents: Iterator[Content] | Sequence[Content]) -> list[Content]:
    return list(dict.fromkeys(contents))
