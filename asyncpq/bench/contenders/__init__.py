"""Who is measured: asyncpq's queues, and those of other libraries as far as they are installed.

protocol     what the bench asks of a queue
ours         asyncpq, each policy
peers        one small class for each queue of another library, with what it promises
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from asyncpq.bench.contenders.ours import OursFile, OursSQLite
from asyncpq.bench.contenders.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from asyncpq.bench.contenders.protocol import Contender, Peer
    from asyncpq.bench.plan import Cell

__all__ = ["LIBRARIES", "chosen", "make"]

LIBRARIES: Final = tuple(dict.fromkeys(peer.library for peer in PEERS))
_BY_NAME: Final[dict[str, type[Peer]]] = {peer.name: peer for peer in PEERS}


def chosen(libraries: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the peers of these libraries (None: of all), and the libraries that are not installed."""
    wanted = LIBRARIES if libraries is None else libraries
    missing = [name for name in wanted if not _installed(name)]
    return [peer.name for peer in PEERS if peer.library in wanted and peer.library not in missing], missing


def _installed(library: str) -> bool:
    return all(find_spec(peer.module) is not None for peer in PEERS if peer.library == library)


def make(cell: Cell, place: Path) -> Contender:
    """Return the contender of a cell, not open yet, in the empty directory *place*."""
    if cell.contender == "asyncpq file":
        return OursFile(place, cell)
    if cell.contender == "asyncpq sqlite":
        return OursSQLite(place, cell)
    return _BY_NAME[cell.contender](place)
