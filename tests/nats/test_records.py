"""Records on a server: every serializer, and what is read is not trusted."""

from pathlib import Path
from typing import Any

import pytest

from asyncpq import AsyncNatsQueue, CorruptMessage, dead_letters
from asyncpq.nats import headers
from asyncpq.nats.held import held_from
from tests.nats.server import Server

RAN: list[str] = []


class Trap:
    """Says so when its pickle is run."""

    def __reduce__(self) -> Any:
        return RAN.append, ("it ran",)


async def publish(queue: AsyncNatsQueue, record: bytes, **more: str) -> None:
    """Store *record* as somebody else's program would."""
    engine = queue._engine
    assert engine is not None
    await engine.wire.ask(f"asyncpq.{queue.name}", record, {key.replace("_", "-"): more[key] for key in more} or None)


# -- what is read is not trusted ------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["json", "orjson", "msgpack", "cbor2"])
async def test_records_of_another_serializer_that_runs_nothing_are_read(
    server: Server, name: str, written: str
) -> None:
    async with AsyncNatsQueue(server.url, name, serializer=written) as queue:
        await queue.put({"a": 1})
    async with AsyncNatsQueue(server.url, name, serializer="json") as queue:
        assert await queue.get() == {"a": 1}


async def test_a_pickle_is_run_only_where_the_queue_was_opened_with_pickle(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name) as queue:
        await queue.put(Trap())
    async with AsyncNatsQueue(server.url, name, serializer="json") as queue:
        for _ in range(2):
            with pytest.raises(CorruptMessage, match=r"message 1: .* written with pickle"):
                await queue.get()
    assert not RAN


@pytest.mark.parametrize(
    ("record", "more"),
    [
        (b"", {}),
        (b"{", {}),
        (b"\xff\xff\xff\xff", {"Asyncpq_Serializer": "msgpack"}),
        (b"1\n", {"Asyncpq_Serializer": "os"}),
        (b"1\n", {"Asyncpq_Serializer": "a" * 3000}),
    ],
)
async def test_what_cannot_be_decoded_is_an_error_or_a_dead_letter(
    server: Server, name: str, record: bytes, more: dict[str, str], tmp_path: Path
) -> None:
    async with AsyncNatsQueue(server.url, name, serializer="json") as queue:
        await publish(queue, record, **more)
        await queue.put("good")
        with pytest.raises(CorruptMessage, match="message 1: it cannot be decoded") as corrupt:
            await queue.get()
        assert len(str(corrupt.value)) < 600
    async with AsyncNatsQueue(server.url, name, serializer="json", dead_letters=tmp_path / "dead") as queue:
        assert await queue.get() == "good"
    assert [letter.record async for letter in dead_letters(tmp_path / "dead")] == [record]


@pytest.mark.parametrize(
    "reply", ["", "x", "$JS.ACK.a.b.c.d.e.f.g", "$JS.ACK." + "9." * 5 + "x.9", "$JS.ACK." + "a." * 20]
)
def test_a_message_that_is_no_item_is_none(reply: str) -> None:
    class Message:
        headers, data = None, b""

    Message.reply = reply  # type: ignore[attr-defined]
    assert held_from(Message, 0.0) is None  # type: ignore[arg-type]


def test_headers_are_judged_by_what_they_may_run() -> None:
    from asyncpq import serializers

    own = serializers.get("json")
    assert headers.serializer_for(None, own) is own
    assert headers.serializer_for({"Asyncpq-Serializer": "msgpack"}, own).NAME == "msgpack"
    with pytest.raises(ValueError, match="not opened with"):
        headers.serializer_for({"Asyncpq-Serializer": "pickle"}, own)


# -- serializers ----------------------------------------------------------------------------------------------------


class Lines:
    """A serializer of the user's own."""

    def dump(self, value: str, fp: Any) -> None:
        fp.write(value.encode() + b"\n")

    def load(self, fp: Any) -> str:
        line: bytes = fp.readline()
        return line[:-1].decode()


class SlowLines:
    """The same, with coroutine functions."""

    async def dump(self, value: str, fp: Any) -> None:
        await fp.write(value.encode() + b"\n")

    async def load(self, fp: Any) -> str:
        line: bytes = await fp.readline()
        return line[:-1].decode()


@pytest.mark.parametrize("autosave", [False, True])
@pytest.mark.parametrize("serializer", [Lines(), SlowLines(), "pickle", "json", "orjson", "msgpack", "cbor2"])
async def test_every_serializer_works(server: Server, name: str, serializer: Any, autosave: bool) -> None:
    async with AsyncNatsQueue(server.url, name, serializer=serializer, autosave=autosave) as queue:
        await queue.put("one")
        await queue.put_many(["two", "three"])
        assert [await queue.peek(), await queue.get(), *await queue.get_many(5)] == ["one", "one", "two", "three"]
        await queue.put("four")
        assert (await queue.claim()).item == "four"


async def test_an_item_that_cannot_be_serialized_stores_nothing(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name, serializer="json") as queue:
        for call in (queue.put(object()), queue.put_many(["a", object()])):
            with pytest.raises(TypeError):
                await call
        assert await queue.empty()
