"""At least once: every item is acknowledged, and none again after its acknowledgement returned."""

import asyncio
import contextlib
import errno
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import persistqueue
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import asyncpq
from asyncpq import (
    AlreadyAnswered,
    AsyncQueue,
    Delivery,
    Empty,
    MixedUse,
    QueueClosed,
    QueueFailed,
    QueueReader,
    ackfile,
    dead_letters,
)
from asyncpq.files import OSFiles
from asyncpq.journal import JOURNAL, NOTE_SIZE, acked_note, failed_note, read_notes
from asyncpq.layout import Position

POLICIES: Final = ("never", "rollover", "interval", "always")


@asynccontextmanager
async def holding(path: Path, count: int, **more: Any) -> AsyncIterator[AsyncQueue]:
    """A queue with the items 0, 1, 2 ..."""
    async with AsyncQueue(path, chunksize=3, **more) as queue:
        await queue.put_many(range(count))
        yield queue


async def rest(path: Path) -> list[Any]:
    """What get hands out after a reopening."""
    async with AsyncQueue(path) as queue:
        return [await queue.get() for _ in range(await queue.qsize())]


async def test_a_claim_makes_room_for_who_waits_to_put(tmp_path: Path) -> None:
    """As a get does, and one of an item that was given back."""
    async with AsyncQueue(tmp_path, maxsize=2) as queue, asyncio.timeout(5):
        producing = asyncio.create_task(queue.put_many(range(5)))
        for number in range(3):
            delivery = await queue.claim()
            assert delivery.item == number
            await delivery.ack()
        await (await queue.claim()).nack()
        assert [(await queue.claim()).item for _ in range(2)] == [3, 4]
        assert await producing == 5


@pytest.mark.parametrize("policy", POLICIES)
async def test_exactly_what_was_not_acknowledged_comes_again(tmp_path: Path, policy: str) -> None:
    async with holding(tmp_path, 10, fsync=policy) as queue:
        found = await queue.claim_many(7)
        for number in (1, 2, 5, 0):
            await found[number].ack()
            assert found[number].settled
        assert (await queue.qsize(), queue.stats()["unfinished"]) == (3, 6)
    assert await rest(tmp_path) == [3, 4, 6, 7, 8, 9]
    async with AsyncQueue(tmp_path, fsync=policy) as queue:
        assert await queue.qsize() == 6
        assert [delivery.item for delivery in await queue.claim_many(9)] == [3, 4, 6, 7, 8, 9]


async def test_persist_queue_sees_every_item_that_is_not_acknowledged(tmp_path: Path) -> None:
    async with holding(tmp_path, 6) as queue:
        found = await queue.claim_many(4)
        await found[0].ack()
        await found[2].ack()
    old = persistqueue.Queue(str(tmp_path), tempdir=str(tmp_path))
    assert [old.get(block=False) for _ in range(old.qsize())] == [1, 2, 3, 4, 5]


async def test_acks_in_order_need_no_journal(tmp_path: Path) -> None:
    async with holding(tmp_path, 7) as queue:
        for _ in range(7):
            await (await queue.claim()).ack()
        await queue.join()
        assert not (tmp_path / JOURNAL).exists()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["info", "q00002"]


async def test_the_journal_is_empty_once_the_tail_has_passed_it(tmp_path: Path) -> None:
    async with holding(tmp_path, 5) as queue:
        for delivery in reversed(await queue.claim_many(5)):
            await delivery.ack()
        assert (tmp_path / JOURNAL).stat().st_size == 4 * NOTE_SIZE
        await queue.sync()
        assert (tmp_path / JOURNAL).stat().st_size == 0


async def test_a_reader_and_check_leave_out_what_is_acknowledged(tmp_path: Path) -> None:
    async with holding(tmp_path, 5) as queue:
        found = await queue.claim_many(4)
        await found[1].ack()
        await found[3].ack()
    async with QueueReader(tmp_path) as reader:
        assert reader.size == 3
        assert [item async for item in reader] == [0, 2, 4]
    report = await asyncpq.check(tmp_path)
    assert (report.status, report.items) == ("clean", 3)


