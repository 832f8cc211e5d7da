"""What a stream holds, read by sequence: nothing is consumed, nor waits for an acknowledgement.

    first                      last
    | m  m  .  m  m  m  .  .  m |        .: consumed; a look at many of them at once tells where the next message is
      ~~~~~~~~~~~~ ~~~~~~~~~~~~       WINDOW questions on their way together

A work queue has no room for a second consumer, so this asks for each message by its number.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from email.parser import BytesParser
from email.policy import compat32
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncpq.nats.streams import API, ApiError, answer_of, call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpq.nats.wire import Wire

__all__ = ["Kept", "State", "kept", "state_of"]

WINDOW: Final = 128  # questions on their way
NO_MESSAGE: Final = 10037


class Kept(NamedTuple):
    """One message of a stream."""

    sequence: int
    headers: dict[str, str]
    data: bytes


class State(NamedTuple):
    """What a stream says of itself."""

    config: dict[str, Any]
    created: str
    messages: int
    bytes: int
    first: int  # sequence
    last: int  # sequence; it only grows, whatever is consumed


async def state_of(wire: Wire, name: str) -> State:
    """Return the state of the stream *name*.

    Raises:
        ApiError: there is none.
        ServerAway: no answer in time.
    """
    info = await call(wire, f"STREAM.INFO.{name}")
    state = info["state"]
    return State(
        info["config"],
        info.get("created", ""),
        state["messages"],
        state["bytes"],
        state["first_seq"],
        state["last_seq"],
    )


async def kept(wire: Wire, name: str, subject: str, first: int, last: int) -> AsyncIterator[Kept]:
    """Yield the messages with sequences from *first* to *last* that are there, in order.

    Raises:
        ApiError, ServerAway: as `state_of`.
    """
    while first <= last:
        numbers = range(first, min(first + WINDOW, last + 1))
        answers = await asyncio.gather(*(_one(wire, name, {"seq": number}) for number in numbers))
        found = [message for message in answers if message is not None]
        for message in found:
            yield message
        first = numbers.stop
        if not found and first <= last:
            after = await _one(wire, name, {"seq": first, "next_by_subj": subject})
            first = last + 1 if after is None else after.sequence


async def _one(wire: Wire, name: str, which: dict[str, Any]) -> Kept | None:
    try:
        message = await wire.ask(f"{API}STREAM.MSG.GET.{name}", json.dumps(which).encode())
        return _kept(answer_of(message.data)["message"])
    except ApiError as error:
        if error.number == NO_MESSAGE:
            return None
        raise


def _kept(said: dict[str, Any]) -> Kept:
    try:
        data = base64.b64decode(said.get("data", ""), validate=True)
        lines = base64.b64decode(said.get("hdrs", ""), validate=True)
        return Kept(int(said["seq"]), _headers(lines), data)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ApiError(500, 0, "the answer holds no message that can be read") from error


def _headers(data: bytes) -> dict[str, str]:
    """Return what lies between the line of the version and an empty one."""
    parsed = BytesParser(policy=compat32).parsebytes(data.partition(b"\r\n")[2], headersonly=True)
    return {str(name): str(value).strip() for name, value in parsed.items()}
