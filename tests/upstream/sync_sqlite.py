"""The SQLite queues as blocking queues with the signatures of persist-queue's sync classes, for the tests of those."""

import gc
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar
from weakref import WeakSet

import asyncpq
from asyncpq.serializers import pickle
from tests.upstream.sync_face import Loop

T = TypeVar("T")


class SQLiteBase:
    """Forwards each call to a queue in the loop that a fixture has set.

    The coroutines are made in the thread that calls and run in the loop: a queue asks at once which task it is that
    calls, and outside the loop it is none.
    """

    loop: ClassVar[Loop]
    face_of: ClassVar[Any]
    _alive: ClassVar[set[Any]] = set()  # not to be collected in one go with this face, whose destructor closes it
    _open: ClassVar[WeakSet[Any]] = WeakSet()

    @classmethod
    @contextmanager
    def in_a_loop(cls) -> Iterator[None]:
        """All queues live in one loop, and none is left open: the traceback of a test that fails keeps its queue."""
        cls.loop = Loop()
        yield
        gc.collect()
        for queue in list(cls._open):
            queue.close()
        cls.loop.stop()

    def __init__(
        self,
        path: str,
        name: str = "default",
        multithreading: bool = False,  # any thread may call
        timeout: float = 10.0,
        auto_commit: bool = True,
        serializer: Any = pickle,
        db_file_name: str | None = None,
        **options: Any,
    ) -> None:
        self._closed = True  # until it is open, for the destructor
        self._serializer = serializer
        folder = path if path == ":memory:" else os.path.join(path, "")  # these classes have a directory
        self._queue = self.face_of(
            folder, name, serializer, auto_commit, timeout=timeout, db_file_name=db_file_name, **options
        )
        self.loop.run(self._queue.__aenter__())
        self._closed = False
        self._alive.add(self._queue)
        self._open.add(self)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(work)

    def put(self, item: Any, **options: Any) -> Any:
        return self._run(self._queue.put(item, **options))

    def put_nowait(self, item: Any, **options: Any) -> Any:
        return self._run(self._queue.put_nowait(item, **options))

    def get(self, block: bool = True, timeout: float | None = None, **options: Any) -> Any:
        return self._run(self._queue.get(block, timeout, **options))

    def get_nowait(self, **options: Any) -> Any:
        return self._run(self._queue.get_nowait(**options))

    def update(self, item: Any, id: Any = None) -> Any:
        return self._run(self._queue.update(item, id))

    def task_done(self) -> None:
        self._run(self._queue.task_done())

    def queue(self) -> list[dict[str, Any]]:
        async def listed() -> list[dict[str, Any]]:
            return [row async for row in self._queue.queue()]

        return self._run(listed())

    def shrink_disk_usage(self) -> None:
        self._run(self._queue.shrink())

    def qsize(self) -> int:
        size: int = self._run(self._queue.qsize())
        return size

    @property
    def size(self) -> int:
        return self.qsize()

    @property
    def total(self) -> int:
        return self.qsize()

    def __len__(self) -> int:
        return self.qsize()

    def empty(self) -> bool:
        return bool(self._run(self._queue.empty()))

    def full(self) -> bool:
        return bool(self._run(self._queue.full()))

    def close(self) -> None:
        """Closed, however often it is called."""
        if self._closed:
            return
        self._closed = True
        self.loop.close(self._queue)
        self._alive.discard(self._queue)

    def __del__(self) -> None:
        self.close()


class AckBase(SQLiteBase):
    """What the acknowledged ones have more."""

    def __init__(self, path: str, auto_resume: bool = True, **options: Any) -> None:
        super().__init__(path, auto_resume=auto_resume, **options)

    def ack(self, item: Any) -> Any:
        return self._run(self._queue.ack(item))

    def nack(self, item: Any) -> Any:
        return self._run(self._queue.nack(item))

    def ack_failed(self, item: Any) -> Any:
        return self._run(self._queue.ack_failed(item))

    def resume_unack_tasks(self) -> None:
        self._run(self._queue.resume_unack_tasks())

    def clear_acked_data(self, **options: Any) -> None:
        self._run(self._queue.clear_acked_data(**options))

    def ready_count(self) -> Any:
        return self._run(self._queue.ready_count())

    def unack_count(self) -> Any:
        return self._run(self._queue.unack_count())

    def acked_count(self) -> Any:
        return self._run(self._queue.acked_count())

    def ack_failed_count(self) -> Any:
        return self._run(self._queue.ack_failed_count())

    def active_size(self) -> Any:
        return self._run(self._queue.active_size())


class SQLiteQueue(SQLiteBase):
    face_of = asyncpq.AsyncSQLiteQueue


class FILOSQLiteQueue(SQLiteBase):
    face_of = asyncpq.AsyncFILOSQLiteQueue


class UniqueQ(SQLiteBase):
    face_of = asyncpq.AsyncUniqueQ


class PriorityQueue(SQLiteBase):
    face_of = asyncpq.AsyncPriorityQueue


class SQLiteAckQueue(AckBase):
    face_of = asyncpq.AsyncSQLiteAckQueue


class FILOSQLiteAckQueue(AckBase):
    face_of = asyncpq.AsyncFILOSQLiteAckQueue


class UniqueAckQ(AckBase):
    face_of = asyncpq.AsyncUniqueAckQ
