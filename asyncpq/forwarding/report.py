"""What forwarding tells: while it is at work, and in the end.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ForwardReport"]


@dataclass(frozen=True, slots=True)
class ForwardReport:
    """What `forward` did so far, and where it is."""

    path: Path
    target: str  # the address, without user info
    items: int = 0  # confirmed by the server, and acknowledged here
    bytes: int = 0  # of their records
    repeated: int = 0  # of these, the server had them already: sent twice, stored once
    found: int = 0  # of these, not sent again: the stream was seen to hold them
    in_doubt: int = 0  # of these, nobody could tell whether the target had, and consumed, them before: see `in_doubt=`
    set_aside: int = 0  # damaged or too large: not forwarded
    bad_file: Path | None = None  # where they are
    retries: int = 0  # batches that were tried again
    left: int = 0  # items still here
    waiting: str | None = None  # for what, where it does not go on; None: it does
