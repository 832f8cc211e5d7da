"""Each example does what it says, as somebody runs it who has copied it."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "docs" / "examples"
TESTED: Final = {
    "basic",
    "crawler",
    "gateway",
    "graceful_shutdown",
    "many_workers",
    "policies",
    "sqlite_update",
    "take_over",
    "web_app",
}
WITH_A_SERVER: Final = {"gateway_nats", "move_to_nats"}  # tests/forwarding/test_examples.py runs them
SECONDS: Final = 50
ENVIRONMENT: Final = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONASYNCIODEBUG": "", "PYTHONUNBUFFERED": "1"}


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "default", str(EXAMPLES / f"{name}.py"), *arguments]


def run(folder: Path, name: str, *arguments: str) -> str:
    """What the example prints; it ends well, and warns of nothing."""
    ran = subprocess.run(
        command(name, *arguments),
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


@contextlib.contextmanager
def started(folder: Path, name: str, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", IO[str]]]:
    """The example as a process, which is killed in the end if it has not ended."""
    with subprocess.Popen(
        command(name, *arguments),
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout
        finally:
            process.kill()


def test_every_example_is_tested() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} == TESTED | WITH_A_SERVER


@pytest.mark.parametrize("name", sorted(TESTED | WITH_A_SERVER))
def test_an_example_says_how_it_is_called_and_fits_on_two_pages(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text("utf-8")
    assert text.startswith('"""')
    if name != "take_over":
        assert f"python {name}.py" in text.split('"""')[1]
        assert len(text.splitlines()) <= 100
    assert not re.search(r"^\s*global ", text, re.MULTILINE)


def test_basic(tmp_path: Path) -> None:
    lines = run(tmp_path, "basic", str(tmp_path)).splitlines()
    assert lines == [
        f"stored 3 jobs in {tmp_path / 'jobs'}",
        "done with {'job': 1, 'url': 'https://example.org/'}",
        "began with {'job': 2} and did not finish",
        "done with {'job': 2}",
        "done with {'job': 3}",
        "nothing is left",
    ]


def test_many_workers(tmp_path: Path) -> None:
    lines = run(tmp_path, "many_workers").splitlines()
    assert lines[0] == "999 of 1000 jobs done by 10 workers"
    assert lines[1:] == [
        "given up after 20 attempts: {'producer': 13, 'number': 13}: ValueError: this job cannot be done"
    ]


def test_sqlite_update(tmp_path: Path) -> None:
    assert run(tmp_path, "sqlite_update").splitlines() == [
        "row 1: begins at page 0 of 5",
        "the worker died at page 3",
        "row 1: begins at page 3 of 5",
        "row 1: done",
        "1 job acknowledged, 0 left",
    ]


def test_crawler_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    """31 pages that link to each other, and each is fetched once."""
    first = run(tmp_path, "crawler", "frontier.db", "7")
    second = run(tmp_path, "crawler", "frontier.db")
    third = run(tmp_path, "crawler", "frontier.db")
    assert first.startswith("fetched 7 pages; ")
    assert (second, third) == ("fetched 24 pages; 0 to be fetched\n", "fetched 0 pages; 0 to be fetched\n")


def test_gateway(tmp_path: Path) -> None:
    lines = run(tmp_path, "gateway", "buffer").splitlines()
    arrived, waiting = (int(number) for number in re.findall(r"(\d+) (?:measurements|wait)", "\n".join(lines)))
    assert arrived <= 100
    assert arrived + waiting >= 150, "the batch that is being sent neither waits nor has arrived"
    assert lines[2] == "the network is back; 200 have arrived, in order: True"


def test_policies(tmp_path: Path) -> None:
    lines = run(tmp_path, "policies", str(tmp_path), "20").splitlines()
    assert [line.partition("(")[0] for line in lines[1:]] == ["Never", "Rollover", *["Interval"] * 3, "Always"]
    at_risk = [int(line.split()[-2]) for line in lines[1:]]
    assert at_risk[0] == 20
    assert at_risk[4] <= 10
    assert at_risk[5] == 0


FILL: Final = """
import asyncio
from asyncpq import AsyncQueue

async def main():
    async with AsyncQueue("jobs") as queue:
        await queue.put_many(range(1000))

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGTERM") or sys.platform == "win32", reason="no signals")
def test_graceful_shutdown_finishes_what_it_began_and_leaves_the_rest(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FILL], cwd=tmp_path, env=ENVIRONMENT, timeout=SECONDS, check=True)
    with started(tmp_path, "graceful_shutdown", "jobs") as (process, output):
        lines = [output.readline()]
        while "begins with 0" not in lines[-1]:
            lines.append(output.readline())
        process.send_signal(signal.SIGTERM)
        rest = output.read()  # communicate would leave out what was read ahead
        process.wait(SECONDS)
    printed = "".join(lines) + rest
    began, done = set(re.findall(r"begins with (\d+)", printed)), set(re.findall(r"done with (\d+)", printed))
    assert process.returncode == 0, printed
    assert began == done
    assert f"ended; {1000 - len(done)} jobs are left for the next start" in printed


def test_web_app_answers_at_once_and_works_in_the_background(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with started(tmp_path, "web_app", "orders", str(port)) as (process, output):
        for line in output:
            if "Running on" in line:
                break
        assert ask(port, "/orders", b'{"book": 1}') == (202, '{"accepted": true}')
        assert ask(port, "/orders", b"no json")[0] == 400
        until = time.monotonic() + SECONDS
        while '"size": 0, "in_flight": 0' not in (health := ask(port, "/health")[1]):
            assert time.monotonic() < until, health
        process.send_signal(signal.SIGINT)
        rest = output.read()
        process.wait(SECONDS)
    assert "Traceback" not in rest
    assert process.returncode in (0, 130)
    assert sorted(file.name for file in (tmp_path / "orders").glob("q*")) == ["q00000"]


def ask(port: int, path: str, body: bytes | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
