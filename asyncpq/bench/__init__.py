"""Which fsync policy can I afford: `asyncpq bench`.

plan        options -> cells                                 pure
contenders  asyncpq's queues, and those of other libraries
slices      one queue, put to and got from for a while       floor: the same for the bare system
whole       options -> result: workspace, machine, notes
running     rounds in turn
counting    syncs, bytes and what is at risk                 waves, watching, child, calls, ledger
result      the figures, as data and as JSON                 pure
advice      figures -> a sentence that recommends            pure
table       figures -> rows of text                          pure
report      one page, with plots where matplotlib is
"""

from __future__ import annotations

from asyncpq.bench.plan import Options
from asyncpq.bench.result import Result
from asyncpq.bench.whole import bench

__all__ = ["Options", "Result", "bench"]
