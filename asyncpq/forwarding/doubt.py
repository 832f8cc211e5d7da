"""Which records of a batch are in the stream already.  Pure.

    note: the stream ended with sequence S when nothing of the batch had been sent

    S   S+1  ...                     L        what the stream holds now
    |    a    k0   .    k1   b   .   |        k: of the batch   a, b: of others   .: consumed
                         ^ up to here it is stored: in order, each goes in behind the one before
                               ~~~~~~ what is gone there may have been the next ones of the batch

Where nothing is gone behind the last one that was found, it is known exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Known", "judge"]


class Known(NamedTuple):
    """What is known of a batch."""

    stored: int  # records, from the first on, that are stored
    in_doubt: int  # records behind them that may be stored, and consumed since


def judge(keys: Sequence[str], found: Mapping[str, int], present: int, since: int, last: int) -> Known:
    """Return what is known of the records with *keys*.

    Args:
        keys: of the batch, in order.
        found: sequences of the messages with ids that the stream holds behind *since*.
        present: how many messages it holds behind the last one of the batch, or behind *since* where there is none.
        since: the stream's last sequence before the batch was sent.
        last: the stream's last sequence now.
    """
    stored = max((index for index, key in enumerate(keys, 1) if key in found), default=0)
    behind = found[keys[stored - 1]] if stored else since
    gone = max(0, last - behind - present)
    return Known(stored, min(gone, len(keys) - stored))
