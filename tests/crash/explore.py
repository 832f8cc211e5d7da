"""A recording in a model of a file system: each cut, each state, each invariant."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from asyncpq.errors import CorruptQueue
from asyncpq.layout import DAMAGED
from tests.crash.check import Checker, Outcome, claims, scratch, tree_of, violations
from tests.crash.models import POSIX, Disk, Model, State
from tests.crash.operations import Acknowledged, Begun, Entry, Sync, SyncDir
from tests.crash.player import Recording
from tests.crash.promises import Ledger, Promise

CAP: Final = 400  # states a cut, before equal ones are dropped
INSIDE: Final = ", cut while healing"


@dataclass(slots=True)
class Report:
    """What was found."""

    what: str
    cuts: int = 0
    states: int = 0  # different ones that were opened
    healed: int = 0  # of them
    cut_healings: int = 0  # states inside a healing
    violations: list[str] = field(default_factory=list)
    syncs: set[str] = field(default_factory=set)  # what was synced, and from where, healings included

    def __str__(self) -> str:
        return f"{self.what}: {self.cuts} cuts, {self.states} states, {self.cut_healings} in healings"


Change = Callable[[Sequence[Entry]], list[Entry]]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of a recording is looked at."""

    cap: int = CAP
    healings: int = 12  # that are cut too
    old_reader: float = 1.0  # share of the states that persist-queue opens as well
    most: int = 10  # violations; then it stops
    seed: int = 0


def promised(recording: Recording, log: Sequence[Entry]) -> Iterator[tuple[list[Entry], Promise]]:
    """For each cut: the operations since the last one, and what is promised then."""
    subject = recording.subject
    ledger = Ledger(subject.policy, subject.chunksize, recording.places)
    passed: list[Entry] = []
    for entry in log:
        if isinstance(entry, Begun | Acknowledged):
            ledger.mark(entry)
            continue
        # Once as strict as it can be, before the operation, and once right after it.
        yield passed, ledger.promise()
        passed = [entry]
        yield passed, ledger.promise()
        passed = []
    yield passed, ledger.promise()


def explore(recording: Recording, model: Model, effort: Effort, change: Change = list) -> Report:
    """Open what a cut anywhere in *recording*, or in a healing, may leave behind in *model*.

    *change* is applied to what was recorded: the mutation gate leaves out a sync.
    """
    return _Exploration(recording, model, effort, change).report()


class _Exploration:
    def __init__(self, recording: Recording, model: Model, effort: Effort, change: Change) -> None:
        self._recording, self._model, self._effort, self._change = recording, model, effort, change
        subject = recording.subject
        self._claims = claims(subject, model.name)
        name = subject.policy.name + ("" if getattr(subject.policy, "items", None) is None else " items")
        self._report = Report(f"{model.name} {name} {subject.serializer.NAME} {recording.script.name}")
        self._chance = random.Random(effort.seed)
        self._outcomes: dict[State, Outcome] = {}
        self._seen: set[tuple[int, Promise]] = set()
        self._healed: dict[State, list[Promise]] = {}

    def report(self) -> Report:
        self._report.syncs |= syncs_of(self._recording.log)
        folder = scratch()
        self._checker = Checker(self._recording.subject, self._recording.items, folder)
        try:
            self._cuts()
            for state in self._chance.sample(list(self._healed), min(self._effort.healings, len(self._healed))):
                self._cut_healing(state)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return self._report

    def _cuts(self) -> None:
        disk = Disk(self._model, self._recording.first, self._chance)
        states: list[State] = []
        for passed, promise in promised(self._recording, self._change(self._recording.log)):
            for entry in passed:
                disk.do(entry)
            if passed or not states:
                self._report.cuts += 1
                states = list(dict.fromkeys(disk.states(self._effort.cap)))
            for state in states:
                found = self._look(state, promise, "")
                if found.healing and found.error is None:
                    self._healed.setdefault(state, []).append(promise)
            if len(self._report.violations) >= self._effort.most:
                return

    def _look(self, state: State, promise: Promise, where: str) -> Outcome:
        found = self._outcomes.get(state)
        if found is None:
            old_reader = self._chance.random() < self._effort.old_reader
            found = self._outcomes[state] = self._checker.outcome(state, old_reader=old_reader)
            self._report.states += not where
            self._report.cut_healings += bool(where)
            self._report.healed += bool(found.healing)
            self._report.syncs |= syncs_of(found.healing)
        key = id(found), promise
        if key not in self._seen:
            self._seen.add(key)
            for bad in violations(found, promise, self._recording.places, self._claims):
                self._complain(bad, state, where)
        return found

    def _look_aside(self, aside: list[bytes], state: State) -> None:
        """What is set aside is somewhere at any time."""
        for data in aside:
            if not any(content and data in content.data for _, content in state):
                self._complain(f"I6: {len(data)} bytes that were to be set aside are nowhere", state)

    def _complain(self, bad: str, state: State, where: str = INSIDE) -> None:
        self._report.violations.append(f"{self._report.what}{where}: {bad}\n    {shown(state)}")

    def _cut_healing(self, state: State) -> None:
        disk = Disk(self._model, tree_of(state), self._chance)
        healing = self._outcomes[state].healing
        aside = set_aside(state, healing)
        for entry in self._change(healing):
            disk.do(entry)
            for inner in dict.fromkeys(disk.states(self._effort.cap // 8)):
                self._look_aside(aside, inner)
                for promise in dict.fromkeys(self._healed[state]):
                    found = self._look(inner, promise, INSIDE)
                    if isinstance(found.error, CorruptQueue):
                        self._complain(f"I6: healed once, and then refused: {found.error}", inner)
            if len(self._report.violations) >= self._effort.most:
                return


def sync_name(entry: Entry) -> str | None:
    """What is synced, and from where; None: *entry* is no sync."""
    match entry:
        case Sync(site=site, call=call):
            return f"{call}: {site}"
        case SyncDir(site=site):
            return f"directory: {site}"
    return None


def syncs_of(log: Sequence[Entry]) -> set[str]:
    return {name for entry in log if (name := sync_name(entry)) and not name.endswith(": ")}


def set_aside(state: State, healing: Sequence[Entry]) -> list[bytes]:
    """What *healing* put into damaged/."""
    disk = Disk(POSIX, tree_of(state), random.Random(0))
    for entry in healing:
        disk.do(entry)
    return [content.data for path, content in disk.live() if content and f"/{DAMAGED}/" in path]


def shown(state: State) -> str:
    """A state in one line, for a message."""
    return ", ".join(
        path + "/"
        if content is None
        else f"{path} {content.size}" + (f" holes {sorted(content.holes)}" * bool(content.holes))
        for path, content in state
    )
