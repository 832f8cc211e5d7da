"""How the reading of a record can end, other than well.

whole      a value, or the offset behind the record
Torn       the bytes end before the record does
Damaged    the bytes are there and are no record
"""

__all__ = ["Damaged", "Torn"]


class Torn(EOFError):
    """The buffer ends before the record does: more bytes could complete it."""


class Damaged(ValueError):
    """No continuation makes this a record, or its value cannot be built; *why* says what is wrong."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


def refused(error: Exception) -> Damaged:
    """The outcome for a value that a library could not build, with the library's reason."""
    return Damaged(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def unreadable(error: Exception) -> ValueError:
    """What encode() raises for an item that would be stored and never read again."""
    return ValueError(f"this item could not be read again: {error}")
