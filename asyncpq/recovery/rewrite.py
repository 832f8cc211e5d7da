"""What a repair does about damage between tail and head: the records that can be read, in chunks that are right again.

    before   q3 r r r    q4 r ??? r   q5 r r r    q6 r
             ^tail                                  ^head
    after    q8 r r r    q9 r r r     q10 r r r                  (q7 stays free: nothing can take q8 for what follows)
             ^tail (a second name for the file of q3)     ^head = [11, 0, 0], and an empty q11

    1  damaged bytes are copied to damaged/, durably
    2  chunks before the first damaged one get a second name, a fresh number     (where there are no links: copied)
    3  the records from the first damaged chunk on are written anew, chunksize to a chunk; all of it durable
    4  info: one overwrite, or a rename, goes from the old numbers to the new ones
    5  the old names are removed

A chunk but the last has to hold exactly chunksize records, so what follows damage moves up; persist-queue then drains
it, too.  Cut before 4, the queue is what it was, and the next opening moves the new chunks to damaged/; cut behind
it, the old chunks are below the tail, and the next opening removes them.  Nothing is there twice, or missing.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asyncpq.layout import INFO_MAX, Position, chunk_name, chunk_numbers
from asyncpq.recovery.chunks import Chunks
from asyncpq.recovery.heal import Healer, NewInfo
from asyncpq.recovery.plan import Plan
from asyncpq.recovery.verify import Verified, between, verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from asyncpq.files import Files
    from asyncpq.fsync import Policy
    from asyncpq.opened import Opened, Recovery

BLOCK: Final = 1024 * 1024  # bytes copied at a time
NO_LINKS: Final = (errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV)


def rewrite(files: Files, dirfd: int, path: Path, opened: Opened, policy: Policy) -> Opened:
    """Return where the queue is, once every record from tail to head can be read; *opened* if that is so.

    Raises:
        OSError: reading or writing failed; the queue is what it was.
    """
    chunks = Chunks(files, dirfd, opened.serializer, chunk_numbers(files.list_dir(dirfd)), holes=False)
    stretches = between(opened.tail, opened.head, opened.chunksize, chunks)
    found = [verify(stretch, chunks, opened.serializer) for stretch in stretches]
    if all(one.right for one in found):
        return opened
    healer = Healer(files, dirfd, path)
    if parts := [(name, p.start, p.end) for one in found for name, p in damaged(one)]:
        healer.copy_aside(parts)
    copier = _Copier(files, dirfd, max(chunks.numbers) + 2, opened)
    try:
        tail, head = copier.copy(found)
        plan = Plan(tail, head, opened.chunksize, below=[one.stretch.source for one in found if one.stretch.source])
        plan.below = [one.stretch.source for one in found if one.stretch.source is not None]
    except BaseException:
        copier.undo()
        raise
    fields = {**opened.fields, "size": plan.size, "tail": list(tail), "head": list(head)}
    record = opened.serializer.encode(fields)
    in_place = opened.self_delimiting and 0 < opened.info_length <= INFO_MAX and len(record) <= INFO_MAX
    info = NewInfo(record, opened.info_length, in_place, keep_old=False, slot=opened.self_delimiting)
    healer.carry_out(plan, info, policy)
    files.fsync_dir(dirfd)
    return replace(
        opened,
        fields=fields,
        size=plan.size,
        tail=tail,
        head=head,
        info_length=len(record),
        info_slot=opened.self_delimiting and len(record) <= INFO_MAX,
        durable_head=head,
        durable_tail=tail,
        unsynced=(),
        names_dirty=False,
        report=reported(opened.report, found, tuple(healer.set_aside)),
    )


def damaged(one: Verified) -> Iterator[tuple[str, Any]]:
    """Yield the name of the file, and the place, for all bytes that no record claims."""
    for name, place in one.damage():
        if place is not one.beyond:
            if place.end > place.start:
                yield name, place


def reported(report: Recovery, found: Sequence[Verified], set_aside: tuple[str, ...]) -> Recovery:
    """Return *report* with what was damaged between tail and head."""
    expected = sum(one.stretch.expected for one in found)
    records = sum(one.records for one in found)
    messages = [f"{name}: {_said(place)}" for one in found for name, place in one.damage()]
    messages.append(f"the {records} records that can be read were written to new chunks")
    return replace(
        report,
        closed=False,
        adopted=report.adopted + max(0, records - expected),
        lost=report.lost + max(0, expected - records),
        set_aside=(*report.set_aside, *set_aside),
        messages=(*report.messages, *messages),
    )
