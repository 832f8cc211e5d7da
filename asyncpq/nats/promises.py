"""What a confirmation of the server is worth: whether it syncs before it answers, read where it can be.

    sync_interval: always    synced first: with 3 replicas the equal of fsync="always"
    sync_interval: 2m        the server's default: what it confirmed in the last two minutes is lost in a power cut
                             (and not when only its process is killed); with replicas: in a power cut of most of them

It is read from the monitoring address, where one is given, or asked for as the system account may.
"""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from asyncpq.errors import AccessDenied, ServerAway
from asyncpq.nats.wire import Lost

if TYPE_CHECKING:
    from asyncpq.nats.wire import Wire

ASK: Final = "$SYS.REQ.SERVER.PING.VARZ"
SOON: Final = 0.5  # seconds to wait for who may not be there to answer
ANSWER_MAX: Final = 4 * 1024 * 1024  # bytes of an answer that are read
ALWAYS: Final = 0.0  # seconds

logger = logging.getLogger("asyncpq.nats")


async def sync_interval(wire: Wire, monitor: str | None) -> float | None:
    """Return the seconds between two syncs of the server; 0.0: it syncs before it answers; None: nobody says."""
    try:
        if monitor is not None:
            return interval_in(await asyncio.wait_for(_varz(monitor), wire.timeout))
        answer = await asyncio.wait_for(wire.ask(ASK, once=True), SOON)
        return interval_in(json.loads(answer.data).get("data"))
    except (Lost, ServerAway, AccessDenied):
        return None  # this login may not ask
    except (OSError, ValueError, AttributeError) as error:  # TimeoutError is an OSError
        logger.warning("%s: how the server syncs cannot be read: %s", wire.connection.path, error)
        return None


def interval_in(varz: Any) -> float | None:
    """Return what a server says of its syncing; None: nothing that can be read."""
    config = varz.get("jetstream", {}).get("config", {}) if isinstance(varz, dict) else {}
    if config.get("sync_always"):
        return ALWAYS
    interval = config.get("sync_interval")
    return interval / 1e9 if isinstance(interval, int) and interval > 0 else None


def warn(path: str, seconds: float | None) -> None:
    """Say what a confirmation is not worth, where that is known."""
    if seconds:
        warnings.warn(
            f"{path}: the server answers before it syncs: a power cut loses what it confirmed in the last "
            f"{seconds:g} s; set sync_interval: always in the jetstream block of each server (with replicas=3 it is "
            f"then the equal of fsync='always'), or ignore this warning",
            UserWarning,
            stacklevel=2,
        )


async def _varz(monitor: str) -> Any:
    address = urlsplit(monitor)
    secure = address.scheme == "https"
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("monitor= is an address such as http://localhost:8222")
    port = address.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(address.hostname, port, ssl=secure or None)
    try:
        path = address.path.rstrip("/")
        writer.write(f"GET {path}/varz HTTP/1.0\r\nHost: {address.hostname}\r\n\r\n".encode())
        answer = await _all_of(reader)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise ValueError(f"the monitor answers {head[:60]!r}")
    return json.loads(body)


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    data = b""
    while (more := await reader.read(65536)) and len(data) < ANSWER_MAX:
        data += more
    return data
