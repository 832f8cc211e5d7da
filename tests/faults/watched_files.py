"""The file system of the machine, with a list of every call: what was synced, read, and in which thread."""

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from asyncpq import AsyncQueue
from asyncpq.files import OSFiles

# Which argument names the file; the other calls take a descriptor first.
NAMED: Final = {"open_dir": 0, "device": 0, "make_path": 0} | dict.fromkeys(
    ("open_subdir", "create", "open_write", "open_read", "rename", "unlink", "make_dir", "lease"), 1
)
OPENING: Final = ("open_dir", "open_subdir", "create", "open_write", "open_read")
BY_DESCRIPTOR: Final = (
    *("list_dir", "size", "pread", "pwrite", "truncate", "fsync", "fdatasync", "fsync_dir"),
    *("close", "lock", "unlock", "drop_cache"),
)
SYNCS: Final = ("fsync", "fdatasync", "fsync_dir")


@dataclass
class Call:
    """One call of the operating system."""

    name: str
    file: str  # the name in the directory; the directory itself has its path
    on_loop: bool
    read: int = 0  # bytes

    @property
    def what(self) -> tuple[str, str]:
        return self.name, os.path.basename(self.file)


class Watched(OSFiles):
    """Keeps *calls*, in order; *before* is asked before each of them, and may raise."""

    def __init__(self, before: Callable[[Call], None] = lambda call: None) -> None:
        self.calls: list[Call] = []
        self.before = before
        self._names: dict[int, str] = {}
        for name in (*NAMED, *BY_DESCRIPTOR):
            setattr(self, name, self._watched(name, getattr(super(), name)))

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            file = args[NAMED[name]] if name in NAMED else self._names.get(args[0], "?")
            call = Call(name, file, threading.current_thread() is threading.main_thread())
            self.calls.append(call)
            self.before(call)
            result = function(*args)
            if name in OPENING:
                self._names[result] = file
            elif name == "pread":
                call.read = len(result)
            elif name == "rename":
                self._names = {fd: args[2] if old == args[1] else old for fd, old in self._names.items()}
            return result

        return watched

    def of(self, *names: str) -> list[tuple[str, str]]:
        """The calls with these names: (call, file)."""
        return [call.what for call in self.calls if call.name in names]

    @property
    def syncs(self) -> list[tuple[str, str]]:
        return self.of(*SYNCS)

    @property
    def bytes_read(self) -> int:
        return sum(call.read for call in self.calls)


class FullDisk:
    """For `Watched`: there is no space for the call *name* on *file*, while it is `full`."""

    def __init__(self, name: str, file: str) -> None:
        self.name, self.file, self.full = name, file, False

    def __call__(self, call: Call) -> None:
        if self.full and call.name == self.name and call.file == self.file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def queue_on(files: Watched, path: os.PathLike[str], *args: Any, **options: Any) -> AsyncQueue:
    """A queue that calls *files* instead of the operating system."""
    queue = AsyncQueue(path, *args, **options)
    queue._files = files
    return queue
