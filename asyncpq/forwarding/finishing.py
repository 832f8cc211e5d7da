"""Waiting for what must not be left halfway."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["ended"]


async def ended(running: asyncio.Future[Any]) -> None:
    """Wait until *running* is done, however it ends.

    Cancellation: goes on when it is done, and not before.
    """
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not running.cancelled():
            running.exception()  # nobody asks for it any more
        raise cancelled
