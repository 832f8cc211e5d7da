"""A proxy between client and server that drops connections and delays what they carry."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

PIECE: Final = 4096  # bytes that are passed on at a time


class Proxy:
    """Passes bytes on; after *drop_after()* bytes of a connection it is cut."""

    def __init__(self, port: int, delay: float, drop_after: Callable[[], int]) -> None:
        self._port, self._delay, self._drop_after = port, delay, drop_after
        self._tasks: set[asyncio.Task[None]] = set()
        self.url, self.dropped, self.open = "", 0, True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self.open:
                await self._between(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        left = [self._drop_after()]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, far_writer, left))
                group.create_task(self._pass(far_reader, writer, left))
        except* (OSError, EOFError):
            self.dropped += 1
        finally:
            far_writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int]) -> None:
        while data := await reader.read(PIECE):
            left[0] -= len(data)
            if left[0] < 0:
                raise EOFError
            if self._delay:
                await asyncio.sleep(random.uniform(0, self._delay))
            writer.write(data)
            await writer.drain()
        raise EOFError

    async def cut(self) -> None:
        """Drop every connection."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxy(
    port: int, *, delay: float = 0.0, drop_after: Callable[[], int] = lambda: 1 << 40
) -> AsyncIterator[Proxy]:
    made = Proxy(port, delay, drop_after)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.cut()
