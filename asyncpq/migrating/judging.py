"""One batch after the other: what of it goes to the target, what is lost, what cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncpq.migrating.values import DUPLICATES, PRIORITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from asyncpq.migrating.converting import Converter
    from asyncpq.migrating.findings import Findings
    from asyncpq.migrating.seen import Seen
    from asyncpq.sources import Entry

__all__ = ["Bad", "Judge", "Taken"]


class Bad(NamedTuple):
    """Something that cannot be read."""

    where: str
    why: str
    data: bytes  # that lies there, or the beginning of it
    length: int  # bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """What becomes of a batch."""

    at: tuple[int, ...]  # of its last entry
    records: list[bytes]  # for the target
    extras: Sequence[Mapping[str, Any]]  # what a database has beside each; empty: there is nothing
    bad: Sequence[Bad] = ()


class Judge:
    """Looks at the items of one source on their way to one target.

    Args:
        converter: makes records.
        where: says where an entry lies.
        findings: is told what is found.
        check: False: that all comes back the same was found out before.
        seen: the records so far, where the target holds none twice.
        priorities: entries have priorities that the target has no place for.
        extras: entries have something beside an item that the target has a place for.
    """

    def __init__(
        self,
        converter: Converter,
        where: Callable[[Entry], str],
        findings: Findings,
        *,
        check: bool,
        seen: Seen | None,
        priorities: bool,
        extras: bool,
    ) -> None:
        self._findings, self._converter, self._where = findings, converter, where
        self._check, self._seen, self._priorities, self._extras = check, seen, priorities, extras

    def saw(self, records: Iterable[bytes]) -> None:
        """Let *records* be those that are there."""
        if self._seen is not None:
            self._seen.add(records)

    def take(self, batch: list[Entry]) -> Taken:
        """Return what becomes of *batch*; what is lost is told to the findings."""
        entries, bad = batch, list[Bad]()
        records = self._at_once(batch)
        if records is None:
            records, entries, bad = self._one_by_one(batch)
        if self._seen is not None:
            records, entries = self._new(records, entries, self._seen)
        if self._priorities:
            self._count_priorities(entries)
        extras = [entry.extra for entry in entries] if self._extras else ()
        return Taken(batch[-1].at, records, extras, bad)

    def _at_once(self, batch: list[Entry]) -> list[bytes] | None:
        if [entry for entry in batch if entry.bad is not None]:  # a generator costs three times as much
            return None
        return self._converter.records([entry.blob for entry in batch], check=self._check)

    def _one_by_one(self, batch: list[Entry]) -> tuple[list[bytes], list[Entry], list[Bad]]:
        records: list[bytes] = []
        entries: list[Entry] = []
        bad: list[Bad] = []
        for entry in batch:
            converted = self._converter.one(entry.blob) if entry.bad is None else None
            why = entry.bad if converted is None else converted.why
            if converted is None or why is not None:
                length = entry.extra.get("length", len(entry.blob))
                bad.append(Bad(self._where(entry), why or "", entry.blob, length))
                continue
            for kind in converted.kinds:
                self._findings.lost(kind, self._where(entry))
            records.append(converted.record)
            entries.append(entry)
        return records, entries, bad

    def _new(self, records: list[bytes], entries: list[Entry], seen: Seen) -> tuple[list[bytes], list[Entry]]:
        """Return those that were not there before."""
        new = seen.add(records)
        for entry, is_new in zip(entries, new, strict=True):
            if not is_new:
                self._findings.lost(DUPLICATES, self._where(entry))
        return list(compress(records, new)), list(compress(entries, new))

    def _count_priorities(self, entries: Sequence[Entry]) -> None:
        having = [entry for entry in entries if entry.extra.get("priority")]
        if having:
            self._findings.lost(PRIORITIES, self._where(having[0]), len(having))
