"""Every row that lies on a page which can be read, whatever has become of the others.

    trees      from the root that the schema names, over all interior pages that are left
    orphans    leaves below a page that is damaged: found by looking at every page that no tree reached
    free       pages of the free list hold rows that were deleted: they are left out

Two passes over the file, a page at a time.  Synchronous: for worker threads.
"""

from __future__ import annotations

import os
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from asyncpq.sqlite import pages
from asyncpq.sqlite.pages import INTERIOR, LEAF, Header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SAMPLE: Final = 64  # pages that tell how long a page is

Row = tuple[int, tuple[Any, ...] | None]  # row id, values; None: they cannot be read


@dataclass(slots=True)
class Tree:
    """The leaves of one table."""

    leaves: list[int] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)  # pages that should be the tree's and are not


class Salvage:
    """A database file, read without SQLite."""

    def __init__(self, fd: int) -> None:
        """Look at every page once; *fd* stays the caller's."""
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self.header = self._header()
        self.pages = -(-self._size // self.header.page_size)
        self._kinds = bytearray(self.pages + 1)  # by page number: 13, 5 or 0
        self._used = bytearray(self.pages + 1)  # by page number: 1 where a tree, or the free list, has it
        self._owners = array("q")  # by overflow page: the cell that goes on there, as far as this pass has seen
        self.new_pass()
        for number in range(1, self.pages + 1):
            self._kinds[number] = self._kind(number)
        self._twice = self._named_twice()
        self.schema = self.tree(1)
        self._free()

    def new_pass(self) -> None:
        """Forget which cells have overflow pages: an old copy of a cell must not keep its pages from the true one."""
        self._owners = array("q", bytes(8 * (self.pages + 1)))

    def page(self, number: int) -> bytes:
        """Return a page; what lies beyond the end of the file is zeros."""
        size = self.header.page_size
        return os.pread(self._fd, size, (number - 1) * size).ljust(size, b"\0")

    def _header(self) -> Header:
        """Return what the header says, unless the pages are of another size."""
        said = pages.read_header(os.pread(self._fd, pages.HEADER, 0))
        sizes = ([said.page_size] if said else []) + [size for size in pages.SIZES if said is None or size < 65536]
        scores = {size: self._score(size) for size in sizes}
        best = max(scores, key=lambda size: scores[size])
        if said is not None and (scores[said.page_size] > 0 or scores[best] == 0):
            return said
        return Header(best)

    def _score(self, size: int) -> float:
        """Return the share of the first pages that look like pages of this size."""
        numbers = range(2, min(SAMPLE, -(-self._size // size)) + 1)
        found = 0
        for number in numbers:
            page = os.pread(self._fd, size, (number - 1) * size)
            found += pages.looks_like_tree(page, size, number) and pages.reaches_end(page, size, number)
        return found / len(numbers) if numbers else 0.0

    def _kind(self, number: int) -> int:
        page = self.page(number)
        if not pages.looks_like_tree(page, self.header.usable, number):
            return 0
        kind = page[pages.start(number)]
        return kind if kind in (LEAF, INTERIOR) else 0

    def _named_twice(self) -> set[int]:
        """Return the pages that two pages above name: one of these is wrong, and may be another table's."""
        named = bytearray(self.pages + 1)
        twice: set[int] = set()
        for number in range(1, self.pages + 1):
            if self._kinds[number] == INTERIOR:
                for child, _ in pages.children(self.page(number), self.header, number):
                    if 0 < child <= self.pages:
                        if named[child]:
                            twice.add(child)
                        named[child] = 1
        return twice

    def tree(self, root: int) -> Tree:
        """Return the leaves of the table at page *root*, in order; each page is in one tree only."""
        found = Tree()
        todo: list[tuple[int, int | None, int | None]] = [(root, None, None)]  # page, row ids above and up to
        while todo:
            number, low, high = todo.pop()
            wrong = not 0 < number <= self.pages or self._used[number] or not self._kinds[number]
            if wrong or (number != root and number in self._twice):
                found.bad.append(number)
            elif self._kinds[number] == LEAF:
                if self._within(number, low, high):
                    self._used[number] = 1
                    found.leaves.append(number)
                else:
                    found.bad.append(number)
            else:
                self._used[number] = 1
                todo += reversed(self._below(number, low, high))
        return found

    def _below(self, number: int, low: int | None, high: int | None) -> list[tuple[int, int | None, int | None]]:
        found = []
        for child, last in pages.children(self.page(number), self.header, number):
            found.append((child, low, high if last is None else last))
            low = last
        return found

    def _within(self, number: int, low: int | None, high: int | None) -> bool:
        """Return whether the row ids on a leaf are what the page above says: it may name another table's leaf."""
        if low is None and high is None:
            return True
        ids = [cell.row for cell in pages.cells(self.page(number), self.header, number) if cell is not None]
        inside = sum((low is None or row > low) and (high is None or row <= high) for row in ids)
        return not ids or 2 * inside >= len(ids)

    def _free(self) -> None:
        """Leave out what is free: by the chain from the header, and by every page that looks like one of it."""
        number, before = self.header.trunk, self._used.count(1)
        while 0 < number <= self.pages and not self._used[number]:
            number = self._trunk(number)
        self.free_is_whole = self._used.count(1) - before == self.header.free
        for number in range(2, self.pages + 1):
            if not self._kinds[number] and not self._used[number]:
                self._trunk(number)

    def _trunk(self, number: int) -> int:
        page = self.page(number)
        read = pages.trunk(page, self.header, self.pages)
        if read is None or not page.strip(b"\0"):
            return 0
        if not any(self._used[free] for free in read[1]):
            for free in (number, *read[1]):
                self._used[free] = 1
        return read[0]

    def orphans(self) -> list[Tree]:
        """Return the leaves that no tree has, those together that have a page above them in common."""
        left = [n for n in range(2, self.pages + 1) if self._kinds[n] and not self._used[n]]
        below = {
            child
            for number in left
            if self._kinds[number] == INTERIOR
            for child, _ in pages.children(self.page(number), self.header, number)
        }
        # From the top, so that a leaf is taken with its siblings; what is in a circle comes last.
        order = sorted(left, key=lambda number: number in below)
        return [tree for number in order if not self._used[number] and (tree := self.tree(number)).leaves]

    def take(self, alike: Callable[[tuple[Any, ...]], bool]) -> list[Tree]:
        """Return the leaves that no tree has and whose rows are all *alike*, each for itself."""
        found = []
        for number in range(2, self.pages + 1):
            if self._kinds[number] == LEAF and not self._used[number]:
                rows = [row for _, row in self.leaf(number)]
                if rows and all(row is not None and alike(row) for row in rows):
                    found.append(self.tree(number))
        return found

    def rows(self, tree: Tree) -> Iterator[Row]:
        """Yield the rows on the leaves of *tree*."""
        for number in tree.leaves:
            yield from self.leaf(number)

    def ids(self, tree: Tree) -> Iterator[int]:
        """Yield the row ids on the leaves of *tree*."""
        for number in tree.leaves:
            yield from (cell.row for cell in pages.cells(self.page(number), self.header, number) if cell is not None)

    def leaf(self, number: int) -> Iterator[Row]:
        """Yield the rows on one leaf; 0 and None for a cell that is none."""
        for index, cell in enumerate(pages.cells(self.page(number), self.header, number)):
            if cell is None:
                yield 0, None
                continue
            payload = self._payload(cell, number << 16 | index)
            yield cell.row, None if payload is None else pages.values(payload, self.header.encoding)

    def _payload(self, cell: pages.Cell, owner: int) -> bytes | None:
        """Return all of a payload; None: its pages are not what they should be, or another cell's."""
        if cell.length > self._size:
            return None
        parts, have, number, usable = [cell.begins], len(cell.begins), cell.overflow, self.header.usable
        passed: set[int] = set()
        while have < cell.length:
            if not 1 < number <= self.pages or self._kinds[number] or number in passed:
                return None
            if self._owners[number] not in (0, owner):
                return None  # many cells with one long chain would take for ever
            passed.add(number)
            self._owners[number] = owner
            page = self.page(number)
            number = int.from_bytes(page[:4], "big")
            parts.append(page[4 : min(usable, 4 + cell.length - have)])
            have += len(parts[-1])
        return b"".join(parts)
