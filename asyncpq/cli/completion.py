"""``asyncpq completion``: the script that lets a shell complete commands, options and paths."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from asyncpq.cli.options import command
from asyncpq.cli.terminal import line


@command(
    "completion",
    'eval "$(asyncpq completion bash)"',
    "asyncpq completion fish > ~/.config/fish/completions/asyncpq.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL."""
    made = get_completion_class(shell)
    assert made is not None
    line(made(ctx.find_root().command, {}, "asyncpq", "_ASYNCPQ_COMPLETE").source())
