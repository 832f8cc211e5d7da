"""Opening a directory, in turn: list, read info, decide, heal, and say what was found."""

from __future__ import annotations

import errno
import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asyncpq import serializers
from asyncpq.errors import CorruptQueue, NotAQueue, TooManyOpenFiles, WrongSerializer
from asyncpq.journal import JOURNAL, JOURNAL_TEMP
from asyncpq.layout import (
    INFO,
    INFO_MAX,
    INFO_TEMP,
    SLOT_SIZE,
    START,
    Listing,
    beside_database,
    chunk_name,
    foreign,
    listing,
    new_fields,
)
from asyncpq.opened import Opened, Recovery
from asyncpq.recovery import acks
from asyncpq.recovery.chunks import Chunks
from asyncpq.recovery.heal import Healer, NewInfo
from asyncpq.recovery.plan import Hole, Plan, decide, fits, unchanged, without_info
from asyncpq.recovery.rebuild import rebuild
from asyncpq.recovery.rewrite import rewrite
from asyncpq.recovery.survey import DEFAULT, Blank, Missing, Readable, State, Unusable, identify, read_info
from asyncpq.serializers import self_delimiting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asyncpq.files import Files
    from asyncpq.fsync import Policy
    from asyncpq.journal import Note
    from asyncpq.serializers import Serializer

SAMPLE: Final = 1024 * 1024  # bytes of the first chunk that tell its serializer

logger: Final = logging.getLogger("asyncpq")


