"""Beside a live writer, and on a full disk."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from asyncpq import AsyncQueue
from asyncpq.cli.following import Rates, Sample, rates
from tests.cli.command import Ran, asyncpq, environment, started, terminal
from tests.cli.conftest import Command
from tests.power import mounts
from tests.power.mounts import MIB
from tests.unit.queue_dirs import make, tree

# Puts and takes numbers, one after the other, until stdin ends.
WRITER = """
import asyncio, sys
import asyncpq

async def main(path):
    kind = asyncpq.AsyncQueue if sys.argv[2] == "file" else asyncpq.AsyncSQLiteQueue
    async with kind(path, **({"chunksize": 10} if sys.argv[2] == "file" else {"auto_commit": False})) as queue:
        await queue.put_many(range(100))
        print("ready", flush=True)
        ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
        number = 100
        while not ended.done():
            await queue.put(number)
            number += 1
            await queue.get()
            await queue.task_done()
            await asyncio.sleep(0.002)

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(params=["file", "sqlite"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A queue of 100 to 101 numbers in a row that another process uses."""
    path = tmp_path / ("jobs" if request.param == "file" else "jobs.db")
    command = [sys.executable, "-c", WRITER, str(path), request.param]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=False, env=environment(), **pipes) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == b"ready\n"
            yield path
            assert process.poll() is None
            process.communicate(timeout=30)
            assert process.returncode == 0
        finally:
            if process.poll() is None:
                process.kill()


def in_a_row(lines: str) -> bool:
    """Whether these are some numbers, each one more than the one before."""
    numbers = [int(line) for line in lines.splitlines()]
    return bool(numbers) and numbers == [*range(numbers[0], numbers[-1] + 1)]


def rising(lines: str) -> bool:
    """Whether these are some numbers in order, none twice; what is consumed meanwhile may be left out."""
    numbers = [int(line) for line in lines.splitlines()]
    return bool(numbers) and numbers == sorted(set(numbers))


def test_export_beside_a_writer_writes_no_item_twice(live: Path, command: Command) -> None:
    for _ in range(5):
        ran = command("export", live)
        assert (ran.status, ran.err) == (0, "")
        assert rising(ran.out)


def test_peek_and_info_work_beside_a_writer(live: Path, command: Command) -> None:
    for _ in range(3):
        ran = command("peek", "-n", 5, live)
        assert (ran.status, len(ran.out.split())) == (0, 5)
        assert rising(ran.out)
        # What is taken between the look at info and the one at the chunks is left out: a chunk of 10, at most.
        assert 90 <= json.loads(command("info", "--json", live).out)["items"] <= 101


@pytest.mark.soak
def test_a_check_that_a_writer_outruns_says_to_check_a_copy(tmp_path: Path, command: Command) -> None:
    """And one beside a writer that rests is a check like any other."""

    async def checked(during: Callable[[AsyncQueue], Awaitable[None]]) -> Ran:
        async with AsyncQueue(tmp_path / "jobs") as queue:
            await queue.put_many(range(5_000))
            checking = asyncio.ensure_future(asyncio.to_thread(command, "check", tmp_path / "jobs"))
            while not checking.done():
                await during(queue)
            ran: Ran = await checking
            return ran

    ran = asyncio.run(checked(lambda queue: queue.put(1)), debug=False)
    assert ran.status == 1
    assert ran.err.endswith(f"check a copy: asyncpq copy {tmp_path / 'jobs'} COPY\n")
    ran = asyncio.run(checked(lambda queue: asyncio.sleep(0.01)), debug=False)
    assert ran.status == 0
    assert "open elsewhere  yes" in ran.out


def test_a_copy_beside_a_writer_is_whole(live: Path, command: Command, tmp_path: Path) -> None:
    for number in range(3):
        target = tmp_path / f"copy {number}"
        ran = command("copy", live, target)
        assert (ran.status, ran.err) == (0, "")
        assert command("check", target).status == 0
        copied = command("export", target).out
        assert in_a_row(copied)
        assert 80 <= len(copied.split()) <= 120  # what was taken meanwhile may be left out


def test_tail_counts_what_goes_in_and_out(live: Path) -> None:
    with started("tail", "--interval", 0.2, "-n", 3, live) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    first, *others = out.decode().splitlines()
    assert re.match(rf"{re.escape(str(live))}  10[01] items  .*B.*  oldest 0 s", first)
    for line in others:
        found = re.search(r" ([\d,]+)\.\d/s in  ([\d,]+)\.\d/s out", line)
        assert found, line
        assert all(int(count.replace(",", "")) > 5 for count in found.groups()), line


def test_tail_on_a_terminal_refreshes_in_place_until_ctrl_c(live: Path) -> None:
    with terminal("tail", "--interval", "0.05", live, more={"COLUMNS": "200"}) as shown:
        shown.until(b"/s out")
        shown.press(b"\x03")
        assert shown.end() == 0
    assert shown.shown.count(b"\x1b[2K") > 1
    assert b"interrupted" not in shown.shown


def sample(at: float, items: int, put: int | None) -> Sample:
    return Sample(at, items, put, 0, None, None, None)


def test_rates_come_from_what_was_put_and_what_is_left() -> None:
    assert rates(sample(1, 10, 100), sample(3, 14, 120)) == Rates(put=10, taken=8)
    assert rates(sample(1, 10, 100), sample(3, 0, 100)) == Rates(put=0, taken=5)
    assert rates(sample(1, 10, None), sample(3, 0, None)) is None
    assert rates(sample(1, 10, 100), sample(1, 10, 100)) is None


def test_tail_of_a_queue_that_goes_away_says_so(tmp_path: Path) -> None:
    made = make(tmp_path / "jobs", "json")
    with started("tail", "--interval", "0.05", made.path) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        made.path.rename(tmp_path / "gone")
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, f"asyncpq: {made.path}: there is nothing at this path\n".encode())


def test_tail_ends_with_0_when_it_is_interrupted(tmp_path: Path) -> None:
    made = make(tmp_path / "jobs", "json")
    with started("tail", made.path) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


# -- a full disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def small() -> Iterator[Path]:
    """A file system of 1 MiB."""
    if reason := mounts.no_tmpfs():
        pytest.skip(reason)
    with mounts.memory(MIB) as folder:
        yield folder


def test_an_import_that_does_not_fit_says_what_is_stored(small: Path) -> None:
    line = json.dumps("x" * 1000) + "\n"
    ran = asyncpq("import", small / "jobs", stdin=line * 2000)
    assert ran.status == 1
    found = re.fullmatch(r"asyncpq: .*/jobs: No space left on device; (\S+) items stored, up to line (\S+)\n", ran.err)
    assert found, ran.err
    count = int(found[1].replace(",", ""))
    assert found[1] == found[2]
    assert count > 0
    assert asyncpq("export", small / "jobs").out == line * count


def test_a_repair_whose_copies_do_not_fit_changes_nothing(small: Path) -> None:
    made = make(small / "jobs", "json", items=50, consumed=0)
    data = made.chunk(4).read_bytes()
    made.chunk(4).write_bytes(b"\xff" * made.width + data[made.width :])
    with (small / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    before = tree(made.path)
    ran = asyncpq("repair", made.path)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.count("\n") == 1
    assert "No space left on device" in ran.err
    assert {name: data for name, data in tree(made.path).items() if name != "damaged"} == before


def test_an_export_to_a_full_disk_is_an_error(tmp_path: Path) -> None:
    made = make(tmp_path / "jobs", "json", items=2000, consumed=0)
    with Path("/dev/full").open("wb") as full:
        ran = asyncpq("export", made.path, stdout=full)
    assert (ran.status, ran.err) == (1, "asyncpq: No space left on device\n")
