"""Where it is measured: the machine, the file system, the versions."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from asyncpq.bench.result import Machine

__all__ = ["IN_MEMORY", "describe", "file_system"]

IN_MEMORY: Final = ("tmpfs", "ramfs", "devtmpfs")
LIBRARIES: Final = ("asyncpq-engine", "aiosqlite", "persist-queue", "queuelib", "litequeue", "diskcache")
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


def describe(path: Path, command: str) -> Machine:
    """Return what the figures depend on; *command* is what was typed."""
    kind, device = file_system(path)
    return Machine(
        path=str(path),
        file_system=kind,
        device=device,
        processor=_processor(),
        processors=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions=_versions(),
        time=time.strftime("%Y-%m-%d %H:%M %z"),
        command=command,
    )


def file_system(path: Path) -> tuple[str, str]:
    """Return the kind of file system that *path* lies on, and its device, as Linux tells them; else "unknown"."""
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return "unknown", "unknown"
    full, holding = path.resolve(), (0, "unknown", "unknown")
    for device, mounted, kind, *_ in (map(_unescaped, line.split()) for line in lines):
        if full.is_relative_to(mounted) and len(mounted) >= holding[0]:  # the last one hides the others
            holding = (len(mounted), kind, device)
    return holding[1], holding[2]


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {"SQLite": sqlite3.sqlite_version}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
