"""Groups of operations in transactions.  In the thread of the database.

    begin ─> undo what cancelled callers left ─> the operations ─> undo those cancelled meanwhile ─> commit ─> sync?

When one of a group fails, the transaction is rolled back, and each runs again by itself.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from asyncpq.errors import DatabaseBusy, NotInFlight, SyncFailed
from asyncpq.lane import Request
from asyncpq.sqlite.database import explained

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncpq.sqlite.durable import Durability
    from asyncpq.sqlite.store import Store


class NoRoom(Exception):
    """Another process was quicker: there is no room any more.  Never leaves the package."""


UNDONE: Final = object()  # the result of an operation that was undone before the commit


@dataclass(eq=False, slots=True)
class Operation(Request):
    """What one caller wants of the database."""

    run: Callable[[], Any] = field(kw_only=True)  # inside the transaction; perhaps more than once
    rows: Sequence[tuple[Any, ...]] = ()  # plain puts, to be inserted together with those next to them
    needs: int = 0  # room for so many
    gains: Callable[[Any], int] = lambda _: 0  # by how many items the result changes what can be got
    undo: Callable[[Any], None] | None = None  # inside a transaction: the caller never got the result
    sought: int = 0  # a take, or a look, of up to so many: where it finds none, there are none
    looks: bool = False  # changes nothing


@dataclass(slots=True)
class Outcome:
    """What became of a group."""

    results: list[Any] = field(default_factory=list)
    changed: bool = False  # others changed the database
    ready: int | None = None  # rows that can be got now, where they were counted
    undone: int = 0  # what was undone first had changed by so many what can be got
    changes: int = 0  # that are acknowledged together: items put and taken, answers and others
    undoable: bool = False  # there is an operation that has to be undone when its caller was cancelled


class Transactions:
    """Runs groups on one table."""

    def __init__(self, store: Store, durability: Durability) -> None:
        """Run nothing yet."""
        self.store, self.durability = store, durability
        # Set by the engine before each group.
        self.undoing: list[tuple[Callable[[Any], None], Any, int]] = []
        self.bound = 0  # maxsize
        self.unsure = False  # others may have changed how many rows there are

    def explained(self, error: BaseException) -> BaseException:
        """Return what *error* means to a caller."""
        if not isinstance(error, sqlite3.Error):
            return error
        return explained(error, self.store.database.path, self.store.database.timeout)

    def run(self, group: list[Operation]) -> Outcome:
        """Run a group in one transaction, or each by itself when one of them fails.

        Raises:
            SyncFailed, DatabaseBusy: for all of them.
            Exception: what the only one of the group raises.
        """
        try:
            return self._transaction(group)
        except SyncFailed:
            raise
        except Exception as error:
            if len(group) == 1:
                raise
            failed = self.explained(error)
            if isinstance(failed, (SyncFailed, DatabaseBusy)):
                raise failed from error
        outcome = Outcome()
        for operation in group:
            self._run_one(operation, outcome)
        return outcome

    def _run_one(self, operation: Operation, outcome: Outcome) -> None:
        try:
            alone = self._transaction([operation])
        except Exception as error:
            failed = self.explained(error)
            if isinstance(failed, SyncFailed):
                raise failed from error
            outcome.results.append(failed)
        else:
            outcome.results += alone.results
            outcome.changed |= alone.changed
            outcome.undone += alone.undone
            outcome.ready = alone.ready

    def _transaction(self, group: Sequence[Operation]) -> Outcome:
        store, outcome, undoing = self.store, Outcome(), len(self.undoing)
        try:
            outcome.changed = store.begin(look=self.bound > 0)
            for undo, result, gained in self.undoing:
                undo(result)
                outcome.undone += gained
            self._run_operations(group, outcome)
            if outcome.undoable:
                self._undo_cancelled(group, outcome)
            store.database.commit()
        except BaseException:
            store.rolled_back()
            raise
        del self.undoing[:undoing]
        self.durability.committed(outcome.changes + undoing)
        return outcome

    def _run_operations(self, group: Sequence[Operation], outcome: Outcome) -> None:
        store, index = self.store, 0
        if self.bound > 0 and (outcome.changed or self.unsure):
            outcome.ready = store.count()
        while index < len(group):
            if outcome.ready is None and group[index].rows:
                index += self._insert_all(group, index, outcome)
                continue
            self._run_operation(group[index], outcome)
            index += 1

    def _undo_cancelled(self, group: Sequence[Operation], outcome: Outcome) -> None:
        """Undo what nobody waits for any more."""
        for index, operation in enumerate(group):
            result = outcome.results[index]
            if operation.undo is not None and operation.future.cancelled() and not isinstance(result, BaseException):
                operation.undo(result)
                outcome.results[index] = UNDONE
                if outcome.ready is not None:
                    outcome.ready -= operation.gains(result)

    def _insert_all(self, group: Sequence[Operation], start: int, outcome: Outcome) -> int:
        """Insert the rows of all puts from *start* on that stand together; return how many puts that were."""
        end = start
        rows: list[tuple[Any, ...]] = []
        while end < len(group) and group[end].rows:
            rows += group[end].rows
            end += 1
        ids = self.store.put(rows)
        outcome.changes += len(ids)
        first = 0
        for operation in group[start:end]:
            outcome.results.append(ids[first : first + len(operation.rows)])
            first += len(operation.rows)
        return end - start

    def _run_operation(self, operation: Operation, outcome: Outcome) -> None:
        result = self._result_of(operation, outcome.ready)
        outcome.results.append(result)
        if isinstance(result, BaseException):
            return
        gained = operation.gains(result)
        if outcome.ready is not None:
            outcome.ready += gained
        if operation.undo is not None:
            outcome.undoable = True
        if not operation.looks:
            outcome.changes += abs(gained) or 1

    def _result_of(self, operation: Operation, ready: int | None) -> Any:
        if ready is not None and operation.needs and ready + operation.needs > self.bound:
            return NoRoom()
        try:
            return operation.run()
        except NotInFlight as refused:  # it changed nothing, so the others of the group may go on
            return refused
