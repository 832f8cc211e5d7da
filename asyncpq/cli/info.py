"""``asyncpq info``: what kind of queue lies there, and how it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from asyncpq.cli import status
from asyncpq.cli.kinds import bytes_there, check_queue, is_file_queue
from asyncpq.cli.options import QUEUE, command, json_option, serializer_option
from asyncpq.cli.output import emit, facts, listed
from asyncpq.cli.progress import meter
from asyncpq.cli.running import run_watched
from asyncpq.cli.terminal import line, safe, size
from asyncpq.errors import CorruptQueue
from asyncpq.sources import open_source

if TYPE_CHECKING:
    from asyncpq.sources import About, Spec

YES_NO: Final = {True: "yes", False: "no", None: None}


@command("info", "asyncpq info jobs", "asyncpq info --json sqlite:jobs.db#mail | jq .items")
@click.argument("queue", type=QUEUE, metavar="PATH")
@json_option
@serializer_option
def info(queue: Spec, as_json: bool, serializer: str | None) -> int:
    """Show what kind of queue this is, who wrote it, how much is in it, and what opening would heal.

    Nothing is changed, and no lock is taken.  Exit status 4: it is damaged so that it does not open.
    """
    try:
        with open_source(queue, serializer=serializer, lock=False) as source:
            told = _told(source.about)
    except CorruptQueue as error:
        if not is_file_queue(queue):
            raise
        told = _damaged(queue, serializer, error)
    if as_json:
        emit(told)
    else:
        _show(told)
    return status.DAMAGED if "refusal" in told else status.OK


def _told(about: About) -> dict[str, Any]:
    return {
        "path": about.path,
        "kind": about.kind,
        "what": about.what,
        "serializer": about.serializer.NAME if about.serializer else None,
        "protocol": about.protocol,
        "items": about.items,
        "bytes_on_disk": about.bytes_on_disk,
        **about.details,
    }


def _damaged(queue: Spec, serializer: str | None, error: CorruptQueue) -> dict[str, Any]:
    """Return what can be said of a file queue that does not open."""
    report = run_watched(meter("info", bytes=bytes_there(queue)), lambda watch: check_queue(queue, serializer, watch))
    return {
        "path": report.path,
        "kind": "file",
        "what": "damaged file queue",
        "serializer": report.serializer,
        "items": report.items,
        "bytes_on_disk": report.bytes_on_disk,
        "chunksize": report.chunksize,
        "tail": report.tail,
        "head": report.head,
        "chunks": report.chunks,
        "open_elsewhere": report.open_elsewhere,
        "heals": report.heals,
        "refusal": error.why,
    }


def _show(told: dict[str, Any]) -> None:
    """Write it for people; what is not known is left out."""
    about = dict(told)
    path, what, protocol = about.pop("path"), about.pop("what"), about.pop("protocol", None)
    about.pop("kind")
    heals, refusal = about.pop("heals", ()), about.pop("refusal", None)
    line(f"{safe(path)}: {safe(what)}")
    facts({_NAMES.get(name, name.replace("_", " ")): _value(name, value, protocol) for name, value in about.items()})
    listed("what repair does:" if refusal else "what opening heals:", heals)
    if refusal:
        line(f"does not open: {safe(refusal)}; 'asyncpq repair {safe(path)}' keeps every item that can be read")


def _value(name: str, value: Any, protocol: int | None) -> object:
    """Return how *value* is shown; None: not at all."""
    if value is None or value == {} or (name == "acknowledged" and not value):
        return None
    if name == "serializer" and protocol is not None:
        return f"{value}, protocol {protocol}"
    if name == "bytes_on_disk":
        return size(value)
    if name in ("tail", "head"):
        return ", ".join(f"{word} {number:,}" for word, number in zip(("chunk", "item", "byte"), value, strict=False))
    if name == "mark":
        return f"open or killed; durable up to chunk {value['head'][0]}, item {value['head'][1]}"
    if isinstance(value, bool):
        return YES_NO[value]
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {what}" for what, count in value.items())
    return f"{value:,}" if isinstance(value, int) else value


_NAMES: Final = {"bytes_on_disk": "on disk", "chunksize": "items in a chunk", "name": "queue", "chunks": "chunk files"}
