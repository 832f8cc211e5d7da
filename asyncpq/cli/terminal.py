"""What is written where: data to stdout, messages to stderr, and nothing that a terminal would obey.

An item, a file name or an error may hold control characters; `safe` shows them as escapes.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "hush", "line", "quantity", "safe", "say", "size", "write_now"]


def safe(text: object) -> str:
    """Return *text* on one line, what cannot be printed as escapes."""
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)


def say(message: object) -> None:
    """Write one line to stderr."""
    print(f"asyncpq: {safe(message)}", file=sys.stderr, flush=True)


def line(text: str) -> None:
    """Write a line of data to stdout, as UTF-8 whatever the locale says; it may wait in a buffer.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    data = text.encode("utf-8", "backslashreplace") + b"\n"
    while data:  # without a buffer, as PYTHONUNBUFFERED asks for, a signal may cut a write short
        data = data[sys.stdout.buffer.write(data) :]


def write_now(text: str) -> None:
    """Write a line of data to stdout; on return the reader's pipe, or the file, has it.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    data = text.encode("utf-8", "backslashreplace") + b"\n"
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


def hush() -> None:
    """Let what is still buffered for a closed stdout go nowhere, so that the interpreter's end does not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def console(*, stderr: bool = False) -> Console:
    """Return rich's console: colours follow NO_COLOR and whether it is a terminal; no text is markup."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def size(count: float) -> str:
    """Return a number of bytes for people: 1.2 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def quantity(count: int, word: str) -> str:
    """Return so many of a thing, in words: 1 item, 1,234 items."""
    return f"{count:,} {word}{'s' * (count != 1)}"
