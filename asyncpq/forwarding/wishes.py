"""What was asked of forwarding.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncpq.forwarding.pauses import MOST

if TYPE_CHECKING:
    from asyncpq.forwarding.setaside import Aside

__all__ = ["Wishes"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """See `forward`."""

    drain: bool = False
    skip_doubt: bool = False
    patience: float | None = None  # seconds
    pause: float = MOST  # seconds
    aside: Aside | None = None  # None: nothing is set aside
