"""Which acknowledged puts are durable, read from the order of calls.  Pure.

    write a    sync a begins   write a    sync a ends    ack        a put is durable when nothing that was written
    1 ──────────── 1 ──────────── 2 ───────── {2} ─────── 2         before its acknowledgement waits for a sync
                   covers 1                   waits       at risk

A name that is made, changed or removed is a write to its directory.  A call counts as written when it has returned,
and a sync covers what had returned before it began: of two readings the one that promises less.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from asyncpq.bench.result import Counts

__all__ = ["Ledger"]


@dataclass(slots=True)
class Ledger:
    """Counts from `begin` to `end`."""

    now: float = 0.0  # seconds, by any clock that only goes forward; set before each call
    counting: bool = False
    _written: int = 0  # numbers the writes
    _waiting: dict[str, deque[int]] = field(default_factory=dict)  # by file: writes that no sync covers
    _acks: deque[tuple[int, int, float]] = field(default_factory=deque)  # up to which write, how many puts, when
    _risk: int = 0  # acknowledged puts that are not durable
    puts: int = 0
    syncs: int = 0
    bytes: int = 0
    at_risk: int = 0
    exposed: float = 0.0
    advanced: bool = False

    def begin(self) -> None:
        """Take all that was written until now for durable, and count from here on."""
        self._waiting.clear()
        self.counting = True

    def end(self) -> None:
        """Count no more; what is not durable now never was, as far as was looked."""
        self._settle()
        for _, _, since in self._acks:
            self.exposed = max(self.exposed, self.now - since)
        self.counting = False

    def wrote(self, file: str, count: int) -> None:
        """So many bytes were written to *file*."""
        if self.counting:
            self.bytes += count
            self._note(file)

    def named(self, directory: str) -> None:
        """A name in *directory* was made, changed or removed."""
        if self.counting:
            self._note(directory)

    def renamed(self, old: str, new: str) -> None:
        """The file *old* is now *new*; what was written to either has to be synced as *new*."""
        if self.counting:
            moved = [*self._waiting.pop(new, ()), *self._waiting.pop(old, ())]
            if moved:
                self._waiting[new] = deque(sorted(moved))
            self._note_parents(old, new)

    def removed(self, file: str) -> None:
        """The file is gone; so is the need to sync it."""
        if self.counting:
            self._waiting.pop(file, None)
            self._note_parents(file)

    def sync_begins(self) -> int:
        """Return what a sync that begins now can cover."""
        return self._written

    def sync_ends(self, file: str, covers: int) -> None:
        """A sync of *file* is done; *covers* is what `sync_begins` returned."""
        if not self.counting:
            return
        self.syncs += 1
        waiting = self._waiting.get(file)
        while waiting and waiting[0] <= covers:
            waiting.popleft()
        if waiting is not None and not waiting:
            del self._waiting[file]
        self._settle()

    def acked(self, count: int) -> None:
        """So many puts have returned."""
        if self.counting:
            self.puts += count
            self._risk += count
            self._acks.append((self._written, count, self.now))
            if not self._waiting:
                self._settle()
            self.at_risk = max(self.at_risk, self._risk)

    def counts(self, how: str) -> Counts:
        """Return what was counted."""
        return Counts(
            how, "", self.puts, self.syncs, self.bytes, self.at_risk, self.exposed, self.advanced or not self.at_risk
        )

    def _note(self, file: str) -> None:
        self._written += 1
        self._waiting.setdefault(file, deque()).append(self._written)

    def _note_parents(self, *files: str) -> None:
        for directory in {file.rpartition("/")[0] for file in files}:
            self._note(directory)

    def _settle(self) -> None:
        """Forget the acknowledged puts that are durable by now."""
        if not self._acks:
            return
        first = min((waiting[0] for waiting in self._waiting.values()), default=self._written + 1)
        while self._acks and self._acks[0][0] < first:
            _, count, since = self._acks.popleft()
            self._risk -= count
            self.exposed = max(self.exposed, self.now - since)
            self.advanced = True
