"""What strace writes is read right: what it says of a program whose calls are known."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from asyncpq.bench.calls import TRACED, counts_of
from asyncpq.bench.counting import OPTIONS
from asyncpq.bench.result import Counts

PLACE: Final = "/disk/with <a>, strange \\320\\226 name/asyncpq-bench-0123abcd/c0007"
BEGIN: Final = '1 1.0 write(3</dev/null<char 1:3>>, "begin 7", 7) = 7'
ACK: Final = '1 3.0 write(3</dev/null>, "ack 2", 5) = 5'
END: Final = '1 4.0 write(3</dev/null>, "end 7", 5) = 5'


def counted(*lines: str) -> Counts:
    return counts_of([BEGIN, *lines, END])[7]


def test_writes_and_syncs_of_the_queue_count_and_others_do_not() -> None:
    counts = counted(
        f'1 1.1 pwrite64(5<{PLACE}/queue/q00000>, "abc"..., 300, 0) = 300',
        '1 1.2 write(1</dev/pts/0>, "progress", 8) = 8',
        "1 1.2 fsync(9</somewhere/else>) = 0",
        f'1 1.3 pwrite64(6<{PLACE}/queue.db-shm>, "", 1, 32767) = 1',
        f"1 1.4 fdatasync(5<{PLACE}/queue/q00000>) = 0",
        ACK,
    )
    assert (counts.puts, counts.bytes, counts.syncs, counts.at_risk) == (2, 300, 1, 0)


def test_a_sync_covers_what_was_written_before_it_began() -> None:
    write = f'1 1.1 write(5<{PLACE}/q>, "a", 1) = 1'
    began, done = f"2 1.2 fsync(5<{PLACE}/q> <unfinished ...>", "2 1.4 <... fsync resumed>) = 0"
    assert counted(write, began, done, ACK).at_risk == 0
    assert counted(began, write, done, ACK).at_risk == 2


def test_a_call_that_failed_did_nothing() -> None:
    write = f'1 1.1 write(5<{PLACE}/q>, "a", 1) = 1'
    failed = f"1 1.2 fsync(5<{PLACE}/q>) = -1 EIO (Input/output error)"
    full = f'1 1.1 write(5<{PLACE}/q>, "a", 1) = -1 ENOSPC (No space left on device)'
    counts = counted(write, failed, full, ACK)
    assert (counts.bytes, counts.syncs, counts.at_risk) == (1, 0, 2)


def test_a_name_is_made_by_the_first_open_only() -> None:
    new = f'1 1.1 openat(AT_FDCWD</>, "{PLACE}/db-journal", O_RDWR|O_CREAT, 0644) = 5<{PLACE}/db-journal>'
    assert counted(new, ACK).at_risk == 2
    assert counts_of([new, BEGIN, new, ACK, END])[7].at_risk == 0
    assert counted(new, f"1 1.2 fsync(6<{PLACE}>) = 0", ACK).at_risk == 0


@pytest.mark.parametrize(
    "call",
    [
        f'renameat(7<{PLACE}>, "info.tmp", 7<{PLACE}>, "info") = 0',
        f'rename("{PLACE}/info.tmp", "{PLACE}/info") = 0',
        f'unlink("{PLACE}/q") = 0',
        f'unlinkat(7<{PLACE}>, "q", 0) = 0',
    ],
)
def test_a_name_that_changes_has_to_be_synced(call: str) -> None:
    assert counted(f"1 1.1 {call}", ACK).at_risk == 2
    assert counted(f"1 1.1 {call}", f"1 1.2 fsync(7<{PLACE}>) = 0", ACK).at_risk == 0


def test_a_queue_that_did_not_end_is_left_out() -> None:
    assert counts_of([BEGIN, ACK]) == {}


KNOWN: Final = """
import os, sys, threading
place = sys.argv[1]
marks = os.open(os.devnull, os.O_WRONLY)
directory = os.open(place, os.O_RDONLY)
file = os.open(place + "/q", os.O_RDWR | os.O_CREAT)
os.write(marks, b"begin 0")
for number in range(10):
    os.pwrite(file, b"x" * 100, number * 100)
    if number % 2:
        thread = threading.Thread(target=os.fdatasync, args=(file,))
        thread.start()
        thread.join()
    os.write(marks, b"ack 1")
os.rename("q", "r", src_dir_fd=directory, dst_dir_fd=directory)
os.fsync(directory)
os.write(marks, b"end 0")
"""


def test_a_program_whose_calls_are_known_is_counted_right(tmp_path: Path) -> None:
    """Ten writes of 100 bytes, a sync of every second one by another thread, and one of the directory."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    place = tmp_path / "asyncpq-bench-0123abcd" / "c0000"
    place.mkdir(parents=True)
    options = (*OPTIONS, "-e", f"trace={','.join(TRACED)}", "-o", os.fspath(tmp_path / "calls"))
    ran = subprocess.run(
        ["strace", *options, sys.executable, "-c", KNOWN, os.fspath(place)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if "ptrace" in ran.stderr.lower():
        pytest.skip(f"strace cannot be used here: {ran.stderr.strip()}")
    counts = counts_of((tmp_path / "calls").read_text("utf-8").splitlines())[0]
    assert (counts.puts, counts.bytes, counts.syncs, counts.at_risk) == (10, 1000, 6, 1)
