"""A server that is killed, one that stops answering, a network that breaks: nothing confirmed is lost."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import monotonic

import pytest

from asyncpq import AsyncNatsQueue, Empty, ServerAway
from asyncpq.nats import streams
from tests.nats.load import Account, under_load, until
from tests.nats.proxy import proxy_to
from tests.nats.server import Server, cluster, running

# nats-py leaves a connection that was refused, or cut while it was made, to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may kill."""
    with running(tmp_path / "server") as server:
        yield server


@pytest.mark.parametrize(
    ("kills", "each", "many"),
    [
        (2, 150, 1),
        (2, 200, 20),
        pytest.param(20, 3000, 1, marks=pytest.mark.soak),
        pytest.param(20, 30000, 100, marks=pytest.mark.soak),
    ],
)
async def test_a_server_killed_under_load_loses_nothing_that_it_confirmed(
    own: Server, kills: int, each: int, many: int
) -> None:
    async def disturb(account: Account) -> None:
        for number in range(1, kills + 1):
            await account.confirms(4 * each * number // (kills + 2))
            await asyncio.to_thread(own.restart)

    make = partial(AsyncNatsQueue, own.url, "jobs", timeout=10.0, ack_wait=2.0)
    account = await under_load(make, disturb, producers=4, consumers=4, each=each, many=many)
    assert not account.lost
    assert not account.made_up
    assert len(account.confirmed) + len(account.unknown) == 4 * each


async def test_a_server_that_stops_answering_is_an_error_in_time_and_no_end(own: Server) -> None:
    async with AsyncNatsQueue(own.url, "jobs", timeout=0.6) as queue:
        await queue.put("before")
        own.freeze()
        began = monotonic()
        for call in (queue.put("meanwhile"), queue.qsize(), queue.get_nowait(), queue.put_many("ab")):
            with pytest.raises(ServerAway, match=r"no answer within 0\.6 s"):
                await call
        assert monotonic() - began < 6
        with pytest.raises(Empty):
            await queue.get(timeout=0.05)
        own.thaw()
        assert await queue.get() == "before"
        rest = {await queue.get() for _ in range(await queue.qsize())}
        assert rest <= {"meanwhile", "a", "b"}
        await queue.put("after")
        assert await queue.get() == "after"


async def test_a_close_ends_in_time_whatever_the_server_does(own: Server) -> None:
    queue = AsyncNatsQueue(own.url, "jobs", timeout=0.5)
    await queue.put_many(["x" * 100_000] * 20)
    await queue.claim()
    own.freeze()
    putting = [asyncio.ensure_future(queue.put("y" * 500_000)) for _ in range(20)]
    await asyncio.sleep(0)
    began = monotonic()
    await queue.close()
    assert monotonic() - began < 3
    outcomes = await asyncio.gather(*putting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ServerAway}
    assert asyncio.all_tasks() == {asyncio.current_task()}
    own.thaw()


async def test_what_is_put_while_the_server_is_away_is_stored_once_when_it_is_back(own: Server) -> None:
    async with AsyncNatsQueue(own.url, "jobs", timeout=10.0) as queue:
        own.kill()
        putting = [asyncio.ensure_future(queue.put(number)) for number in range(20)]
        many = asyncio.ensure_future(queue.put_many(range(100, 200)))
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in putting)
        await asyncio.to_thread(own.start)
        await asyncio.gather(*putting, many)
        assert sorted(await queue.get_many(1000)) == [*range(20), *range(100, 200)]


async def test_an_error_of_a_server_that_is_not_there_says_that_nothing_was_sent(own: Server) -> None:
    async with AsyncNatsQueue(own.url, "jobs", timeout=0.3) as queue:
        own.kill()
        await until(lambda: not queue.stats()["connected"])
        with pytest.raises(ServerAway, match="nothing was sent, so the item is not stored") as away:
            await queue.put("item")
        assert isinstance(away.value, ConnectionError)
        assert not away.value.sent
    with pytest.raises(ServerAway, match="no answer within"):
        await AsyncNatsQueue(own.url, "jobs", timeout=0.3).open()


