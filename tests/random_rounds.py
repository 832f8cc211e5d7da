"""Random rounds against a model: tasks with random operations, cancelled at random.  A round is its seed.

What the model knows, whatever is cancelled and whenever:

    stored     every item whose put returned, none whose put was refused; where it was cancelled, either
    got        what get returned, in that order, each once
    rest       what is there at the end
    got + rest is what was stored, each item once, those of one producer in their order
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest

from asyncpq import AsyncQueue, Empty, Full, QueueClosed, threads
from tests.blocked_files import Fast, queue_on
from tests.stepping import Jobs, finished, settle

POLICIES: Final = ["never", "rollover", "interval", "always"]
OPERATIONS: Final = Counter(
    put=6, put_many=2, get=5, get_some=2, get_many=2, peek=1, task_done=3, sync=1, join=1, compact=1, qsize=1, clear=1
)


def play(loop: str, folder: Path, seeds: Iterable[int]) -> None:
    """Rounds in steps: the worker threads' jobs run when the round says so."""
    _play(loop, folder, seeds, lambda: Jobs())


def play_with_threads(loop: str, folder: Path, seeds: Iterable[int]) -> None:
    """Rounds with real threads, which are never the same twice."""
    _play(loop, folder, seeds, lambda: None)


def _play(loop: str, folder: Path, seeds: Iterable[int], make_jobs: Callable[[], Jobs | None]) -> None:
    factory = asyncio.new_event_loop if loop == "asyncio" else _uvloop()
    with asyncio.Runner(debug=True, loop_factory=factory) as runner:
        for seed in seeds:
            round_ = Round(seed, folder / f"{seed}", make_jobs())
            try:
                runner.run(round_.play())
            except Exception as error:
                error.add_note(f"seed {seed}: {round_}")
                raise


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    pytest.importorskip("uvloop")
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return factory


