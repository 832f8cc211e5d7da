"""The group of commands: what there is, and how a command ends.

COMMANDS     name -> what it does; asyncpq.cli.<name> is imported when it is called, or its help is asked for
run()        returns the exit status; an error is one line on stderr, --debug shows where it came from
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import shell_complete

import asyncpq
from asyncpq.cli import status
from asyncpq.cli.options import Failed, State, Stopped, debug_option
from asyncpq.cli.terminal import hush, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS: Final = {
    "info": "Show what kind of queue this is, and how it is.",
    "peek": "Show items without consuming them.",
    "check": "Read every record, and list what is damaged.",
    "repair": "Make a damaged queue open again, with every record that can be read.",
    "export": "Write the items to stdout, as JSON lines.",
    "import": "Put the JSON lines of stdin.",
    "put": "Put items, one a line.",
    "get": "Get items, one a line.",
    "migrate": "Move to another serializer or kind of queue, or under the same name.",
    "copy": "Make a consistent copy, also beside a live writer.",
    "forward": "Move the items to a queue on NATS, as they come.",
    "tail": "Follow a live queue: sizes and rates.",
    "bench": "Measure which fsync policy this disk can afford.",
    "completion": "Print the completion script of a shell.",
}
COMPLETE: Final = "_ASYNCPQ_COMPLETE"  # the environment variable by which a shell asks for completions
MODULES: Final = {"import": "importing"}  # a word that Python keeps for itself


class Commands(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        module = MODULES.get(cmd_name, cmd_name)
        command: click.Command = getattr(import_module(f"asyncpq.cli.{module}"), module)
        command.short_help = COMMANDS[cmd_name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them, and the exit statuses."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        with formatter.section("Exit statuses"):
            formatter.write_dl([(str(number), meaning) for number, meaning in status.MEANINGS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(asyncpq.__version__, message="asyncpq %(version)s")
@debug_option
def app() -> None:
    """Look at persistent queues, check, repair, copy and move them.

    PATH is a queue's directory or database: what lies there is found out.  `sqlite:PATH#NAME` names one of several
    queues in a database, `file:PATH` a directory whose name begins like that.

    \b
    Example:
      asyncpq info jobs
    """  # noqa: D301  # \b keeps the lines of the example apart


def run(arguments: Sequence[str] | None = None) -> int:
    """Do what *arguments* say, the process's own by default; return the exit status."""
    if sys.stderr is None:  # closed by who called
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # as long as the process
    if sys.stdout is None:
        say("stdout is closed: there is nowhere to write to")
        return status.ERROR
    state = State()
    logging.getLogger("asyncpq").addHandler(logging.NullHandler())  # the commands say it in their own way
    try:
        result = _invoke(list(sys.argv[1:] if arguments is None else arguments), state)
        sys.stdout.flush()
    except BaseException as error:
        return _ended(error, state)
    return result if isinstance(result, int) else status.OK


def _invoke(arguments: list[str], state: State) -> Any:
    """Return what the command returns; every error is its own, as `Group.main` would not leave it."""
    if asked := os.environ.get(COMPLETE):
        return shell_complete(app, {}, "asyncpq", COMPLETE, asked)
    with app.make_context("asyncpq", arguments, obj=state) as context:
        return app.invoke(context)


def _ended(error: BaseException, state: State) -> int:
    """Say why the command ended, where anything is to be said, and return the exit status."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if state.debug and not isinstance(error, click.ClickException | BrokenPipeError):
        traceback.print_exception(error)
    for kind, ending in _ENDINGS.items():
        if isinstance(error, kind):
            return ending(error)
    try:
        sys.stdout.flush()
    except OSError:  # a full disk, which is what *error* says
        hush()
    say(_sentence(error))
    return status.USAGE if isinstance(error, ImportError) else status.ERROR


def _closed(error: Any) -> int:
    hush()
    return status.CLOSED


def _usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError) or not isinstance(error, click.UsageError):
        error.show()
        return status.USAGE
    where = error.ctx.command_path if error.ctx else "asyncpq"
    say(f"{error.format_message().rstrip('.')}; '{where} --help' shows how")
    return status.USAGE


def _stopped(error: Stopped) -> int:
    hush()  # what is still buffered may wait for a reader that does not read
    say(error)
    return status.INTERRUPTED


def _interrupted(error: Any) -> int:
    hush()
    say("interrupted; nothing was changed")
    return status.INTERRUPTED


_ENDINGS: Final[dict[type[BaseException], Callable[[Any], int]]] = {
    BrokenPipeError: _closed,
    click.ClickException: _usage,
    Stopped: _stopped,
    KeyboardInterrupt: _interrupted,
    click.Abort: _interrupted,
}


def _sentence(error: BaseException) -> str:
    """Return what *error* says, for people."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    if isinstance(error, asyncpq.AsyncpqError | Failed | ValueError | ImportError | OSError):
        return str(error)
    return f"this should not happen: {type(error).__name__}: {error}; --debug shows where"
