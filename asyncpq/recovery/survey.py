"""What `info` says: one type for each way in which it can be there or not.

    Missing     there is none
    Blank       empty, or zeros: a file system can leave that in place of a new file
    Unusable    bytes that are no info, in the serializer asked for
    Readable    exact     the record alone: closed, or persist-queue's
                slot      512 bytes, the last 64 a mark that fits
                padded    the record with other bytes behind it

Nothing in it is believed beyond what its bytes are, and nothing in it runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from asyncpq import serializers
from asyncpq.errors import WrongSerializer
from asyncpq.layout import INFO, INFO_MAX, MAGIC, SLOT_SIZE, Info, Mark, read_mark, validate
from asyncpq.serializers import Damaged, Torn, self_delimiting

if TYPE_CHECKING:
    from asyncpq.files import Files
    from asyncpq.serializers import Serializer

INFO_READ_MAX: Final = 16 * 1024 * 1024  # bytes; an info holds seven numbers
CHUNK_LIMIT: Final = 10**18  # no chunk file has this number
DEFAULT: Final = "pickle"


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no info."""

    why: str = "there is no info"


@dataclass(frozen=True, slots=True)
class Blank:
    """Info is empty or zeros."""

    why: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """Info holds something else."""

    why: str


@dataclass(frozen=True, slots=True)
class Readable:
    """Info is a whole record that says what an info has to."""

    info: Info
    length: int  # bytes of the record
    size: int  # bytes of the file
    mark: Mark | None
    self_delimiting: bool

    @property
    def exact(self) -> bool:
        """Whether a close can have left it; an info too long for the slot never tells."""
        return self.size == self.length <= INFO_MAX and self.self_delimiting

    @property
    def can_be_slot(self) -> bool:
        """Whether it can be written in place."""
        return self.self_delimiting and self.length <= INFO_MAX and self.size <= SLOT_SIZE


State = Missing | Blank | Unusable | Readable


def read_info(files: Files, dirfd: int) -> bytes | None:
    """Return the bytes of info, at most INFO_READ_MAX and one; None: there is none."""
    try:
        fd = files.open_read(dirfd, INFO)
    except FileNotFoundError:
        return None
    try:
        data = _read(files, fd)
        if len(data) == files.size(fd) and len(data) < SLOT_SIZE:
            return data
        # Not closed.  After a failed sync the cache can hold what the disk does not.
        files.drop_cache(fd)
        return _read(files, fd)
    finally:
        files.close(fd)


def _read(files: Files, fd: int) -> bytes:
    data = files.pread(fd, min(files.size(fd), INFO_READ_MAX + 1), 0)
    # It may be growing.  What is asked for is allocated, so little is.
    while more := files.pread(fd, min(SLOT_SIZE, INFO_READ_MAX + 1 - len(data)), len(data)):
        data += more
    return data


def identify(path: Any, data: bytes | None, given: Serializer | None) -> tuple[Serializer | None, State]:
    """Return the serializer that info was written with, and what info says.

    The serializer is None when nothing was *given* and info does not tell.

    Raises:
        WrongSerializer: another one than *given* reads it.
    """
    if data is None:
        return given, Missing()
    found = serializers.detect(data)
    if given is None:
        serializer = serializers.get(found) if found else None
        return serializer, classify(data, serializer)
    state = classify(data, given)
    if isinstance(state, Unusable) and found and found != given.NAME and _reads(found, data):
        raise WrongSerializer(path, given.NAME, found)
    return given, state


def _reads(name: str, data: bytes) -> bool:
    try:
        validate(serializers.info_loads(name, data))
    except (Torn, ValueError):
        return False
    return True


def classify(data: bytes, serializer: Serializer | None) -> State:
    """Return what *data* is as an info of *serializer*."""
    if not data:
        return Blank("info is empty")
    if data.count(0) == len(data):
        return Blank("info holds nothing but zeros")
    if len(data) > INFO_READ_MAX:
        return Unusable(f"info has more than {INFO_READ_MAX} bytes")
    if serializer is None:
        return Unusable("info is in none of the known serializers")
    try:
        info = validate(serializer.info_loads(data))
        length = serializer.skip(data, 0)
    except Torn:
        return Unusable("info ends inside its record")
    except (Damaged, ValueError) as error:
        return Unusable(f"info cannot be read as {serializer.NAME}: {error}")
    return _readable(data, length, info, serializer)


def _readable(data: bytes, length: int, info: Info, serializer: Serializer) -> State:
    if max(info.tail.chunk, info.head.chunk) >= CHUNK_LIMIT:
        return Unusable("info names a chunk that no file can have")
    mark = read_mark(data, length)
    if mark is None and len(data) == SLOT_SIZE and data[INFO_MAX:].startswith(MAGIC):
        return Unusable("info was torn while it was written: its checksum does not fit")
    return Readable(info, length, len(data), mark, self_delimiting(serializer, data[:length]))
