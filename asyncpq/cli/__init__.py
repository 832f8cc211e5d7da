"""The command ``asyncpq``: look at queues, check, repair, copy and move them.  The extra `cli`.

__init__     is click there, is rich?              else one sentence, and exit status 2
app          the table of commands, errors to one line and an exit status
<command>    one module each, imported when it is called or asked for help
---
kinds        what lies there, and what fits it
opening      the queue that a command writes to
storing      lines -> items; lines, reading, following: what they come from
jsonform     items as lines of JSON, and back exactly
show         items for people
terminal     nothing that a terminal would obey;  output: tables;  progress: a bar, or a line every few seconds
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]


def main() -> None:
    """Do what the command line says, and exit with the status of `asyncpq.cli.status`."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        print(
            f"asyncpq: the command needs {' and '.join(missing)}; install it with: pip install 'asyncpq-engine[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    from asyncpq.cli.app import run

    sys.exit(run())
