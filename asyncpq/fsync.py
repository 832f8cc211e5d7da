"""The fsync policies: what is on the disk before a put, a task_done or an autosave get returns.

    policy      before it returns                      a killed process loses   a power cut can lose
    never       the kernel has it                      nothing                  what the kernel had not written
    rollover    same; a full chunk is durable          nothing                  the unfinished chunk, and what was
                before the next one starts                                      acknowledged since the last commit
    interval    same; a durable commit follows         nothing                  the last `seconds`, and one commit
    always      the durable commit is done             nothing                  nothing

Policies are values.  A name stands for the policy with its defaults: fsync="interval".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

__all__ = ["Always", "Interval", "Never", "Policy", "Rollover", "get"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Base of the policies; *code* is how the mark in `info` names one."""

    name: ClassVar[str]
    code: ClassVar[int]


@dataclass(frozen=True, slots=True)
class Never(Policy):
    """Leave the writing to the kernel (Linux: about 30 s).

    Can be lost: in a power cut, what the kernel had not written; the queue opens after healing.
    """

    name: ClassVar[str] = "never"
    code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Rollover(Policy):
    """Make each chunk durable when it is full, and the queue before a consumed chunk is removed.

    Can be lost: in a power cut, the unfinished chunk and the acknowledgements since the last durable commit.
    """

    name: ClassVar[str] = "rollover"
    code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Interval(Policy):
    """Make everything durable at most *seconds* after it was acknowledged.

    Can be lost: in a power cut, what was acknowledged in the last *seconds* plus the duration of one commit;
    never more than *items* puts, where that is given: put then waits for the disk.
    """

    seconds: float = 1.0
    items: int | None = None
    name: ClassVar[str] = "interval"
    code: ClassVar[int] = 3

    def __post_init__(self) -> None:
        """Refuse a window that cannot be kept."""
        if not self.seconds > 0:
            raise ValueError(f"fsync.Interval: seconds must be above 0, not {self.seconds!r}")
        if self.items is not None and self.items < 1:
            raise ValueError(f"fsync.Interval: items must be at least 1 or None, not {self.items!r}")


@dataclass(frozen=True, slots=True)
class Always(Policy):
    """Make each operation durable before it returns; all that wait share one commit.

    Can be lost: nothing, on a disk that does what it reports.
    """

    name: ClassVar[str] = "always"
    code: ClassVar[int] = 4


_BY_NAME: Final[dict[str, type[Policy]]] = {p.name: p for p in (Never, Rollover, Interval, Always)}


def get(policy: str | Policy) -> Policy:
    """Return the policy that a name stands for, or *policy* itself.

    Raises:
        ValueError: no policy has this name.
        TypeError: neither a name nor a policy.
    """
    if isinstance(policy, Policy):
        return policy
    if not isinstance(policy, str):
        raise TypeError(f"fsync= takes a name or a policy such as asyncpq.fsync.Interval(0.2), not {policy!r}")
    if policy not in _BY_NAME:
        raise ValueError(f"fsync={policy!r} is no policy; there are: {', '.join(map(repr, _BY_NAME))}")
    return _BY_NAME[policy]()
