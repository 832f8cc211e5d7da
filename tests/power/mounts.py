"""File systems for a test: made in memory, mounted, cut off from their disk, filled; all gone at the end.

    memory     tmpfs
      image    a sparse file: the disk.  What was written to it survives, what the file system held back does not
        mount  ext4 or XFS, by a loop device

A cut is the ioctl FS_IOC_SHUTDOWN without a flush of the log: from then on nothing reaches the image.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

import pytest

MIB: Final = 1024 * 1024
KINDS: Final = ("ext4", "xfs")
SIZES: Final = {"ext4": 64 * MIB, "xfs": 300 * MIB}  # XFS takes no less
MAKE: Final = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}
SHUTDOWN: Final = 0x8004587D
NO_LOG_FLUSH: Final = struct.pack("I", 2)
PATIENCE: Final = 20.0  # seconds for an unmount: something may still look at the files


def run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise OSError(f"{command[0]}: {done.stderr.strip()}")


def unmount(where: Path) -> None:
    """Unmount, as soon as nobody has a file open there; in the end without waiting for them."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(OSError):
            return run("umount", where)
        time.sleep(0.02)
    return run("umount", "-l", where)


@contextmanager
def memory(size: int = 0) -> Iterator[Path]:
    """A directory in memory: a tmpfs of its own of *size* bytes, or a part of the one that is there."""
    where = Path(tempfile.mkdtemp(prefix="asyncpq-power-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, where, ignore_errors=True)
        if size:
            run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", where)
            stack.callback(unmount, where)
        yield where


class Disk:
    """A file system in an image."""

    def __init__(self, kind: str, folder: Path, size: int = 0) -> None:
        """Make the image, and mount it."""
        self.kind, self.image, self.root = kind, folder / f"{kind}.img", folder / kind
        self.mounted = False
        with self.image.open("wb") as file:
            file.truncate(size or SIZES[kind])
        run(*MAKE[kind], self.image)
        self.root.mkdir()
        self.mount()

    def mount(self) -> None:
        run("mount", "-o", "loop", self.image, self.root)
        self.mounted = True
        self._be_honest()

    def _be_honest(self) -> None:
        """Let the loop device take one page at a time.

        Of a longer write that its image has no room for, it writes a part and reports success.
        """
        for loop in Path("/sys/block").glob("loop*"):
            backing, self._limit = loop / "loop" / "backing_file", loop / "queue" / "max_sectors_kb"
            if backing.exists() and backing.read_text("utf-8").strip() == str(self.image):
                self._old_limit = self._limit.read_text("ascii")
                self._limit.write_text("4", "ascii")
                return
        raise OSError(f"no loop device has {self.image}")

    def unmount(self) -> None:
        if self.mounted:
            unmount(self.root)
            self.mounted = False
            self._limit.write_text(self._old_limit, "ascii")

    def cut(self) -> None:
        """From here on nothing reaches the disk."""
        fd = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(fd)

    def remount(self) -> None:
        """Go on with what is on the disk, and nothing from memory."""
        self.unmount()
        self.mount()

    def commit_journal(self) -> None:
        """Sync another file: what was done to names and lengths gets to the disk, the data of ours need not."""
        fd = os.open(self.root / "other", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, b"other")
            os.fsync(fd)
        finally:
            os.close(fd)


@contextmanager
def disk(kind: str, folder: Path, size: int = 0) -> Iterator[Disk]:
    """A disk that is unmounted in the end, whatever happened."""
    made = None
    try:
        made = Disk(kind, folder, size)
        yield made
    finally:
        if made is not None:
            made.unmount()
        elif os.path.ismount(folder / kind):
            unmount(folder / kind)


@cache
def lacking(kind: str) -> str:
    """Why no disk of this kind can be made, or cut, here; empty when it can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "mounting needs root"
    if shutil.which(MAKE[kind][0]) is None:
        return f"there is no {MAKE[kind][0]}"
    try:
        with memory() as folder, disk(kind, folder) as tried:
            tried.cut()
            tried.remount()
    except OSError as error:
        return f"{kind} cannot be mounted and cut off here: {error}"
    return ""


@cache
def no_tmpfs() -> str:
    """Why no tmpfs can be mounted here; empty when it can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "mounting needs root"
    try:
        with memory(MIB):
            return ""
    except OSError as error:
        return f"no tmpfs can be mounted here: {error}"


@pytest.fixture
def need_disk(kind: str) -> None:
    """Skip the test, with a reason, where it cannot be made."""
    if reason := lacking(kind):
        pytest.skip(reason)
