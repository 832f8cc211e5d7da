"""How a queue is named in one string.  Pure.

    jobs                  a path: what lies there is found out
    sqlite:jobs.db        a SQLite queue
    sqlite:jobs.db#mail   the queue "mail" in it
    file:jobs             a file queue, also where the path begins with "sqlite:" or "file:"

What is not said is found out from what lies there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Spec", "parse"]


@dataclass(frozen=True, slots=True)
class Spec:
    """Where a queue is."""

    path: Path
    kind: str | None = None  # "file" or "sqlite"; None: not said
    name: str | None = None  # of a SQLite queue


def parse(text: str) -> Spec:
    """Return what *text* names.

    Raises:
        ValueError: there is no path in it.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in ("file", "sqlite"):
        kind, rest = "", text
    path, mark, name = rest.partition("#") if kind == "sqlite" else (rest, "", "")
    if not path or (mark and not name):
        raise ValueError(f"{text!r} names no queue; say PATH, sqlite:PATH or sqlite:PATH#NAME")
    return Spec(Path(path), kind or None, name or None)
