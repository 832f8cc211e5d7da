"""Each class against a model in plain Python: random operations by two openers, and persist-queue in between."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Final

import persistqueue
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

import asyncpq
from asyncpq import Empty, NotInFlight
from asyncpq.sqlite.tables import ACKED, FAILED, READY, UNACK
from tests.sqlite.model import Model

THEIRS: Final = {
    "AsyncSQLiteQueue": persistqueue.SQLiteQueue,
    "AsyncFILOSQLiteQueue": persistqueue.FILOSQLiteQueue,
    "AsyncUniqueQ": persistqueue.UniqueQ,
    "AsyncPriorityQueue": persistqueue.PriorityQueue,
    "AsyncSQLiteAckQueue": persistqueue.SQLiteAckQueue,
    "AsyncFILOSQLiteAckQueue": persistqueue.FILOSQLiteAckQueue,
    "AsyncUniqueAckQ": persistqueue.UniqueAckQ,
}
WAYS: Final = [(name, True) for name in THEIRS] + [(name, False) for name in THEIRS if "Ack" not in name]

scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 2.5]) | st.text("ab", max_size=2)
items = scalars | st.lists(scalars, max_size=2) | st.permutations([("a", 1), ("b", None), ("c", 2)]).map(dict)
priorities = st.integers(-2, 2)
places = st.integers(0, 30)
either = st.sampled_from(["a", "b"])


def acks(machine: "Machine") -> bool:
    return bool(machine.kind.acked)


class Machine(RuleBasedStateMachine):
    """One table; the queue "a" is always open, "b" at times."""

    name: ClassVar[str]
    auto_commit: ClassVar[bool]

    def __init__(self) -> None:
        super().__init__()
        self.kind = getattr(asyncpq, self.name).kind
        self.model = Model(self.kind, self.auto_commit)
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.runner = asyncio.Runner()
        self.queues: dict[str, Any] = {}
        self.fresh = 0
        self.highest = 0

    def run(self, call: Any) -> Any:
        async def bounded() -> Any:
            # Inside the task: the rows that it gets are those of a task that has ended.
            return await asyncio.wait_for(call() if callable(call) else call, 20)

        return self.runner.run(bounded())

    @initialize()
    def begin(self) -> None:
        self.open("a")

    def open(self, who: str) -> None:
        queue = getattr(asyncpq, self.name)(self.path, auto_commit=self.auto_commit, fsync="never")
        self.queues[who] = self.run(queue.open())

    def close(self, who: str) -> None:
        self.run(self.queues.pop(who).close())

    def who(self, wanted: str) -> str:
        return wanted if wanted in self.queues else "a"

    def any_id(self, number: int, *, held: str | None = None) -> int:
        """A row that is there, if there is one; *held*: if that opener holds one, one of those."""
        ids = [id for id in self.model.rows if held is None or self.model.holds(held, id)] or [*self.model.rows]
        return ids[number % len(ids)] if ids else number + 1000

    # -- put ------------------------------------------------------------------------------------------------

    @rule(who=either, item=items, priority=priorities)
    def put(self, who: str, item: Any, priority: int) -> None:
        queue = self.queues[self.who(who)]
        more = (priority,) if self.kind.priority else ()
        self.stored(item, self.run(queue.put(item, *more)), *more)

    @rule(who=either, many=st.lists(items, max_size=6), priority=priorities)
    def put_many(self, who: str, many: list[Any], priority: int) -> None:
        queue = self.queues[self.who(who)]
        more = (priority,) if self.kind.priority else ()
        ids = self.run(queue.put_many(many, *more))
        for item, id in zip(many, ids, strict=True):
            self.stored(item, id, *more)

    def stored(self, item: Any, id: int | None, priority: int = 0) -> None:
        if self.model.refuses(item):
            assert id is None
            return
        assert id is not None
        assert id > self.highest, "an id is never used again"
        self.highest = id
        self.model.put(id, item, priority)

    @rule(who=either, item=items, place=places)
    def update(self, who: str, item: Any, place: int) -> None:
        id, queue = self.any_id(place), self.queues[self.who(who)]
        if self.model.update(id, item):
            assert self.run(queue.update(item, id)) == id
        else:
            with pytest.raises(ValueError, match="already"):
                self.run(queue.update(item, id))

    # -- get ------------------------------------------------------------------------------------------------

    @rule(who=either, raw=st.booleans())
    def get(self, who: str, raw: bool) -> None:
        who = self.who(who)
        free = self.model.free()[:1]
        if free:
            found = self.run(lambda: self.queues[who].get(timeout=10, raw=raw))
            if raw:
                assert found["pqid"] == free[0]
                found = found["data"]
            (item,) = self.model.take(who, free)
            assert (type(found), found) == (type(item), item)
        else:
            with pytest.raises(Empty):
                self.run(lambda: self.queues[who].get(block=False, raw=raw))

    @rule(who=either, limit=st.integers(1, 5))
    def get_many(self, who: str, limit: int) -> None:
        who = self.who(who)
        ids = self.model.free()[:limit]
        if ids:
            found = self.run(lambda: self.queues[who].get_many(limit, timeout=10, raw=True))
            # What others were promised, or put a moment ago, may be left for the next one.
            assert 1 <= len(found) <= len(ids)
            ids = ids[: len(found)]
            assert [row["pqid"] for row in found] == ids
            assert [row["data"] for row in found] == self.model.take(who, ids)
        else:
            with pytest.raises(Empty):
                self.run(lambda: self.queues[who].get_many(limit, timeout=0))

    @rule(who=either, place=places)
    def get_by_id(self, who: str, place: int) -> None:
        who, id = self.who(who), self.any_id(place)
        if id in self.model.free():
            found = self.run(lambda: self.queues[who].get(id=id))
            assert [found] == self.model.take(who, [id])
        else:
            with pytest.raises(Empty):
                self.run(lambda: self.queues[who].get(id=id))

    @rule(who=either)
    def peek(self, who: str) -> None:
        queue, free = self.queues[self.who(who)], self.model.free()
        if free:
            assert self.run(queue.peek(timeout=10)) == self.model.rows[free[0]].item
        else:
            with pytest.raises(Empty):
                self.run(queue.peek(block=False))

    # -- done -----------------------------------------------------------------------------------------------

    @precondition(lambda self: not acks(self))
    @rule(who=either)
    def task_done(self, who: str) -> None:
        who = self.who(who)
        if self.model.openers[who].outstanding:
            self.run(lambda: self.queues[who].task_done())
            self.model.task_done(who)
        else:
            with pytest.raises(ValueError, match="too many times"):
                self.run(lambda: self.queues[who].task_done())

    @precondition(lambda self: not acks(self))
    @rule(who=either)
    def get_and_task_done(self, who: str) -> None:
        """By one task: its own row goes, and no other."""
        who, free = self.who(who), self.model.free()[:1]
        if not free:
            return
        queue, opener = self.queues[who], self.model.openers[who]

        async def work() -> Any:
            item = await queue.get(timeout=10)
            await queue.task_done()
            return item

        before = [*opener.flight]
        assert self.model.take(who, free) == [self.run(work())]
        self.model.finish(who, free)
        opener.flight = before
        opener.outstanding -= 1

    # -- answers --------------------------------------------------------------------------------------------

    @precondition(acks)
    @rule(who=either, place=places, failed=st.booleans())
    def ack(self, who: str, place: int, failed: bool) -> None:
        who = self.who(who)
        id = self.any_id(place, held=who)
        queue = self.queues[who]
        answer = queue.ack_failed if failed else queue.ack
        if self.model.holds(who, id):
            assert self.run(answer(id=id)) == id
            self.model.answer(who, id, FAILED if failed else ACKED)
        else:
            with pytest.raises(NotInFlight):
                self.run(answer(id=id))

    @precondition(acks)
    @rule(who=either, place=places, to_end=st.booleans())
    def nack(self, who: str, place: int, to_end: bool) -> None:
        who = self.who(who)
        id = self.any_id(place, held=who)
        if not self.model.holds(who, id):
            with pytest.raises(NotInFlight):
                self.run(self.queues[who].nack(id=id, to_end=to_end))
            return
        new = self.run(self.queues[who].nack(id=id, delay=0, to_end=to_end))
        self.model.answer(who, id, READY)
        self.model.move(id, new)
        if to_end:
            assert new == (min if self.kind.newest_first else max)(self.model.rows)
            self.highest = max(self.highest, new)
        else:
            assert new == id

    @precondition(acks)
    @rule(who=either, limit=st.none() | st.integers(0, 3), keep=st.integers(0, 2), failed=st.booleans())
    def clear_acked_data(self, who: str, limit: int | None, keep: int, failed: bool) -> None:
        queue = self.queues[self.who(who)]
        count = self.run(queue.clear_acked_data(limit, keep, clear_ack_failed=failed))
        assert count == self.model.clear_answered(limit, keep, failed)

    @rule(who=either)
    def clear(self, who: str) -> None:
        who = self.who(who)
        self.run(self.queues[who].clear())
        self.model.clear(who)

    # -- openers --------------------------------------------------------------------------------------------

    @rule(who=either)
    def reopen(self, who: str) -> None:
        if who in self.queues:
            self.close(who)
            self.model.close(who)
        self.open(who)
        self.model.open(who)

    @precondition(lambda self: "b" in self.queues)
    @rule()
    def close_second(self) -> None:
        self.close("b")
        self.model.close("b")

    @rule()
    def persist_queue_puts(self) -> None:
        item, self.fresh = f"fresh {self.fresh}", self.fresh + 1
        theirs = self.theirs()
        theirs.put(item)
        theirs.close()
        queue = self.queues["a"]
        (id,) = (row["pqid"] for row in self.run(all_rows(queue)) if row["data"] == item)
        self.stored(item, id)

    @precondition(lambda self: self.auto_commit)
    @rule()
    def persist_queue_takes(self) -> None:
        free = self.model.free()[:1]
        if not free or self.model.rows[free[0]].item is None:  # which it takes for nothing
            return
        theirs = self.theirs()
        item = theirs.get(block=False)
        if self.kind.acked:
            theirs.ack(item)
        theirs.close()
        assert item == self.model.rows[free[0]].item
        if self.kind.acked:
            self.model.rows[free[0]].status = ACKED
        else:
            del self.model.rows[free[0]]

    def theirs(self) -> Any:
        return THEIRS[self.name](str(self.path), **({"auto_resume": False} if self.kind.acked else {}))

    # -- looking --------------------------------------------------------------------------------------------

    @precondition(lambda self: self.kind.unique)
    @rule(who=either, item=items)
    def contains(self, who: str, item: Any) -> None:
        assert self.run(self.queues[self.who(who)].contains(item)) == (self.model.like(item) is not None)

    @invariant()
    def agree(self) -> None:
        for who, queue in self.queues.items():
            assert self.run(queue.qsize()) == len(self.model.free())
            assert queue.stats()["unfinished"] == self.model.openers[who].outstanding
        if self.queues:
            self.agree_on_rows(self.queues["a"])

    def agree_on_rows(self, queue: Any) -> None:
        rows = [tuple(row[key] for key in self.kind.shown if key != "timestamp") for row in self.run(all_rows(queue))]
        assert repr(rows) == repr(self.model.listing()), "1, 1.0 and True are equal, but not the same"
        if self.kind.acked:
            counts = [queue.ready_count, queue.unack_count, queue.acked_count, queue.ack_failed_count]
            statuses = [READY, UNACK, ACKED, FAILED]
            assert [self.run(count()) for count in counts] == [self.model.count(status) for status in statuses]

    def teardown(self) -> None:
        for who in [*self.queues]:
            self.close(who)
        self.runner.close()
        self.folder.cleanup()


async def all_rows(queue: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = await queue.queue()
    return rows


def run(name: str, auto_commit: bool, examples: int, steps: int) -> None:
    machine = type(name, (Machine,), {"name": name, "auto_commit": auto_commit})
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    )
    run_machine(machine, settings=how)


of_each_class = pytest.mark.parametrize(
    ("name", "auto_commit"), WAYS, ids=[f"{name}{'' if commit else '-task_done'}" for name, commit in WAYS]
)


@of_each_class
@pytest.mark.no_debug
def test_it_does_what_the_model_says(name: str, auto_commit: bool) -> None:
    run(name, auto_commit, 8, 25)


@of_each_class
@pytest.mark.no_debug
@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_it_does_what_the_model_says_for_long(name: str, auto_commit: bool) -> None:
    run(name, auto_commit, 500, 60)