def open_queue(
    files: Files,
    dirfd: int,
    path: Path | str,
    there: Listing | None = None,
    *,
    serializer: Serializer | None,
    chunksize: int,
    policy: Policy,
    repair: bool,
) -> Opened:
    """Make the directory fit to be written, and return where its queue begins and ends.

    Nothing is written when nothing has to be healed; a new directory gets its empty first chunk. To be called
    in a worker thread, with the lock held.

    Args:
        files: the file system.
        dirfd: a descriptor of the directory; it stays the caller's.
        path: its path, for messages.
        there: the names in it, where they are known.
        serializer: None takes whatever the directory was written with, and pickle for a new one.
        chunksize: records in a chunk of a new directory; an existing one keeps its own.
        policy: what the mark of a healed info names.
        repair: heal also what is CorruptQueue otherwise, and read every record: what is damaged is set aside, and the
            others are written anew.

    Raises:
        ValueError: a new directory needs a chunksize of at least 1.
        WrongSerializer: the directory was written with another serializer; nothing was changed.
        CorruptQueue: damaged so that only a repair can open it; nothing was changed.
        NotAQueue: something in it is no regular file; nothing was changed.
        OSError: reading or healing failed; opening again goes on from there.
    """
    with full_names(Path(path)):
        return Opening(files, dirfd, Path(path), chunksize, policy, repair).open(serializer, there)


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a directory, and what opening does about it."""

    serializer: Serializer
    state: State
    chunks: Chunks
    plan: Plan
    closed: bool  # as a close leaves it, or empty
    temp: bool  # there is a new info that was never finished
    journal: bool = False  # there is a journal of acknowledgements
    journal_temp: bool = False  # there is a shorter one that was never finished


class Opening:
    """One opening of one directory."""

    def __init__(self, files: Files, dirfd: int, path: Path, chunksize: int, policy: Policy, repair: bool) -> None:
        self.files, self.dirfd, self.path = files, dirfd, path
        self.chunksize, self.policy, self.repair = chunksize, policy, repair

    def find(self, given: Serializer | None, there: Listing | None = None) -> Found:
        """Return what is there, and what opening is going to do; nothing is changed."""
        numbers, others = there or listing(self.files.list_dir(self.dirfd))
        if numbers and (why := foreign(others)):
            raise NotAQueue(self.path, why)
        if not numbers and (why := beside_database(others)):
            raise NotAQueue(self.path, why)
        data = read_info(self.files, self.dirfd) if INFO in others else None
        serializer, state = identify(self.path, data, given)
        if serializer is None or (given is None and isinstance(state, Unusable)):
            # What cannot be read does not tell either.
            serializer = self._by_first_record(numbers, serializer)
        chunks = Chunks(self.files, self.dirfd, serializer, numbers)
        if isinstance(state, Readable):
            plan, closed = self._plan_readable(state, chunks)
        else:
            plan = self._plan_without(state, chunks, serializer, given)
            closed = isinstance(state, Missing) and not numbers
        return Found(
            serializer, state, chunks, plan, closed, INFO_TEMP in others, JOURNAL in others, JOURNAL_TEMP in others
        )

    def open(self, given: Serializer | None, there: Listing | None = None) -> Opened:
        """Do it."""
        found = self.find(given, there)
        notes = self._notes(found)
        opened = self._carry_out(found)
        if self.repair and opened.info_length:
            opened = rewrite(self.files, self.dirfd, self.path, opened, self.policy)
        if found.journal:
            opened = self._with_acks(opened, notes)
        if opened.info_length and not opened.closed:
            logger.info("%s: reopened: whoever had it open last did not close it", self.path)
        if opened.report:
            logger.warning("%s: %s", self.path, "; ".join(opened.report.messages))
        return opened

    def _notes(self, found: Found) -> list[Note]:
        """Return what the journal says, without what healing makes wrong: positions that are used again."""
        if found.journal_temp:
            self.files.unlink(self.dirfd, JOURNAL_TEMP)
        if not found.journal:
            return []
        notes, plan = acks.load(self.files, self.dirfd), found.plan
        return acks.drop_from(self.files, self.dirfd, notes, None if plan.renames else plan.head)

    def _with_acks(self, opened: Opened, notes: list[Note]) -> Opened:
        chunks = Chunks(
            self.files, self.dirfd, opened.serializer, listing(self.files.list_dir(self.dirfd)).numbers, holes=False
        )
        found = acks.match(notes, chunks, opened.tail, opened.head)
        size = acks.whole(self.files, self.dirfd)
        # Whoever wrote it may have been killed before its name, and what it says, were durable.
        dirty = opened.names_dirty or (size > 0 and not opened.closed)
        return replace(opened, acks=replace(found, size=size), names_dirty=dirty)

    def _plan_readable(self, state: Readable, chunks: Chunks) -> tuple[Plan, bool]:
        closed = fits(state, chunks)
        found = unchanged(state, chunks) if closed else decide(state, chunks, repair=self.repair)
        plan = self._rebuild(found.why, chunks, state) if isinstance(found, Hole) else found
        if state.size > SLOT_SIZE and state.size != state.length:
            plan.write_info = True
            plan.messages.append("info was longer than the slot: it is written anew")
        return plan, closed

    def _carry_out(self, found: Found) -> Opened:
        """Heal, and return what there is then."""
        plan, state, serializer = found.plan, found.state, found.serializer
        readable = state if isinstance(state, Readable) else None
        fields = {**readable.info.fields} if readable else new_fields(plan.chunksize)
        writes = plan.write_info or (readable is not None and plan.changes_chunks)
        new = self._new_info(plan, fields, serializer, state) if writes else None
        report = self.report(found, self._heal(plan, new, found.temp))
        if new:
            return self._healed(plan, new, serializer, fields, report)
        if readable:
            if readable.mark and readable.mark.head == START:
                # Nothing was durable yet: who made info may have been killed before its name was.
                self.files.fsync_dir(self.dirfd)
            return self._as_it_was(readable, plan, serializer, fields, found.chunks, report)
        stops = _stops(serializer, fields)
        if stops is False:
            raise ValueError(
                f"{self.path}: load of serializer {serializer.NAME!r} reads beyond the end of its record, so items "
                f"could not be told apart; let it read as many bytes as dump wrote; nothing was stored"
            )
        if found.closed:
            self.files.close(self.files.create(self.dirfd, chunk_name(0)))
        return Opened(
            serializer=serializer,
            fields=fields,
            chunksize=plan.chunksize,
            size=0,
            tail=START,
            head=START,
            unsynced=(0,),
            names_dirty=True,
            self_delimiting=bool(stops),
            report=report,
        )

    def _as_it_was(
        self,
        state: Readable,
        plan: Plan,
        serializer: Serializer,
        fields: dict[str, Any],
        chunks: Chunks,
        report: Recovery,
    ) -> Opened:
        """Return what there is when info stays as it is."""
        mark = state.mark
        durable_head = min(mark.head, plan.head) if mark else plan.head
        first = durable_head.chunk if durable_head != plan.head or not mark else plan.head.chunk + 1
        return Opened(
            serializer=serializer,
            fields=fields,
            chunksize=plan.chunksize,
            size=plan.size,
            tail=plan.tail,
            head=plan.head,
            info_length=state.length,
            info_slot=mark is not None,
            durable_head=durable_head,
            durable_tail=mark.tail if mark else plan.tail,
            unsynced=tuple(n for n in chunks.numbers if first <= n <= plan.head.chunk),
            names_dirty=mark is None or mark.head.chunk < plan.head.chunk,
            self_delimiting=state.self_delimiting,
            report=report,
        )

    def _plan_without(
        self,
        state: Missing | Blank | Unusable,
        chunks: Chunks,
        serializer: Serializer,
        given: Serializer | None,
    ) -> Plan:
        if isinstance(state, Missing):
            if self.chunksize < 1:
                raise ValueError(f"a new queue needs a chunksize of at least 1, not {self.chunksize}")
            found = without_info(chunks, self.chunksize)
            self._check_serializer(state, chunks, serializer, given)
            if isinstance(found, Plan):
                return found
            return self._rebuild(found.why, chunks, None)
        if self.repair:
            self._check_serializer(state, chunks, serializer, given)
        return self._rebuild(state.why, chunks, None)

    # -- serializers ------------------------------------------------------------------------------------

    def _by_first_record(self, numbers: Sequence[int], unless: Serializer | None) -> Serializer:
        """Return the serializer of the first chunk, for a directory whose info does not tell."""
        for number in numbers:
            sample = self._sample(number)
            if sample:
                found = serializers.detect_record(sample)
                return serializers.get(found) if found else unless or serializers.get(DEFAULT)
        return unless or serializers.get(DEFAULT)

    def _sample(self, number: int) -> bytes:
        fd = self.files.open_read(self.dirfd, chunk_name(number))
        try:
            return self.files.pread(fd, SAMPLE, 0)
        finally:
            self.files.close(fd)

    def _check_serializer(self, state: State, chunks: Chunks, serializer: Serializer, given: Serializer | None) -> None:
        """Refuse to rebuild with a serializer that does not fit: what it cannot read would be set aside."""
        first = next((n for n in chunks.numbers if not chunks.holds_nothing(n)), None)
        if first is None or any(chunks.first_is_whole(number) for number in chunks.numbers):
            return
        found = serializers.detect_record(self._sample(first))
        if isinstance(state, Unusable) or (found and found != serializer.NAME):
            name = given.NAME if given else serializer.NAME
            raise WrongSerializer(self.path, name, found if found != name else None)

    # -- healing ----------------------------------------------------------------------------------------

    def _rebuild(self, why: str, chunks: Chunks, state: Readable | None) -> Plan:
        if not self.repair:
            raise CorruptQueue(self.path, why)
        plan = rebuild(chunks, self.chunksize, state.info if state else None)
        plan.messages.insert(0, f"repaired: {why}")
        return plan

    def _new_info(self, plan: Plan, fields: dict[str, Any], serializer: Serializer, state: State) -> NewInfo:
        """Return the info that *plan* ends with, and let *fields* say the same."""
        fields.update(chunksize=plan.chunksize, size=plan.size, tail=list(plan.tail), head=list(plan.head))
        record = serializer.encode(fields)
        stops = state.self_delimiting if isinstance(state, Readable) else self_delimiting(serializer, record)
        in_place = isinstance(state, Readable) and state.can_be_slot and len(record) <= INFO_MAX
        old_length = state.length if isinstance(state, Readable) else 0
        return NewInfo(record, old_length, in_place, keep_old=isinstance(state, Unusable), slot=stops)

    def _heal(self, plan: Plan, new: NewInfo | None, temp: bool) -> tuple[str, ...]:
        """Carry *plan* out, and return the names in damaged/ of what was set aside."""
        if temp:
            self.files.unlink(self.dirfd, INFO_TEMP)
        healer = Healer(self.files, self.dirfd, self.path)
        healer.carry_out(plan, new, self.policy)
        return tuple(healer.set_aside)

    def report(self, found: Found, set_aside: tuple[str, ...]) -> Recovery:
        """Return what people are told of a healing."""
        plan = found.plan
        messages = list(plan.messages)
        if found.temp:
            messages.append(f"{INFO_TEMP}: removed, a new info that was never finished")
        return Recovery(
            closed=found.closed,
            adopted=plan.adopted,
            lost=plan.lost,
            set_aside=set_aside,
            cut=sum(length for _, length in plan.cuts),
            removed=tuple([chunk_name(n) for n in (*plan.empty, *plan.below)] + [INFO_TEMP] * found.temp),
            messages=tuple(messages),
        )

    def _healed(
        self, plan: Plan, new: NewInfo, serializer: Serializer, fields: dict[str, Any], report: Recovery
    ) -> Opened:
        """Return what there is after info was written: all of it is durable."""
        return Opened(
            serializer=serializer,
            fields=fields,
            chunksize=plan.chunksize,
            size=plan.size,
            tail=plan.tail,
            head=plan.head,
            info_length=len(new.record),
            info_slot=new.slot and len(new.record) <= INFO_MAX,
            durable_head=plan.head,
            durable_tail=plan.tail,
            self_delimiting=new.slot,
            report=report,
        )


def _stops(serializer: Serializer, fields: dict[str, Any]) -> bool | None:
    """Return whether load stops at the end of an info; None: it cannot even be written."""
    try:
        return self_delimiting(serializer, serializer.encode(fields))
    except Exception:  # the first put will say what is wrong with it
        return None


@contextmanager
def full_names(path: Path) -> Iterator[None]:
    """Let errors about a file in the directory name all of its path."""
    try:
        yield
    except OSError as error:
        name = error.filename
        if not isinstance(name, str) or Path(name).is_absolute() or error.errno is None:
            raise
        if "regular" in str(error.strerror) or error.errno == errno.ELOOP:
            raise NotAQueue(path / name, "is no regular file, so this is no queue") from error
        if isinstance(error, TooManyOpenFiles):
            raise TooManyOpenFiles(error.errno, path / name, error.limit) from error
        raise OSError(error.errno, error.strerror, str(path / name)) from error
