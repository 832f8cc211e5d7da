"""Run under strace: plays a script, and prints what the recorder has seen, one operation a line."""

import sys
from collections.abc import Iterator
from pathlib import Path

from asyncpq import fsync, serializers
from tests.crash.check import Subject
from tests.crash.operations import Entry, Link, Rename, Sync, SyncDir, Truncate, Unlink, Write
from tests.crash.player import Recording, play
from tests.crash.scripts import BY_NAME


def lines(recording: Recording) -> Iterator[str]:
    """The operations as `test_recorder_complete` reads them out of strace's output."""
    names = {node: name for inner in recording.first.names.values() for name, node in inner.items()}
    for entry in recording.log:
        line = _line(entry, names)
        if line:
            yield line


def _line(entry: Entry, names: dict[int, str]) -> str | None:
    match entry:
        case Link(name=name, node=node, is_directory=is_directory):
            names[node] = name
            return f"{'mkdir' if is_directory else 'create'} {name}"
        case Write(node, offset, data):
            return f"pwrite {names[node]} {len(data)} at {offset}"
        case Truncate(node, length):
            return f"truncate {names[node]} {length}"
        case Rename(old=old, new=new, node=node):
            names[node] = new
            return f"rename {old} {new}"
        case Unlink(name=name):
            return f"unlink {name}"
        case Sync(node=node, call=call):
            return f"{call} {names[node]}"
        case SyncDir(directory=directory):
            return f"fsync {names.get(directory, '.')}"
    return None


if __name__ == "__main__":
    folder, script, policy = Path(sys.argv[1]), BY_NAME[sys.argv[2]], fsync.get(sys.argv[3])
    subject = Subject(script.where, policy, serializers.pickle, 3)
    print("\n".join(lines(play(script, subject, 20, folder, really=True))))
