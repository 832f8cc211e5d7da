"""A connection to a server, or to a cluster of them, that comes back by itself.

    connecting ──> connected <──> away        nats-py tries every server again, for ever
                       │
                       └── thrown out ──> connecting     by the server, for good: begun anew here

Nothing here waits for a disk: credentials and certificates are read in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections import UserString
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nats.aio.client import Client

from asyncpq.errors import AccessDenied, ServerAway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpq.nats.login import Login

AGAIN: Final = 0.25  # seconds between two tries to reach the same server
PENDING_MAX: Final = 1 << 30  # bytes that wait to be sent; what is sent is bounded by the windows of who sends
PING: Final = 10.0  # seconds between two looks whether the server is alive; after two without answer it is not
VIOLATION: Final = re.compile(r'(?i)permissions violation for publish to "([^"]+)"')

logger = logging.getLogger("asyncpq.nats")


class Connection:
    """A client of nats-py that stays: it is replaced when the server throws it out."""

    def __init__(self, login: Login, path: str, timeout: float) -> None:
        """Connect to nothing yet; *path* is what errors call the queue, *timeout* is in seconds."""
        self.login, self.path, self.timeout = login, path, timeout
        self.client = Client()
        self.connected = asyncio.Event()
        self.reconnects = 0
        self.why = "not connected yet"  # what the last error said, without secrets
        self.on_client: Callable[[Client], Awaitable[None]] = _nothing  # a new client, which listens to nothing yet
        self.on_connected: Callable[[], None] = lambda: None  # connected, or again
        self.on_violation: Callable[[str], None] = lambda subject: None  # this user may not publish to that subject
        self._denied: asyncio.Future[str] | None = None  # while connecting for the first time
        self._closing = False
        self._again: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect.

        Raises:
            ServerAway: no server answered in time.
            AccessDenied: the login was refused.
            OSError: credentials or certificates cannot be read.
            ValueError: they hold nothing that can be used.
        """
        options = await _options(self.login)
        self._denied = asyncio.get_running_loop().create_future()
        connecting = asyncio.ensure_future(self._connect(options))
        either: set[asyncio.Future[Any]] = {connecting, self._denied}
        try:
            await asyncio.wait(either, timeout=self.timeout, return_when="FIRST_COMPLETED")
            if self._denied.done():
                raise AccessDenied(self.path, self._denied.result())
            if not connecting.done():
                raise ServerAway(self.path, self.timeout, self.why, sent=False, storing=False)
            connecting.result()
        except BaseException:
            connecting.cancel()
            await asyncio.wait({connecting})
            await self.close()
            raise
        finally:
            self._denied.cancel()
            self._denied = None

    async def _connect(self, options: dict[str, Any]) -> None:
        self.client = client = Client()
        await client.connect(
            **options,
            name="asyncpq",
            error_cb=self._error,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            closed_cb=self._closed,
            connect_timeout=max(1, round(self.timeout)),
            reconnect_time_wait=AGAIN,  # type: ignore[arg-type]  # it is only added to a time
            max_reconnect_attempts=-1,
            ping_interval=PING,  # type: ignore[arg-type]  # it is only slept
            pending_size=PENDING_MAX,
        )
        await self.on_client(client)
        self._is_connected()

    def _is_connected(self) -> None:
        self.connected.set()
        self.on_connected()

    async def _error(self, error: Exception) -> None:
        text = self.login.without_secrets(str(error) or type(error).__name__)
        self.why = text.removeprefix("nats: ").strip("'\" ")
        logger.debug("%s: %s", self.path, self.why)
        if violation := VIOLATION.search(text):
            self.on_violation(violation[1])
        if self._denied is not None and not self._denied.done() and is_denial(text):
            self._denied.set_result(self.why)

    async def _disconnected(self) -> None:
        self.connected.clear()
        if not self._closing:
            logger.warning("%s: the connection was lost (%s)", self.path, self.why)

    async def _reconnected(self) -> None:
        self.reconnects += 1
        logger.warning("%s: connected again", self.path)
        self._is_connected()

    async def _closed(self) -> None:
        """Begin anew, unless it was closed here: the server does not want this client any more."""
        self.connected.clear()
        if not self._closing and self._again is None:
            self._again = asyncio.ensure_future(self._begin_anew())

    async def _begin_anew(self) -> None:
        try:
            await asyncio.sleep(AGAIN)
            await self._connect(await _options(self.login))
            self.reconnects += 1
        finally:
            self._again = None

    async def close(self) -> None:
        """Close it; what was handed to nats-py is sent first, where the server takes it, within the timeout."""
        self._closing = True
        self.connected.clear()
        if self._again is not None:
            self._again.cancel()
            await asyncio.wait({self._again})
        closing = asyncio.ensure_future(self.client.close())
        await asyncio.wait({closing}, timeout=self.timeout)
        if not closing.done():
            _abort(self.client)
            closing.cancel()
            await asyncio.wait({closing})
        if not closing.cancelled() and closing.exception() is not None:
            logger.debug("%s: while it was closed: %s", self.path, closing.exception())


def _abort(client: Client) -> None:
    """Drop what a server does not take: nats-py would wait for it, and has no other way to its socket."""
    writer = getattr(getattr(client, "_transport", None), "_io_writer", None)
    if writer is not None:
        writer.transport.abort()


def is_denial(text: str) -> bool:
    """Whether an error of the server says that it does not accept who logs in."""
    return any(word in text.lower() for word in ("authorization", "authentication", "certificate", "tls", "ssl"))


async def _options(login: Login) -> dict[str, Any]:
    """Return what nats-py wants to know; files are read in a thread."""
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {"servers": list(login.servers)}
    options |= {"user": login.user, "password": login.password, "token": login.token}
    if login.credentials is not None:
        text = await loop.run_in_executor(None, Path(login.credentials).read_text)
        if "NATS USER JWT" not in text or "USER NKEY SEED" not in text:
            raise ValueError(f"{login.credentials}: no credentials file: it needs a user JWT and the seed of its key")
        options["user_credentials"] = UserString(text)
    if isinstance(login.tls, str):
        options["tls"] = await loop.run_in_executor(None, _trusting, login.tls)
    elif login.tls is not None:
        options["tls"] = login.tls
    return options


def _trusting(path: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=path)


async def _nothing(client: Client) -> None:
    """Listen to nothing."""
