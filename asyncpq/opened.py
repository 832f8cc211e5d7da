"""What opening found out, as values: `Opened` for the engine, `Recovery` for people (`queue.recovery`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncpq.layout import START, Position

if TYPE_CHECKING:
    from asyncpq.serializers import Serializer

__all__ = ["Acks", "Failed", "Opened", "Recovery"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening healed.  It is true when it healed anything."""

    closed: bool = False  # info and files fitted as a close leaves them: no record was verified
    adopted: int = 0  # records behind head that info did not count
    lost: int = 0  # records that info counted and that are not there whole
    set_aside: tuple[str, ...] = ()  # names in the directory 'damaged'
    cut: int = 0  # bytes cut off and not set aside: zeros, or records whose writing was never acknowledged
    removed: tuple[str, ...] = ()  # names of files that were empty or needed no longer
    messages: tuple[str, ...] = ()  # all of it in sentences; never what an item holds

    def __bool__(self) -> bool:
        return bool(self.messages)


class Failed(NamedTuple):
    """How often an item was given back."""

    attempts: int
    first: float  # when it was handed out first: seconds since the epoch


@dataclass(frozen=True, slots=True)
class Acks:
    """What the journal of acknowledgements says about the records from tail to head."""

    there: bool = False  # there is a journal
    size: int = 0  # bytes of whole notes in it
    highest: Position = START  # the last position that it is about
    acked: dict[Position, int] = field(default_factory=dict)  # done with; the length of the record in bytes
    failed: dict[Position, Failed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opened:
    """A directory that is fit to be written: what the engine starts from."""

    serializer: Serializer
    fields: dict[str, Any]  # what info says, in its order, unknown keys included
    chunksize: int  # records in a chunk; 0 or less: it never rolls over
    size: int  # records from tail to head
    tail: Position
    head: Position
    info_length: int = 0  # bytes of the record in info; 0: there is no info yet
    info_slot: bool = False  # info is the slot already, with a mark that fits
    self_delimiting: bool = True  # loading info ignores what follows the record, so it may be the slot
    durable_head: Position = START
    durable_tail: Position = START
    unsynced: tuple[int, ...] = ()  # chunks whose content may not be on the disk
    names_dirty: bool = False  # a name may have been made since the directory was synced
    report: Recovery = Recovery()
    acks: Acks = Acks()

    @property
    def closed(self) -> bool:
        """Whether the last user closed it."""
        return self.report.closed
