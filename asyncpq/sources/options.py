"""What is asked of every source.  Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpq.serializers import Serializer

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """See open_source."""

    serializer: Serializer | None = None
    encoding: str = "latin-1"
    unpickle: bool = False
    lock: bool = True
    name: str | None = None
    nats: Mapping[str, Any] = field(default_factory=dict, repr=False)
