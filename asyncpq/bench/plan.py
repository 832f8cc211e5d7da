"""What is measured: options become cells.  Pure.

policies   never  rollover  interval  always        each kind under each policy, at the first of all the others;
producers    1 ─── 16 ─── 256                       from there one option at a time goes through its values,
size        20 ─── 1k ─── 64k                       so that the cells are a star and not a cube
peers                                               at the first size, with each number of producers
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from asyncpq import fsync

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["KINDS", "QUICK", "Cell", "Options", "cells", "duration", "number", "policy", "size"]

KINDS: Final = ("file", "sqlite")
SEPARATOR: Final = ":"  # interval:0.2 and interval:1:100
_NUMBER: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
_SIZES: Final = {"": 1, "b": 1, "k": 1024, "kb": 1024, "kib": 1024, "m": 1024**2, "mb": 1024**2, "mib": 1024**2}
_DURATIONS: Final = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
MOST_SIZE: Final = 16 * 1024 * 1024  # bytes of an item: one slice of it is no load for a disk yet


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing to measure."""

    contender: str
    policy: str  # as it was written; "" for a peer, which has one promise only
    producers: int
    size: int  # bytes of an item
    serializer: str  # "" for a peer: its own
    delay: float = 0.0  # seconds that each sync takes longer

    @property
    def name(self) -> str:
        """What is measured, without where on the axes."""
        return f"{self.contender}, {self.policy}" if self.policy else self.contender

    @property
    def window(self) -> float:
        """Seconds that something may stay undurable by the policy; 0: the policy has no such time."""
        return getattr(policy(self.policy), "seconds", 0.0) if self.policy else 0.0


@dataclass(frozen=True, slots=True)
class Options:
    """How much to measure."""

    policies: tuple[str, ...] = ("never", "rollover", "interval", "always")
    producers: tuple[int, ...] = (1, 16, 256)
    sizes: tuple[int, ...] = (20, 1024, 64 * 1024)  # bytes
    serializers: tuple[str, ...] = ("pickle",)
    kinds: tuple[str, ...] = KINDS
    delays: tuple[float, ...] = (0.0,)  # seconds
    seconds: float = 1.5  # for each cell in all, the warm-up and longer windows not counted
    rounds: int = 5
    quick: bool = False
    load: float | None = None  # puts a second that the user needs


QUICK: Final = Options(producers=(1, 64), sizes=(20, 4096), seconds=0.15, rounds=3, quick=True)


def cells(options: Options, peers: Sequence[str]) -> list[Cell]:
    """Return what is measured, none of it twice; *peers* are the names of contenders that have no policy."""
    ours = (
        replace(point, contender=f"asyncpq {kind}", policy=policy_)
        for point in _star(options)
        for kind in options.kinds
        for policy_ in options.policies
    )
    theirs = (
        Cell(peer, "", producers, options.sizes[0], "")
        for producers in (options.producers[:1] if options.quick else options.producers)
        for peer in (peers if options.delays[0] == 0 else ())
    )
    return list(dict.fromkeys([*ours, *theirs]))


def _star(options: Options) -> Iterator[Cell]:
    """Yield the points of the axes, without contender and policy."""
    first = Cell("", "", options.producers[0], options.sizes[0], options.serializers[0], options.delays[0])
    yield first
    yield from (replace(first, producers=producers) for producers in options.producers[1:])
    yield from (replace(first, size=size) for size in options.sizes[1:])
    yield from (replace(first, serializer=serializer) for serializer in options.serializers[1:])
    yield from (replace(first, delay=delay) for delay in options.delays[1:])


def policy(text: str) -> fsync.Policy:
    """Return the policy that *text* names: never, rollover, interval, interval:SECONDS, interval:SECONDS:ITEMS, always.

    Raises:
        ValueError: it names none.
    """
    name, *parts = text.strip().split(SEPARATOR)
    if not parts:
        return fsync.get(name)
    if name != fsync.Interval.name or len(parts) > 2:
        raise ValueError(f"{text!r} is no policy; only interval takes numbers: interval:0.2, or interval:1:100")
    return fsync.Interval(duration(parts[0]), number(parts[1]) if len(parts) == 2 else None)


def number(text: str) -> int:
    """Return a whole number of at least 1.

    Raises:
        ValueError: it is none.
    """
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"{text.strip()!r} is no whole number from 1 on")
    return int(text)


def size(text: str) -> int:
    """Return a number of bytes: 20, 1k (1,024), 2m.

    Raises:
        ValueError: it is none, or too large.
    """
    bytes_ = int(_with_unit(text, _SIZES, "a size: 20, 1k or 2m"))
    if not 1 <= bytes_ <= MOST_SIZE:
        raise ValueError(f"{text.strip()!r}: an item has from 1 byte to 16m")
    return bytes_


def duration(text: str) -> float:
    """Return seconds: 0, 1ms, 0.5, 2s.

    Raises:
        ValueError: it is none.
    """
    return _with_unit(text, _DURATIONS, "a time: 0, 500us, 1ms or 2s")


def _with_unit(text: str, units: dict[str, int] | dict[str, float], what: str) -> float:
    found = _NUMBER.fullmatch(text.strip())
    if found is None or found[2].lower() not in units:
        raise ValueError(f"{text.strip()!r} is no {what.removeprefix('a ')}")
    return float(found[1]) * units[found[2].lower()]
