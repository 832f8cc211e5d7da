"""What strace wrote, read into a ledger for each queue.  Pure.

    1234 1795601517.646841 fdatasync(4</disk/asyncpq-bench-3f9a01c2/c0001/q>) = 0
    1235 1795601517.646850 fsync(5</disk/... <unfinished ...>       it has begun, and covers what was written before
    1235 1795601517.646990 <... fsync resumed>) = 0                 it is done
    1234 1795601517.647100 write(3</dev/null>, "ack 16", 6) = 6     16 puts have returned

The marks are written to /dev/null: "begin N", "ack COUNT", "end N"; N numbers the queues.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncpq.bench.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncpq.bench.result import Counts

__all__ = ["TRACED", "counts_of"]

WRITES: Final = ("write", "pwrite64", "writev", "pwritev", "pwritev2")
SYNCS: Final = ("fsync", "fdatasync")
NAMES: Final = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "link", "linkat", "openat", "mkdir", "mkdirat")
TRACED: Final = (*WRITES, *SYNCS, *NAMES)
NOT_KEPT: Final = "-shm"  # the index of SQLite's log is made again: nobody syncs it, nobody has to

_LINE: Final = re.compile(r"(\d+)\s+(\d+\.\d+) (.*)")
_RESUMED: Final = re.compile(r"<\.\.\. \w+ resumed>")
_CALL: Final = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)", re.DOTALL)
_BEGUN: Final = re.compile(r"(\w+)\((.*) <unfinished \.\.\.>$", re.DOTALL)
_MARK: Final = re.compile(r'\d+</dev/null(?:<[^>]*>)?>, "(begin|ack|end) (\d+)"')
_PLACE: Final = re.compile(r"/asyncpq-bench-[0-9a-f]{8}/(c\d+(?:/[^\">]*)?)[>\"]")
_DESCRIPTOR: Final = re.compile(r"\d+<[^\"]*?" + _PLACE.pattern)
_AT: Final = re.compile(r'(?:(?:AT_FDCWD|\d+)<(.*?)>, )?"((?:[^"\\]|\\.)*)"')


class _Call(NamedTuple):
    name: str
    arguments: str
    result: int


def counts_of(lines: Iterable[str]) -> dict[int, Counts]:
    """Return what was counted, by the number of the queue; one that has not ended is left out."""
    reader = _Reader()
    for line in lines:
        if found := _LINE.match(line):
            reader.line(found[1], float(found[2]), found[3])
    return reader.counts


class _Reader:
    """Goes through the lines; one queue is counted at a time."""

    def __init__(self) -> None:
        self.counts: dict[int, Counts] = {}
        self._ledger = Ledger()
        self._there: set[str] = set()  # files: opening one that is there makes no name
        self._begun: dict[str, tuple[str, int]] = {}  # by thread: the call as far as it is known, what it can cover

    def line(self, thread: str, now: float, text: str) -> None:
        """Take a line."""
        self._ledger.now = now
        if begun := _BEGUN.match(text):
            self._begun[thread] = f"{begun[1]}({begun[2]}", self._ledger.sync_begins()
            return
        covers = self._ledger.sync_begins()
        if _RESUMED.match(text):
            start, covers = self._begun.pop(thread, ("", 0))
            text = start + _RESUMED.sub("", text, count=1)
        if (found := _CALL.match(text)) and int(found[3]) >= 0:
            self._call(_Call(found[1], found[2], int(found[3])), covers)

    def _call(self, call: _Call, covers: int) -> None:
        if call.name in WRITES:
            self._write(call)
        elif call.name in SYNCS:
            if file := _file(call.arguments):
                self._ledger.sync_ends(file, covers)
        elif call.name != "openat" or "O_CREAT" in call.arguments:
            self._names(call)

    def _write(self, call: _Call) -> None:
        if mark := _MARK.match(call.arguments):
            self._marked(mark[1], int(mark[2]))
        elif (file := _file(call.arguments)) and not file.endswith(NOT_KEPT):
            self._ledger.wrote(file, call.result)

    def _marked(self, word: str, number: int) -> None:
        if word == "begin":
            now = self._ledger.now
            self._ledger = Ledger(now)
            self._ledger.begin()
        elif word == "ack":
            self._ledger.acked(number)
        else:
            self._ledger.end()
            self.counts[number] = self._ledger.counts("strace")

    def _names(self, call: _Call) -> None:
        files = [file for file in _paths(call.arguments) if not file.endswith(NOT_KEPT)]
        if not files:
            return
        if call.name.startswith("rename") and len(files) == 2:
            self._ledger.renamed(*files)
            self._there = self._there - {files[0]} | {files[1]}
        elif call.name.startswith("unlink"):
            self._ledger.removed(files[0])
            self._there -= {files[0]}
        elif files[-1] not in self._there:
            self._ledger.named(files[-1].rpartition("/")[0])
            self._there.add(files[-1])


def _file(arguments: str) -> str | None:
    """Return the file of the descriptor that comes first, from the queue's directory on; None: it is not ours."""
    found = _DESCRIPTOR.match(arguments)
    return found[1] if found else None


def _paths(arguments: str) -> list[str]:
    """Return the files that are named, from the queue's directory on; others are left out."""
    paths = []
    for directory, name in _AT.findall(arguments):
        path = name if name.startswith("/") else f"{directory}/{name}"
        if found := _PLACE.search(f'{path}"'):
            paths.append(found[1])
    return paths
