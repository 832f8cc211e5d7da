"""Headers of the messages of a queue, written and judged.  Pure.

    Nats-Msg-Id                 unique for each put; the server stores it once within the duplicate window
    Asyncpq-Serializer          what the payload, a record with its frame, was written with
    Nats-Batch-Id, -Sequence    many that the server stores together and in order, or not at all;
    Nats-Batch-Commit           in the last of them

Not Nats-Expected-Last-Msg-Id, which one would use for the order: where it does not fit, it stops a replicated stream
for good (seen with nats-server 2.15.1), and Nats-Expected-Last-Sequence fits by chance where others put, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncpq import serializers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncpq.serializers import Serializer

MESSAGE_ID: Final = "Nats-Msg-Id"
BATCH: Final = "Nats-Batch-Id"
BATCH_NUMBER: Final = "Nats-Batch-Sequence"
COMMIT: Final = "Nats-Batch-Commit"
SERIALIZER: Final = "Asyncpq-Serializer"
STATUS: Final = "Status"
DESCRIPTION: Final = "Description"
PENDING: Final = "Nats-Pending-Messages"

NO_CODE: Final = frozenset({"json", "orjson", "msgpack", "cbor2"})  # reading them runs nothing that a message names


def headers_of(serializer: str, message_id: str) -> dict[str, str]:
    """Return the headers of one message."""
    return {MESSAGE_ID: message_id, SERIALIZER: serializer}


def batch_headers(batch: str, number: int, *, last: bool) -> dict[str, str]:
    """Return the further headers of message *number*, from 1 on, of a batch."""
    headers = {BATCH: batch, BATCH_NUMBER: str(number)}
    if last:
        headers[COMMIT] = "1"
    return headers


def serializer_for(headers: Mapping[str, str] | None, own: Serializer) -> Serializer:
    """Return what reads a message with *headers*: the queue's *own*, or another one that runs no code.

    Raises:
        ValueError: the header names something that is not used here; the text says what, and why.
    """
    name = (headers or {}).get(SERIALIZER, own.NAME)
    if name == own.NAME:
        return own
    if name not in NO_CODE:
        shown = name if name in serializers.NAMES else ascii(name[:40])
        raise ValueError(f"it says that it was written with {shown}, which this queue was not opened with")
    try:
        return serializers.get(name)
    except ImportError as error:
        raise ValueError(f"it was written with {name}, which is not installed: {error}") from error
