"""``asyncpq forward`` as a process: its report, its exit statuses, its signals, and that it tells no secret."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncpq import AsyncQueue
from tests.cli.command import Ran, asyncpq, environment, started
from tests.forwarding.stream import payloads
from tests.nats.conftest import name, server
from tests.nats.server import Server, free_port, running

__all__ = ["name", "server"]

SECRET = "s3cret-of-nobody"


def filled(path: Path, items: list[Any]) -> Path:
    async def fill() -> None:
        async with AsyncQueue(path, serializer="json") as queue:
            await queue.put_many(items)

    asyncio.run(fill())
    return path


def test_a_drained_directory_is_told_about(server: Server, name: str, tmp_path: Path) -> None:
    filled(tmp_path / "q", [1, 2, 3])
    ran = asyncpq("forward", tmp_path / "q", server.url, name, "--drain")
    assert (ran.status, ran.err) == (0, "")
    assert "items  3 items, 6 bytes" in ran.out
    assert asyncio.run(payloads(server, name)) == [b"1\n", b"2\n", b"3\n"]


def test_what_is_damaged_stops_it_and_with_skip_bad_the_status_says_so(
    server: Server, name: str, tmp_path: Path
) -> None:
    path = filled(tmp_path / "q", [11, 22, 33])
    chunk = path / "q00000"
    chunk.write_bytes(chunk.read_bytes().replace(b"22", b"2{"))
    ran = asyncpq("forward", path, server.url, name, "--drain")
    assert ran.status == 1
    assert "q00000" in ran.err
    ran = asyncpq("forward", path, server.url, name, "--drain", "--skip-bad", "--json")
    assert ran.status == 4
    report = json.loads(ran.out)
    assert (report["items"], report["set_aside"], report["bad_file"]) == (1, 1, f"{path}.bad.jsonl")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0_after_what_was_on_its_way(
    server: Server, name: str, tmp_path: Path, number: signal.Signals
) -> None:
    filled(tmp_path / "q", list(range(40)))
    with started("forward", tmp_path / "q", server.url, name, "--json") as process:
        until_stored(server, name, 40)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    assert (json.loads(out)["items"], json.loads(out)["left"]) == (40, 0)


def until_stored(server: Server, name: str, count: int) -> None:
    from tests.forwarding.stream import until_state

    asyncio.run(until_state(server, name, "last_seq", count))


def test_a_signal_while_the_server_is_away_ends_a_drain_with_status_130(name: str, tmp_path: Path) -> None:
    filled(tmp_path / "q", [1, 2])
    with started(
        "forward", tmp_path / "q", f"nats://127.0.0.1:{free_port()}", name, "--drain", "--timeout", "0.2"
    ) as process:
        assert process.stderr is not None
        assert b"waiting, since" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"interrupted; 2 items stayed" in err


def test_a_directory_that_another_process_has_open_is_refused(server: Server, name: str, tmp_path: Path) -> None:
    filled(tmp_path / "q", [1])
    with started("forward", tmp_path / "q", server.url, name, "--json") as process:
        until_stored(server, name, 1)
        ran = asyncpq("forward", tmp_path / "q", server.url, name, "--drain")
        assert ran.status == 1
        assert "open" in ran.err
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_patience_ends_with_an_error(name: str, tmp_path: Path) -> None:
    filled(tmp_path / "q", [1])
    address = f"nats://127.0.0.1:{free_port()}"
    ran = asyncpq("forward", tmp_path / "q", address, name, "--drain", "--patience", "0", "--timeout", "0.2")
    assert ran.status == 1
    assert "no answer within" in ran.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["none", "nats://localhost", "n"], 1, "there is no directory"),
        (["data.db", "nats://localhost", "n"], 1, "'asyncpq migrate' moves"),
        (["q", "http://localhost", "n"], 1, "nats://host:port"),
        (["q", "nats://localhost", "a.b"], 1, "letters, digits"),
        (["q", "nats://localhost", "n", "--user", "u"], 1, "ASYNCPQ_NATS_PASSWORD"),
        (["q", "nats://localhost"], 2, "--help"),
    ],
    ids=str,
)
def test_an_error_is_one_line_with_the_way_out(
    arguments: list[str], status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    filled(tmp_path / "q", [1])
    (tmp_path / "data.db").write_bytes(b"")
    ran: Ran = asyncpq("forward", *arguments)
    assert (ran.status, ran.out) == (status, "")
    assert said in ran.err.splitlines()[-1]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("guarded"), more=f'authorization {{ user: u, password: "{SECRET}" }}') as one:
        yield one


def test_a_password_comes_from_the_environment_and_is_never_shown(guarded: Server, name: str, tmp_path: Path) -> None:
    filled(tmp_path / "q", [1])
    told = ["forward", tmp_path / "q", guarded.url, name, "--drain", "--debug"]
    ran = asyncpq(*told, "--user", "u", env=environment(ASYNCPQ_NATS_PASSWORD=SECRET))
    assert (ran.status, ran.err) == (0, "")
    assert SECRET not in ran.out
    filled(tmp_path / "q", [2])
    wrong = "wrong-" + SECRET
    ran = asyncpq(*told, "--user", "u", env=environment(ASYNCPQ_NATS_PASSWORD=wrong))
    assert ran.status == 1
    assert SECRET not in ran.out + ran.err
    assert "check token, user and password" in ran.err


def test_a_login_in_the_address_works_and_is_warned_of(guarded: Server, name: str, tmp_path: Path) -> None:
    filled(tmp_path / "q", [1])
    address = guarded.url.replace("://", f"://u:{SECRET}@")
    ran = asyncpq("forward", tmp_path / "q", address, name, "--drain")
    assert ran.status == 0
    assert "can be seen by everybody" in ran.err
    assert SECRET not in ran.out + ran.err


def test_migrate_goes_to_a_server_and_back(server: Server, name: str, tmp_path: Path) -> None:
    path = filled(tmp_path / "q", [1, 2, 3])
    ran = asyncpq("migrate", path, f"{server.url}/{name}")
    assert (ran.status, ran.err) == (0, "")
    assert f"target   {server.url}/{name}: queue on NATS, json" in ran.out
    ran = asyncpq("migrate", f"{server.url}/{name}", tmp_path / "back", "--json")
    assert (ran.status, json.loads(ran.out)["items"]) == (0, 3)
    assert (tmp_path / "back" / "q00000").read_bytes() == b"1\n2\n3\n"


def test_migrate_logs_in_and_shows_no_secret(guarded: Server, name: str, tmp_path: Path) -> None:
    path = filled(tmp_path / "q", [1, 2, 3])
    told = ["--user", "u", "--json", "--debug"]
    env = environment(ASYNCPQ_NATS_PASSWORD=SECRET)
    ran = asyncpq("migrate", path, f"{guarded.url}/{name}", *told, env=env)
    assert (ran.status, ran.err) == (0, "")
    address = guarded.url.replace("://", f"://u:{SECRET}@")
    ran = asyncpq("migrate", f"{address}/{name}", tmp_path / "back", "--json")
    assert ran.status == 0
    assert SECRET not in ran.out + ran.err
    assert "can be seen by everybody" in ran.err
    ran = asyncpq("migrate", f"{address}x/{name}", tmp_path / "back2", "--debug")
    assert ran.status == 1
    assert SECRET not in ran.out + ran.err


@pytest.mark.parametrize(
    "command", ["info", "peek", "check", "export", "put", "get", "copy", "tail", "repair", "import"]
)
def test_the_other_commands_are_for_disks(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from asyncpq.cli.app import run

    more = ["there"] if command == "copy" else []
    assert run([command, "nats://localhost:4222/jobs", *more]) == 2
    assert list(tmp_path.iterdir()) == []
