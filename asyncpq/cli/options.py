"""What the commands have in common: the argument PATH, and options of one spelling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from asyncpq.cli.terminal import say
from asyncpq.serializers import NAMES
from asyncpq.sources import Spec, parse

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ANY_QUEUE",
    "QUEUE",
    "Failed",
    "State",
    "Stopped",
    "command",
    "debug_option",
    "json_option",
    "put_serializer_option",
    "serializer_option",
    "unpickle_option",
    "warn_unpickle",
]

_F = TypeVar("_F", bound="Callable[..., Any]")


@dataclass
class State:
    """What holds for the whole run."""

    debug: bool = False


class Failed(Exception):
    """The command ended with an error; the text says which, what was done until then, and the way out."""


class Stopped(Exception):
    """Ctrl-C ended a command that changes something; the text says what was done until then."""


class Queue(click.ParamType[Spec]):
    """A queue, by its path or `sqlite:PATH#NAME`; and by `nats://HOST:PORT/NAME`, where a command goes there."""

    name = "path"

    def __init__(self, *, servers: bool = False) -> None:
        """*servers*: queues on a server, too."""
        self._servers = servers

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Spec:
        """Return what *value* names."""
        if isinstance(value, Spec):
            return value
        try:
            spec = parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if spec.kind == "nats" and not self._servers:
            self.fail("this command is for queues on a disk; 'asyncpq migrate' brings one from a server", param, ctx)
        return spec

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Let the shell complete a path."""
        return [CompletionItem(incomplete, type="file")]


QUEUE: Final = Queue()
ANY_QUEUE: Final = Queue(servers=True)


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(State).debug = True


debug_option: Final = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show the traceback of an error."
)
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
serializer_option: Final = click.option(
    "--serializer",
    type=click.Choice(NAMES),
    help="What the queue was written with.  [default: found out]",
)
put_serializer_option: Final = click.option(
    "--serializer", type=click.Choice(NAMES), help="Of the queue.  [default: found out; pickle for a new one]"
)
unpickle_option: Final = click.option(
    "--unpickle", is_flag=True, help="Really unpickle, which RUNS what the pickles say: only for what you trust."
)


def warn_unpickle(unpickle: bool) -> None:
    """Say on stderr that pickles are run, where they are."""
    if unpickle:
        say("--unpickle: pickles are run, and do what they say")


def command(name: str, *examples: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Return a decorator that makes a command, whose help ends with *examples*."""
    epilog = "\b\n" + "\n".join(["Example:" if len(examples) == 1 else "Examples:", *(f"  {e}" for e in examples)])

    def made(function: Callable[..., Any]) -> click.Command:
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        return debug_option(click.command(name, epilog=epilog, context_settings=settings)(function))

    return made
