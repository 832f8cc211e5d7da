"""Opening a database: find the table, make what is missing, give out again what the dead held; one job in a thread."""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from asyncpq import serializers, threads
from asyncpq.errors import CorruptDatabase, DatabaseOpen, SyncFailed, WrongSerializer
from asyncpq.lane import call_loop, resolve
from asyncpq.sqlite.blobs import fits, fitting
from asyncpq.sqlite.database import MEMORY, Database, explained, missing_descriptor, sync_directory
from asyncpq.sqlite.engine import Engine, Opened
from asyncpq.sqlite.owner import SETUP, Owner
from asyncpq.sqlite.place import find_table, locate, make_room, make_tables
from asyncpq.sqlite.statements import Statements

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from asyncpq.fsync import Policy
    from asyncpq.serializers import Serializer
    from asyncpq.sqlite.store import Store
    from asyncpq.sqlite.tables import Kind

TELLING: Final = 100  # rows, at most, that are looked at to find the serializer out


@dataclass(frozen=True, slots=True)
class Plan:
    """What a queue was asked to be."""

    path: str
    name: str
    kind: Kind
    serializer: Serializer | None
    policy: Policy
    timeout: float
    db_file_name: str | None
    owner_timeout: float
    make_store: Callable[[Database, Statements, Serializer, Owner], Store]


def open_store(plan: Plan) -> Opened:
    """Return the open table; on an error nothing is left open, and what was there is as it was.

    Raises:
        NotAQueue, CorruptDatabase, WrongSerializer, DatabaseBusy, DatabaseOpen: see there.
        OSError: it cannot be made, or not be written to.
    """
    file, in_directory = locate(plan.path, plan.kind, plan.db_file_name)
    there = file == MEMORY or os.path.exists(file)
    if in_directory and not there:
        make_room(file)
    try:
        return _open(plan, file, in_directory, there)
    except sqlite3.Error as error:
        failed = explained(error, file, plan.timeout)
        raise (failed.cause if isinstance(failed, SyncFailed) else failed) from error
    except UnicodeDecodeError as error:  # Python's, of what SQLite says
        raise CorruptDatabase(file, "its schema is damaged") from error


def _open(plan: Plan, file: str, in_directory: bool, there: bool) -> Opened:
    before = _identity(file)
    database = Database(file, plan.timeout, full=plan.policy.name == "always")
    try:
        database.look()
        if before is not None and _identity(file) != before:
            raise DatabaseOpen(file, "a repair that has just put a new database here, or another program,")
        table, new = find_table(database, plan.kind, plan.name, in_directory)
        sql = Statements(plan.kind, table)
        serializer = plan.serializer or serializers.get("pickle") if new else _serializer(plan, database, sql)
        store = plan.make_store(database, sql, serializer, Owner(database, table, plan.owner_timeout))

        def make() -> int:
            make_tables(database, plan.kind, table, [*sql.setup, SETUP], new)
            store.opened(time.time())
            return store.count()

        later = database.has_another_journal()  # what turns out to be damaged keeps the one that it has
        if not later:
            database.prepare()
        ready = database.transaction(make)
        if later:
            database.prepare()
        if not there:
            sync_directory(file)
        if plan.policy.name == "always" or getattr(plan.policy, "items", None) is not None:
            database.grow_log()
        if plan.policy.name != "always":
            database.open_log()
        return Opened(file, serializer, store, ready)
    except BaseException as error:
        short = missing_descriptor(error, file)  # before the close gives some back
        database.close()
        if short is not None:
            raise short from error
        raise


def _identity(file: str) -> tuple[int, int] | None:
    """Return what tells the file at this path from another one; None where there is none."""
    try:
        facts = os.stat(file)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _serializer(plan: Plan, database: Database, sql: Statements) -> Serializer:
    """Return the serializer asked for, or the one that the rows are of.

    Raises:
        WrongSerializer: the rows are of another one, or of one of several.
    """
    found: list[str] = []
    for row in database.execute(sql.rows.format("1"), (TELLING,)):
        if not isinstance(row[1], bytes):
            continue
        names = fitting(row[1])
        if plan.serializer is not None and len(names) == 1 and not fits(plan.serializer, row[1]):
            raise WrongSerializer(database.path, plan.serializer.NAME, names[0])
        found = found or names
        if len(names) < 2:  # else it is as short as the number 1, and the next one may tell more
            found = names
            break
    if plan.serializer is not None:
        return plan.serializer
    if len(found) > 1 and "pickle" not in found:
        raise WrongSerializer(database.path, "pickle", None)
    return serializers.get(found[0] if len(found) == 1 else "pickle")


def open_engine(plan: Plan, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Engine]:
    """Return a future of the engine.

    Cancellation: the opening goes on; whoever asked keeps the future.
    """
    future: asyncio.Future[Engine] = loop.create_future()

    def job() -> None:
        try:
            opened = open_store(plan)
        except BaseException as error:
            call_loop(loop, resolve, future, None, error)
            return
        if not call_loop(loop, opened_now, opened):
            opened.store.database.close()

    def opened_now(opened: Opened) -> None:
        resolve(future, Engine(loop, opened, plan.policy, plan.owner_timeout / 4), None)

    threads.pool.submit(job)
    return future
