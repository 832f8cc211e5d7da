"""What the queue on a server has of its own: settings, headers, sizes, given back items, dead letters, batches."""

import asyncio
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import asyncpq
from asyncpq import (
    AsyncNatsQueue,
    AsyncQueue,
    Empty,
    Full,
    RecordTooLarge,
)
from asyncpq.nats import batches, pulling, streams
from tests.nats.load import until
from tests.nats.server import Server

# -- what comes again ---------------------------------------------------------------------------------------------


async def test_exactly_what_was_not_acknowledged_comes_again_and_at_once(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name) as queue:
        await queue.put_many(range(10))
        found = await queue.claim_many(7)
        for number in (1, 2, 5, 0):
            await found[number].ack()
            assert found[number].settled
        assert await queue.qsize() == 3
    async with AsyncNatsQueue(server.url, name) as queue:
        assert await queue.qsize() == 6
        assert [delivery.item for delivery in await queue.claim_many(9, timeout=5)] == [3, 4, 6, 7, 8, 9]


async def test_task_done_acknowledges_all_that_was_got_here_and_nothing_else(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name) as one, AsyncNatsQueue(server.url, name) as other:
        await one.put_many(range(6))
        assert await one.get_many(2) == [0, 1]
        assert await other.get_many(2) == [2, 3]
        delivery = await one.claim()
        await one.task_done()
        await one.task_done()
        assert (delivery.item, delivery.settled) == (4, False)
        with pytest.raises(ValueError, match="too many times"):
            await one.task_done()
    async with AsyncNatsQueue(server.url, name) as queue:
        assert sorted(await queue.get_many(9)) == [2, 3, 4, 5]


async def test_an_item_is_with_one_at_a_time_and_stays_with_who_holds_it(server: Server, name: str) -> None:
    """Longer than the ack wait: it is held by signs of life."""
    async with AsyncNatsQueue(server.url, name, ack_wait=0.3) as one:
        await one.put("item")
        delivery = await one.claim()
        async with AsyncNatsQueue(server.url, name, ack_wait=0.3) as other:
            with pytest.raises(Empty):
                await other.get(timeout=1.0)
        await delivery.ack()
        await one.join()


async def test_what_a_process_held_that_ended_comes_to_another(server: Server, name: str) -> None:
    code = (
        "import asyncio, os, sys\nfrom asyncpq import AsyncNatsQueue\n"
        "async def main():\n    queue = AsyncNatsQueue(sys.argv[1], sys.argv[2], ack_wait=0.5)\n"
        "    await queue.put('item')\n    await queue.claim()\n    os._exit(0)\nasyncio.run(main())\n"
    )
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code, server.url, name], check=True, timeout=30)
    async with AsyncNatsQueue(server.url, name, ack_wait=0.5) as queue:
        again = await queue.claim(timeout=10)
        assert (again.item, again.attempt) == ("item", 2)
        assert again.age > 0


