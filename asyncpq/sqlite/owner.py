"""Who of the openers of a table is alive, so that the items of the dead come back and those of the living do not.

    owner     a row of asyncpq_owners: which process, and until when it is taken for alive
    expires   by the clock of the day (time.time), renewed while the queue holds items
    identity  boot, PID namespace, PID and start of the process: on the same machine a dead one is known at once

The source of a process's start is /proc (Linux); elsewhere only the expiry counts.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncpq.sqlite.database import Database

SETUP: Final = (
    "CREATE TABLE IF NOT EXISTS asyncpq_owners "
    "(id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, identity TEXT NOT NULL, expires REAL NOT NULL)"
)
_START_FIELD: Final = 19  # of what follows the name in /proc/PID/stat


def identity() -> str:
    """Return what tells this process from every other one of this machine, or "" where that is not known."""
    with suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")
        return f"{boot} {namespace} {os.getpid()} {_stat('self')[1]}"
    return ""


def _stat(pid: str) -> tuple[str, str]:
    """Return the state of a process, a letter, and when it started."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return fields[0], fields[_START_FIELD]


def surely_dead(other: str, own: str) -> bool:
    """Return whether the process of identity *other* has ended, as seen from the process of identity *own*."""
    there, here = other.split(), own.split()
    if len(there) != len(here) or there[:2] != here[:2]:
        return False  # another machine, or one whose processes are not seen from here
    try:
        state, start = _stat(there[2])
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return state in "ZX" or start != there[3]


class Owner:
    """This opener, among all those of one table.  Its methods are for inside a transaction."""

    def __init__(self, database: Database, table: str, timeout: float) -> None:
        """Be nobody yet.

        Args:
            database: the connection.
            table: whose items are held.
            timeout: seconds without a sign of life after which the others take the items.
        """
        self._database, self._table, self._timeout = database, table, timeout
        self._identity = identity()
        self.id = 0  # 0: not in the table
        self._renewed = 0.0

    def ensure(self, now: float) -> int:
        """Return the number of this opener, which is in the table and alive."""
        if not self.id:
            sql = "INSERT INTO asyncpq_owners (queue, identity, expires) VALUES (?, ?, ?)"
            cursor = self._database.execute(sql, (self._table, self._identity, now + self._timeout))
            self.id = cursor.lastrowid or 0
            self._renewed = now
        elif now - self._renewed > self._timeout / 4 or now < self._renewed:
            self.renew(now)
        return self.id

    def live(self, now: float) -> None:
        """Give a sign of life."""
        self.renew(now)
        self.ensure(now)

    def others(self) -> bool:
        """Return whether anybody else has the table open."""
        sql = "SELECT 1 FROM asyncpq_owners WHERE queue = ? AND id != ? LIMIT 1"
        return self._database.execute(sql, (self._table, self.id)).fetchone() is not None

    def renew(self, now: float) -> None:
        """Be alive for another *timeout* seconds; if the others gave this one up, it is a new one without items."""
        if not self.id:
            return
        sql = "UPDATE asyncpq_owners SET expires = ? WHERE id = ?"
        if self._database.execute(sql, (now + self._timeout, self.id)).rowcount:
            self._renewed = now
        else:
            self.id = 0

    def rolled_back(self) -> None:
        """Read again who this is: the transaction that said so is void."""
        if self.id and not self._exists():
            self.id = 0
        self._renewed = 0.0

    def _exists(self) -> bool:
        found = self._database.execute("SELECT 1 FROM asyncpq_owners WHERE id = ?", (self.id,)).fetchone()
        return found is not None

    def dead(self, now: float) -> list[int]:
        """Return the numbers of the others who are not alive."""
        sql = "SELECT id, identity, expires FROM asyncpq_owners WHERE queue = ? AND id != ?"
        rows = self._database.execute(sql, (self._table, self.id)).fetchall()
        return [id for id, other, expires in rows if expires <= now or surely_dead(other, self._identity)]

    def next_expiry(self) -> float:
        """Return when the first of the others is given up."""
        sql = "SELECT min(expires) FROM asyncpq_owners WHERE queue = ? AND id != ?"
        first = self._database.execute(sql, (self._table, self.id)).fetchone()[0]
        return float("inf") if first is None else float(first)

    def bury(self, owner: int) -> None:
        """Forget an owner who holds nothing any more."""
        self._database.execute("DELETE FROM asyncpq_owners WHERE id = ?", (owner,))

    def leave(self) -> None:
        """Forget this one."""
        if self.id:
            self.bury(self.id)
            self.id = 0
