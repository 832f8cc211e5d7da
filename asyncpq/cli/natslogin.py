"""Who logs in at a NATS server: never by an argument that `ps` shows.

ASYNCPQ_NATS_TOKEN                    a token
--user, ASYNCPQ_NATS_PASSWORD         a user and the password
--credentials FILE                    a .creds file
nats://user:password@host             works, and is warned of
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from asyncpq.cli.options import Failed
from asyncpq.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PASSWORD", "TOKEN", "login_from", "login_options", "warn_secrets"]

TOKEN: Final = "ASYNCPQ_NATS_TOKEN"
PASSWORD: Final = "ASYNCPQ_NATS_PASSWORD"


def login_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options by which a command logs in."""
    for option in (
        click.option("--tls-ca", type=click.Path(), help="File with the certificates to trust, for tls:// addresses."),
        click.option("--credentials", type=click.Path(), help="File (.creds) that logs in."),
        click.option("--user", metavar="NAME", help=f"Who logs in, with the password in {PASSWORD}."),
    ):
        function = option(function)
    return function


def login_from(user: str | None, credentials: str | None, tls_ca: str | None) -> dict[str, Any]:
    """Return the arguments of `forward` and AsyncNatsQueue for who logs in.

    Raises:
        Failed: a user without a password.
    """
    password = os.environ.get(PASSWORD) if user is not None else None
    if user is not None and password is None:
        raise Failed(f"--user needs the password in the environment variable {PASSWORD}")
    token = os.environ.get(TOKEN) if user is None and credentials is None else None
    said = {"user": user, "password": password, "token": token, "credentials": credentials, "tls": tls_ca}
    return {key: value for key, value in said.items() if value is not None}


def warn_secrets(address: str) -> None:
    """Say on stderr that others can see a login that stands in an address."""
    if "://" not in address:
        return
    try:
        seen = any("@" in urlsplit(one).netloc for one in address.split(","))
    except ValueError:
        seen = "@" in address
    if seen:
        say(
            f"the login in the address can be seen by everybody on this machine; use {TOKEN}, --user with {PASSWORD}, "
            f"or --credentials"
        )
