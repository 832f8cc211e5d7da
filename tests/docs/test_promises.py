"""How docstrings become the API reference."""

from typing import Any

from asyncpq import CopyReport, errors
from docs._ext.promises import process

SAID = """Store it.

Args:
    timeout: seconds to wait;
        None waits for ever.

Raises:
    Full, QueueClosed: no room.
    As `put`; nothing was stored.

Cancellation: whole or not at all.

More: of it.
"""

SHOWN = """Store it.


:Args:
    - **timeout**: seconds to wait;
      None waits for ever.


:Raises:
    - `Full`, `QueueClosed`: no room.
    - As `put`; nothing was stored.


:Cancellation:
    whole or not at all.


More: of it.
"""


def shown(said: str, obj: Any = None, what: str = "method") -> str:
    lines = said.splitlines()
    process(None, what, "", obj, None, lines)
    return "\n".join(lines)


def test_each_section_becomes_a_field() -> None:
    assert shown(SAID) == SHOWN


def test_fields_are_shown_with_the_comments_behind_them() -> None:
    text = shown("What `copy` made.", CopyReport, "class")
    assert "- **path** (``Path``)\n" in text
    assert "- **bytes** (``int``): of the copy" in text


def test_an_error_says_what_its_attributes_are() -> None:
    assert "*cause* is the error of the sync" in shown("It failed.", errors.QueueFailed, "exception")
