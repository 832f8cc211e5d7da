"""Starting a child, listening to it, killing it; opening what it leaves behind."""

import asyncio
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from asyncpq import AsyncQueue, QueueReader
from asyncpq.opened import Recovery
from tests.kill.job import POLICIES, Job

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 30.0  # seconds; a child that takes longer hangs
PIPE_SIZE: Final = 1024 * 1024  # bytes that a child can say before anyone listens


class Server:
    """The fork server; `with` ends it, and with it nothing that runs is left."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(PATIENCE)
        self._children: list[Child] = []
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.kill.child", str(theirs.fileno())],
                cwd=ROOT,
                env=os.environ | {"PYTHONASYNCIODEBUG": ""},
                pass_fds=[theirs.fileno()],
            )

    def start(self, job: Job) -> "Child":
        """Fork a child that does *job*."""
        ours, theirs = os.pipe()
        if sys.platform == "linux":
            fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        os.set_blocking(ours, False)
        try:
            socket.send_fds(self._socket, [json.dumps(job.as_dict()).encode()], [theirs])
        finally:
            os.close(theirs)
        child = Child(self, int(self._socket.recv(64)), ours)
        self._children.append(child)
        return child

    def reap(self, pid: int) -> None:
        """Return when the killed child has gone, and all its files are closed."""
        self._socket.send(json.dumps(pid).encode())
        self._socket.recv(64)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for child in self._children:
                child.kill()
        finally:
            self._socket.close()
            self._process.wait(PATIENCE)


class Child:
    """A process that uses a queue."""

    def __init__(self, server: Server, pid: int, pipe: int) -> None:
        self._server, self.pid, self._pipe = server, pid, pipe
        self.marks = b""
        self.alive = True

    def listen(self, seconds: float) -> bool:
        """Take in what it says within *seconds*; False when it has said all."""
        end = time.monotonic() + seconds
        while True:
            left = max(0.0, end - time.monotonic())
            if not select.select([self._pipe], [], [], left)[0]:
                return True
            heard = os.read(self._pipe, PIPE_SIZE)
            if not heard:
                return False
            self.marks += heard
            if not left:
                return True

    def wait_for(self, letter: str) -> None:
        """Return when it has made this mark, or no mark can follow."""
        word, end = letter.encode() + b" ", time.monotonic() + PATIENCE
        while not any(line.startswith(word) for line in self.marks.splitlines()):
            assert time.monotonic() < end, f"the child hangs: {self.marks[-500:]!r}"
            if not self.listen(0.0 if select.select([self._pipe], [], [], 0.1)[0] else 0.001):
                return

    def stop(self) -> None:
        """Return when none of its threads runs any more."""
        os.kill(self.pid, signal.SIGSTOP)
        end = time.monotonic() + PATIENCE
        while any(state not in "TZX" for state in self.states()):
            assert time.monotonic() < end, "the child cannot be stopped"
            time.sleep(0.0005)

    def states(self) -> list[str]:
        states = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                states.append((task / "stat").read_text("ascii").rpartition(")")[2].split()[0])
        return states

    def kill(self) -> bytes:
        """Kill it, and return all that it said."""
        if self.alive:
            self.alive = False
            os.kill(self.pid, signal.SIGKILL)
            while self.listen(PATIENCE):
                pass
            os.close(self._pipe)
            self._server.reap(self.pid)
        return self.marks


def drain(job: Job) -> tuple[list[Any], Recovery]:
    """Open the directory and return all that can be got; nothing is marked as done, so all of it stays.

    Closed and opened again, it holds the same, and nothing more is healed.
    """
    items, healed = asyncio.run(_drain(job), debug=False)
    again, more = asyncio.run(_drain(job), debug=False)
    assert again == items
    assert not more
    return items, healed


async def _drain(job: Job) -> tuple[list[Any], Recovery]:
    async with AsyncQueue(
        job.path, chunksize=job.chunksize, serializer=job.serializer, fsync=POLICIES[job.policy]
    ) as queue:
        healed = queue.recovery
        size = await queue.qsize()
        items = [await queue.get(block=False) for _ in range(size)]
        assert await queue.empty()
    async with QueueReader(job.path) as reader:
        assert reader.size == size
    return items, healed


def drain_a_copy(job: Job, where: Path) -> tuple[list[Any], Recovery]:
    """Do as `drain` with a copy: the directory stays as the kill left it."""
    copy = where / "copy"
    shutil.copytree(job.path, copy)
    try:
        return drain(Job(**(job.as_dict() | {"path": str(copy)})))
    finally:
        shutil.rmtree(copy)
