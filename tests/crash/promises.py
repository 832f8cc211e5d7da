"""What each policy promises at a cut, from the marks before it.

B   put begun                       d   task_done (autosave: get; ack; clear) begun
A   put acknowledged                D   acknowledged, records that were moved to the end or rejected included

always      A - d is there, or in the dead letters; D is not there
rollover    so for what lies in full chunks, and what was done before the last of them was filled
interval    so for what a sync() covered; with `items`, all puts but the last so many
never       so for what a sync() covered, and was not moved since
(close() is a sync(), under every policy)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asyncpq.fsync import Policy
from tests.crash.operations import Acknowledged, Begun, Call, Entry, Place

Gone = tuple[int, Place | None]  # an item, and which of its records; None: all


@dataclass(frozen=True, slots=True)
class Promise:
    """What has to be true of the items that are drained after a cut."""

    begun: frozenset[int]  # nothing else is there
    there: frozenset[int]  # in the queue or among the dead letters
    gone: frozenset[Gone]  # from the queue
    rejected: frozenset[int]  # nothing else is among the dead letters


class Ledger:
    """Follows the marks of one recording; *places* are where each item was written."""

    def __init__(self, policy: Policy, chunksize: int, places: Mapping[int, Sequence[Place]]) -> None:
        self._policy, self._chunksize, self._places = policy, chunksize, places
        self._put: set[int] = set()  # B
        self._stored: set[int] = set()  # A
        self._doing: set[int] = set()  # d
        self._done: set[Gone] = set()  # D
        self._rejected: set[int] = set()
        self._durable: set[int] = set()
        self._durably_done: set[Gone] = set()
        self._at: dict[Call, tuple[set[int], set[Gone]]] = {}  # A and D when the call began

    def mark(self, entry: Entry) -> None:
        match entry:
            case Begun(call):
                self._at[call] = set(self._stored), set(self._done)
                if call.name == "put":
                    self._put.update(call.keys)
                elif call.name == "done":
                    self._doing.update(call.keys)
                elif call.name == "reject":
                    self._rejected.update(call.keys)
                if call.name in ("move", "reject") and self._policy.name == "never":
                    self._durable.difference_update(call.keys)
            case Acknowledged(call):
                self._acknowledged(call)

    def _acknowledged(self, call: Call) -> None:
        stored, done = self._at[call]
        if call.name == "put":
            self._stored.update(call.keys)
            if self._policy.name == "rollover" and self._full() - self._durable:
                self._durable |= self._full()
                self._durably_done |= done
        elif call.name in ("done", "move", "reject"):
            self._done.update(call.records or [(key, None) for key in call.keys])
        elif call.name == "durable":
            self._durable |= stored
            self._durably_done |= done

    def _full(self) -> set[int]:
        """What was acknowledged and lies in chunks that are full, or behind which something was acknowledged."""
        chunks = [self._first(key)[0] for key in self._stored]
        last = max(chunks, default=0)
        full = {n for n in chunks if n < last or chunks.count(n) == self._chunksize}
        return {key for key in self._stored if self._first(key)[0] in full}

    def _first(self, key: int) -> Place:
        return self._places[key][0]

    def promise(self) -> Promise:
        there, gone = self._durable, self._durably_done
        items = getattr(self._policy, "items", None)
        if self._policy.name == "always":
            there, gone = self._stored, self._done
        elif items is not None:
            there = there | set(sorted(self._stored, key=self._first)[:-items])
        return Promise(frozenset(self._put), frozenset(there - self._doing), frozenset(gone), frozenset(self._rejected))
