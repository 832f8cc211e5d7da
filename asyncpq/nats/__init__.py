"""A persistent queue on NATS JetStream, shared by any number of machines: the extra `nats`.

    async with AsyncNatsQueue("nats://localhost:4222", "jobs") as queue:
        await queue.put({"url": "https://example.org"})
        job = await queue.get()
        await queue.task_done()

What differs from a queue on the disk is said in docs/nats.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncpq.nats.queue import AsyncNatsQueue

__all__ = ["AsyncNatsQueue"]


def __getattr__(name: str) -> Any:
    """Import the queue when it is asked for; without nats-py, say which extra to install."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import_module("nats")
    except ImportError as error:
        raise ImportError(
            "the queue on NATS needs nats-py; install it with: pip install 'asyncpq-engine[nats]'", name="nats"
        ) from error
    return getattr(import_module(f"{__name__}.queue"), name)
