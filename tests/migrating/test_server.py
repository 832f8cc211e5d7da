"""To a queue on a server and back: every record, in order, and nothing that is not whole can be opened."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import pytest

import asyncpq
from asyncpq import AsyncNatsQueue, AsyncQueue, InTheWay, MigrationError, NotAQueue, Unfit, Unreadable
from asyncpq.migrating.directory import DirectoryTarget
from asyncpq.migrating.ontoserver import StreamTarget
from tests.forwarding.stream import api, payloads
from tests.migrating.moving import items, theirs
from tests.nats.conftest import name, server
from tests.nats.server import Server

__all__ = ["name", "server"]

VALUES: Final[list[Any]] = [{"n": n, "text": "x" * (n % 7)} for n in range(60)]


async def state(server: Server, name: str) -> Any:
    return (await api(server, f"STREAM.INFO.{name}")).get("state")


@pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack", "cbor2"])
async def test_there_and_back_every_record_is_the_same(
    server: Server, name: str, tmp_path: Path, serializer: str
) -> None:
    source = theirs(tmp_path / "source", VALUES)
    there = await asyncpq.migrate(source, f"{server.url}/{name}", serializer=serializer)
    assert (there.items, there.serializer, str(there.target)) == (60, serializer, f"{server.url}/{name}")
    back = await asyncpq.migrate(f"{server.url}/{name}", tmp_path / "back")
    assert (back.items, back.digest, back.serializer) == (60, there.digest, serializer)
    assert items(tmp_path / "back") == VALUES
    assert (await state(server, name))["messages"] == 60  # nothing was consumed


async def test_the_queue_can_be_used_afterwards(server: Server, name: str, tmp_path: Path) -> None:
    source = theirs(tmp_path / "source", VALUES[:5])
    await asyncpq.migrate(source, f"{server.url}/{name}", serializer="json")
    async with AsyncNatsQueue(server.url, name, serializer="json") as queue:
        assert [await queue.get() for _ in range(5)] == VALUES[:5]
        await queue.task_done()


async def test_to_a_database_and_from_one(server: Server, name: str, tmp_path: Path) -> None:
    source = theirs(tmp_path / "source", VALUES)
    await asyncpq.migrate(source, f"{server.url}/{name}")
    await asyncpq.migrate(f"{server.url}/{name}", f"sqlite:{tmp_path}/db#mail")
    report = await asyncpq.migrate(f"sqlite:{tmp_path}/db#mail", f"{server.url}/{name}-2")
    assert report.items == 60
    assert await payloads(server, name) == await payloads(server, f"{name}-2")


async def test_from_server_to_server(server: Server, name: str, tmp_path: Path) -> None:
    await asyncpq.migrate(theirs(tmp_path / "source", VALUES), f"{server.url}/{name}")
    await asyncpq.migrate(f"{server.url}/{name}", f"{server.url}/{name}-2")
    assert await payloads(server, name) == await payloads(server, f"{name}-2")


async def test_a_queue_with_messages_is_in_the_way_and_stays(server: Server, name: str, tmp_path: Path) -> None:
    async with AsyncNatsQueue(server.url, name) as queue:
        await queue.put(1)
    with pytest.raises(InTheWay, match="holds 1 messages already"):
        await asyncpq.migrate(theirs(tmp_path / "source", VALUES), f"{server.url}/{name}")
    assert (await state(server, name))["messages"] == 1


async def test_an_empty_queue_is_filled_and_keeps_its_settings(server: Server, name: str, tmp_path: Path) -> None:
    async with AsyncNatsQueue(server.url, name, maxsize=1000) as queue:
        await queue.put(1)
        await queue.get()
        await queue.task_done()
    await asyncpq.migrate(theirs(tmp_path / "source", VALUES), f"{server.url}/{name}")
    async with AsyncNatsQueue(server.url, name, maxsize=1000) as queue:
        assert await queue.qsize() == 60


class Crash(BaseException):
    """As if the process had ended."""


async def cut_short(server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrate, and end before anything is verified, with nobody left to remove what was built."""

    def dies(target: StreamTarget) -> Any:
        target._marked = False
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(StreamTarget, "verify", dies)
        with pytest.raises(Crash):
            await asyncpq.migrate(theirs(tmp_path / "source", VALUES), f"{server.url}/{name}")


