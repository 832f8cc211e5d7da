"""The command as a process: arguments and stdin in, stdout, stderr and exit status out; also on a terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = (sys.executable, "-m", "asyncpq")
PATIENCE: Final = 30.0  # seconds for what takes less than one


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """What a shell of a user would have."""
    left_out = ("PYTHONASYNCIODEBUG", "PYTHONUNBUFFERED", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "PYTHONWARNINGS": "error"} | more


@contextmanager
def started(*arguments: object, **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Start ``asyncpq``, each stream a pipe unless *options* say otherwise; it is gone in the end."""
    with _start(*arguments, **options) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _start(*arguments: object, program: Sequence[str] = COMMAND, **options: Any) -> "subprocess.Popen[bytes]":
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [*program, *map(os.fspath, map(_text, arguments))]
    settings: dict[str, Any] = {"env": environment()} | streams | options
    return subprocess.Popen(command, text=False, **settings)


def _text(argument: object) -> Any:
    return argument if isinstance(argument, str | bytes | os.PathLike) else str(argument)


def asyncpq(*arguments: object, stdin: bytes | str = b"", **options: Any) -> Ran:
    """Run ``asyncpq`` to its end."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    with started(*arguments, **options) as process:
        out, err = process.communicate(data, timeout=PATIENCE)
    return Ran(process.returncode, (out or b"").decode(), (err or b"").decode())


def until(holds: Callable[[], object]) -> None:
    """Return when *holds* does."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", fd: int) -> None:
        self.process, self._fd = process, fd
        self.shown = b""

    def until(self, text: bytes) -> None:
        """Read until *text* was shown."""
        until(lambda: text in self.shown or not self._read() or text in self.shown)
        assert text in self.shown, self.shown

    def press(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def end(self) -> int:
        """Read to the end; return the exit status."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], PATIENCE)
        assert ready, "nothing was shown"
        with suppress(OSError):  # the other end is closed
            if data := os.read(self._fd, 65536):
                self.shown += data
                return True
        return False


@contextmanager
def terminal(*arguments: object, shell: bool = False, more: dict[str, str] | None = None) -> Iterator[Terminal]:
    """Start ``asyncpq``, or a line of *shell*, with all its streams on a terminal that also gives it its Ctrl-C."""
    ours, theirs = pty.openpty()
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    streams |= {"env": environment(**(more or {})), "start_new_session": True, "preexec_fn": _control}
    process = _start("-c", *arguments, program=["bash"], **streams) if shell else _start(*arguments, **streams)
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(ours)


def _control() -> None:
    """Make stdin the terminal that controls this session: its Ctrl-C becomes a SIGINT."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
