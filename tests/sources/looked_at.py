"""What a look into a directory must leave alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from asyncpq.sources import Entry, Source


def traces(folder: Path) -> dict[str, tuple[object, ...]]:
    """For each name below *folder*: its bytes, and what a change would leave.

    Not the time of the last change of the inode: as root, SQLite gives a log to whom it belongs already.
    """
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        is_file = path.is_file() and not path.is_symlink()
        digest = sha256(path.read_bytes()).hexdigest() if is_file else None
        found[str(path.relative_to(folder))] = facts.st_ino, facts.st_mode, facts.st_size, facts.st_mtime_ns, digest
    return found


@contextmanager
def untouched(folder: Path) -> Iterator[None]:
    """Fail when anything below *folder* is not as it was."""
    before = traces(folder)
    yield
    after = traces(folder)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert not changed, {name: (before.get(name), after.get(name)) for name in changed}


def entries(source: Source, after: tuple[int, ...] | None = None) -> list[Entry]:
    """All entries; their places only grow."""
    found = [entry for batch in source.batches(after) for entry in batch]
    assert [entry.at for entry in found] == sorted({entry.at for entry in found})
    return found


def items(source: Source) -> list[Any]:
    """All items; none is bad."""
    found = entries(source)
    assert [entry.bad for entry in found if entry.bad] == []
    return [source.loads(entry.blob) for entry in found]


def accessed(folder: Path) -> dict[str, int]:
    """When each file below *folder* was read last; what reads it here must not be asked again."""
    return {str(path): os.lstat(path).st_atime_ns for path in sorted(folder.rglob("*")) if path.is_file()}