class Round:
    """One queue, from its opening to its end."""

    def __init__(self, seed: int, path: Path, jobs: Jobs | None) -> None:
        self.random = choose = random.Random(seed)
        self.path, self.jobs = path, jobs
        self.autosave = choose.random() < 0.5
        self.operations = OPERATIONS.copy()
        self.clears = choose.random() < 0.2
        if not self.clears:
            del self.operations["clear"]
        self.options: dict[str, Any] = {
            "maxsize": choose.choice((0, 0, 0, 2, 5)),
            "fsync": choose.choice(POLICIES),
            "inline_limit": choose.choice((65536, 65536, 65536, 0)),
        }
        self.chunksize = choose.choice((1, 2, 3, 7, 100))
        self.backlog = choose.choice((0, 0, 3, 10))
        self.drains, self.closes_early = choose.random() < 0.5, choose.random() < 0.2
        self.over = False
        self.acknowledged: list[str] = []
        self.cancelled: set[str] = set()  # their puts were: stored or not
        self.got: list[str] = []
        self.done_least = self.done_most = 0  # items whose task_done returned, or may have been committed
        self.dones_least = self.dones_most = 0  # the number of calls

    def __repr__(self) -> str:
        return (
            f"{self.options}, chunksize={self.chunksize}, autosave={self.autosave}, backlog={self.backlog}, "
            f"in steps={self.jobs is not None}, drains={self.drains}, closes early={self.closes_early}; got {self.got}"
        )

    async def play(self) -> None:
        if self.jobs is None:
            await self._play()
        else:
            with mock.patch.object(threads.pool, "submit", self.jobs.submit):
                await self._play()

    async def _play(self) -> None:
        if self.backlog:
            self.queue = self._queue(chunksize=self.chunksize)
            items = [f"backlog.{number}" for number in range(self.backlog)]
            await self._finish(self.queue.put_many(items))
            await self._finish(self.queue.close())
            self.acknowledged += items
        self.queue = self._queue(chunksize=self.chunksize, autosave=self.autosave, **self.options)
        await self._all_work()
        rest = [] if self.closes_early else await self._look()
        await self._finish(self.queue.close())
        await self._look_again(rest)

    def _queue(self, **options: Any) -> AsyncQueue:
        return queue_on(Fast(), self.path, **options)

    async def _finish(self, waiting: Awaitable[Any]) -> Any:
        if self.jobs is None:
            return await asyncio.wait_for(waiting, 20)
        return await finished(self.jobs, waiting)

    # -- what happens ---------------------------------------------------------------------------------------

    async def _all_work(self) -> None:
        choose = self.random
        tasks = [asyncio.ensure_future(self._work(f"task{n}", choose.random())) for n in range(choose.randint(2, 8))]
        often = choose.choice((0.0, 0.02, 0.1, 0.3))
        for _ in range(choose.randint(0, 120)):
            if choose.random() < often:
                choose.choice(tasks).cancel()
            await self._step()
        self.over = True
        if self.closes_early:
            tasks.append(asyncio.ensure_future(self.queue.close()))
        else:
            for task in tasks:
                task.cancel()
        for outcome in await self._finish(asyncio.gather(*tasks, return_exceptions=True)):
            if not isinstance(outcome, asyncio.CancelledError | None):
                raise outcome
        if self.jobs is not None:
            await settle(self.jobs)
        elif not self.closes_early:
            await self.queue.sync()

    async def _step(self) -> None:
        if self.jobs is not None and self.random.random() < 0.4:
            self.jobs.run_one()
        else:
            if self.jobs is None and self.random.random() < 0.2:
                time.sleep(1e-5)  # noqa: ASYNC251  # lets other threads run while the loop does not
            await asyncio.sleep(0)

    async def _work(self, name: str, seed: float) -> None:
        choose = random.Random(seed)
        for number in range(choose.randint(1, 8)):
            (operation,) = choose.choices([*self.operations], [*self.operations.values()])
            try:
                await getattr(self, f"_{operation}")(f"{name}.{number}")
            except asyncio.CancelledError:
                if self.over or choose.random() < 0.4:
                    raise
            except (Empty, QueueClosed):
                pass

    async def _put(self, item: str) -> None:
        timeout = None if item[-1] in "02468" else 0.0
        try:
            await self.queue.put(item, timeout=timeout)
        except (Full, QueueClosed):
            return
        except BaseException:
            self.cancelled.add(item)
            raise
        self.acknowledged.append(item)

    async def _put_many(self, name: str) -> None:
        items = [f"{name}.{number}" for number in range(5)]
        stored = 0
        try:
            stored = await self.queue.put_many(items)
        except BaseException as error:
            stored = getattr(error, "stored", 0)
            raise
        finally:
            self.acknowledged += items[:stored]

    async def _get(self, name: str) -> None:
        self.got.append(await self.queue.get())

    async def _get_some(self, name: str) -> None:
        self.got.append(await self.queue.get(block=False))

    async def _get_many(self, name: str) -> None:
        self.got += await self.queue.get_many(4)

    async def _peek(self, name: str) -> None:
        assert await self.queue.peek() not in self.got

    async def _task_done(self, name: str) -> None:
        taken = len(self.got)
        self.done_most = max(self.done_most, taken)
        self.dones_most += 1
        with suppress(ValueError):  # more often than there are items
            await self.queue.task_done()
            self.done_least = max(self.done_least, taken)
            self.dones_least += 1

    async def _sync(self, name: str) -> None:
        await self.queue.sync()

    async def _join(self, name: str) -> None:
        await self.queue.join()

    async def _compact(self, name: str) -> None:
        await self.queue.compact()

    async def _qsize(self, name: str) -> None:
        assert await self.queue.qsize() >= 0

    async def _clear(self, name: str) -> None:
        await self.queue.clear()

    # -- what is there afterwards -------------------------------------------------------------------------------

    async def _look(self) -> list[str]:
        """The open queue: what it says, and in some rounds what it holds."""
        size, stats = await self._finish(self.queue.qsize()), self.queue.stats()
        assert stats["waiting_to_be_stored"] == 0
        if not self.clears:
            stored = size + len(self.got)
            assert len(self.acknowledged) <= stored <= len(self.acknowledged) + len(self.cancelled)
            assert stored - self.dones_most <= stats["unfinished"] <= stored - self.dones_least
        if not self.drains:
            return []
        rest = [await self._finish(self.queue.get(timeout=0)) for _ in range(size)]
        with pytest.raises(Empty):
            await self._finish(self.queue.get(timeout=0))
        self._check(self.got + rest, in_order=rest if self.autosave else self.got + rest)
        return rest

    async def _look_again(self, rest: Sequence[str]) -> None:
        """The directory: nothing has to be healed, and the model agrees with it too."""
        self.queue = self._queue()
        size = await self._finish(self.queue.qsize())
        healed = self.queue.recovery  # a consumed chunk may still be there, and goes now
        assert (healed.adopted, healed.lost, healed.cut, healed.set_aside) == (0, 0, 0, ()), healed
        again = [await self._finish(self.queue.get_nowait()) for _ in range(size)]
        assert await self.queue.empty()
        if not self.clears:
            assert self.queue.stats()["unfinished"] == size
            got = [*self.got, *rest]
            if self.autosave:
                # One cursor: behind an item that was given back, those that others got come again.
                assert not again or again[0] not in got
                new = [item for item in again if item not in got]
                assert len({*again}) == len(again)
                self._check(got + new, in_order=again)
            else:
                committed = self._committed(got, again)
                assert self.done_least <= committed <= self.done_most
                self._check(got[:committed] + again, in_order=got[:committed] + again)
        await self._finish(self.queue.close())

    def _committed(self, got: list[str], again: list[str]) -> int:
        """How many items of *got* did not come again; what did comes first, in order."""
        committed = got.index(again[0]) if again and again[0] in got else len(got)
        assert again[: len(got) - committed] == got[committed:]
        return committed

    def _check(self, items: list[str], in_order: list[str]) -> None:
        twice = [item for item, times in Counter(items).items() if times > 1]
        assert not twice
        known = {*self.acknowledged, *self.cancelled}
        assert not {*items} - known, "nobody put these"
        if not self.clears:
            assert not {*self.acknowledged} - {*items}, "these are lost"
        places: dict[str, list[tuple[int, ...]]] = {}
        for item in in_order:
            producer, *numbers = item.split(".")
            places.setdefault(producer, []).append(tuple(map(int, numbers)))
        for producer, found in places.items():
            assert found == sorted(found), f"{producer} put them in another order"
