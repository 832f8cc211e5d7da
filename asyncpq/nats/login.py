"""Who logs in where.  What is secret is taken out of the addresses, and is never shown.

nats://user:secret@host:4222  ──>  nats://host:4222, user, password

"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

PORT: Final = 4222
HIDDEN: Final = "***"


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """Addresses without user info, and what is said at the door."""

    servers: tuple[str, ...]
    user: str | None = None
    password: str | None = None
    token: str | None = None
    credentials: str | None = None  # the path of a .creds file
    tls: ssl.SSLContext | str | None = None  # a context, or the path of a file of certificates to trust

    def __repr__(self) -> str:
        """Name the servers, and nothing that is secret."""
        return f"<Login {','.join(self.servers)}>"

    def without_secrets(self, text: str) -> str:
        """Return *text* with every secret in it hidden."""
        for secret in sorted(filter(None, (self.password, self.token)), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text


def login(
    servers: str | Sequence[str],
    *,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    credentials: str | os.PathLike[str] | None = None,
    tls: ssl.SSLContext | str | os.PathLike[str] | None = None,
) -> Login:
    """Return the login at *servers*: an address such as nats://host:4222, or several.

    Raises:
        ValueError: no address, one that cannot be read, or several logins.
    """
    given = [servers] if isinstance(servers, str) else list(servers)
    parts = [_split(one) for address in given for one in address.split(",") if one.strip()]
    if not parts:
        raise ValueError("give the address of a server, such as nats://localhost:4222")
    found = {(part.username, part.password) for part in parts if part.username or part.password}
    if len(found) > 1 or (found and (user or password or token or credentials)):
        raise ValueError("several logins were given: say who logs in once, in one address or in the arguments")
    if found:
        (name, word), *_ = found
        # As other clients have it, a name without a password is a token.
        user, password, token = (unquote(name or ""), unquote(word), None) if word is not None else (None, None, name)
        token = None if token is None else unquote(token)
    return Login(
        tuple(_bare(part) for part in parts),
        user,
        password,
        token,
        None if credentials is None else os.fspath(credentials),
        os.fspath(tls) if isinstance(tls, os.PathLike) else tls,
    )


def _split(address: str) -> SplitResult:
    address = address.strip()
    try:
        part = urlsplit(address if "://" in address else f"nats://{address}")
        usable = bool(part.hostname) and (part.port or PORT) > 0
    except ValueError:
        usable = False
    if not usable or part.scheme not in ("nats", "tls", "ws", "wss") or part.path.strip("/") or part.query:
        # Not the address itself: it may hold a password.
        raise ValueError("the address of a server is nats://host:port, or tls://host:port; this one cannot be read")
    return part


def _bare(part: SplitResult) -> str:
    host = f"[{part.hostname}]" if ":" in (part.hostname or "") else part.hostname
    port = part.port or (PORT if part.scheme in ("nats", "tls") else None)
    return f"{part.scheme}://{host}" + (f":{port}" if port else "")
