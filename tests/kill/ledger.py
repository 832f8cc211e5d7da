"""What a directory may hold and must hold, by what its users said.

Items are put in the order of their numbers, so whatever is drained must be a run of what was begun:

    begun            0 1 2 3 4 5 6 7 8 9
    done             - -                    acknowledged: must not come back
    may be done          - -                begun: may come back
    drained                  4 5 6 7 8      no hole, nothing twice, each as it was put
    acknowledged     - - - - - - - -        must be there, unless done
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.kill.job import item


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one kill or cut: the numbers concerned."""

    wrong: list[str]  # what no policy allows
    lost: list[int]  # acknowledged puts that are gone
    again: list[int]  # items that come although they were acknowledged as done
    drained: list[int]


@dataclass
class Ledger:
    """The state of one directory, as far as its users know it."""

    begun: set[int] = field(default_factory=set)
    acknowledged: dict[int, int] = field(default_factory=dict)  # number -> when, in nanoseconds
    done: dict[int, int] = field(default_factory=dict)  # all up to this number -> when, in nanoseconds
    done_begun: int = -1
    synced: tuple[int, int] = (-1, -1)  # puts and done up to here survive whatever the policy is
    runs: list[tuple[int, int]] = field(default_factory=list)  # what each child put first and last
    last: int = -1  # the highest number ever begun
    ready = ended = False
    failed: int = 0  # when QueueFailed was raised, in nanoseconds
    errors: list[str] = field(default_factory=list)

    def hear(self, marks: bytes) -> None:
        """Take in what a child said."""
        self.ready, self.ended, self.failed = False, False, 0
        start = self.next
        for line in marks.decode("utf-8").splitlines():
            letter, _, rest = line.partition(" ")
            if letter == "E":
                self.errors.append(rest)
            else:
                first, last, when = map(int, rest.split())
                self._mark(letter, first, last, when)
        self.runs.append((start, self.last))

    def _mark(self, letter: str, first: int, last: int, when: int) -> None:
        if letter == "p":
            self.begun.update(range(first, last + 1))
            self.last = max(self.last, last)
        elif letter == "P":
            self.acknowledged.update(dict.fromkeys(range(first, last + 1), when))
        elif letter == "d":
            self.done_begun = max(self.done_begun, first)
        elif letter == "D":
            self.done.setdefault(first, when)
        elif letter == "S":
            self.synced = first, last
        self.ready |= letter == "R"
        self.ended |= letter == "F"
        if letter == "X":
            self.failed = when

    @property
    def next(self) -> int:
        """The number of the next item to be put."""
        return self.last + 1

    def compare(self, items: list[Any]) -> Outcome:
        """Compare with what was drained; from now on, that is what the directory holds."""
        numbers = [entry["number"] if isinstance(entry, dict) else -1 for entry in items]
        wrong = list(self.errors)
        wrong += [f"item {n} came changed" for n, entry in zip(numbers, items, strict=True) if entry != item(n)]
        wrong += [f"item {n} came and was never put" for n in numbers if n not in self.begun]
        wrong += self._disorder(numbers)
        done, tail = max(self.done, default=-1), min([self.done_begun, *numbers[:1]])
        gone = sorted(self.acknowledged.keys() - set(numbers))
        # Behind the first that came nothing was done; where none came, what may be done may be missing.
        lost = [n for n in gone if n > max(tail, done)]
        again = [n for n in numbers if n <= done]
        wrong += [f"item {n} was synced, and is lost" for n in lost if n <= self.synced[0]]
        wrong += [f"item {n} was done and synced, and comes again" for n in again if n <= self.synced[1]]
        return Outcome(wrong, lost, again, numbers)

    def _disorder(self, numbers: list[int]) -> list[str]:
        """Say where something came twice, or before its time, or where what was put before it is missing."""
        if any(after <= before for before, after in pairwise(numbers)):
            return [f"out of order, or twice: {numbers}"]
        runs = [[n for n in numbers if first <= n <= last] for first, last in self.runs]
        return [f"with a hole: {run}" for run in runs if run and run[-1] - run[0] >= len(run)]

    def settle(self, outcome: Outcome) -> None:
        """From now on the directory holds what was drained, and nothing else is expected of it."""
        self.begun, self.runs = set(outcome.drained), []
        self.acknowledged = dict.fromkeys(outcome.drained, 0)
        self.done, self.done_begun, self.synced = {}, -1, (-1, -1)
        self.errors.clear()