async def test_losing_the_journal_costs_deliveries_and_no_item(tmp_path: Path) -> None:
    async with holding(tmp_path, 4) as queue:
        await (await queue.claim_many(3))[1].ack()
    (tmp_path / JOURNAL).unlink()
    assert await rest(tmp_path) == [0, 1, 2, 3]


@pytest.mark.parametrize("damage", [b"\xff", b"\0" * NOTE_SIZE, b"x" * 100], ids=["a byte", "zeros", "bytes"])
async def test_a_damaged_note_says_nothing(tmp_path: Path, damage: bytes) -> None:
    async with holding(tmp_path, 4) as queue:
        found = await queue.claim_many(4)
        await found[1].ack()
        await found[2].ack()
    data = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(damage[:NOTE_SIZE] + data[len(damage[:NOTE_SIZE]) :])
    assert await rest(tmp_path) == [0, 1, 3]


async def test_a_note_about_another_record_is_ignored(tmp_path: Path) -> None:
    """Positions are used again in a new directory."""
    async with holding(tmp_path, 4) as queue:
        await (await queue.claim_many(3))[1].ack()
    for path in (*tmp_path.glob("q0*"), tmp_path / "info"):
        path.unlink()
    async with AsyncQueue(tmp_path) as queue:
        await queue.put_many(range(4))  # the same records, at the same places
        assert [await queue.get() for _ in range(4)] == [0, 1, 2, 3]
    note = acked_note(Position(0, 1, 5), b"another")
    (tmp_path / JOURNAL).write_bytes(note)
    assert await rest(tmp_path) == [0, 1, 2, 3]


