"""Making, locking and refusing: who may open a directory."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncpq.directory import check_tempdir, open_directory, refuse_other_openers
from asyncpq.errors import NotAQueue, QueueLocked
from asyncpq.files import FILES, OSFiles

not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
leases = pytest.mark.skipif(not hasattr(fcntl, "F_SETLEASE"), reason="leases are Linux's")


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() == before


def test_missing_directories_are_made_and_synced(tmp_path: Path) -> None:
    class Recording(OSFiles):
        def __init__(self) -> None:
            self.synced: list[os.stat_result] = []

        def fsync_dir(self, dirfd: int) -> None:
            self.synced.append(os.fstat(dirfd))

    files = Recording()
    os.close(open_directory(files, tmp_path / "a" / "b", lock=True)[0])
    assert (tmp_path / "a" / "b").is_dir()
    parents = [tmp_path, tmp_path / "a"]
    assert [s.st_ino for s in files.synced] == [os.stat(p).st_ino for p in parents]


def test_existing_directory_is_not_synced(tmp_path: Path) -> None:
    class Refusing(OSFiles):
        def fsync_dir(self, dirfd: int) -> None:
            raise AssertionError

    os.close(open_directory(Refusing(), tmp_path, lock=True)[0])


def test_relative_path_and_link_lead_to_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.close(open_directory(FILES, "queue", lock=True)[0])
    (tmp_path / "link").symlink_to("queue")
    os.close(open_directory(FILES, tmp_path / "link", lock=True)[0])


def test_file_is_not_a_queue(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotAQueue, match="is no directory"):
        open_directory(FILES, tmp_path / "file", lock=True)
    with pytest.raises(NotAQueue, match="file is no directory"):
        open_directory(FILES, tmp_path / "file" / "queue", lock=True)


def test_link_to_nothing_is_not_a_queue(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(NotAQueue):
        open_directory(FILES, tmp_path / "link", lock=True)


@not_root
def test_missing_rights_are_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(0o500)
    with pytest.raises(PermissionError, match="no permission"):
        open_directory(FILES, tmp_path / "closed" / "queue", lock=True)


def test_second_opener_is_refused(tmp_path: Path) -> None:
    first = open_directory(FILES, tmp_path, lock=True)[0]
    with pytest.raises(QueueLocked, match="another asyncpq queue"):
        open_directory(FILES, tmp_path, lock=True)
    second = open_directory(FILES, tmp_path, lock=False)[0]
    os.close(second)
    FILES.unlock(first)
    os.close(first)
    os.close(open_directory(FILES, tmp_path, lock=True)[0])


def test_dead_holder_leaves_no_lock(tmp_path: Path) -> None:
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    os.close(open_directory(FILES, tmp_path, lock=True)[0])


class Replaced(OSFiles):
    """Moves the directory away while it is being locked, so many times."""

    def __init__(self, path: Path, times: int) -> None:
        self.path, self.times = path, times

    def lock(self, dirfd: int) -> bool:
        if self.times:
            self.times -= 1
            self.path.rename(self.path.with_name(f"old{self.times}"))
        return super().lock(dirfd)


def test_replaced_directory_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    dirfd = open_directory(Replaced(path, 2), path, lock=True)[0]
    assert os.path.samestat(os.fstat(dirfd), os.stat(path))
    os.close(dirfd)


def test_directory_that_is_replaced_for_ever_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "queue"
    with pytest.raises(NotAQueue, match="replaced"):
        open_directory(Replaced(path, 100), path, lock=True)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_file_system_without_locks_names_the_way_out(code: int, tmp_path: Path) -> None:
    class Lockless(OSFiles):
        def lock(self, dirfd: int) -> bool:
            raise OSError(code, os.strerror(code))

    with pytest.raises(OSError, match="lock=False") as caught:
        open_directory(Lockless(), tmp_path / "queue", lock=True)
    assert caught.value.errno == code
    assert not (tmp_path / "queue").exists()
    os.close(open_directory(Lockless(), tmp_path / "queue", lock=False)[0])


def test_failed_opening_leaves_no_directory(tmp_path: Path) -> None:
    class Failing(OSFiles):
        def open_dir(self, path: str) -> int:
            if path.endswith("queue"):
                raise OSError(errno.EMFILE, "too many")
            return super().open_dir(path)

    with pytest.raises(OSError, match="too many"):
        open_directory(Failing(), tmp_path / "a" / "queue", lock=True)
    assert list(tmp_path.iterdir()) == []


@leases
def test_file_that_is_open_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "info").write_bytes(b"x")
    code = "import sys; file = open(sys.argv[1], 'ab+'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "info")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        dirfd = os.open(tmp_path, os.O_RDONLY)
        try:
            with pytest.raises(QueueLocked, match="such as persist-queue"):
                refuse_other_openers(FILES, dirfd, tmp_path, ["info"])
            other.communicate()
            refuse_other_openers(FILES, dirfd, tmp_path, ["info", "missing"])
        finally:
            os.close(dirfd)


@leases
def test_opener_in_the_moment_of_the_lease_kills_nobody(tmp_path: Path) -> None:
    """A broken lease sends a signal, and SIGIO would end the process that asked."""
    (tmp_path / "info").write_bytes(b"x")
    racing = "import os, sys\nwhile True: os.close(os.open(sys.argv[1], os.O_RDWR))"
    asking = (
        "import os, sys, time\n"
        "from asyncpq.files import FILES\n"
        "dirfd, until = os.open(sys.argv[1], os.O_RDONLY), time.monotonic() + 1\n"
        "while time.monotonic() < until: FILES.lease(dirfd, 'info')\n"
    )
    with subprocess.Popen([sys.executable, "-c", racing, str(tmp_path / "info")]) as other:
        time.sleep(0.1)
        asked = subprocess.run([sys.executable, "-c", asking, str(tmp_path)], check=False)
        other.kill()
    assert asked.returncode == 0


def test_tempdir_on_the_same_file_system_is_accepted(tmp_path: Path) -> None:
    check_tempdir(FILES, tmp_path, None)
    check_tempdir(FILES, tmp_path, tmp_path)


def test_tempdir_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        check_tempdir(FILES, tmp_path, tmp_path / "missing")


def test_tempdir_on_another_file_system_is_refused(tmp_path: Path) -> None:
    class Elsewhere(OSFiles):
        def device(self, path: str) -> int:
            return len(path)

    with pytest.raises(ValueError, match="file system"):
        check_tempdir(Elsewhere(), tmp_path, "/x")
