"""What figures depend on: the machine, its system, the file system."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any, Final

MEMORY_FILE_SYSTEMS: Final = ("tmpfs", "ramfs")


def described(where: Path) -> dict[str, Any]:
    """Return it; warn where *where* is a place on which syncs cost nothing."""
    kind = file_system(where.resolve())
    if kind in MEMORY_FILE_SYSTEMS:
        print(f"{where} is in memory ({kind}): a sync costs nothing there; choose a disk with --dir", file=sys.stderr)
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "processor": processor(),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "file_system": kind,
    }


def machine(conditions: dict[str, Any]) -> str:
    """Return in words what `described` found."""
    return (
        f"Python {conditions['python']}, {conditions['system']}, {conditions['processors']} processors "
        f"({conditions['processor']}), {conditions['file_system']}, a load of {conditions['load']:g} at the start"
    )


def processor() -> str:
    """Return what the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return " ".join(names[0].split()) if names else platform.machine()


def file_system(where: Path) -> str:
    """Return the kind of file system that *where* lies on, as Linux tells it."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    except OSError:
        return "unknown file system"
    holding = [(len(mount[1]), mount[2]) for mount in mounts if where.is_relative_to(mount[1])]
    return max(holding, default=(0, "unknown file system"))[1]