async def test_what_a_crash_left_is_no_queue_and_is_made_anew(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cut_short(server, name, tmp_path, monkeypatch)
    assert (await state(server, name))["messages"] == 60
    with pytest.raises(NotAQueue, match="being filled by asyncpq migrate"):
        await AsyncNatsQueue(server.url, name).qsize()
    with pytest.raises(NotAQueue):
        await asyncpq.forward(tmp_path / "source", server.url, name, drain=True)
    with pytest.raises(NotAQueue):
        await asyncpq.migrate(f"{server.url}/{name}", tmp_path / "back")
    report = await asyncpq.migrate(tmp_path / "source", f"{server.url}/{name}")
    assert (report.items, (await state(server, name))["messages"]) == (60, 60)


async def test_a_target_that_is_not_what_was_written_is_removed(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody puts into the stream while it is filled."""
    finish = StreamTarget.finish

    async def ask(target: StreamTarget) -> None:
        await target._server.wire.ask(f"asyncpq.{name}", b"another")

    def disturbing(target: StreamTarget) -> None:
        finish(target)
        target._server.run(ask(target))

    monkeypatch.setattr(StreamTarget, "finish", disturbing)
    with pytest.raises(MigrationError, match="other messages came into it"):
        await asyncpq.migrate(theirs(tmp_path / "source", VALUES), f"{server.url}/{name}")
    assert await state(server, name) is None


async def test_what_the_target_cannot_carry_is_refused_before_anything_is_made(
    server: Server, name: str, tmp_path: Path
) -> None:
    source = theirs(tmp_path / "source", [(1, 2)])
    with pytest.raises(Unfit):
        await asyncpq.migrate(source, f"{server.url}/{name}", serializer="json")
    assert await state(server, name) is None
    report = await asyncpq.migrate(source, f"{server.url}/{name}", serializer="json", lossy=True)
    assert report.losses[0].kind == "tuples"
    assert await payloads(server, name) == [b"[1, 2]\n"]


async def test_what_cannot_be_read_is_set_aside_beside_the_source(server: Server, name: str, tmp_path: Path) -> None:
    async with AsyncQueue(tmp_path / "source", serializer="json") as queue:
        await queue.put_many([11, 22, 33])
    chunk = tmp_path / "source" / "q00000"
    chunk.write_bytes(chunk.read_bytes().replace(b"22", b"2{"))
    with pytest.raises(Unreadable):
        await asyncpq.migrate(tmp_path / "source", f"{server.url}/{name}")
    assert await state(server, name) is None
    report = await asyncpq.migrate(tmp_path / "source", f"{server.url}/{name}", skip_bad=True)
    assert (report.items, report.set_aside) == (2, 1)
    assert json.loads((tmp_path / "source.bad.jsonl").read_text())["where"] == "q00000 at byte 3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "source.bad.jsonl"]


async def test_a_message_that_is_no_record_is_bad(server: Server, name: str, tmp_path: Path) -> None:
    async with AsyncNatsQueue(server.url, name, serializer="json") as queue:
        await queue.put_many([1, 2])
    async with AsyncNatsQueue(server.url, name, serializer="msgpack") as queue:
        await queue.put(3)
    with pytest.raises(Unreadable, match="message 3"):
        await asyncpq.migrate(f"{server.url}/{name}", tmp_path / "back")
    report = await asyncpq.migrate(f"{server.url}/{name}", tmp_path / "back", skip_bad=True)
    assert (report.items, report.set_aside) == (2, 1)


async def test_a_source_that_is_used_meanwhile_is_refused(server: Server, name: str, tmp_path: Path) -> None:
    async with AsyncNatsQueue(server.url, name, serializer="json") as queue:
        await queue.put_many(list(range(50)))
        finish = DirectoryTarget.finish
        loop = asyncio.get_running_loop()

        def later(target: DirectoryTarget) -> None:
            asyncio.run_coroutine_threadsafe(queue.put(1), loop).result()
            finish(target)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DirectoryTarget, "finish", later)
            with pytest.raises(MigrationError, match="was changed"):
                await asyncpq.migrate(f"{server.url}/{name}", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("nats://localhost", "back"), {}, "names no queue"),
        (("nats://localhost/a", None), {"in_place": True}, "own name"),
        (("jobs", "nats://localhost/a"), {"chunksize": 5}, "neither classes nor chunks"),
    ],
)
async def test_arguments_that_make_no_sense(arguments: Any, options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        await asyncpq.migrate(*arguments, **options)
