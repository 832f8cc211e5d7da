"""A queue from its chunks alone: what `repair=True` does where info is gone, or a chunk in the middle.

    before   q2 r r r     q3 r ? r     (q4 is gone)   q5 r r r     q6 r r ~
    after    q2 r r r     q3 r ? r     q4 r r r       q5 r r             (renumbered, the torn end cut off)
             ^tail                                        ^head

- The tail is what info says, where it can be read and its chunk is there; else the first chunk.  So consumed
  items may come again, and none is missing.
- A chunk with nothing whole in it is taken out like one that is gone; later chunks move down to follow.
- Damage inside a chunk stays where it is, and so do records that one chunk has more or fewer of than the others: a
  chunk with others behind it counts as full, a damaged place in the last one as one record.  `rewrite` mends that.
- The chunksize is info's, where it can be read.  Else what most full chunks hold: the argument cannot know
  better; it counts where there is one chunk only and that holds fewer records.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from asyncpq.layout import START, Position, chunk_name, distance
from asyncpq.recovery.plan import Plan

if TYPE_CHECKING:
    from asyncpq.layout import Info
    from asyncpq.recovery.chunks import Chunks, Scan

_EVERYTHING: Final = Position(1 << 63, 0, 0)  # a head that no chunk reaches


def rebuild(chunks: Chunks, argument: int, info: Info | None) -> Plan:
    """Return the plan that keeps every record that can be read; *argument* is the chunksize asked for."""
    numbers = [n for n in chunks.numbers if info is None or n >= info.tail.chunk]
    scans = {n: chunks.scan(_start(n, chunks, info), 0, _EVERYTHING, tolerant=True) for n in numbers}
    used = [n for n in numbers if scans[n].end.count]
    plan = Plan(START, START, _chunksize(argument, info, [scans[n] for n in used]))
    if not used:
        _empty(plan, chunks, numbers, info)
    else:
        _place(plan, chunks, scans, used, info)
    plan.below = [n for n in chunks.numbers if info is not None and n < info.tail.chunk]
    plan.write_info = True
    return plan


def _start(chunk: int, chunks: Chunks, info: Info | None) -> Position:
    """Return where reading begins: what was consumed need not be whole any more."""
    if info is not None and info.tail.chunk == chunk and info.tail.offset <= chunks.size(chunk):
        return info.tail
    return Position(chunk, 0, 0)


def _chunksize(argument: int, info: Info | None, scans: list[Scan]) -> int:
    if info is not None and info.chunksize > 0:
        return info.chunksize
    full = Counter(scan.end.count for scan in scans[:-1] if not scan.damaged)
    if full:
        # Of those that are found as often, the argument; else the largest, since a chunk can be short.
        return max(full, key=lambda count: (full[count], count == argument, count))
    return max(1, argument, *(scan.end.count for scan in scans))


def _empty(plan: Plan, chunks: Chunks, numbers: list[int], info: Info | None) -> None:
    """No chunk holds a whole record."""
    first = max([*numbers[:1], info.tail.chunk if info else 0])
    plan.tail = plan.head = Position(first, 0, 0)
    plan.put_away(chunks, [n for n in numbers if n != first])
    if first in chunks:
        plan.end_chunk(chunks, plan.head, keep=True)
    else:
        plan.create = True


def _place(plan: Plan, chunks: Chunks, scans: dict[int, Scan], used: list[int], info: Info | None) -> None:
    first, size = used[0], plan.chunksize
    plan.renames = [(old, first + i) for i, old in enumerate(used) if old != first + i]
    for old, new in plan.renames:
        plan.messages.append(f"{chunk_name(old)}: renumbered to {chunk_name(new)}")
    for i, old in enumerate(used):
        _end_chunk(plan, chunks, scans[old], first + i, is_last=old == used[-1])
    plan.sync = used
    tail = info.tail if info is not None and info.tail.chunk == first else Position(first, 0, 0)
    plan.tail = plan.head if tail[::2] > plan.head[::2] else tail
    # The empty file that a full chunk has behind it is the head chunk already.
    kept = plan.head.chunk if plan.head.chunk in scans and plan.head.chunk > used[-1] else None
    if kept is not None and chunks.size(kept):
        kept = None
    plan.create = kept is None and plan.head.count == 0
    plan.put_away(chunks, [n for n in scans if n not in used and n != kept])
    if info is not None:
        plan.lost = max(0, distance(size, info.tail, info.head) - plan.size)
    plan.messages.append(f"{plan.size} items from {chunk_name(first)} on")


def _end_chunk(plan: Plan, chunks: Chunks, scan: Scan, new: int, *, is_last: bool) -> None:
    """Let the head be behind the last record, and cut off what lies there; *new* is the chunk's number in the end."""
    if not is_last:
        return
    end = scan.end
    full = 0 < plan.chunksize <= end.count
    plan.head = Position(new + 1, 0, 0) if full else Position(new, end.count, end.offset)
    if not full:
        plan.end_chunk(chunks, end, keep=True)
