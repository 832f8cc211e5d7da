"""The only calls to the operating system: a small Protocol, and the real thing.

Names are relative to the descriptor of the queue's directory, so that a directory which is renamed while it
is open stays the one that was locked.  No link is followed; what is opened must be a regular file.

    read only         list_dir  open_read  size  pread
    changes           create  open_write  pwrite  truncate  rename  link  unlink  make_dir  copy_mode
    durability        fsync  fdatasync  fsync_dir
    one opener        lock  unlock  locked  lease
    by path           make_path  remove_path  same_dir  device

Tests stand in front of it: a recorder for the crash explorer, errors at every call.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from contextlib import suppress
from typing import Any, Final, Protocol

from asyncpq.errors import TooManyOpenFiles

try:
    import fcntl
    import resource
except ImportError:  # Windows has neither flock nor leases, nor limits
    fcntl = resource = None  # type: ignore[assignment]

__all__ = ["FILES", "Files", "OSFiles"]

_BASE: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
NO_DESCRIPTOR: Final = (errno.EMFILE, errno.ENFILE)
NO_SUPPORT: Final = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


class Files(Protocol):
    """What the engine asks of a file system.

    Every method may raise OSError, and one that opens something TooManyOpenFiles.
    """

    def make_path(self, path: str) -> list[str]:
        """Make the directory *path* and its parents, durably; return those made, outermost first."""

    def remove_path(self, made: list[str]) -> None:
        """Remove the directories that make_path() made, as far as they are empty."""

    def open_dir(self, path: str) -> int:
        """Return a descriptor of the directory *path*."""

    def same_dir(self, dirfd: int, path: str) -> bool:
        """Return whether *path* still leads to the open directory."""

    def device(self, path: str) -> int:
        """Return the number of the file system that *path* lies on."""

    def open_subdir(self, dirfd: int, name: str) -> int:
        """Return a descriptor of the real directory *name* (no link)."""

    def make_dir(self, dirfd: int, name: str, mode: int) -> None:
        """Make the directory *name*."""

    def list_dir(self, dirfd: int) -> list[str]:
        """Return the names in the directory."""

    def create(self, dirfd: int, name: str, mode: int = 0o666) -> int:
        """Make the file *name*, which must not be there; return a descriptor to read and write."""

    def open_write(self, dirfd: int, name: str) -> int:
        """Return a descriptor to read and write the regular file *name*."""

    def open_read(self, dirfd: int, name: str) -> int:
        """Return a descriptor to read the regular file *name*."""

    def size(self, fd: int) -> int:
        """Return the length of the file in bytes."""

    def pread(self, fd: int, length: int, offset: int, /) -> bytes:
        """Return up to *length* bytes from *offset*; fewer only at the end of the file."""

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int, /) -> int:
        """Write at *offset*; return how many bytes were written: a full disk writes fewer."""

    def truncate(self, fd: int, length: int) -> None:
        """Cut the file to *length* bytes, or lengthen it with zeros."""

    def fsync(self, fd: int) -> None:
        """Make data and metadata of the file durable."""

    def fdatasync(self, fd: int) -> None:
        """Make data of the file, and its length, durable."""

    def fsync_dir(self, dirfd: int) -> None:
        """Make the names in the directory durable."""

    def rename(self, dirfd: int, old: str, new: str, new_dirfd: int | None = None) -> None:
        """Rename *old* to *new* (in another directory with *new_dirfd*), in one step."""

    def link(self, dirfd: int, old: str, new: str) -> None:
        """Give the file *old* a second name, which must not be there."""

    def unlink(self, dirfd: int, name: str) -> None:
        """Remove the file *name*."""

    def copy_mode(self, source: int, target: int) -> None:
        """Give the file *target* mode, owner and group of *source*, as far as this user may."""

    def close(self, fd: int) -> None:
        """Close the descriptor."""

    def lock(self, dirfd: int) -> bool:
        """Take the lock of the directory; False when somebody else has it."""

    def unlock(self, dirfd: int) -> None:
        """Give the lock back."""

    def locked(self, dirfd: int) -> bool | None:
        """Return whether somebody has the lock, without taking it; None: the system does not tell."""

    def lease(self, dirfd: int, name: str) -> bool:
        """Return False when another process has the file *name* open, as far as the system tells."""

    def next_hole(self, fd: int, offset: int) -> int:
        """Return where the next hole (a range that was never written) begins; the length where there is none."""

    def drop_cache(self, fd: int) -> None:
        """Forget the cached pages of the file, so that what is read next comes from the disk."""


class OSFiles:
    """The file system of the machine (POSIX)."""

    # The hot path: these two are the system calls themselves, with no frame of Python around them.
    pread = staticmethod(os.pread)
    pwrite = staticmethod(os.pwrite)

    def make_path(self, path: str) -> list[str]:
        missing: list[str] = []
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        made: list[str] = []
        try:
            for directory in reversed(missing):
                self._make_one(directory, made)
        except BaseException:
            self.remove_path(made)
            raise
        return made

    def _make_one(self, directory: str, made: list[str]) -> None:
        try:
            os.mkdir(directory)
        except FileExistsError:
            if not os.path.isdir(directory):
                raise
            return  # somebody else was faster
        made.append(directory)
        try:
            parent = self.open_dir(os.path.dirname(directory))
        except PermissionError:
            return  # a parent that may be written and not read cannot be synced
        try:
            self.fsync_dir(parent)
        finally:
            os.close(parent)

    def remove_path(self, made: list[str]) -> None:
        for directory in reversed(made):
            try:
                os.rmdir(directory)
            except OSError:
                return

    def same_dir(self, dirfd: int, path: str) -> bool:
        try:
            return os.path.samestat(os.fstat(dirfd), os.stat(path))
        except FileNotFoundError:
            return False

    def device(self, path: str) -> int:
        return os.stat(path).st_dev

    def open_dir(self, path: str) -> int:
        return _open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open_subdir(self, dirfd: int, name: str) -> int:
        return _open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dirfd)

    def make_dir(self, dirfd: int, name: str, mode: int) -> None:
        os.mkdir(name, mode, dir_fd=dirfd)

    def list_dir(self, dirfd: int) -> list[str]:
        try:
            return os.listdir(dirfd)  # which duplicates the descriptor
        except OSError as error:
            raise _clear(error, ".") from error

    def create(self, dirfd: int, name: str, mode: int = 0o666) -> int:
        return _open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BASE, dirfd, mode)

    def open_write(self, dirfd: int, name: str) -> int:
        return self._open_regular(dirfd, name, os.O_RDWR)

    def open_read(self, dirfd: int, name: str) -> int:
        return self._open_regular(dirfd, name, os.O_RDONLY)

    def _open_regular(self, dirfd: int, name: str, flags: int) -> int:
        # O_NONBLOCK: opening a named pipe must not wait for its other end.
        fd = _open(name, flags | _BASE, dirfd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", name)
        return fd

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def fsync(self, fd: int) -> None:
        _full_sync(fd)

    def fdatasync(self, fd: int) -> None:
        if sys.platform == "darwin" or not hasattr(os, "fdatasync"):
            _full_sync(fd)
        else:
            os.fdatasync(fd)

    def fsync_dir(self, dirfd: int) -> None:
        os.fsync(dirfd)
        # XFS answers 0 to an fsync of a directory after the file system has shut down; the fstat says EIO.
        os.fstat(dirfd)

    def rename(self, dirfd: int, old: str, new: str, new_dirfd: int | None = None) -> None:
        target = dirfd if new_dirfd is None else new_dirfd
        os.rename(old, new, src_dir_fd=dirfd, dst_dir_fd=target)

    def link(self, dirfd: int, old: str, new: str) -> None:
        os.link(old, new, src_dir_fd=dirfd, dst_dir_fd=dirfd, follow_symlinks=False)

    def unlink(self, dirfd: int, name: str) -> None:
        os.unlink(name, dir_fd=dirfd)

    def copy_mode(self, source: int, target: int) -> None:
        model, made = os.fstat(source), os.fstat(target)
        for owner, group in ((model.st_uid, model.st_gid), (-1, model.st_gid)):
            if (model.st_uid, model.st_gid) == (made.st_uid, made.st_gid):
                break
            try:
                os.fchown(target, owner, group)
            except OSError:
                continue  # only root gives files away, and only to a group of one's own
            break
        with suppress(PermissionError):  # a file system without modes
            os.fchmod(target, stat.S_IMODE(model.st_mode))

    def close(self, fd: int) -> None:
        os.close(fd)

    def lock(self, dirfd: int) -> bool:
        try:
            fcntl.flock(dirfd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self, dirfd: int) -> None:
        fcntl.flock(dirfd, fcntl.LOCK_UN)

    def locked(self, dirfd: int) -> bool | None:
        facts = os.fstat(dirfd)
        try:
            with open("/proc/locks", encoding="ascii") as file:
                lines = file.read().splitlines()
        except OSError:
            return None
        # 1: FLOCK  ADVISORY  WRITE 4711 fe:01:1234567 0 EOF
        place = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
        return any("FLOCK" in parts and place in parts for parts in map(str.split, lines))

    def lease(self, dirfd: int, name: str) -> bool:
        """Ask for a write lease and give it back: refused exactly when the file is open elsewhere.

        Linux only, for files of one's own; elsewhere, or where the system does not allow it, True.
        """
        if not hasattr(fcntl, "F_SETLEASE"):
            return True
        try:
            fd = self.open_read(dirfd, name)
        except OSError as error:
            if error.errno in (*NO_DESCRIPTOR, errno.ENOMEM, errno.EIO):
                raise
            return True  # if it is there, opening will say what is wrong with it
        try:
            # Whoever opens the file in these microseconds breaks the lease, and the kernel tells by a signal.
            # SIGIO would end this process; SIGURG is ignored unless somebody asks for it.
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (*NO_SUPPORT, errno.EACCES, errno.EPERM):
                raise
        finally:
            os.close(fd)
        return True

    def next_hole(self, fd: int, offset: int) -> int:
        try:
            return os.lseek(fd, offset, os.SEEK_HOLE)
        except (AttributeError, OSError):  # a system or a file system that cannot tell; or beyond the end
            return os.fstat(fd).st_size

    def drop_cache(self, fd: int) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _open(path: str, flags: int, dirfd: int | None = None, mode: int = 0o777) -> int:
    try:
        return os.open(path, flags, mode, dir_fd=dirfd)
    except OSError as error:
        if error.errno not in NO_DESCRIPTOR:
            raise
        raise _clear(error, path) from error


def _clear(error: OSError, path: str) -> OSError:
    """Return *error*, or what names the limit that was reached."""
    if error.errno == errno.EMFILE:
        limit = f"this process reached its limit, {_limit()}; raise it with 'ulimit -n', or with resource.setrlimit"
        return TooManyOpenFiles(errno.EMFILE, path, limit)
    if error.errno == errno.ENFILE:
        limit = "the whole system reached its limit; raise it with 'sysctl fs.file-max'"
        return TooManyOpenFiles(errno.ENFILE, path, limit)
    return error


def _limit() -> str:
    if sys.platform == "win32":
        return "of open files"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"RLIMIT_NOFILE={soft} of at most {hard}"


def open_path(path: str) -> int:
    """Return a descriptor to read, or to sync, the file *path*."""
    return _open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))


def shortage(path: str) -> OSError | None:
    """Return what tells that no file can be opened for want of a descriptor; None: that is not so."""
    try:
        os.close(open_path(os.devnull))
    except TooManyOpenFiles as error:
        return _clear(error, path)
    except OSError:
        pass
    return None


def _full_sync(fd: int) -> None:
    """Fsync; on macOS F_FULLFSYNC, without which the disk's own cache is not flushed."""
    full: Any = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(fd, full)
        except OSError as error:
            if error.errno not in NO_SUPPORT:
                raise
        else:
            return
    os.fsync(fd)


FILES: Final[Files] = OSFiles()
