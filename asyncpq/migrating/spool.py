"""What the scan made, until it is known that all of it may be written: so that nothing is read and converted twice.

in memory up to HELD bytes, then in a file without a name, beside the target; where there is little room, not at all:
then the source is read again
"""

from __future__ import annotations

import errno
import marshal
import os
import tempfile
from typing import TYPE_CHECKING, Any, Final

from asyncpq.migrating.judging import Bad, Taken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Spool"]

HELD: Final = 4 * 1024 * 1024  # bytes in memory
LOOK: Final = 16 * 1024 * 1024  # bytes after which the room that is left is looked at again
LENGTH: Final = 8  # bytes before what was taken of a batch
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_VERSION: Final = 2  # of marshal: without a table of what came before


class Spool:
    """What was taken, in order."""

    def __init__(self, target: Path) -> None:
        """Hold nothing; *target* says on which file system there is going to be room."""
        self._folder = next(folder for folder in target.parents if folder.is_dir())
        self._file = tempfile.SpooledTemporaryFile(max_size=HELD, dir=str(self._folder))  # noqa: SIM115  # `close`
        self._size = self._looked = 0
        self.complete = True  # False: it was given up for want of room

    def keep(self, taken: Taken) -> None:
        """Keep *taken*, or give all of it up where there is no room."""
        if not self.complete:
            return
        extras = list(map(dict, taken.extras))
        parts: Any = (tuple(taken.at), taken.records, extras, [tuple(bad) for bad in taken.bad])
        data = marshal.dumps(parts, _VERSION)
        self._size += len(data)
        try:
            if self._size > self._looked + LOOK:
                self._look()
            self._file.write(len(data).to_bytes(LENGTH, "little"))
            self._file.write(data)
        except OSError as error:
            self._no_room(error)

    def _look(self) -> None:
        """Leave room for the target, and as much again for others."""
        self._looked = self._size
        facts = os.statvfs(self._folder)
        if facts.f_bavail * facts.f_frsize < 2 * self._size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def give_up(self) -> None:
        """Forget all of it, and keep nothing more."""
        self.complete = False
        self.close()

    def _no_room(self, error: OSError) -> None:
        self.give_up()
        if error.errno not in _FULL:
            raise error

    def __iter__(self) -> Iterator[Taken]:
        """Iterate over all that was kept."""
        self._file.seek(0)
        while length := self._file.read(LENGTH):
            at, records, extras, bad = marshal.loads(self._file.read(int.from_bytes(length, "little")))
            yield Taken(at, records, extras, [Bad(*one) for one in bad])

    def rewind(self) -> None:
        """Get all of it where it can be read again, or give it up."""
        if self.complete:
            try:
                self._file.flush()
            except OSError as error:
                self._no_room(error)

    def close(self) -> None:
        """Forget all of it."""
        try:
            self._file.close()
        except OSError as error:  # what was not written cannot be now
            if error.errno not in _FULL:
                raise
