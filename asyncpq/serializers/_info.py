"""The one thing that is asked of an info here: a dict whose keys are str."""

from typing import Any

from asyncpq.serializers._outcomes import Damaged

__all__ = ["as_info"]


def as_info(value: Any) -> dict[str, Any]:
    """*value* with str keys, in its order (Python 2's msgpack wrote them as bytes); Damaged if no dict."""
    if not isinstance(value, dict):
        raise Damaged(f"an info is a dict, and this is of type {type(value).__name__}")
    named = {_name(key): part for key, part in value.items()}
    if len(named) != len(value):
        raise Damaged("an info has two keys of the same name")
    return named


def _name(key: Any) -> str:
    if isinstance(key, bytes):
        return key.decode("latin-1")
    if not isinstance(key, str):
        raise Damaged(f"an info has a key of type {type(key).__name__}")
    return key
