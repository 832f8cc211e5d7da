"""What people see on stdout: tables and lists; or one JSON object for programs."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from asyncpq.cli.terminal import console, line, safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["emit", "facts", "listed", "table"]


def emit(value: Any, **more: Any) -> None:
    """Write *value*, a report or a dict, and *more* keys as one JSON object."""
    told = asdict(value) if is_dataclass(value) and not isinstance(value, type) else dict(value)
    line(json.dumps(told | more, default=_plain))


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def facts(pairs: Mapping[str, object], style: str | None = None) -> None:
    """Write names and what they stand for, one a line, in two columns; None: left out.

    Args:
        pairs: names and values.
        style: of the first value, on a terminal; a style of rich.
    """
    shown = {name: value for name, value in pairs.items() if value is not None}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        _styled(f"{name:<{width}}  ", safe(value), style)
        style = None


def _styled(before: str, text: str, style: str | None) -> None:
    if style is None or not sys.stdout.isatty():
        line(before + text)
        return
    from rich.text import Text

    console().print(Text.assemble(before, (text, style)))


def listed(head: str, sentences: Sequence[object]) -> None:
    """Write *head*, and the sentences below it; nothing where there are none."""
    for text in (head, *(f"  {safe(sentence)}" for sentence in sentences)) if sentences else ():
        line(text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Write a table; the columns *right* hold numbers."""
    from rich.table import Table
    from rich.text import Text

    made = Table(header_style="bold")
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(safe(cell)) for cell in row))
    console().print(made)
