"""The mutation gate: each sync that asyncpq does, and a recording in which leaving it out is noticed.

A sync is called by what it syncs and by the two functions of asyncpq that ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asyncpq import fsync
from asyncpq.fsync import Policy
from tests.crash.explore import Change, Effort, sync_name
from tests.crash.models import EXT4, POSIX, XFS, Model
from tests.crash.operations import Entry, Sync, SyncDir

FEW: Final = Effort(cap=60, most=1)


@dataclass(frozen=True, slots=True)
class Noticed:
    """Where a mutation is noticed."""

    policy: Policy
    script: str
    model: Model
    serializer: str = "pickle"
    length: int = 20
    effort: Effort = FEW


ALWAYS: Final = fsync.Always()
WINDOW: Final = fsync.Interval(seconds=3600)  # no commit but those that the script asks for
ASIDE: Final = Effort(cap=100, healings=1000, most=1, old_reader=0)

GATE: Final = {
    # The queue's own directory, and its info.
    "directory: OSFiles.make_path > OSFiles._make_one": Noticed(ALWAYS, "puts", POSIX),
    "fsync: InfoFile.write > InfoFile._replace": Noticed(ALWAYS, "puts", XFS),
    "directory: InfoFile.write > InfoFile._replace": Noticed(ALWAYS, "puts", POSIX),
    "fdatasync: InfoFile._become_slot > InfoFile.sync": Noticed(WINDOW, "close and reopen", XFS, "json"),
    "fdatasync: Log._prepare > InfoFile.sync": Noticed(ALWAYS, "close and reopen", EXT4),
    "directory: Opening.open > Opening._carry_out": Noticed(ALWAYS, "killed before a name is durable", POSIX),
    # A durable commit.
    "fdatasync: Log.commit > Syncer.chunks": Noticed(ALWAYS, "puts", EXT4),
    "fdatasync: Log.sync_full > Syncer.chunks": Noticed(ALWAYS, "puts", EXT4),
    "fdatasync: Log._sync_closed > Syncer.closed_chunk": Noticed(fsync.Never(), "syncs", XFS),
    "directory: Log.commit > Syncer.names": Noticed(ALWAYS, "puts", EXT4),
    "fdatasync: Log._commit_info > InfoFile.sync": Noticed(ALWAYS, "puts", EXT4),
    "fdatasync: Log.commit > AckFile.sync": Noticed(ALWAYS, "acks out of order", XFS),
    # The journal of acknowledgements, written anew.
    "fsync: AckFile._shorten > AckFile._write_temp": Noticed(ALWAYS, "journal written anew", XFS),
    "directory: AckFile.trim > AckFile._shorten": Noticed(ALWAYS, "journal written anew", POSIX),
    "fsync: Opening._notes > drop_from": Noticed(ALWAYS, "the same record again", POSIX),
    "directory: Opening._notes > drop_from": Noticed(ALWAYS, "the same record behind an early info", POSIX),
    # Healing.
    "fsync: Healer.carry_out > Healer._cut": Noticed(fsync.Rollover(), "killed while putting", EXT4),
    "directory: Healer.carry_out > Healer._create_head": Noticed(fsync.Rollover(), "killed while putting", EXT4),
    "fdatasync: Healer.carry_out > Healer._sync_info": Noticed(ALWAYS, "killed while consuming", XFS),
    "fsync: Healer._put_aside > Healer._copy": Noticed(WINDOW, "puts", POSIX, effort=ASIDE),
    "directory: Healer.carry_out > Healer._put_aside": Noticed(WINDOW, "puts", POSIX, effort=ASIDE),
    "directory: Healer._put_aside > Healer._open_damaged": Noticed(WINDOW, "puts", POSIX, effort=ASIDE),
    "fdatasync: Healer.carry_out > Healer._pad_info": Noticed(WINDOW, "persist-queue", XFS, "json", 60, ASIDE),
    "fsync: Healer._write_info > Healer._replace_info": Noticed(WINDOW, "taken over early", XFS, effort=ASIDE),
    "directory: Healer._write_info > Healer._replace_info": Noticed(ALWAYS, "taken over before its info", POSIX),
}

# What no recording misses, and why it is there.
UNNOTICED: Final = {
    "fdatasync: Healer.carry_out > Healer._write_info": "done again, the healing comes to the same end, and the next "
    "durable commit syncs info; kept so that consumed chunks are never removed before the info that says so is durable",
}


def without(name: str) -> Change:
    """Leave out the sync called *name*."""
    return lambda log: [entry for entry in log if sync_name(entry) != name]


def info_first(log: Sequence[Entry]) -> list[Entry]:
    """Let each durable commit make info durable before the data."""
    changed: list[Entry] = []
    held: list[Entry] = []
    for entry in log:
        name = sync_name(entry) or ""
        if isinstance(entry, Sync | SyncDir) and ("Syncer." in name):
            held.append(entry)
            continue
        changed.append(entry)
        if name.endswith("Log.commit > InfoFile.sync"):
            changed += held
            held = []
    return changed
