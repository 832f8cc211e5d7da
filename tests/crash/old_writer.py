"""persist-queue itself, writing through the recorder: what it leaves behind, and in which order.

Its module opens, renames and removes files by three names, `open`, `os` and `tempfile`; here they stand for the
recorder's calls.  The code that runs is persist-queue's own.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import persistqueue.queue
from persistqueue import Queue

from tests.crash.recorder import Recorder


class _File(io.RawIOBase):
    """A file as `open` gives it: what is written waits for flush."""

    def __init__(self, recorder: Recorder, fd: int, *, append: bool) -> None:
        self._recorder, self._fd = recorder, fd
        self._waiting = b""
        self._at = recorder.size(fd) if append else 0

    def fileno(self) -> int:
        return self._fd

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._recorder.pread(self._fd, len(buffer), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def write(self, data: Any) -> int:
        self._waiting += bytes(data)
        return len(data)

    def flush(self) -> None:
        if not self.closed and self._waiting:
            data, self._waiting = self._waiting, b""
            self._recorder.pwrite(self._fd, data, self._at)
            self._at += len(data)

    def tell(self) -> int:
        return self._at + len(self._waiting)

    def seek(self, offset: int, whence: int = 0) -> int:
        assert whence == 0
        self._at = offset
        return offset

    def truncate(self, size: int | None = None) -> int:
        assert size is not None
        self._recorder.truncate(self._fd, size)
        return size

    def close(self) -> None:
        if not self.closed:
            self.flush()
            self._recorder.close(self._fd)
            super().close()


class _System:
    """The names that persist-queue's module uses."""

    def __init__(self, recorder: Recorder, folder: Path) -> None:
        self._recorder, self._folder = recorder, folder
        self._dirfd = -1
        self._numbers = itertools.count()

    def names(self) -> dict[str, Any]:
        return {
            "open": self.open,
            "tempfile": SimpleNamespace(mkstemp=self.mkstemp),
            "os": SimpleNamespace(
                path=os.path,
                stat=os.stat,
                makedirs=self.makedirs,
                replace=lambda old, new: self._recorder.rename(self._dir, os.path.basename(old), os.path.basename(new)),
                remove=lambda path: self._recorder.unlink(self._dir, os.path.basename(path)),
                fsync=self._recorder.fsync,
                fdopen=lambda fd, mode: _File(self._recorder, fd, append=False),
            ),
        }

    @property
    def _dir(self) -> int:
        if self._dirfd < 0:
            self._dirfd = self._recorder.open_dir(str(self._folder))
        return self._dirfd

    def makedirs(self, path: str) -> None:
        parent = self._recorder.open_dir(os.path.dirname(path))
        self._recorder.make_dir(parent, os.path.basename(path), 0o777)
        # It syncs nothing; but the name of the directory is older than what is looked at here.
        self._recorder.fsync_dir(parent)
        self._recorder.close(parent)

    def open(self, path: str, mode: str) -> _File:
        name = os.path.basename(path)
        if "a" in mode and not os.path.exists(path):
            return _File(self._recorder, self._recorder.create(self._dir, name), append=True)
        open_ = self._recorder.open_write if "a" in mode else self._recorder.open_read
        return _File(self._recorder, open_(self._dir, name), append="a" in mode)

    def mkstemp(self, dir: str) -> tuple[int, str]:
        name = f"tmp{next(self._numbers)}"
        return self._recorder.create(self._dir, name, 0o600), os.path.join(dir, name)

    def close(self) -> None:
        if self._dirfd >= 0:
            self._recorder.close(self._dirfd)


@contextmanager
def old_queue(recorder: Recorder, path: Path, chunksize: int, serializer: Any) -> Iterator[Any]:
    """A queue of persist-queue in *path*."""
    system = _System(recorder, path)
    with mock.patch.multiple(persistqueue.queue, create=True, **system.names()):
        queue = Queue(str(path), chunksize=chunksize, serializer=serializer, tempdir=str(path.parent))
        queue.tempdir = str(path)  # where it makes its temporary files when /tmp is another file system
        try:
            yield queue
        finally:
            queue.headf.close()
            queue.tailf.close()
            system.close()
