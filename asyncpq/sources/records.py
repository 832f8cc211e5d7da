"""The records from tail to head as entries, a block of a chunk at a time.

    | r r r r r ~ |             a block: whole records are split off, the torn end is read again with more
    | r r ???????? r r |        a damaged place: one Entry with *bad*, and on behind it
    | r r r |  gone             a chunk that is short, or not there: one Entry with *bad*

Where a damaged place ends is the same as for on_corrupt="skip".
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from asyncpq.layout import Position
from asyncpq.recovery.chunks import UNBUILT
from asyncpq.recovery.skip import damaged_place
from asyncpq.recovery.verify import step_of
from asyncpq.serializers import Damaged, Torn
from asyncpq.sources.blobs import frame_of
from asyncpq.sources.protocol import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from asyncpq.recovery.chunks import Chunk, Chunks
    from asyncpq.serializers import Serializer

__all__ = ["BATCH", "BLOCK", "NOTHING", "SHOWN", "Queue", "Walk", "protocol_of"]

BLOCK: Final = 256 * 1024  # bytes read at a time; doubled until the record at hand fits
BATCH: Final = 4096  # entries in one list, at most
SHOWN: Final = 16 * 1024 * 1024  # bytes of a damaged place, at most, that an Entry carries
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Queue:
    """A directory's records that are to come."""

    chunks: Chunks
    serializer: Serializer
    tail: Position
    head: Position
    chunksize: int
    acked: frozenset[Position]  # out of order: left out
    encoding: str  # of Python 2's byte strings


class Walk:
    """The entries of one chunk, from *at* on."""

    def __init__(self, queue: Queue, at: Position) -> None:
        """Read nothing yet."""
        self.at = at  # behind what was yielded
        self._queue, self._number = queue, at.chunk
        self._is_last = at.chunk == queue.head.chunk
        self._most = queue.head.count if self._is_last else queue.chunksize
        self._step = step_of(queue.serializer, queue.encoding)
        self._before, self._behind = frame_of(queue.serializer)

    def batches(self) -> Iterator[list[Entry]]:
        """Yield them; afterwards *at* is where the next chunk begins, or the head.

        Raises:
            FileNotFoundError: the chunk is gone.
        """
        queue = self._queue
        with queue.chunks.open(self._number) as chunk:
            stop = min(queue.head.offset, chunk.size) if self._is_last else chunk.size
            yield from self._records(chunk, stop)
        if self.at.chunk == self._number and not self._is_last and self.at.count < self._most:
            yield [self.missing(f"the chunk ends before the last {self._most - self.at.count} of its records")]
        self.at = self.beyond

    @property
    def beyond(self) -> Position:
        """Where the next chunk begins, or the head."""
        return self._queue.head if self._is_last else Position(self._number + 1, 0, 0)

    def missing(self, why: str) -> Entry:
        """Return the entry for all that should follow *at* in the chunk and does not."""
        return Entry(self.at, b"", why, {"length": 0, "records": self._most - self.at.count})

    def _records(self, chunk: Chunk, stop: int) -> Iterator[list[Entry]]:
        want = BLOCK
        while self.at.chunk == self._number and self.at.offset < stop and (self._is_last or self.at.count < self._most):
            start = self.at
            data = chunk.read(start.offset, min(want, stop - start.offset))
            batch, why = self._split(data)
            if batch:
                yield batch
            if self.at != start:
                want = BLOCK
            elif why is None and start.offset + len(data) < stop:
                want *= 2
            else:
                yield [self._damaged(chunk, why)]

    def _split(self, data: bytes) -> tuple[list[Entry], str | None]:
        """Return the entries that *data* begins with, and why what follows is no record; None: it is not all there."""
        chunk, count, offset = self.at
        step, before, behind, acked = self._step, self._before, self._behind, self._queue.acked
        most, pos, size = count + BATCH, 0, len(data)
        if not self._is_last:
            most = min(most, self._most)
        batch: list[Entry] = []
        why = None
        try:
            while pos < size and count < most:
                end = step(data, pos)
                at = Position(chunk, count, offset + pos)
                if not acked or at not in acked:
                    batch.append(Entry(at, data[pos + before : end - behind], None, NOTHING))
                pos, count = end, count + 1
        except Torn:
            pass
        except Damaged as damaged:
            why = damaged.why
        self.at = Position(chunk, count, offset + pos)
        return batch, why

    def _damaged(self, chunk: Chunk, why: str | None) -> Entry:
        at, place = self.at, damaged_place(chunk, self.at, self._queue.head, self._queue.chunksize)
        length = place.end - at.offset
        self.at = place.behind
        extra = {"length": length, "records": place.records}
        shape = chunk.why(at.offset, place.end)
        bad = why if why is not None and shape == UNBUILT else shape
        return Entry(at, chunk.read(at.offset, min(length, SHOWN)), bad, extra)


def protocol_of(blob: bytes) -> int | None:
    """Return the protocol of the pickle *blob*: the lowest that has all its opcodes; None: it is none."""
    highest = 0
    try:
        for opcode, argument, _ in pickletools.genops(blob):
            if opcode.name == "PROTO":
                return int(str(argument))
            highest = max(highest, opcode.proto)
    except ValueError:
        return None
    return highest
