"""Which directories a power cut can leave behind, in three file systems.

names         each model chooses which of the name operations since the last fsync of the directory are there
contents      each file by itself: a name can lead to an empty file
a state       one choice of names and of each content; all of them are tried up to a cap, then a sample

ext4, xfs     name operations are there in order: a prefix
ext4          a rename over an existing name has its file's data with it
posix         any subset; a file that was moved into another directory, which is synced, may have both names
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.crash import contents
from tests.crash.contents import EMPTY, Content, applied
from tests.crash.operations import (
    ROOT,
    Acknowledged,
    Begun,
    Data,
    Entry,
    Link,
    Name,
    Rename,
    Sync,
    SyncDir,
    Truncate,
    Unlink,
    Write,
)
from tests.crash.recorder import Tree

State = tuple[tuple[str, Content | None], ...]  # path -> content, None: a directory; sorted
Namespace = dict[int, dict[str, int]]
Variants = Callable[[Content, Sequence[Data], random.Random], list[Content]]

SUBSETS: Final = 64  # of pending name operations, in posix
LEAST: Final = 4  # choices of names, however small the cap


@dataclass(frozen=True, slots=True)
class Model:
    """A file system."""

    name: str
    variants: Variants
    ordered: bool  # name operations are there in order
    forced: bool  # a rename over an existing name has the data with it


EXT4: Final = Model("ext4", contents.ext4, ordered=True, forced=True)
XFS: Final = Model("xfs", contents.xfs, ordered=True, forced=False)
POSIX: Final = Model("posix", contents.posix, ordered=False, forced=False)
MODELS: Final = (EXT4, XFS, POSIX)


@dataclass(frozen=True, slots=True)
class Pending:
    """A name operation that is not certain, and how much was written to its file before."""

    operation: Name
    written: int = 0  # data operations of the file, from its beginning on


@dataclass(slots=True)
class File:
    """What is certain of a file, and what is pending."""

    certain: Content = EMPTY
    pending: list[Data] = field(default_factory=list)
    settled: int = 0  # data operations that are certain

    def settle(self, count: int) -> None:
        """Let the first *count* pending operations be certain."""
        for operation in self.pending[:count]:
            self.certain = applied(self.certain, operation)
        del self.pending[:count]
        self.settled += count


class Disk:
    """What the disk may hold while operations pass by."""

    def __init__(self, model: Model, tree: Tree, chance: random.Random) -> None:
        self.model, self.chance = model, chance
        self._names = {node: dict(names) for node, names in tree.names.items()}
        self._files = {node: File(content) for node, content in tree.files.items()}
        self._pending: list[Pending] = []
        self._cache: dict[tuple[int, int, int, int], list[Content]] = {}

    def do(self, entry: Entry) -> None:
        """Let an operation have happened."""
        match entry:
            case Write(node) | Truncate(node):
                self._files[node].pending.append(entry)
            case Sync(node):
                self._files[node].settle(len(self._files[node].pending))
            case SyncDir(directory):
                self._sync_names(directory)
            case Rename(over=over, node=node):
                file = self._files[node]
                self._pending.append(Pending(entry, file.settled + len(file.pending) if over else 0))
            case Link(node=node, is_directory=is_directory):
                if not is_directory:
                    self._files[node] = File()
                self._pending.append(Pending(entry))
            case Unlink():
                self._pending.append(Pending(entry))
            case Begun() | Acknowledged():
                pass

    def _sync_names(self, directory: int) -> None:
        if not self.model.ordered:
            self._sync_new_names(directory)
        mine = [i for i, pending in enumerate(self._pending) if directory in _directories(pending.operation)]
        certain = range(mine[-1] + 1) if mine and self.model.ordered else mine
        for i in certain:
            pending = self._pending[i]
            _apply(self._names, pending.operation)
            if self.model.forced and isinstance(pending.operation, Rename):
                file = self._files[pending.operation.node]
                file.settle(max(0, pending.written - file.settled))
        self._pending = [pending for i, pending in enumerate(self._pending) if i not in certain]

    def _sync_new_names(self, directory: int) -> None:
        """The new name of what was moved into *directory* is certain now; the old one may still be there."""
        for i, pending in enumerate(self._pending):
            match pending.operation:
                case Rename(source, old, target, new, node) if source != target == directory:
                    _apply(self._names, Link(target, new, node))
                    self._pending[i] = Pending(Unlink(source, old))

    def live(self) -> State:
        """What a program sees, without a cut."""
        names = {node: dict(inner) for node, inner in self._names.items()}
        for pending in self._pending:
            _apply(names, pending.operation)
        files = {node: contents.prefixes(file.certain, file.pending)[-1] for node, file in self._files.items()}
        return tuple(sorted((path, files.get(node)) for path, node in _paths(names, ROOT, "")))

    # -- states -------------------------------------------------------------------------------------------------

    def states(self, cap: int) -> Iterator[State]:
        """What a cut now may leave behind: all of it, or a sample of about *cap*."""
        spaces = self._namespaces()
        if len(spaces) > max(cap, LEAST):
            # None and all of the names, and a sample of those between.
            spaces = [spaces[0], spaces[-1], *self.chance.sample(spaces[1:-1], max(cap, LEAST) - 2)]
        share = max(1, cap // len(spaces))
        for names, forced in spaces:
            paths = dict(_paths(names, ROOT, ""))
            nodes = sorted({node for node in paths.values() if node not in names})
            choices = [self._variants(node, forced.get(node, 0)) for node in nodes]
            for picked in self._picks(choices, share):
                content = dict(zip(nodes, picked, strict=True))
                yield tuple(sorted((path, content.get(node)) for path, node in paths.items()))

    def _picks(self, choices: list[list[Content]], cap: int) -> Iterator[tuple[Content, ...]]:
        if math.prod(map(len, choices)) <= cap:
            yield from itertools.product(*choices)
            return
        yield tuple(contents[0] for contents in choices)
        for one in range(len(choices)):
            # One file as it was, or as far as it can be, and the others the other way.
            yield tuple(contents[0 if i == one else -1] for i, contents in enumerate(choices))
            yield tuple(contents[-1 if i == one else 0] for i, contents in enumerate(choices))
        for _ in range(cap):
            yield tuple(self.chance.choice(contents) for contents in choices)

    def _variants(self, node: int, forced: int) -> list[Content]:
        file = self._files[node]
        least = max(0, forced - file.settled)
        key = node, file.settled, len(file.pending), least
        if key not in self._cache:
            base = contents.prefixes(file.certain, file.pending[:least])[-1]
            self._cache[key] = self.model.variants(base, file.pending[least:], self.chance)
        return self._cache[key]

    def _namespaces(self) -> list[tuple[Namespace, dict[int, int]]]:
        """The names that can be there, each with what is forced to be in the files."""
        count = len(self._pending)
        if self.model.ordered:
            chosen: list[tuple[int, ...]] = [tuple(range(length)) for length in range(count + 1)]
        elif 2**count <= SUBSETS:
            chosen = [pick for length in range(count + 1) for pick in itertools.combinations(range(count), length)]
        else:
            chosen = [tuple(range(length)) for length in range(count + 1)]
            chosen += [(i,) for i in range(count)] + [tuple(j for j in range(count) if j != i) for i in range(count)]
            chosen += [tuple(i for i in range(count) if self.chance.random() < 0.5) for _ in range(SUBSETS)]
        spaces: dict[str, tuple[Namespace, dict[int, int]]] = {}
        for pick in chosen:
            names = {node: dict(inner) for node, inner in self._names.items()}
            forced: dict[int, int] = {}
            for i in pick:
                pending = self._pending[i]
                _apply(names, pending.operation)
                if self.model.forced and isinstance(pending.operation, Rename) and pending.written:
                    forced[pending.operation.node] = pending.written
            spaces[repr((names, forced))] = names, forced
        return list(spaces.values())


def _directories(operation: Name) -> tuple[int, ...]:
    if isinstance(operation, Rename):
        return operation.directory, operation.target
    return (operation.directory,)


def _apply(names: Namespace, operation: Name) -> None:
    match operation:
        case Link(directory, name, node, is_directory):
            names.setdefault(directory, {})[name] = node
            if is_directory:
                names.setdefault(node, {})
        case Unlink(directory, name):
            names.setdefault(directory, {}).pop(name, None)
        case Rename(directory, old, target, new, node):
            names.setdefault(directory, {}).pop(old, None)
            names.setdefault(target, {})[new] = node


def _paths(names: Namespace, directory: int, prefix: str) -> Iterator[tuple[str, int]]:
    for name, node in names[directory].items():
        yield prefix + name, node
        if node in names:
            yield from _paths(names, node, f"{prefix}{name}/")
