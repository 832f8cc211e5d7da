"""Lines become items in a queue, batch by batch; at any end it can be said what is stored, and up to which line.

line 1    {"a": 1}     stored
line 2    {"a": 2}     stored
line 3    {"a": 3      "line 3: it is no JSON ...; 2 items stored, up to line 2"
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import asyncpq
from asyncpq.cli.jsonform import NotInJson, NotOurForm, dumps, loads
from asyncpq.cli.options import Failed, Stopped
from asyncpq.cli.terminal import quantity, say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from asyncpq.cli.progress import Meter

__all__ = ["Storing", "as_json", "as_text"]

NOTHING: Final = object()  # a line without an item


def as_json(line: bytes) -> Any:
    """Return the item of a line of JSON; NOTHING for one of blanks.

    Raises:
        NotOurForm: it is none.
    """
    return loads(line) if line.strip() else NOTHING


def as_text(line: bytes) -> str:
    """Return the line as text.

    Raises:
        NotOurForm: it is no UTF-8.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotOurForm(f"it is no UTF-8, at byte {error.start}") from None


class Storing:
    """Items on their way into an open queue, and how far they have come."""

    def __init__(
        self, queue: Any, parse: Callable[[bytes], Any], word: str = "line", hint: str = "", **options: Any
    ) -> None:
        """Store nothing yet.

        Args:
            queue: any queue of asyncpq.
            parse: turns a line into an item, or NOTHING; raises NotOurForm.
            word: what a line is called.
            hint: what may help who gave a bad one.
            options: for put and put_many.
        """
        self._queue, self._parse, self._word, self._hint, self._options = queue, parse, word, hint, options
        self.stored = 0  # items
        self.there_already = 0  # of these, items that a unique queue had
        self._lines = 0  # read so far
        self._last = 0  # the line of the last item that is stored
        self._bytes = 0
        self._changed: tuple[int, str] | None = None  # what the serializer does not keep: the first line, and how many
        self._changes = 0

    async def run(self, batches: AsyncIterator[list[bytes]], meter: Meter) -> None:
        """Store the items of *batches*; when it ends early, the error says what is stored.

        Raises:
            Failed: a line is bad, an item cannot be stored, or the disk does not take it.
            Stopped: it was cancelled.
        """
        try:
            async for batch in batches:
                await self._batch(batch)
                meter.reach(items=self.stored, bytes=self._bytes)
        except asyncio.CancelledError:
            raise Stopped(f"interrupted; {self.told()}") from None
        except (NotOurForm, asyncpq.AsyncpqError, OSError) as error:
            raise Failed(f"{self._reason(error)}; {self.told()}") from error

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, OSError) and error.strerror:
            return f"{error.filename or self._queue.path}: {error.strerror}"
        return str(error)

    def told(self) -> str:
        """Say what is stored."""
        if not self.stored:
            return "nothing was stored"
        return f"{quantity(self.stored, 'item')} stored, up to {self._word} {self._last:,}"

    def warn(self) -> None:
        """Say on stderr what is not stored as it was read."""
        if self.there_already:
            say(f"{quantity(self.there_already, 'item')} there already, and not stored twice")
        if self._changed:
            name, (number, how) = self._queue.serializer.NAME, self._changed
            said = f"the first in {self._word} {number:,}: {how}"
            say(f"{quantity(self._changes, 'item')} changed by serializer {name!r}, {said}")

    async def _batch(self, batch: Sequence[bytes]) -> None:
        """Store what is good of *batch*, up to the first bad line."""
        items, numbers = [], []
        bad: NotOurForm | None = None
        for number, line in enumerate(batch, self._lines + 1):
            try:
                item = self._parse(line)
            except NotOurForm as error:
                bad = NotOurForm(f"{self._word} {number:,}: {error}{self._hint}")
                break
            if item is not NOTHING:
                items.append(item)
                numbers.append(number)
        await self._put(items, numbers)
        if bad:
            raise bad
        self._lines += len(batch)
        self._bytes += sum(map(len, batch)) + len(batch)

    async def _put(self, items: list[Any], numbers: list[int]) -> None:
        if not items:
            return
        try:
            done = await self._queue.put_many(items, **self._options)
        except (asyncio.CancelledError, asyncpq.AsyncpqError, OSError) as error:
            self._count(items, numbers, getattr(error, "stored", 0))
            raise
        except Exception:  # the serializer does not take one of them, and has not said which
            await self._one_by_one(items, numbers)
        else:
            self._count(items, numbers, len(items))
            self.there_already += done.count(None) if isinstance(done, list) else 0

    async def _one_by_one(self, items: list[Any], numbers: list[int]) -> None:
        for item, number in zip(items, numbers, strict=True):
            try:
                done = await self._queue.put(item, **self._options)
            except (asyncpq.AsyncpqError, OSError):
                raise
            except Exception as error:
                name = self._queue.serializer.NAME
                raise NotOurForm(f"{self._word} {number:,}: serializer {name!r} does not take it: {error}") from error
            self._count([item], [number], 1)
            self.there_already += done is None and hasattr(self._queue, "kind")

    def _count(self, items: list[Any], numbers: list[int], stored: int) -> None:
        """Count the first *stored* of *items* as stored."""
        if not stored:
            return
        self.stored += stored
        self._last = numbers[stored - 1]
        if self._queue.serializer.NAME == "pickle":
            return
        for item, number in zip(items[:stored], numbers, strict=False):
            if how := _changed(self._queue.serializer, item):
                self._changes += 1
                self._changed = self._changed or (number, how)


def _changed(serializer: Any, item: Any) -> str | None:
    """Say how *item* differs when it is read again; None where it does not."""
    before = dumps(item)
    try:
        after = dumps(serializer.loads(serializer.encode(item)))
    except NotInJson:
        return None
    return None if before == after else f"{_short(before)} comes as {_short(after)}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
