"""Dead letters, as values: what is kept of an item that failed too often, was rejected, or cannot be decoded.

A letter is a dict of plain data: `record` (bytes, as they were stored), `serializer` (its name), `attempts`, `first`
and `last` (when it was handed out first, and when it failed last: seconds since the epoch; `first` 0.0: never),
`error` (text).
"""

from __future__ import annotations

from typing import Any, Protocol

ERROR_MAX = 4096  # characters of an error's text that are kept


class Letters(Protocol):
    """Where dead letters go."""

    async def store(self, letter: dict[str, Any]) -> None:
        """Store *letter*; on return it is durable, as far as the policy wants anything to be."""


def letter(
    record: bytes, serializer: str, *, attempts: int, first: float, last: float, error: BaseException | str | None
) -> dict[str, Any]:
    """Return the dead letter of *record*."""
    if isinstance(error, BaseException):
        error = f"{type(error).__name__}: {error}"
    return {
        "record": bytes(record),
        "serializer": serializer,
        "attempts": attempts,
        "first": first,
        "last": last,
        "error": (error or "")[:ERROR_MAX],
    }
