"""The examples of docs/ run, against a real server."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from asyncpq import AsyncQueue
from tests.cli.command import environment
from tests.forwarding.stream import payloads, until_state
from tests.nats.server import Server

EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"


def started(name: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


def numbers(records: list[bytes]) -> list[int]:
    return [json.loads(record)["number"] for record in records]


async def test_the_gateway_buffers_until_the_network_is_there(name: str, tmp_path: Path) -> None:
    server = Server(tmp_path / "server")
    with started("gateway_nats.py", server.url, name, tmp_path / "spool", "--every", 0.001, "--count", 200) as gateway:
        try:
            assert gateway.stdout is not None
            assert any("waiting: " in line for line in iter(gateway.stdout.readline, ""))
            server.start()
            out, err = gateway.communicate(timeout=50)
            assert (gateway.returncode, err) == (0, "")
            assert out.splitlines()[-1] == "done: 200 on the hub, 0 here"
            assert numbers(await payloads(server, name)) == list(range(200))
        finally:
            gateway.kill()
            server.kill()


async def test_a_gateway_that_is_stopped_has_lost_nothing(server: Server, name: str, tmp_path: Path) -> None:
    with started("gateway_nats.py", server.url, name, tmp_path / "spool", "--every", 0.001) as gateway:
        await until_state(server, name, "messages", 20)
        gateway.send_signal(signal.SIGTERM)
        _, err = gateway.communicate(timeout=50)
    assert (gateway.returncode, err) == (0, "")
    sent = numbers(await payloads(server, name))
    async with AsyncQueue(tmp_path / "spool") as queue:
        left = [(await queue.get())["number"] for _ in range(await queue.qsize())]
    assert sent + left == list(range(len(sent + left)))


def test_an_application_is_moved_by_one_line(server: Server, name: str) -> None:
    with started("move_to_nats.py", server.url, name) as moving:
        out, err = moving.communicate(timeout=50)
    assert (moving.returncode, err) == (0, "")
    assert "70 jobs were moved" in out
    assert "100 jobs in all" in out
