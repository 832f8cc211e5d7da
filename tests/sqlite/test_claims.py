"""receive and claim are the same on the file queue and on the SQLite ack queue: code moves by changing one class."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import (
    AsyncFILOSQLiteAckQueue,
    AsyncQueue,
    AsyncSQLiteAckQueue,
    AsyncUniqueAckQ,
    Empty,
    NotInFlight,
    QueueClosed,
    dead_letters,
)

Make = Callable[..., AsyncQueue | AsyncSQLiteAckQueue]
CLASSES: Final[dict[str, Any]] = {"file": AsyncQueue, "sqlite": AsyncSQLiteAckQueue, "unique": AsyncUniqueAckQ}


@pytest.fixture(params=CLASSES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    def made(**how: Any) -> Any:
        return CLASSES[request.param](tmp_path / "queue", **how)

    return made


async def fail(queue: AsyncQueue | AsyncSQLiteAckQueue) -> None:
    async with queue.receive() as item:
        raise RuntimeError(item)


async def test_a_block_that_ends_acknowledges_and_one_that_raises_gives_back(make: Make) -> None:
    async with make() as queue:
        await queue.put_many(["a", "b"])
        async with queue.receive() as item:
            assert item == "a"
        with pytest.raises(RuntimeError, match="b"):
            await fail(queue)
        assert await queue.qsize() == 1
        delivery = await queue.claim()
        assert (delivery.item, delivery.attempt) == ("b", 2)
        assert delivery.age >= 0
        await delivery.ack()
        await asyncio.wait_for(queue.join(), 20)
    async with make() as queue:
        assert await queue.empty()


async def test_a_block_that_is_cancelled_gives_back(make: Make) -> None:
    async with make() as queue:
        await queue.put("a")
        entered = asyncio.Event()

        async def work() -> None:
            async with queue.receive():
                entered.set()
                await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await queue.claim(timeout=20)).item == "a"


async def test_out_of_order_each_is_acknowledged_by_itself(make: Make) -> None:
    """What was not answered comes again in order, whatever was answered behind it."""
    async with make() as queue:
        await queue.put_many(range(6))
        deliveries = [await queue.claim() for _ in range(6)]
        for number in (5, 1, 3):
            await deliveries[number].ack()
            assert deliveries[number].settled
    async with make() as queue:
        assert [(await queue.claim()).item for _ in range(3)] == [0, 2, 4]
        with pytest.raises(Empty):
            await queue.claim(block=False)


async def test_given_back_it_comes_in_its_place_or_at_the_end_or_later(make: Make) -> None:
    async with make() as queue:
        await queue.put_many("abc")
        first, second = await queue.claim_many(2)
        await second.nack()
        await first.nack(to_end=True)
        assert [(await queue.claim(timeout=20)).item for _ in range(3)] == ["b", "c", "a"]
        await queue.put("d")
        fourth = await queue.claim()
        await fourth.nack(delay=0.05)
        with pytest.raises(Empty):
            await queue.claim(block=False)
        assert (await queue.claim(timeout=20)).attempt == 2


async def test_one_answer_counts(make: Make) -> None:
    async with make() as queue:
        await queue.put("a")
        delivery = await queue.claim()
        await delivery.ack()
        for answer in (delivery.ack, delivery.nack, delivery.reject):
            with pytest.raises(NotInFlight):
                await answer()


async def test_a_lease_ends_and_the_late_answer_is_refused(make: Make) -> None:
    async with make(lease=0.05) as queue:
        await queue.put("a")
        late = await queue.claim()
        again = await queue.claim(timeout=20)
        with pytest.raises(NotInFlight):
            await late.ack()
        await again.ack()
        assert await queue.empty()


async def test_no_more_are_in_flight_than_may_be(make: Make) -> None:
    async with make(max_in_flight=2) as queue:
        await queue.put_many(range(3))
        first, _ = await queue.claim_many(5)
        with pytest.raises(Empty):
            await queue.claim(block=False)
        waiting = asyncio.ensure_future(queue.claim())
        await asyncio.sleep(0)
        await first.ack()
        assert (await asyncio.wait_for(waiting, 20)).item == 2


async def test_workers_take_what_there_is_until_the_queue_is_shut_down(make: Make) -> None:
    done: list[int] = []

    async def worker(queue: AsyncQueue | AsyncSQLiteAckQueue) -> None:
        async for delivery in queue.deliveries():
            if delivery.item % 3 == 0 and delivery.attempt == 1:
                await delivery.nack()
            else:
                done.append(delivery.item)
                await delivery.ack()

    async with make() as queue:
        await queue.put_many(range(50))
        workers = [asyncio.create_task(worker(queue)) for _ in range(4)]
        await asyncio.wait_for(queue.join(), 30)
        queue.shutdown()
        await asyncio.wait_for(asyncio.gather(*workers), 30)
    assert sorted(done) == list(range(50))


async def test_an_answer_after_the_close_is_refused_and_the_item_comes_again(make: Make) -> None:
    async with make() as queue:
        await queue.put("a")
        delivery = await queue.claim()
    with pytest.raises(QueueClosed):
        await delivery.ack()
    async with make() as queue:
        assert (await queue.claim()).item == "a"


# -- failed for good ------------------------------------------------------------------------------------------


async def test_what_failed_too_often_or_was_rejected_is_kept_with_status_9(tmp_path: Path) -> None:
    async with AsyncSQLiteAckQueue(tmp_path / "queue", max_attempts=2) as queue:
        await queue.put_many(["often", "bad"])
        for _ in range(2):
            await (await queue.claim()).nack(error=ValueError("no"))
        await (await queue.claim()).reject("cannot be done")
        assert (await queue.qsize(), await queue.ack_failed_count()) == (0, 2)
        assert [row["status"] for row in await queue.queue()] == [9, 9]
        errors = await queue._fetch(
            await queue._enter(), "SELECT error FROM asyncpq_claims_ack_queue_default ORDER BY id"
        )
        assert errors == [("ValueError: no",), ("cannot be done",)]


async def test_on_the_file_queue_they_go_to_the_dead_letters(tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "queue", max_attempts=2, dead_letters=tmp_path / "dead") as queue:
        await queue.put_many(["often", "bad"])
        for _ in range(2):
            await (await queue.claim()).nack(error=ValueError("no"))
        await (await queue.claim()).reject("cannot be done")
        assert await queue.empty()
    assert [letter.item() async for letter in dead_letters(tmp_path / "dead")] == ["often", "bad"]


async def test_the_newest_first_comes_again_in_its_place(tmp_path: Path) -> None:
    async with AsyncFILOSQLiteAckQueue(tmp_path / "queue") as queue:
        await queue.put_many("abc")
        newest = await queue.claim()
        await newest.nack(to_end=True)
        assert [(await queue.claim()).item for _ in range(3)] == ["b", "a", "c"]
