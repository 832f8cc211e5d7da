"""What a queue on the server holds, looked at from outside of the package."""

import asyncio
import json
from typing import Any, Final

import nats

from asyncpq.nats.streams import Settings
from tests.nats.server import Server

PREFIX: Final = "$JS.API"
PATIENCE: Final = 30.0


async def payloads(server: Server, name: str) -> list[bytes]:
    """All that was ever stored, in order; nothing of it may have been consumed."""
    return [message.data for message in await messages(server, name)]


async def messages(server: Server, name: str) -> list[Any]:
    client = await nats.connect(server.url)
    try:
        js = client.jetstream()
        state = (await js.stream_info(name)).state
        assert state.messages == state.last_seq, "something was consumed"
        found: list[Any] = []
        for start in range(1, state.last_seq + 1, 200):
            numbers = range(start, min(start + 200, state.last_seq + 1))
            found += await asyncio.gather(*(js.get_msg(name, number) for number in numbers))
        return found
    finally:
        await client.close()


async def api(server: Server, what: str, body: Any = None) -> Any:
    """Ask JetStream."""
    client = await nats.connect(server.url)
    try:
        answer = await client.request(f"{PREFIX}.{what}", b"" if body is None else json.dumps(body).encode(), timeout=5)
        return json.loads(answer.data)
    finally:
        await client.close()


async def forgetful(server: Server, name: str) -> None:
    """Make the queue; its server knows repeats for a tenth of a second only."""
    stream = Settings(name, duplicate_window=0.1).stream
    assert "error" not in await api(server, f"STREAM.CREATE.{name}", stream)


async def consume(server: Server, name: str, count: int) -> None:
    """Take the first *count* messages out, as a consumer would."""
    client = await nats.connect(server.url)
    try:
        subscription = await client.jetstream().pull_subscribe(f"asyncpq.{name}", durable="asyncpq", stream=name)
        left = count
        while left:
            for message in await subscription.fetch(left, timeout=5):
                await message.ack_sync()
                left -= 1
    finally:
        await client.close()


async def until(holds: Any) -> None:
    """Return when *holds* does."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while not holds():
        assert asyncio.get_running_loop().time() < end, "it never came"
        await asyncio.sleep(0.005)


async def until_state(server: Server, name: str, what: str, count: int) -> None:
    """Return when the stream has *count* of *what*, or more."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while (await api(server, f"STREAM.INFO.{name}")).get("state", {}).get(what, 0) < count:
        assert asyncio.get_running_loop().time() < end, "it never came"
        await asyncio.sleep(0.01)
