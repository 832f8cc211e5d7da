"""From figures to one recommending sentence.  Pure.

    memory, or syncs too fast to be any    nothing is recommended: the figures say nothing about a disk
    a load is given                        the safest policy that carries it twice over
    else                                   the safest, up to what it carries; beyond that, the safest that is faster

Only asyncpq's own rows count, at the first size, serializer and delay; of a policy the kind that puts faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncpq.bench.result import Promise, lost, two_digits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncpq.bench.plan import Options
    from asyncpq.bench.result import Floor, Row

__all__ = ["HEADROOM", "TOO_FAST", "advise", "seconds", "warnings"]

TOO_FAST: Final = 20e-6  # seconds: no disk makes a write durable in less
HEADROOM: Final = 2.0  # a load comes in bursts
CLOSE: Final = 0.5  # so much of the fastest policy's puts a second is near enough to it
IN_MEMORY: Final = ("tmpfs", "ramfs", "devtmpfs")


def warnings(file_system: str, path: str, floor: Floor) -> list[str]:
    """Return why the figures may say nothing about a disk; one sentence each."""
    if file_system in IN_MEMORY:
        return [
            f"{path} is in memory ({file_system}): a sync costs nothing there and saves nothing; "
            f"measure on the file system that will hold the queue"
        ]
    fastest = min(sync.median for sync in floor.syncs.values())
    if fastest < TOO_FAST:
        return [
            f"a write and its fdatasync take {seconds(fastest)}, too fast to be a disk: "
            f"it answers before anything is durable, and no policy keeps its promise in a power cut here"
        ]
    return []


def advise(rows: Sequence[Row], floor: Floor, options: Options, warned: Sequence[str]) -> str:
    """Return the sentence.

    Args:
        rows: what was measured.
        floor: of the machine.
        options: what was asked for.
        warned: what `warnings` returned.
    """
    if warned:
        return f"No policy is recommended from these figures: {warned[0]}."
    policies = _policies(row for row in rows if row.cell.policy and _at_first(row, options))
    if not policies:
        return "No policy is recommended: none was measured."
    if options.load is not None:
        return _for_load(policies, options.load)
    sync = floor.syncs[options.sizes[0]].median + options.delays[0]
    return f"A write and its fdatasync take {seconds(sync)} here; {_in_general(policies)}."


def _at_first(row: Row, options: Options) -> bool:
    first = (options.sizes[0], options.serializers[0], options.delays[0])
    return (row.cell.size, row.cell.serializer, row.cell.delay) == first


def _policies(rows: Iterable[Row]) -> list[list[Row]]:
    """Return the rows of each policy, the safest policy first, with the faster kind for each number of producers."""
    faster: dict[tuple[Promise, str, int], Row] = {}
    for row in rows:
        key = (row.promise, row.cell.policy, row.cell.producers)
        if key not in faster or row.puts.median > faster[key].puts.median:
            faster[key] = row
    found: dict[tuple[Promise, str], list[Row]] = {}
    for key in sorted(faster):
        found.setdefault(key[:2], []).append(faster[key])
    return list(found.values())


def _for_load(policies: list[list[Row]], load: float) -> str:
    for row in (row for rows in policies for row in rows):
        if row.puts.median >= load * HEADROOM:
            return (
                f"For {load:,.0f} puts a second take {_named(row)}: it does {_rate(row)}, at least twice that, "
                f"and {_losing(row)}."
            )
    most = max((row for rows in policies for row in rows), key=lambda row: row.puts.median)
    return (
        f"No policy puts {load:,.0f} a second twice over here: the fastest, {_named(most)}, does {_rate(most)}; "
        f"use put_many, several queues, or a faster disk."
    )


def _in_general(policies: list[list[Row]]) -> str:
    safest = policies[0]
    told = f"{_named(safest[0])}: it does {_rates(safest)}, and {_losing(safest[0])}"
    fastest = max((rows[0] for rows in policies), key=lambda row: row.puts.median)
    if len(policies) == 1:
        return f"only one policy was measured, {told}"
    if safest[0].puts.median >= fastest.puts.median * CLOSE:
        return f"take {told}; no policy is twice as fast"
    other = next(rows for rows in policies[1:] if rows[0].puts.median > safest[0].puts.median)
    few = "one producer has" if safest[0].cell.producers == 1 else f"{safest[0].cell.producers} producers have"
    return (
        f"take {told}; only where {few} to put more than {two_digits(safest[0].puts.median / HEADROOM)} a second, take "
        f"{_named(other[0])}: it does {_rates(other)}, and {_losing(other[0])}"
    )


def _rate(row: Row) -> str:
    count = row.cell.producers
    producers = "one producer" if count == 1 else f"{count:,} producers"
    return f"{two_digits(row.puts.median)} puts a second with {producers}"


def _rates(rows: list[Row]) -> str:
    """Say what a policy does with the fewest producers, and with as many as help most."""
    most = max(rows, key=lambda row: row.puts.median)
    if most.puts.median < 2 * rows[0].puts.median:
        return _rate(rows[0])
    return f"{_rate(rows[0])} and {two_digits(most.puts.median)} with {most.cell.producers:,}"


def _named(row: Row) -> str:
    """Name policy and kind."""
    return f"fsync={row.cell.policy!r} on the {'SQLite' if 'sqlite' in row.cell.contender else 'file'} queue"


def _losing(row: Row) -> str:
    """Say what can be lost; where it was not counted, what is promised."""
    if row.counts.at_risk is None:
        return f"what a power cut can lose was not counted (promised is: {row.promise.text})"
    if row.counts.at_risk and not row.counts.advanced and not row.cell.window:
        return (
            f"a power cut can lose all that the system had not written: of {row.counts.puts:,} puts none became durable"
        )
    return f"a power cut can lose {lost(row)}"


def seconds(value: float) -> str:
    """Return a time, for people."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value * 1e9:.0f} ns"
