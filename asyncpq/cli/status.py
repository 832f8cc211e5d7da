"""Exit statuses, as `asyncpq --help` and docs/command.md list them.  Pure."""

from __future__ import annotations

from typing import Final

OK: Final = 0
ERROR: Final = 1
USAGE: Final = 2
HEALABLE: Final = 3
DAMAGED: Final = 4
EMPTY: Final = 5
INTERRUPTED: Final = 130
CLOSED: Final = 141  # what a shell reports of a program that SIGPIPE ended

MEANINGS: Final = {
    OK: "done; of check: clean",
    ERROR: "an error; one line on stderr says what, and the way out",
    USAGE: "the command line is wrong, or a library is missing",
    HEALABLE: "check: opening heals it by itself",
    DAMAGED: "damaged: what check found, or records that were left out, or set aside by forward",
    EMPTY: "get: there was no item",
    INTERRUPTED: "interrupted by Ctrl-C; forward --drain: by SIGTERM, too",
    CLOSED: "stdout was closed, as by `| head`",
}
