"""``asyncpq migrate``: a queue in another serializer, or as another kind of queue."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import asyncpq
from asyncpq.cli.natslogin import login_from, login_options, warn_secrets
from asyncpq.cli.opening import CLASSES
from asyncpq.cli.options import ANY_QUEUE, Stopped, command, json_option, unpickle_option, warn_unpickle
from asyncpq.cli.output import emit, facts
from asyncpq.cli.progress import meter
from asyncpq.cli.terminal import line, quantity, safe, size
from asyncpq.serializers import NAMES
from asyncpq.sources import parse

if TYPE_CHECKING:
    from asyncpq.cli.progress import Meter
    from asyncpq.sources import Spec

_BESIDE = "TARGET.bad.jsonl"
_EXAMPLES = (
    "asyncpq migrate jobs jobs-json --serializer json",
    "asyncpq migrate jobs sqlite:jobs.db#mail --class unique",
    "asyncpq migrate --in-place --serializer msgpack jobs",
    "asyncpq migrate jobs nats://hub.example.org:4222/jobs",
)


@command("migrate", *_EXAMPLES)
@click.argument("source", type=ANY_QUEUE, metavar="SOURCE")
@click.argument("target", type=click.Path(), required=False)
@click.option("--serializer", type=click.Choice(NAMES), help="Of the target.  [default: the source's]")
@click.option("--source-serializer", type=click.Choice(NAMES), help="Of the source; by default that is found out.")
@click.option(
    "--chunksize", type=click.IntRange(min=1), help="Items in a file of a file queue.  [default: the source's]"
)
@click.option("--class", "kind", type=click.Choice(list(CLASSES)), help="Of a SQLite queue.  [default: the source's]")
@click.option("--encoding", metavar="CODEC", help="Of Python 2's byte strings: a codec, or 'bytes'.")
@unpickle_option
@click.option("--lossy", is_flag=True, help="Accept what the target cannot carry; it is counted, and said.")
@click.option("--skip-bad", is_flag=True, help=f"Set aside what cannot be read, in {_BESIDE}.")
@click.option("--bad-file", type=click.Path(dir_okay=False), help="Another file for --skip-bad.")
@click.option("--in-place", is_flag=True, help="Convert SOURCE under its own name; the old one becomes SOURCE.bak.")
@click.option("--gap", is_flag=True, help="With --in-place: accept a moment without a queue, if it has to be.")
@click.option("--replicas", type=click.IntRange(1, 5), help="Of a queue that is made on a server.  [default: 1]")
@login_options
@json_option
def migrate(source: Spec, target: str | None, unpickle: bool, as_json: bool, **options: Any) -> None:
    """Move a copy of the queue SOURCE to TARGET: a directory, sqlite:PATH#NAME, or nats://HOST:PORT/NAME.

    SOURCE is locked, and never changed.  TARGET is built beside itself as TARGET.partial, read back from the disk, and
    gets its name in one step.  What it cannot carry is found before, counted, and shown.  Pickles are not run, unless
    --unpickle is given: from pickle to pickle they are copied as they are.  After Ctrl-C there is no TARGET; after a
    crash the same command goes on where it was; a queue on a server is made anew then, and cannot be opened before.
    """
    warn_unpickle(unpickle)
    for address in (source.servers, target or ""):
        warn_secrets(address)
    try:
        report = asyncio.run(_migrate(source, target, unpickle, **options))
    except KeyboardInterrupt:
        raise Stopped(_said(source, target, options["in_place"])) from None
    if as_json:
        emit(report)
    else:
        _show(report)


async def _migrate(
    source: Spec,
    target: str | None,
    unpickle: bool,
    skip_bad: bool,
    bad_file: str | None,
    kind: str | None,
    replicas: int | None,
    user: str | None,
    credentials: str | None,
    tls_ca: str | None,
    **more: Any,
) -> Any:
    nats = login_from(user, credentials, tls_ca) | ({} if replicas is None else {"replicas": replicas})
    with Phases() as phases:
        return await asyncpq.migrate(
            source,
            target,
            unpickle=unpickle,
            skip_bad=bad_file or skip_bad,
            queue_class=kind,
            nats=nats,
            progress=phases.reach,
            **more,
        )


class Phases:
    """A meter for each phase."""

    def __init__(self) -> None:
        """None has begun."""
        self._stack = ExitStack()
        self._phase = ""
        self._meter: Meter

    def __enter__(self) -> Phases:
        """Show nothing yet."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Take the bar away."""
        self._stack.close()

    def reach(self, progress: asyncpq.Progress) -> None:
        """Show how far it is."""
        if progress.phase != self._phase:
            self._stack.close()
            self._phase = progress.phase
            self._meter = self._stack.enter_context(meter(f"migrate: {progress.phase}", items=progress.total))
        self._meter.reach(items=progress.items, bytes=progress.bytes)


def _said(source: Spec, target: str | None, in_place: bool) -> str:
    """Return what is true after Ctrl-C: it may have come too late."""
    if target is not None and parse(target).kind == "nats":
        return "interrupted; nothing of it can be opened as a queue, unless it was done already"
    made = Path(f"{source.path}.bak") if in_place or target is None else parse(target).path
    if made.is_file() or (made.is_dir() and os.listdir(made)):
        return "interrupted, but the migration was done already"
    return "interrupted; nothing was changed, and there is no target"


def _show(report: asyncpq.MigrationReport) -> None:
    facts(
        {
            "source": f"{report.source}: {report.what}",
            "target": f"{report.target}: {_kind(report)}",
            "items": f"{quantity(report.items, 'item')}, {size(report.bytes)}{_resumed(report)}",
            "records": "copied as bytes" if report.copied else f"converted to {report.serializer}, and compared",
            "digest": report.digest,
            "old one": report.backup,
            "set aside": f"{quantity(report.set_aside, 'place')} in {report.bad_file}" if report.bad_file else None,
        }
    )
    for loss in report.losses:
        line(
            safe(f"lost: {loss.kind} became {loss.becomes} in {quantity(loss.items, 'item')}, the first: {loss.where}")
        )
    for note in report.notes:
        line(safe(note))


def _kind(report: asyncpq.MigrationReport) -> str:
    if report.queue_class is None and report.chunksize is None:
        return f"queue on NATS, {report.serializer}"
    if report.queue_class is None:
        return f"file queue, {report.serializer}, chunksize {report.chunksize:,}"
    return f"SQLite queue {report.name!r}, {report.queue_class}, {report.serializer}"


def _resumed(report: asyncpq.MigrationReport) -> str:
    return f"; {report.resumed:,} of them were there from an earlier run" if report.resumed else ""
