"""A batch that was sent and not acknowledged here: what the stream holds of it is not stored twice."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import asyncpq
from asyncpq.forwarding import records
from asyncpq.forwarding.note import NAME
from tests.forwarding.stream import api, consume, forgetful, payloads
from tests.forwarding.test_forwarding import filled, lines
from tests.nats.server import Server


class Killed(BaseException):
    """As if the process had ended here."""


async def cut_short(path: Path, server: Server, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward, and end before the note and the tail say so: all that was sent is in doubt."""

    async def dies(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("asyncpq.forwarding.forwarder.Forwarder._done", dies)
        with pytest.raises(Killed):
            await asyncpq.forward(path, server.url, name, drain=True)


async def forget(server: Server, name: str) -> None:
    """Have the server forget the keys: the duplicate window is over."""
    client_says = await api(server, f"STREAM.INFO.{name}")
    assert client_says["config"]["duplicate_window"] == 100_000_000
    await asyncio.sleep(0.5)  # the time that the server keeps them, which is what is tried here


async def test_within_the_window_the_server_tells_the_repeats(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(tmp_path / "q", list(range(30)), serializer="json")
    await cut_short(tmp_path / "q", server, name, monkeypatch)
    await consume(server, name, 30)
    report = await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert (report.items, report.repeated, report.in_doubt) == (30, 30, 0)
    assert (await api(server, f"STREAM.INFO.{name}"))["state"]["last_seq"] == 30


async def test_when_it_is_over_a_look_at_the_stream_does(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forgetful(server, name)
    await filled(tmp_path / "q", list(range(30)), serializer="json")
    await cut_short(tmp_path / "q", server, name, monkeypatch)
    await filled(tmp_path / "q", list(range(30, 40)))
    await forget(server, name)
    report = await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert (report.items, report.found, report.repeated, report.in_doubt) == (40, 30, 0, 0)
    assert await payloads(server, name) == lines(40)


async def test_a_batch_that_is_cut_anew_stays_in_doubt_to_its_end(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forgetful(server, name)
    await filled(tmp_path / "q", list(range(30)), serializer="json")
    await cut_short(tmp_path / "q", server, name, monkeypatch)
    await filled(tmp_path / "q", list(range(30, 40)))
    await forget(server, name)
    monkeypatch.setattr("asyncpq.forwarding.forwarder.BATCH", 7)
    report = await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert (report.items, report.found, report.in_doubt) == (40, 30, 0)
    assert await payloads(server, name) == lines(40)


async def test_what_was_consumed_from_the_front_is_known_to_have_been_stored(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forgetful(server, name)
    await filled(tmp_path / "q", list(range(30)), serializer="json")
    await cut_short(tmp_path / "q", server, name, monkeypatch)
    await consume(server, name, 29)
    await forget(server, name)
    report = await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert (report.found, report.in_doubt) == (30, 0)
    assert (await api(server, f"STREAM.INFO.{name}"))["state"]["last_seq"] == 30


@pytest.mark.parametrize(("wish", "stored"), [("send", 60), ("skip", 30)])
async def test_what_nobody_can_tell_is_counted_and_done_as_was_wished(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: str, stored: int
) -> None:
    await forgetful(server, name)
    await filled(tmp_path / "q", list(range(30)), serializer="json")
    await cut_short(tmp_path / "q", server, name, monkeypatch)
    await consume(server, name, 30)
    await forget(server, name)
    report = await asyncpq.forward(tmp_path / "q", server.url, name, drain=True, in_doubt=wish)
    assert (report.items, report.in_doubt) == (30, 30)
    assert (await api(server, f"STREAM.INFO.{name}"))["state"]["last_seq"] == stored


async def test_a_stream_that_was_made_anew_gets_what_is_there(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(tmp_path / "q", list(range(5)), serializer="json")
    await cut_short(tmp_path / "q", server, name, monkeypatch)
    await api(server, f"STREAM.DELETE.{name}")
    report = await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert (report.items, report.found, report.repeated) == (5, 0, 0)
    assert await payloads(server, name) == lines(5)


async def test_another_target_gets_all_that_is_here(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the note says of the first target is not true of the second."""
    await filled(tmp_path / "q", list(range(5)), serializer="json")

    async def dies(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(records.Records, "commit", dies)
        with pytest.raises(Killed):
            await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    await asyncpq.forward(tmp_path / "q", server.url, f"{name}-2", drain=True)
    assert await payloads(server, f"{name}-2") == lines(5)


async def test_a_copy_of_the_directory_is_another_directory(server: Server, name: str, tmp_path: Path) -> None:
    """Else an item that is put into both would be taken for a repeat."""
    await filled(tmp_path / "q", [1], serializer="json")
    await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    await asyncpq.copy(tmp_path / "q", tmp_path / "copy")
    assert not (tmp_path / "copy" / NAME).exists()
    for path in ("q", "copy"):
        await filled(tmp_path / path, [2], serializer="json")
        await asyncpq.forward(tmp_path / path, server.url, name, drain=True)
    assert await payloads(server, name) == [b"1\n", b"2\n", b"2\n"]


async def test_what_is_stored_before_the_place_of_the_note_is_not_sent_again(
    server: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between note and tail; the next run takes smaller batches, and the server knows no id any more."""
    await forgetful(server, name)
    await filled(tmp_path / "q", list(range(10)), serializer="json")

    async def dies(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(records.Records, "commit", dies)
        with pytest.raises(Killed):
            await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    await consume(server, name, 10)
    await forget(server, name)
    monkeypatch.setattr("asyncpq.forwarding.forwarder.BATCH", 3)
    report = await asyncpq.forward(tmp_path / "q", server.url, name, drain=True)
    assert (report.items, report.found, report.in_doubt) == (10, 10, 0)
    assert (await api(server, f"STREAM.INFO.{name}"))["state"]["last_seq"] == 10
