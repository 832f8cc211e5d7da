"""All rows of a queue without consuming them: awaited at once, or page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator

    from asyncpq.sqlite.tables import Kind

PAGE: Final = 256  # rows read at a time


class Raw(dict[str, Any]):
    """What get(raw=True) returns: {"pqid": its id, "data": the item, "timestamp": when it was put}."""

    __slots__ = ("__weakref__",)


class Listing:
    """Rows to come: ``await`` it for a list, or ``async for`` over it."""

    def __init__(self, fetch: Callable[[str, tuple[Any, ...]], Awaitable[list[dict[str, Any]]]], kind: Kind) -> None:
        """Read nothing yet; *fetch* returns a page of rows, given a condition and its values."""
        self._fetch, self._kind = fetch, kind

    def __await__(self) -> Generator[Any, None, list[dict[str, Any]]]:
        """Return all rows."""
        return self._all().__await__()

    async def _all(self) -> list[dict[str, Any]]:
        return [row async for row in self]

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """Iterate over the rows, in the order of get."""
        where, values = "1", ()  # type: tuple[str, tuple[Any, ...]]
        while page := await self._fetch(where, (*values, PAGE)):
            for row in page:
                yield row
            where, values = self._beyond(page[-1])

    def _beyond(self, row: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
        """Return the condition for the rows that come after *row*."""
        if not self._kind.priority:
            return f"_id {'<' if self._kind.newest_first else '>'} ?", (row["pqid"],)
        if row["priority"] is None:  # comes first, and compares with nothing
            return "(priority IS NULL AND _id > ?) OR priority IS NOT NULL", (row["pqid"],)
        return "(priority, _id) > (?, ?)", (row["priority"], row["pqid"])
