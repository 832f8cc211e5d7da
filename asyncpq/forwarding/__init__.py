"""Store and forward: what a file queue holds goes to a queue on NATS, whenever that can be reached.

running       the coroutine                     forwarder   a batch on its way
records       the consumer's side, as bytes     outlet      the stream
note, notefile   what outlives a crash          doubt       what the stream holds already          keys
setaside      what cannot be forwarded          pauses, report, wishes
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from asyncpq.forwarding.report import ForwardReport

if TYPE_CHECKING:
    from asyncpq.forwarding.running import forward

__all__ = ["ForwardReport", "forward"]


def __getattr__(name: str) -> Any:
    """Import what needs nats-py when it is asked for; without it, say which extra to install."""
    if name != "forward":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import_module("nats")
    except ImportError as error:
        raise ImportError(
            "forwarding needs nats-py; install it with: pip install 'asyncpq-engine[nats]'", name="nats"
        ) from error
    return import_module(f"{__name__}.running").forward
