"""The command in this process: the same arguments, streams and exit status, without the time that Python takes."""

from collections.abc import Callable

import pytest

from asyncpq.cli.app import run
from tests.cli.command import Ran

Command = Callable[..., Ran]


@pytest.fixture
def command(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function that runs the command with its arguments."""
    monkeypatch.delenv("PYTHONASYNCIODEBUG")

    def called(*arguments: object) -> Ran:
        capfdbinary.readouterr()
        status = run([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return Ran(status, out.decode(), err.decode())

    return called
