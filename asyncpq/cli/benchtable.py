"""The figures of a bench on a terminal: one table for each load, then floor, notes, and the sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncpq.bench.table import SAFETY, SPEED, aligned, floor_rows, sections
from asyncpq.cli.output import table
from asyncpq.cli.terminal import console, line, safe, say

if TYPE_CHECKING:
    from asyncpq.bench import Result
    from asyncpq.bench.table import Section

__all__ = ["show"]

STYLES: Final = {"title": "bold", "head": "dim", "promise": "italic", "row": ""}


def show(result: Result) -> None:
    """Write it all to stdout; warnings to stderr."""
    machine = result.machine
    for warning in result.warnings:
        say(f"warning: {warning}")
    line(f"{safe(machine.path)}: {machine.file_system} on {safe(machine.device)}")
    line(f"{machine.processors} x {safe(machine.processor)}; {machine.system}; {machine.python}")
    for section in sections(result):
        line("")
        _write(section)
    line("")
    line("The floor of this machine")
    table(("what", "median", "from least to most"), floor_rows(result.floor), ("median",))
    for note in result.notes:
        line(f"- {safe(note)}")
    line("")
    line(safe(result.advice))


def _write(section: Section) -> None:
    """Write a table; in two parts where the terminal is too narrow for one."""
    shown = console()
    narrow = shown.is_terminal and max(map(len, (text for _, text in aligned(section)))) > shown.width
    for columns in (SPEED, SAFETY) if narrow else (None,):
        for part, text in aligned(section, columns):
            shown.print(safe(text), style=STYLES[part], soft_wrap=True)
