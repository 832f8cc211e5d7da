"""strace beside a child: it kills it before a given system call, or lets a call fail.

The child stops itself before it opens the queue; strace takes hold of it there, and of every thread that it starts.
"""

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.kill.harness import PATIENCE, Child, Server
from tests.kill.job import Job


@contextmanager
def injected(child: Child, *injections: str) -> Iterator[None]:
    """Let the child, which holds itself, go on under strace with *injections* such as "fsync:error=EIO:when=3".

    Raises:
        OSError: strace cannot take hold of it.
    """
    names = ",".join(injection.partition(":")[0] for injection in injections)
    options = [option for injection in injections for option in ("-e", f"inject={injection}")]
    _wait_until_held(child)
    process = subprocess.Popen(
        ["strace", "-f", "-o", os.devnull, "-e", f"trace={names}", *options, "-p", str(child.pid)],
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        ready = select.select([process.stderr], [], [], PATIENCE)[0]
        said = os.read(process.stderr.fileno(), 4096).decode() if ready else "nothing"
        if "attached" not in said:
            raise OSError(f"strace: {said.strip()}")
        os.kill(child.pid, signal.SIGCONT)
        yield
    finally:
        child.kill()
        process.wait(PATIENCE)
        process.communicate()


def _wait_until_held(child: Child) -> None:
    end = time.monotonic() + PATIENCE
    while child.states() != ["T"]:
        assert time.monotonic() < end, "the child does not stop itself"
        time.sleep(0.001)


@cache
def lacking() -> str:
    """Why strace cannot be used here; empty when it can."""
    if shutil.which("strace") is None:
        return "there is no strace"
    try:
        with Server() as server:
            child = server.start(Job(str(Path(os.devnull, "none")), "never", "json", 3, hold=True))
            with injected(child, "fsync:signal=SIGKILL:when=1"):
                child.wait_for("F")
    except OSError as error:
        return str(error)
    return ""


def need_strace() -> None:
    """Skip the test, with a reason, where strace cannot be used."""
    if reason := lacking():
        pytest.skip(reason)