async def test_what_nobody_takes_is_given_back(server: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A get that ended early leaves a pull behind, whose item others are waiting for."""
    monkeypatch.setattr(pulling, "LINGER", 0.1)
    async with AsyncNatsQueue(server.url, name) as one, AsyncNatsQueue(server.url, name) as other:
        getting = asyncio.ensure_future(one.get())
        await one.qsize()
        getting.cancel()
        await asyncio.wait((getting,))
        await other.put("item")
        assert await other.get(timeout=10) == "item"


async def test_who_takes_his_time_keeps_nothing_from_others(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name) as slow, AsyncNatsQueue(server.url, name) as quick:
        await slow.put_many(range(20))
        first = await slow.claim()
        rest = await quick.claim_many(30)
        assert (first.item, [delivery.item for delivery in rest]) == (0, list(range(1, 20)))


async def test_an_item_goes_to_the_end_and_keeps_its_attempts(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name) as queue:
        await queue.put_many(range(3))
        await (await queue.claim()).nack(to_end=True)
        found = [await queue.claim() for _ in range(3)]
        assert [(delivery.item, delivery.attempt) for delivery in found] == [(1, 1), (2, 1), (0, 2)]


async def test_a_lease_takes_back_what_was_got(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name, lease=0.2) as queue:
        await queue.put("item")
        assert await queue.get() == "item"
        assert await queue.get(timeout=10) == "item"
        await queue.task_done()
        await queue.task_done()
        await queue.join()


# -- room ---------------------------------------------------------------------------------------------------------


async def test_a_bound_holds_for_all_who_put_and_an_acknowledgement_makes_room(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name, 5) as one, AsyncNatsQueue(server.url, name, 5) as other:
        await one.put_many(range(5))
        assert await other.full()
        for queue in (one, other):
            with pytest.raises(Full, match="maxsize is 5"):
                await queue.put_nowait("no")
            with pytest.raises(Full, match=r"in 0\.05 s"):
                await queue.put("no", timeout=0.05)
        waiting = [asyncio.ensure_future(one.put(5)), asyncio.ensure_future(other.put_many(range(6, 12)))]
        got: list[int] = []
        while len(got) < 12:
            got += [await other.get(timeout=10)]
            await other.task_done()
            assert await one._engine.messages() <= 5  # type: ignore[union-attr]
        await asyncio.gather(*waiting)
        assert sorted(got) == list(range(12))
        assert [item for item in got if item > 5] == list(range(6, 12))


async def test_a_bound_of_bytes_holds(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name, max_bytes=10_000) as queue:
        with pytest.raises(RecordTooLarge, match="max_bytes"):
            await queue.put("x" * 20_000)
        putting = asyncio.ensure_future(queue.put_many(["x" * 1000] * 20))
        for _ in range(20):
            await queue.get(timeout=10)
            await queue.task_done()
        assert await putting == 20


async def test_a_record_that_no_message_holds_is_refused_and_nothing_is_stored(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name) as queue:
        for call in (queue.put("x" * 2_000_000), queue.put_many(["a", "x" * 2_000_000])):
            with pytest.raises(RecordTooLarge, match="max_payload") as large:
                await call
        assert large.value.stored == 0  # type: ignore[attr-defined]
        assert await queue.empty()
        await queue.put("x" * 1_000_000)
        assert len(await queue.get()) == 1_000_000


# -- many ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batched", [True, False])
async def test_many_are_stored_in_order_also_beside_others(server: Server, name: str, batched: bool) -> None:
    """Where the stream takes no batches, as before 2.12, they go one by one."""
    async with AsyncNatsQueue(server.url, name) as queue:
        engine = queue._engine
        assert engine is not None
        if not batched:
            config = {**engine.found.config, "allow_atomic": False}
            await streams.call(engine.wire, f"STREAM.UPDATE.{name}", config)
    async with AsyncNatsQueue(server.url, name) as one, AsyncNatsQueue(server.url, name) as other:
        assert one.stats()["batches"] == batched
        count = 1100 if batched else 100
        await asyncio.gather(
            one.put_many(("one", n) for n in range(count)), other.put_many(("other", n) for n in range(count))
        )
        items = await one.get_many(3 * count)
        for who in ("one", "other"):
            assert [n for name, n in items if name == who] == list(range(count))


async def test_a_batch_of_which_some_are_stored_stores_the_others_once(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name) as queue:
        engine = queue._engine
        assert engine is not None
        messages = [engine.publisher.message(pickle.dumps(number), "pickle") for number in range(6)]
        await batches.put_many(engine.publisher, messages[:3], batches=True)
        await batches.put_many(engine.publisher, messages, batches=True)
        assert queue.stats()["puts_repeated"] == 3
        assert await queue.get_many(10) == list(range(6))


async def test_a_cancelled_put_many_says_how_many_are_stored(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name) as queue:
        for turns in (0, 1, 5, 20):
            putting = asyncio.ensure_future(queue.put_many(range(2500)))
            for _ in range(turns):
                await asyncio.sleep(0)
            putting.cancel()
            try:
                stored = await putting
            except asyncio.CancelledError as cancelled:
                stored = getattr(cancelled, "stored", 0)
            assert await queue.qsize() == stored
            await queue.clear()


@pytest.mark.parametrize("autosave", [False, True])
async def test_a_get_cancelled_at_any_await_leaves_the_item_to_the_next(
    server: Server, name: str, autosave: bool
) -> None:
    async with AsyncNatsQueue(server.url, name, autosave=autosave) as queue:
        await queue.put_many(range(30))
        got: list[int] = []
        for turns in range(30):
            getting = asyncio.ensure_future(queue.get())
            for _ in range(turns):
                await asyncio.sleep(0)
            getting.cancel()
            await asyncio.wait((getting,))
            if not getting.cancelled():
                got.append(getting.result())
        while len(got) < 30:
            got.append(await queue.get(timeout=10))
        assert sorted(got) == list(range(30))


async def test_what_a_cancelled_get_had_acknowledged_is_stored_anew_at_the_close(server: Server, name: str) -> None:
    queue = AsyncNatsQueue(server.url, name, autosave=True)
    await queue.put_many("ab")
    engine = queue._engine
    assert engine is not None
    getting = asyncio.ensure_future(queue.get())
    await until(lambda: any(item.answer for item in engine.holding.items.values()))
    getting.cancel()
    await asyncio.wait((getting,))
    assert getting.cancelled()
    await until(lambda: bool(engine.puller.buffer))
    await queue.close()
    async with AsyncNatsQueue(server.url, name) as again:
        assert sorted(await again.get_many(5)) == ["a", "b"]


# -- dead letters ---------------------------------------------------------------------------------------------------


async def test_dead_letters_go_to_another_queue_on_the_server(server: Server, name: str) -> None:
    dead = f"{name}-dead"
    async with AsyncNatsQueue(server.url, name, max_attempts=2, dead_letters=dead) as queue:
        await queue.put_many([0, 1])
        for _ in range(2):
            await (await queue.claim()).nack(error=KeyError("no"))
        await (await queue.claim()).reject("not mine")
        await queue.join()
    async with AsyncNatsQueue(server.url, dead, serializer="msgpack") as letters:
        found = await letters.get_many(5)
        assert [(pickle.loads(x["record"]), x["attempts"], x["error"]) for x in found] == [
            (0, 2, "KeyError: 'no'"),
            (1, 1, "not mine"),
        ]


async def test_a_dead_letter_that_cannot_be_stored_leaves_the_item(server: Server, name: str, tmp_path: Path) -> None:
    dead = AsyncQueue(tmp_path / "dead")
    await dead.open()
    await dead.close()
    async with AsyncNatsQueue(server.url, name, dead_letters=dead) as queue:
        await queue.put("item")
        with pytest.raises(asyncpq.QueueClosed):
            await (await queue.claim()).reject()
        assert (await queue.claim(timeout=10)).item == "item"
