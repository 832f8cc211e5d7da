"""AsyncQueue as a blocking queue with the signature of persist-queue's Queue, for the tests of that class."""

import asyncio
import gc
import os
import re
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, ClassVar, Final, TypeVar
from weakref import WeakValueDictionary

from asyncpq import AsyncQueue

T = TypeVar("T")

WORKERS: Final = re.compile(r"asyncpq|.*_connection_worker_thread")  # the threads of the queues, and of aiosqlite


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.closing: set[Future[None]] = set()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What *work* returns or raises, run in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self, queue: Any) -> None:
        """Close *queue*, from whatever thread, and keep it until then: it would warn if it were collected before.

        The garbage collector may run anywhere, also in a thread that the close itself needs: there nobody waits.
        """
        if threading.current_thread() is self.thread or WORKERS.match(threading.current_thread().name):
            closing = asyncio.run_coroutine_threadsafe(queue.close(), self.loop)
            self.closing.add(closing)
            closing.add_done_callback(self.closing.discard)
        else:
            self.run(queue.close())

    def stop(self) -> None:
        """No work is left running, and the thread and the loop's files are gone."""
        gc.collect()  # what would be collected in the loop's thread while it stops could not be closed any more
        for closing in list(self.closing):
            closing.result()
        self.run(self._finish())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _finish(self) -> None:
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)


class Queue:
    """Forwards each call to an AsyncQueue in the loop that a fixture has set."""

    loop: ClassVar[Loop]
    # Not to be collected in one go with this face, whose destructor closes it.
    _alive: ClassVar[set[AsyncQueue]] = set()
    _opened: ClassVar[WeakValueDictionary[str, "Queue"]] = WeakValueDictionary()

    def __init__(
        self,
        path: str,
        maxsize: int = 0,
        chunksize: int = 100,
        tempdir: str | None = None,
        serializer: Any = None,
        autosave: bool = False,
    ) -> None:
        self._closed = True  # until it is open, for the destructor
        self.maxsize = maxsize

        # The tests open a directory again while the queue before still has it, which persist-queue allows and
        # AsyncQueue refuses.  They mean a restart, so the one before is closed.
        before = self._opened.get(os.path.realpath(path))
        if before is not None:
            before.close()

        self._queue = AsyncQueue(path, maxsize, chunksize, tempdir, serializer, autosave)
        self.loop.run(self._queue.__aenter__())
        self._closed = False
        self._alive.add(self._queue)
        self._opened[os.path.realpath(path)] = self

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        self.loop.run(self._queue.put(item, block, timeout))

    def put_nowait(self, item: Any) -> None:
        self.loop.run(self._queue.put_nowait(item))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        return self.loop.run(self._queue.get(block, timeout))

    def get_nowait(self) -> Any:
        return self.loop.run(self._queue.get_nowait())

    def task_done(self) -> None:
        self.loop.run(self._queue.task_done())

    def join(self) -> None:
        self.loop.run(self._queue.join())

    def qsize(self) -> int:
        return self.loop.run(self._queue.qsize())

    def empty(self) -> bool:
        return self.loop.run(self._queue.empty())

    def full(self) -> bool:
        return self.loop.run(self._queue.full())

    def close(self) -> None:
        """Closed and its lock free, however often it is called."""
        if self._closed:
            return
        self._closed = True
        self.loop.close(self._queue)
        self._alive.discard(self._queue)

    def __del__(self) -> None:
        self.close()