async def test_healing_that_moves_head_back_drops_the_notes_past_it(tmp_path: Path) -> None:
    """Else the next records, which may be equal, would count as acknowledged."""
    async with AsyncQueue(tmp_path) as queue:
        await queue.put_many(["same"] * 3)
        await (await queue.claim_many(3))[2].ack()
    chunk = tmp_path / "q00000"
    chunk.write_bytes(chunk.read_bytes()[: -len(chunk.read_bytes()) // 3])
    async with AsyncQueue(tmp_path) as queue:
        assert queue.recovery.lost == 1
        await queue.put("same")
        assert await queue.qsize() == 3


async def test_an_item_given_back_comes_before_newer_ones_and_counts_its_attempts(tmp_path: Path) -> None:
    async with holding(tmp_path, 4) as queue:
        first, second = await queue.claim_many(2)
        assert (first.attempt, first.age) == (1, 0.0)
        await second.nack()
        await first.nack()
        assert await queue.qsize() == 4
        found = await queue.claim_many(3)
        assert [(delivery.item, delivery.attempt) for delivery in found] == [(0, 2), (1, 2), (2, 1)]
    async with AsyncQueue(tmp_path) as queue:
        again = await queue.claim()
        assert (again.item, again.attempt) == (0, 2)
        assert again.age > 0


async def test_an_item_goes_to_the_end_on_request(tmp_path: Path) -> None:
    async with holding(tmp_path, 3) as queue:
        await (await queue.claim()).nack(to_end=True)
        assert queue.stats()["unfinished"] == 3
    async with AsyncQueue(tmp_path) as queue:
        assert [(d.item, d.attempt) for d in await queue.claim_many(3)] == [(1, 1), (2, 1), (0, 2)]


async def test_an_item_goes_to_the_end_after_a_delay(tmp_path: Path) -> None:
    async with holding(tmp_path, 3) as queue:
        await (await queue.claim()).nack(delay=0.01, to_end=True)
        found = [await queue.claim(timeout=5) for _ in range(3)]
        assert [(delivery.item, delivery.attempt) for delivery in found] == [(1, 1), (2, 1), (0, 2)]
        await asyncio.gather(*(delivery.ack() for delivery in found))
        await queue.join()
    async with AsyncQueue(tmp_path) as queue:
        assert await queue.empty()


async def test_a_delay_that_a_close_cuts_short_leaves_the_item_in_its_place(tmp_path: Path) -> None:
    async with holding(tmp_path, 2) as queue:
        await (await queue.claim()).nack(delay=3600, to_end=True)
        assert (await queue.claim()).item == 1
    assert await rest(tmp_path) == [0, 1]


async def test_clear_drops_what_is_on_its_way_to_the_end(tmp_path: Path) -> None:
    async with holding(tmp_path, 3) as queue:
        first = await queue.claim()
        clearing = asyncio.ensure_future(queue.clear())
        await asyncio.sleep(0)
        with contextlib.suppress(AlreadyAnswered):
            await first.nack(to_end=True)
        await clearing
        await queue.put(7)
        assert (await queue.claim()).item == 7
    assert await rest(tmp_path) == [7]


async def test_an_item_comes_later_on_request(tmp_path: Path) -> None:
    async with holding(tmp_path, 2) as queue:
        await (await queue.claim()).nack(delay=0.01)
        assert (await queue.claim()).item == 1
        assert (await queue.claim(timeout=5)).item == 0


async def test_receive_acknowledges_or_gives_back(tmp_path: Path) -> None:
    async with holding(tmp_path, 2) as queue:
        with pytest.raises(KeyError):
            async with queue.receive() as item:
                raise KeyError(item)
        inside = asyncio.Event()

        async def work() -> None:
            async with queue.receive():
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(work())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with queue.receive() as item:
            assert item == 0
        async with queue.receive() as item:
            assert item == 1
        await queue.join()


@pytest.mark.parametrize("answer", ["ack", "nack", "reject"])
async def test_a_delivery_takes_one_answer(tmp_path: Path, answer: str) -> None:
    async with holding(tmp_path, 2, dead_letters=tmp_path / "dead") as queue:
        delivery = await queue.claim()
        await getattr(delivery, answer)()
        for other in (delivery.ack, delivery.nack, delivery.reject):
            with pytest.raises(AlreadyAnswered, match="one answer"):
                await other()


async def test_a_lease_gives_the_item_out_again(tmp_path: Path) -> None:
    async with holding(tmp_path, 1, lease=0.01) as queue:
        late = await queue.claim()
        again = await queue.claim(timeout=5)
        assert (again.item, again.attempt) == (0, 2)
        with pytest.raises(AlreadyAnswered, match="lease is over"):
            await late.ack()
        await again.ack()
        await queue.join()


async def test_get_and_claim_do_not_mix(tmp_path: Path) -> None:
    async with holding(tmp_path, 4) as queue:
        await queue.claim()
        for call in (queue.get, queue.get_nowait, queue.peek, queue.task_done):
            with pytest.raises(MixedUse, match="one cursor stands for all"):
                await call()
        with pytest.raises(MixedUse):
            await queue.get_many(2)
    async with AsyncQueue(tmp_path) as queue:
        await queue.get()
        with pytest.raises(MixedUse, match="get"):
            await queue.claim()


async def test_answers_after_the_end_are_refused(tmp_path: Path) -> None:
    async with holding(tmp_path, 3) as queue:
        one, two = await queue.claim_many(2)
    for answer in (one.ack, two.nack):
        with pytest.raises(QueueClosed):
            await answer()
    assert await rest(tmp_path) == [0, 1, 2]


async def test_no_more_than_max_in_flight(tmp_path: Path) -> None:
    async with holding(tmp_path, 4, max_in_flight=2) as queue:
        one, _ = await queue.claim_many(4)
        with pytest.raises(Empty):
            await queue.claim(block=False)
        waiting = asyncio.ensure_future(queue.claim())
        await asyncio.sleep(0)
        assert not waiting.done()
        await one.ack()
        assert (await waiting).item == 2


async def test_deliveries_end_with_the_queue(tmp_path: Path) -> None:
    async with holding(tmp_path, 5) as queue:
        queue.shutdown()
        items = []

        async def work() -> None:
            async for delivery in queue.deliveries():
                items.append(delivery.item)
                await asyncio.sleep(0)
                await delivery.ack()

        await asyncio.gather(*(work() for _ in range(3)))
        assert sorted(items) == [0, 1, 2, 3, 4]


async def test_what_fails_too_often_becomes_a_dead_letter_and_can_be_put_back(tmp_path: Path) -> None:
    path, dead = tmp_path / "q", tmp_path / "dead"
    async with holding(path, 2, max_attempts=2, dead_letters=dead) as queue:
        for _ in range(2):
            await (await queue.claim()).nack(error=KeyError("no"))
        await (await queue.claim()).reject("not mine")
        await queue.join()
        assert await queue.qsize() == 0
    letters = [letter async for letter in dead_letters(dead)]
    assert [(x.item(), x.attempts, x.error) for x in letters] == [(0, 2, "KeyError: 'no'"), (1, 1, "not mine")]
    async with AsyncQueue(path) as queue:
        assert await dead_letters(dead).put_back(queue, lambda letter: letter.error == "not mine") == 1
        assert (await queue.claim()).item == 1
    assert [letter.attempts async for letter in dead_letters(dead)] == [2]


async def test_what_cannot_be_decoded_is_kept_byte_for_byte(tmp_path: Path) -> None:
    path, dead = tmp_path / "q", tmp_path / "dead"
    async with holding(path, 3, serializer="json") as queue:
        assert await queue.qsize() == 3
    (path / "q00000").write_bytes(b"0\n{\n2\n")
    async with AsyncQueue(path, dead_letters=dead) as queue:
        assert [(await queue.claim()).item for _ in range(2)] == [0, 2]
    assert [(x.record, x.serializer) async for x in dead_letters(dead)] == [(b"{\n", "json")]


async def test_a_close_says_when_the_dead_letters_could_not_be_closed(tmp_path: Path) -> None:
    class Failing(OSFiles):
        broken = False

        def fdatasync(self, fd: int) -> None:
            if self.broken:
                raise OSError(errno.EIO, "no disk")
            super().fdatasync(fd)

    files = Failing()
    queue = await AsyncQueue(tmp_path / "q", dead_letters=tmp_path / "dead", fsync="never").open()
    assert queue._letters is not None
    queue._letters._queue._files = files
    await queue.put_many([0, 1])
    await (await queue.claim()).reject()
    files.broken = True
    with pytest.raises(QueueFailed, match="dead"):
        await queue.close()
    assert await rest(tmp_path / "q") == [1]


@pytest.mark.parametrize("policy", ["always", "interval"])
async def test_a_journal_without_room_fails_only_the_acknowledgements_that_need_it(tmp_path: Path, policy: str) -> None:
    class NoJournal(OSFiles):
        full = True

        def create(self, dirfd: int, name: str, mode: int = 0o666) -> int:
            if name == JOURNAL and self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().create(dirfd, name, mode)

    queue = AsyncQueue(tmp_path, fsync=policy)
    queue._files = files = NoJournal()
    async with queue:
        await queue.put_many(range(4))
        deliveries = await queue.claim_many(4)
        outcomes = await asyncio.gather(*(deliveries[n].ack() for n in (0, 2)), return_exceptions=True)
        assert outcomes[0] is None
        assert isinstance(outcomes[1], OSError)
        assert (deliveries[0].settled, deliveries[2].settled) == (True, False)
        files.full = False
        await deliveries[2].ack()
        assert deliveries[2].settled
    assert await rest(tmp_path) == [1, 3]


async def test_reject_needs_dead_letters(tmp_path: Path) -> None:
    async with holding(tmp_path, 1) as queue:
        delivery = await queue.claim()
        with pytest.raises(ValueError, match="dead_letters"):
            await delivery.reject()
        await delivery.ack()
    with pytest.raises(ValueError, match="max_attempts needs"):
        AsyncQueue(tmp_path, max_attempts=2)


async def test_a_cancelled_ack_is_done_whole(tmp_path: Path) -> None:
    async with holding(tmp_path, 3, fsync="always") as queue:
        delivery = (await queue.claim_many(3))[1]
        task = asyncio.ensure_future(delivery.ack())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await queue.sync()
        assert delivery.settled
    assert await rest(tmp_path) == [0, 2]


async def test_a_cancelled_claim_leaves_the_item(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path) as queue:
        first, second = (asyncio.ensure_future(queue.claim()) for _ in range(2))
        await asyncio.sleep(0.0)
        await queue.put("one")
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        assert first.cancelled()
        assert (await second).item == "one"


async def test_clear_takes_deliveries_back(tmp_path: Path) -> None:
    async with holding(tmp_path, 4) as queue:
        found = await queue.claim_many(3)
        await found[1].ack()
        await queue.clear()
        with pytest.raises(AlreadyAnswered, match="clear"):
            await found[0].ack()
        await queue.join()
        await queue.put("new")
        assert (await queue.claim()).item == "new"


def test_a_note_is_read_as_it_was_written() -> None:
    notes = failed_note(Position(1, 2, 3), b"r", 4, 5.5) + acked_note(Position(7, 8, 9), b"s")
    assert len(notes) == 2 * NOTE_SIZE
    failed, acked = read_notes(notes + notes[:20])
    assert (failed.position, failed.attempts, failed.first) == (Position(1, 2, 3), 4, 5.5)
    assert acked.position == Position(7, 8, 9)


async def test_a_journal_that_became_long_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the tail never moves, and the same item fails again and again."""
    monkeypatch.setattr(ackfile, "CROWDED", 10 * NOTE_SIZE)
    async with holding(tmp_path, 5) as queue:
        found = await queue.claim_many(5)
        await found[3].ack()
        await found[0].nack()
        for _ in range(100):
            await (await queue.claim()).nack()
            await queue.sync()
            assert (tmp_path / JOURNAL).stat().st_size <= 11 * NOTE_SIZE
        assert not (tmp_path / "acked.tmp").exists()
    async with AsyncQueue(tmp_path) as queue:
        assert [(d.item, d.attempt) for d in await queue.claim_many(5)] == [(0, 102), (1, 1), (2, 1), (4, 1)]


async def test_a_repair_loses_no_item(tmp_path: Path) -> None:
    async with holding(tmp_path, 7, serializer="json") as queue:
        await (await queue.claim_many(3))[2].ack()
    (tmp_path / "q00001").write_bytes(b"3\n{\n5\n")
    await asyncpq.repair(tmp_path)
    assert set(await rest(tmp_path)) >= {0, 1, 3, 5, 6}


async def test_an_ack_for_which_there_is_no_room_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with holding(tmp_path, 3) as queue:
        found = await queue.claim_many(3)

        def full(self: object, notes: bytes) -> bool:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(ackfile.AckFile, "append", full)
            with pytest.raises(OSError, match="No space"):
                await found[1].ack()
            assert not found[1].settled
        await found[1].ack()
    assert await rest(tmp_path) == [0, 2]


async def test_a_failed_dead_letter_leaves_the_item(tmp_path: Path) -> None:
    dead = AsyncQueue(tmp_path / "dead")
    await dead.open()
    await dead.close()
    async with holding(tmp_path / "q", 1, dead_letters=dead) as queue:
        with pytest.raises(QueueClosed):
            await (await queue.claim()).reject()
        assert (await queue.claim()).item == 0


async def test_memory_and_leases_stay_small(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path, lease=3600) as queue:
        for item in range(3000):
            await queue.put(item)
            await (await queue.claim()).ack()
        claims = queue._claims
        assert claims is not None
        assert len(claims._leases) <= 1030
        assert not claims._window
        assert claims.in_flight == 0


class Workers(RuleBasedStateMachine):
    """Random claims and answers, with a reopening at any step; a list is what must be there."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.left: dict[int, int] = {}  # item -> attempts that failed
        self.disk: list[tuple[int, bool]] = []  # item, and whether it is acknowledged
        self.held: list[Delivery] = []
        self.next = 0

    @property
    def order(self) -> list[int]:
        return [item for item, acked in self.disk if not acked]

    def acknowledge(self, item: int) -> None:
        self.disk[self.disk.index((item, False))] = item, True

    def run(self, waiting: Any) -> Any:
        return self.runner.run(waiting)

    @initialize(chunksize=st.sampled_from((1, 2, 3, 100)), policy=st.sampled_from(POLICIES))
    def begin(self, chunksize: int, policy: str) -> None:
        self.chunksize, self.policy = chunksize, policy
        self.open()

    def open(self) -> None:
        self.queue = AsyncQueue(self.folder.name, chunksize=self.chunksize, fsync=self.policy)
        self.run(self.queue.open())
        self.held = []

    @rule(count=st.integers(1, 5))
    def put(self, count: int) -> None:
        items = list(range(self.next, self.next + count))
        self.next += count
        self.run(self.queue.put_many(items))
        self.disk += [(item, False) for item in items]
        self.left |= dict.fromkeys(items, 0)

    @rule(count=st.integers(1, 4))
    def claim(self, count: int) -> None:
        out = {delivery.item for delivery in self.held}
        expected = [item for item in self.order if item not in out][:count]
        if not expected:
            with pytest.raises(Empty):
                self.run(self.queue.claim(block=False))
            return
        found = self.run(self.queue.claim_many(count))
        assert [(d.item, d.attempt) for d in found] == [(item, self.left[item] + 1) for item in expected]
        self.held += found

    @precondition(lambda self: self.held)
    @rule(data=st.data(), answer=st.sampled_from(("ack", "ack", "nack", "end")))
    def answer(self, data: st.DataObject, answer: str) -> None:
        delivery = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        item = delivery.item
        if answer == "ack":
            self.run(delivery.ack())
            del self.left[item]
            self.acknowledge(item)
            return
        self.run(delivery.nack(to_end=answer == "end"))
        self.left[item] += 1
        if answer == "end":
            self.disk.append((item, False))
            self.acknowledge(item)

    @rule()
    def sync(self) -> None:
        self.run(self.queue.sync())

    @rule()
    def reopen(self) -> None:
        self.run(self.queue.close())
        self.open()

    @rule(count=st.integers(0, 3))
    def hand_over(self, count: int) -> None:
        """persist-queue gets some, from the oldest on; it also gets what was acknowledged out of order."""
        self.run(self.queue.close())
        old = persistqueue.Queue(self.folder.name, chunksize=self.chunksize, tempdir=self.folder.name)
        passed = len(self.disk) - old.qsize()  # the tail has passed them
        assert all(acked for _, acked in self.disk[:passed])
        del self.disk[:passed]
        for _ in range(min(count, old.qsize())):
            item, acked = self.disk.pop(0)
            assert old.get(block=False) == item
            if not acked:
                del self.left[item]
        old.put(self.next)
        old.task_done() if old.unfinished_tasks else None
        self.disk.append((self.next, False))
        self.left[self.next] = 0
        self.next += 1
        old.headf.close()
        old.tailf.close()
        self.open()

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "queue"):
            assert self.run(self.queue.qsize()) == len(self.order) - len(self.held)
            assert self.queue.stats()["unfinished"] == len(self.order)

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            self.run(self.queue.close())
        self.runner.close()
        self.folder.cleanup()


def test_workers() -> None:
    run_state_machine_as_test(
        Workers,
        settings=settings(
            max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
