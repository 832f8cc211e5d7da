"""``asyncpq forward``: what a file queue holds goes to a queue on NATS, as it comes, or until nothing is left.

forward: 12,000 items, 1.2 MB, 8,100/s, 340 left
forward: waiting, since connection refused; 340 items are kept here
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import click

import asyncpq
from asyncpq.cli import status
from asyncpq.cli.kinds import is_file_queue
from asyncpq.cli.natslogin import login_from, login_options, warn_secrets
from asyncpq.cli.opening import healing_told
from asyncpq.cli.options import QUEUE, Failed, command, json_option, serializer_option
from asyncpq.cli.output import emit, facts
from asyncpq.cli.terminal import console, quantity, safe, say, size

if TYPE_CHECKING:
    from asyncpq import ForwardReport
    from asyncpq.sources import Spec

EVERY: Final = 5.0  # seconds from line to line
REDRAWN: Final = 0.1  # seconds from picture to picture on a terminal
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@command(
    "forward",
    "asyncpq forward spool nats://hub.example.org:4222 readings",
    "asyncpq forward spool nats://hub.example.org:4222 readings --drain --skip-bad",
)
@click.argument("queue", type=QUEUE, metavar="PATH")
@click.argument("servers", metavar="nats://HOST:PORT")
@click.argument("name")
@click.option("--drain", is_flag=True, help="End when nothing is left.  [default: wait for more, for ever]")
@click.option("--patience", type=click.FloatRange(min=0), help="Seconds without the server, then it is an error.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds for each answer."
)
@click.option("--skip-bad", is_flag=True, help="Set aside what is damaged or too large, in PATH.bad.jsonl.")
@click.option("--bad-file", type=click.Path(dir_okay=False), help="Another file for --skip-bad.")
@click.option(
    "--in-doubt",
    type=click.Choice(["send", "skip"]),
    default="send",
    show_default=True,
    help="With items that may have been sent and consumed before a crash, where nobody can tell.",
)
@click.option("--replicas", type=click.IntRange(1, 5), help="Of a queue that is made there.  [default: 1]")
@click.option("--maxsize", type=click.IntRange(min=1), help="Of a queue that is made there.  [default: no bound]")
@login_options
@json_option
@serializer_option
def forward(queue: Spec, servers: str, name: str, as_json: bool, **options: Any) -> int:
    """Move the items of the file queue PATH to the queue NAME on a NATS server, each once and in order.

    An item leaves PATH only after the server has confirmed it; while the server is away or full, everything stays.
    Pickles are not run: records travel as they are.  PATH must not be open elsewhere: a program that puts into it
    forwards it itself, with asyncpq.forward.  Without --drain it goes on for ever, and SIGTERM or Ctrl-C end it, with
    exit status 0, after what is on its way.  Exit status 4: records were set aside.
    """
    warn_secrets(servers)
    if not is_file_queue(queue):
        raise Failed(f"{queue.path} is no file queue; 'asyncpq migrate' moves what it holds to NATS")
    moving = Moving(queue, servers, name, options)
    with healing_told():
        report = asyncio.run(moving.run())
    if as_json:
        emit(report)
    else:
        _show(report)
    if moving.signalled and options["drain"] and report.left:
        say(f"interrupted; {quantity(report.left, 'item')} stayed in {queue.path}")
        return status.INTERRUPTED
    return status.DAMAGED if report.set_aside else status.OK


class Moving:
    """Forwarding, with signals that end it."""

    def __init__(self, queue: Spec, servers: str, name: str, options: dict[str, Any]) -> None:
        """Move nothing yet."""
        self._queue, self._servers, self._name = queue, servers, name
        more = dict(options)
        self._login = login_from(more.pop("user"), more.pop("credentials"), more.pop("tls_ca"))
        bad_file, skip_bad = more.pop("bad_file"), more.pop("skip_bad")
        made = {key: value for key in ("replicas", "maxsize") if (value := more.pop(key)) is not None}
        self._options = more | made | {"skip_bad": bad_file or skip_bad}
        self.signalled = False

    async def run(self) -> ForwardReport:
        """Move items until there are no more, or a signal comes."""
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def ended() -> None:
            self.signalled = True
            stop.set()

        for number in _SIGNALS:
            with suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, ended)
        with ExitStack() as stack:
            telling = Telling(stack)
            return await asyncpq.forward(
                self._queue.path,
                self._servers,
                self._name,
                stop=stop,
                progress=telling.reach,
                **self._options,
                **self._login,
            )


class Telling:
    """How far it is, on stderr: a line now and then, refreshed in place on a terminal."""

    def __init__(self, stack: ExitStack) -> None:
        """Nothing is known yet."""
        self._begun = self._told = time.monotonic()
        self._waiting: str | None = None
        self._live: Any = None
        if sys.stderr.isatty():
            from rich.live import Live

            self._live = stack.enter_context(Live(console=console(stderr=True), auto_refresh=False, transient=True))

    def reach(self, report: ForwardReport) -> None:
        """Tell what is to be told now."""
        now = time.monotonic()
        changed, self._waiting = self._waiting != report.waiting, report.waiting
        if changed or now - self._told >= (REDRAWN if self._live is not None else EVERY):
            self._told = now
            self._show(_line(report, now - self._begun))

    def _show(self, text: str) -> None:
        if self._live is None:
            say(text)
            return
        from rich.text import Text

        self._live.update(Text(safe(text)), refresh=True)


def _line(report: ForwardReport, seconds: float) -> str:
    if report.waiting is not None:
        return f"forward: waiting, since {report.waiting}; {quantity(report.left, 'item')} kept here"
    rate = report.items / max(seconds, 1e-9)
    return f"forward: {quantity(report.items, 'item')}, {size(report.bytes)}, {rate:,.0f}/s, {report.left:,} left"


def _show(report: ForwardReport) -> None:
    again = [
        f"{count:,} {what}"
        for count, what in (
            (report.repeated, "were there and refused"),
            (report.found, "were there and not sent again"),
            (report.in_doubt, "in doubt"),
        )
        if count
    ]
    facts(
        {
            "from": report.path,
            "to": report.target,
            "items": f"{quantity(report.items, 'item')}, {size(report.bytes)}",
            "of these": ", ".join(again) or None,
            "set aside": f"{quantity(report.set_aside, 'place')} in {report.bad_file}" if report.bad_file else None,
            "left": f"{report.left:,}",
        }
    )
