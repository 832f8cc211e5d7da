"""Workers, as a test sees them."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 30.0  # seconds; more means that something hangs


class Process:
    """A worker: what it says goes to a file, so that it never waits for the test to listen."""

    def __init__(self, said: Path, queue: str, path: Path, role: str, **more: Any) -> None:
        self._said = said
        job = {"queue": queue, "path": str(path), "role": role, **more}
        with said.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.sqlite.worker", json.dumps(job)],
                cwd=ROOT,
                env=os.environ | {"PYTHONASYNCIODEBUG": ""},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.PIPE,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def lines(self) -> list[str]:
        return self._said.read_text("ascii").splitlines()

    def heard(self, count: int) -> str:
        """Return the line of number *count*, the first one being 1, when it was said."""
        end = time.monotonic() + PATIENCE
        while len(lines := self.lines) < count:
            if self.process.poll() is not None and len(self.lines) < count:
                raise AssertionError(f"the worker ended: {self._errors()}")
            assert time.monotonic() < end, f"the worker hangs: {lines}"
            select.select([], [], [], 0.002)
        return lines[count - 1]

    def tell(self, line: str) -> None:
        """Want something."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, line: str) -> str:
        """Want something; return the answer."""
        before = len(self.lines)
        self.tell(line)
        return self.heard(before + 1)

    def finish(self) -> None:
        """Wait for its end, which has to be a good one."""
        _, errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, errors.decode()
        assert not errors, errors.decode()

    def kill(self) -> None:
        """As `kill -9`, and wait until it is gone."""
        self.process.send_signal(signal.SIGKILL)
        self._errors()

    def _errors(self) -> str:
        _, errors = self.process.communicate(timeout=PATIENCE)
        return bytes(errors).decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.kill()
