"""What the engine asks of a serializer; a module with these members is one."""

from typing import Any, Protocol, runtime_checkable

__all__ = ["Serializer"]


@runtime_checkable
class Serializer(Protocol):
    """A way to turn items into records, and records into items.

    *encode* and *loads* are the hot path.  *decode*, *skip* and *check* read a record that begins at
    *start* of a buffer and may end before the buffer does; they raise Torn when the buffer ends first, and
    Damaged when no continuation could make it a record.  None of them believes a length beyond the buffer.
    """

    @property
    def NAME(self) -> str:
        """What errors, the command line and `get()` call it."""

    @property
    def is_async(self) -> bool:
        """Whether dump or load is a coroutine function: on the loop, only aencode() and aloads() work."""

    def encode(self, value: Any, /) -> bytes:
        """The complete record of *value*; raises what the library raises, before any byte is written."""

    def loads(self, record: bytes, /) -> Any:
        """The value of exactly one record."""

    def decode(self, buffer: bytes, start: int, /) -> tuple[Any, int]:
        """The value of the record at *start*, and the offset behind it."""

    def skip(self, buffer: bytes, start: int, /) -> int:
        """The offset behind the record at *start*, found without running anything of the item's."""

    def check(self, buffer: bytes, start: int, /) -> int:
        """Like skip(), with every check that needs no value: what healing asks after a crash."""

    def resync(self, buffer: bytes, start: int, /) -> int | None:
        """The first offset from *start* on where a whole and plausible record begins, or None."""

    def info_loads(self, data: bytes, /) -> dict[str, Any]:
        """The first record of an info, as a dict with str keys, built without running anything."""