async def test_a_confirmation_that_is_lost_is_asked_for_again_and_stores_nothing_twice(
    server: Server, name: str
) -> None:
    async with proxy_to(server.port) as proxy, AsyncNatsQueue(proxy.url, name, timeout=20.0) as queue:
        for number in range(5):
            proxy.swallow_answers = True
            one = asyncio.ensure_future(queue.put(number))
            many = asyncio.ensure_future(queue.put_many(range(10 * number + 10, 10 * number + 20)))
            await asyncio.sleep(0.02)
            assert not one.done()
            proxy.cut()
            proxy.swallow_answers = False
            await asyncio.gather(one, many)
        assert queue.stats()["reconnects"] == 5
        assert sorted(await queue.get_many(1000)) == sorted([*range(5), *range(10, 60)])


async def test_an_acknowledgement_whose_confirmation_is_lost_is_given_again(server: Server, name: str) -> None:
    async with proxy_to(server.port) as proxy, AsyncNatsQueue(proxy.url, name, timeout=20.0) as queue:
        await queue.put_many(range(3))
        deliveries = await queue.claim_many(3)
        proxy.swallow_answers = True
        acks = [asyncio.ensure_future(delivery.ack()) for delivery in deliveries]
        await asyncio.sleep(0.02)
        proxy.cut()
        proxy.swallow_answers = False
        await asyncio.gather(*acks)
        await queue.join()


async def test_a_network_that_delays_and_breaks_under_load_loses_nothing(server: Server, name: str) -> None:
    async with proxy_to(server.port) as proxy:

        async def disturb(account: Account) -> None:
            for number in range(1, 5):
                proxy.delay = 0.001 * number
                await account.confirms(60 * number)
                proxy.cut()

        make = partial(AsyncNatsQueue, proxy.url, name, timeout=10.0, ack_wait=2.0)
        account = await under_load(make, disturb, producers=4, consumers=4, each=100)
        assert proxy.cuts == 4
    assert not account.lost
    assert not account.made_up
    assert not account.outages


@pytest.mark.parametrize(
    ("each", "many"),
    [(40, 1), pytest.param(100, 20, marks=pytest.mark.soak), pytest.param(3000, 1, marks=pytest.mark.soak)],
)
async def test_one_of_three_servers_killed_under_load_loses_nothing(tmp_path: Path, each: int, many: int) -> None:
    with cluster(tmp_path) as servers:
        urls = [server.url for server in servers]

        async def disturb(account: Account) -> None:
            await account.confirms(2 * each)
            await asyncio.to_thread(servers[1].kill)

        make = partial(AsyncNatsQueue, urls, "jobs", replicas=3, timeout=20.0, ack_wait=2.0)
        account = await under_load(make, disturb, producers=8, consumers=8, each=each, many=many)
    assert not account.lost
    assert not account.made_up
    assert len(account.confirmed) + len(account.unknown) == 8 * each


@pytest.mark.soak
async def test_many_in_order_survive_the_end_of_the_leader(tmp_path: Path) -> None:
    with cluster(tmp_path) as servers:
        async with AsyncNatsQueue([server.url for server in servers], "jobs", replicas=3, timeout=20.0) as queue:
            engine = queue._engine
            assert engine is not None
            many = asyncio.ensure_future(queue.put_many(range(5000)))
            await until(lambda: queue.stats()["puts"] >= 1000)
            info = await streams.call(engine.wire, "STREAM.INFO.jobs")
            leader = next(server for server in servers if server.name == info["cluster"]["leader"])
            await asyncio.to_thread(leader.kill)
            assert await many == 5000
            got: list[int] = []
            while len(got) < 5000:
                got += await queue.get_many(1000, timeout=20)
            assert got == list(range(5000))
            await queue.clear()
