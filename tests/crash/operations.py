"""What is recorded: operations on the disk, and marks of what was asked and answered.

Files and directories are nodes, numbered by the recorder: a name is one thing, what it leads to another.
"""

from dataclasses import dataclass, field
from typing import Final

Place = tuple[int, int]  # of a record: chunk, offset

ROOT: Final = 0  # the node of the directory that the script may work in


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes written into a file."""

    node: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file was given a length."""

    node: int
    length: int


@dataclass(frozen=True, slots=True)
class Sync:
    """fsync or fdatasync of a file; *site* is the place in asyncpq that asked."""

    node: int
    site: str
    call: str = "fdatasync"


@dataclass(frozen=True, slots=True)
class Link:
    """A name was made: a new file or directory."""

    directory: int
    name: str
    node: int
    is_directory: bool = False


@dataclass(frozen=True, slots=True)
class Unlink:
    """A name was removed."""

    directory: int
    name: str


@dataclass(frozen=True, slots=True)
class Rename:
    """A name was changed, perhaps into another directory; *over*: something had the new name."""

    directory: int
    old: str
    target: int
    new: str
    node: int
    over: bool


@dataclass(frozen=True, slots=True)
class SyncDir:
    """fsync of a directory."""

    directory: int
    site: str


Data = Write | Truncate
Name = Link | Unlink | Rename
Operation = Data | Name | Sync | SyncDir


@dataclass(eq=False, slots=True)
class Call:
    """A call of the queue.

    put       stores items
    done      is done with them: task_done, an autosave get, ack, clear
    move      gives one back at the end: a new record, and the old one is done with
    reject    moves one to the dead letters
    durable   sync and close

    *keys* are the items it is about; those of an autosave get are known when it has returned.  *records* says which
    of the records of an item, where it may have more than one.
    """

    name: str
    keys: list[int] = field(default_factory=list)
    records: list[tuple[int, Place]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Begun:
    """A call begins."""

    call: Call


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A call has returned."""

    call: Call


Mark = Begun | Acknowledged
Entry = Operation | Mark
