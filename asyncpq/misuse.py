"""What people write first, and what they are told: sentences where Python would say little, or nothing.

    for item in queue                   TypeError: ... use 'async for item in queue'
    with AsyncQueue(path) as queue      TypeError: ... use 'async with'
    len(queue)                          TypeError: ... use 'await queue.qsize()'
    while not queue.empty()             TypeError: ... write 'await queue.empty()'; a coroutine is always true, so that
                                        the loop would never begin
    queue.put(a set, as JSON)           the serializer's own error, with a note

Pure: no files, no clock, no await.  Type checkers see none of it, and go on to report these lines by themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Never, ParamSpec, TypeVar

if TYPE_CHECKING:
    import os
    from collections.abc import Generator
    from types import TracebackType

__all__ = ["OnlyAsync", "Unawaited", "checked_path", "explain_refused", "has_to_be_awaited"]

P = ParamSpec("P")
S = TypeVar("S")
T_co = TypeVar("T_co", covariant=True)


class OnlyAsync:
    """What has no synchronous form says so."""

    if not TYPE_CHECKING:

        def __enter__(self) -> Never:
            """Refuse."""
            name = type(self).__name__
            raise TypeError(f"{name} is entered with 'async with', inside an 'async def' function; 'with' cannot wait")

        def __exit__(self, *_: object) -> None:
            """Never reached, and looked for before `__enter__`."""

        def __iter__(self) -> Never:
            """Refuse."""
            name = type(self).__name__
            raise TypeError(f"{name} is read with 'async for', inside an 'async def' function; 'for' cannot wait")

        def __len__(self) -> Never:
            """Refuse."""
            raise TypeError(f"{type(self).__name__} has no len(): use 'await queue.qsize()'")

        def __bool__(self) -> bool:
            """Be true, empty or not."""
            return True


class Unawaited(Coroutine[Any, Any, T_co], Generic[T_co]):
    """A coroutine whose value is used only after it was awaited: anything else is a TypeError that says so."""

    def __init__(self, coroutine: Coroutine[Any, Any, T_co], call: str) -> None:
        """*call* is how it was called, such as 'qsize()'."""
        self._coroutine, self._call = coroutine, call
        # What asyncio shows of a task.
        self.__name__ = getattr(coroutine, "__name__", call)
        self.__qualname__ = getattr(coroutine, "__qualname__", call)
        self.cr_code = getattr(coroutine, "cr_code", None)

    @property
    def cr_frame(self) -> Any:
        """Where it stands."""
        return getattr(self._coroutine, "cr_frame", None)

    @property
    def cr_running(self) -> bool:
        """Whether it runs now."""
        return bool(getattr(self._coroutine, "cr_running", False))

    @property
    def cr_await(self) -> Any:
        """What it waits for."""
        return getattr(self._coroutine, "cr_await", None)

    def __await__(self) -> Generator[Any, Any, T_co]:
        """Wait for the value."""
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:
        """Go on, as any coroutine."""
        return self._coroutine.send(value)

    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None, /) -> Any:
        """Raise inside, as in any coroutine."""
        # Python 3.12 warns of three arguments.
        return self._coroutine.throw(kind) if value is trace is None else self._coroutine.throw(kind, value, trace)

    def close(self) -> None:
        """End, as any coroutine."""
        self._coroutine.close()

    def __repr__(self) -> str:
        """Name the coroutine."""
        return repr(self._coroutine)

    if not TYPE_CHECKING:

        def _refuse(self, *_: object) -> Never:
            self._coroutine.close()  # else Python warns as well
            raise TypeError(
                f"{self._call} was not awaited: write 'await queue.{self._call}' "
                f"(a coroutine is always true, and no number)"
            )

        def __bool__(self) -> bool:
            """Refuse, but for asyncio: to show a task, it asks whether that has a coroutine (Python 3.12)."""
            if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] == "asyncio":
                return True
            return self._refuse()

        __int__ = __index__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __sub__ = _refuse

        def __eq__(self, other: object) -> bool:
            """Refuse to be compared with a number."""
            return self._refuse() if isinstance(other, int) else self is other

        __hash__ = object.__hash__


def has_to_be_awaited(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T_co]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T_co]]:
    """Have the coroutines of *method* be `Unawaited`."""

    def called(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T_co]:
        return Unawaited(method(self, *args, **kwargs), f"{method.__name__}()")

    update_wrapper(called, method)
    return called


def checked_path(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return *path*.

    Raises:
        TypeError: it is no path.
        ValueError: it is empty.
    """
    if not isinstance(path, str) and not hasattr(path, "__fspath__"):
        raise TypeError(f"the path of a queue is a str or a pathlib.Path, of its directory or file, not {path!r}")
    if not (path if isinstance(path, str) else path.__fspath__()):
        raise ValueError("the path of the queue is empty; name a directory, such as 'jobs'")
    return path


def explain_refused(error: BaseException, path: str | os.PathLike[str], serializer: str) -> None:
    """Add a note to what a serializer raised for an item."""
    error.add_note(
        f"{path}: nothing was stored: serializer {serializer!r} does not take this item; put plain data (dicts, lists, "
        f"strings, numbers), or choose a serializer that takes it (docs: asyncpq.serializers)"
    )
