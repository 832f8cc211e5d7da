"""Which source it was: what a later run compares before it goes on, and this one before it is done."""

from __future__ import annotations

import os
import stat
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from asyncpq.layout import INFO

if TYPE_CHECKING:
    from pathlib import Path

    from asyncpq.sources import Source

__all__ = ["identity_of", "inode", "source_identity"]

COMPANIONS: Final = ("-wal", "-journal")  # of a database; its index, -shm, comes and goes with readers
DIGEST_SIZE: Final = 16  # bytes


def inode(path: Path) -> list[int] | None:
    """Return what tells the file or directory at *path* from every other one; None: nothing is there."""
    try:
        facts = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return [facts.st_dev, facts.st_ino]


def identity_of(source: Source) -> dict[str, Any]:
    """Return the identity of *source*: its own word, where it is none of this machine's files."""
    own = getattr(source, "identity", None)
    return own() if own is not None else source_identity(source.about.path)


def source_identity(path: Path) -> dict[str, Any]:
    """Return path, inode, sizes and times of all files, and the digest of info: equal only where nothing was written.

    Raises:
        OSError: it cannot be looked at.
    """
    full = os.path.abspath(path)
    facts = os.stat(full)
    files = _in_directory(full) if stat.S_ISDIR(facts.st_mode) else _beside(full)
    return {
        "path": full,
        "inode": [facts.st_dev, facts.st_ino],
        "files": len(files),
        "bytes": sum(size for _, size, _, _ in files),
        "digest": blake2b(repr(files).encode() + _info(full), digest_size=DIGEST_SIZE).hexdigest(),
    }


def _in_directory(folder: str) -> list[tuple[str, int, int, int]]:
    with os.scandir(folder) as entries:
        found = [_facts(entry.name, entry.stat(follow_symlinks=False)) for entry in entries if _counts(entry)]
    return sorted(found)


def _counts(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False) and not entry.name.endswith("-shm")


def _beside(file: str) -> list[tuple[str, int, int, int]]:
    names = [file, *(file + name for name in COMPANIONS if os.path.exists(file + name))]
    return [_facts(name, os.stat(name)) for name in names]


def _facts(name: str, facts: os.stat_result) -> tuple[str, int, int, int]:
    return name, facts.st_size, facts.st_mtime_ns, facts.st_ino


def _info(folder: str) -> bytes:
    try:
        with open(os.path.join(folder, INFO), "rb") as file:
            return file.read(1 << 20)
    except (FileNotFoundError, NotADirectoryError):
        return b""
