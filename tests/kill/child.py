"""The process that is killed.  A fork server runs it, so that the next child costs milliseconds.

`python -m tests.kill.child FD`: on the socket FD come jobs, each with the write end of a pipe; back goes the child's
process id.  A number instead of a job asks for that child to be reaped, once it has been killed.
"""

import asyncio
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asyncpq import AsyncQueue, Empty, QueueFailed, serializers
from tests.kill.job import POLICIES, SERIALIZERS, Job, item

ENOUGH = 150  # items in the queue, from which on more are got than put


class Worker:
    """Uses one queue, and says on the pipe what it does."""

    def __init__(self, job: Job, pipe: int) -> None:
        self.job, self.pipe = job, pipe
        self.random = random.Random(job.seed)
        self.next = job.first
        self.got = self.done = -1
        self.queue = self.new_queue()

    def new_queue(self) -> AsyncQueue:
        job = self.job
        return AsyncQueue(job.path, chunksize=job.chunksize, serializer=job.serializer, fsync=POLICIES[job.policy])

    def say(self, letter: str, first: int = 0, last: int = 0) -> None:
        os.write(self.pipe, b"%s %d %d %d\n" % (letter.encode(), first, last, time.monotonic_ns()))

    async def work(self) -> None:
        if self.job.hold:
            os.kill(os.getpid(), signal.SIGSTOP)
        await self.queue.open()
        self.say("R")
        try:
            await self.use()
            await self.queue.close()
        except QueueFailed:
            self.say("X")
            await self.refused()
        self.say("F")

    async def use(self) -> None:
        try:
            await (self.together() if self.job.producers else self.alone())
        except OSError:
            await self.queue.sync()  # a file system that takes no write syncs nothing either: QueueFailed
            raise

    # -- one task that does everything ------------------------------------------------------------------------

    async def alone(self) -> None:
        steps = 0
        while not self.job.steps or steps < self.job.steps:
            steps += 1
            many = await self.queue.qsize() > ENOUGH
            await self.choose(many)

    async def choose(self, many: bool) -> None:
        dice = self.random.uniform(0.05 if self.job.calm else 0, 1)
        if dice < 0.02:
            await self.reopen()
        elif dice < 0.03:
            await self.synced()
        elif dice < 0.035:
            await self.cleared()
        elif dice < 0.05:
            await self.queue.compact()
        elif dice < (0.25 if many else 0.5):
            await self.put(1)
        elif dice < (0.3 if many else 0.6):
            await self.put(self.random.randint(2, 7))
        else:
            await self.get()

    async def put(self, count: int) -> None:
        first, last = self.next, self.next + count - 1
        self.next += count
        self.say("p", first, last)
        if count == 1:
            await self.queue.put(item(first))
        else:
            await self.queue.put_many([item(number) for number in range(first, last + 1)])
        self.say("P", first, last)

    async def get(self) -> None:
        try:
            self.check(await self.queue.get(block=False))
        except Empty:
            return
        if self.random.random() < 0.7:
            await self.task_done()

    def check(self, found: Any) -> None:
        """Within one opening of the queue, items come in order and unchanged."""
        number = found["number"]
        assert found == item(number), f"item {number} came changed"
        assert number > self.got, f"item {number} came after {self.got}"
        self.got = number

    async def task_done(self) -> None:
        got = self.got
        self.say("d", got)
        await self.queue.task_done()
        self.done = max(self.done, got)
        self.say("D", got)

    async def cleared(self) -> None:
        last = self.next - 1
        self.say("d", last)
        await self.queue.clear()
        self.got = self.done = last
        self.say("D", last)

    async def synced(self) -> None:
        last = self.next - 1
        await self.queue.sync()
        self.say("S", last, self.done)

    async def reopen(self) -> None:
        last = self.next - 1
        await self.queue.close()
        self.say("S", last, self.done)
        self.queue, self.got = self.new_queue(), -1

    # -- tasks that put beside one that gets --------------------------------------------------------------------

    async def together(self) -> None:
        tasks = [asyncio.create_task(self.produce()) for _ in range(self.job.producers)]
        await asyncio.gather(self.consume(), *tasks)

    async def produce(self) -> None:
        puts = 0
        while not self.job.steps or puts < self.job.steps:
            puts += 1
            await self.put(1)
            if await self.queue.qsize() > ENOUGH:
                await asyncio.sleep(0.001)

    async def consume(self) -> None:
        gets = 0
        while not self.job.steps or gets < self.job.steps:
            gets += 1
            self.check(await self.queue.get())
            if self.random.random() < 0.7:
                await self.task_done()

    # -- after a sync that failed -------------------------------------------------------------------------------

    async def refused(self) -> None:
        """Everybody gets QueueFailed from now on, and close raises nothing and writes nothing."""
        queue = self.queue
        calls: list[Callable[[], Any]] = [
            lambda: queue.put(item(self.next)),
            lambda: queue.put_many([item(self.next)]),
            lambda: queue.get(block=False),
            queue.task_done,
            queue.sync,
            queue.clear,
            queue.compact,
            queue.qsize,
        ]
        for call in calls:
            try:
                await call()
            except QueueFailed:
                continue
            raise AssertionError("a call was taken by a queue that has failed")
        before = self.files()
        await queue.close()
        assert self.files() == before, "the closing of a queue that has failed changed a file"

    def files(self) -> dict[str, tuple[bytes, int]]:
        paths = [path for path in Path(self.job.path).iterdir() if path.is_file()]
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def run(job: Job, pipe: int) -> None:
    """Do *job*; what goes wrong is said, not raised; then wait to be killed."""
    try:
        asyncio.run(Worker(job, pipe).work(), debug=False)
    except BaseException as error:
        os.write(pipe, f"E {type(error).__name__}: {error}".replace("\n", " ").encode()[:4000] + b"\n")
    os.close(pipe)
    while True:
        signal.pause()


def serve(requests: socket.socket) -> None:
    for name in SERIALIZERS:
        serializers.get(name)  # imported once, for all children
    while True:
        data, pipes, _, _ = socket.recv_fds(requests, 65536, 1)
        if not data:
            return
        asked = json.loads(data)
        if isinstance(asked, int):
            os.waitpid(asked, 0)
            requests.send(b"0")
            continue
        child = os.fork()
        if child == 0:
            requests.close()
            run(Job(**asked), pipes[0])
        os.close(pipes[0])
        requests.send(str(child).encode())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
