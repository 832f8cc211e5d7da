"""A crawler whose frontier is a unique queue: no page twice, and a crawl that was interrupted goes on.

python crawler.py DATABASE [PAGES]    crawls a site that this program serves itself; PAGES: stop after so many
"""

import asyncio
import re
import sys
from pathlib import Path
from typing import Final

from asyncpq import AsyncUniqueAckQ, Empty

SITE: Final = {f"/{n}": [f"/{2 * n}", f"/{2 * n + 1}", "/1"] if n < 16 else ["/1"] for n in range(1, 32)}
LINK: Final = re.compile(rb'href="([^"]+)"')
CRAWLERS: Final = 4


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request of HTTP/1.0: a page of links."""
    path = (await reader.readline()).split()[1].decode()
    links = "".join(f'<a href="{link}">{link}</a>' for link in SITE.get(path, ()))
    status = "200 OK" if path in SITE else "404 Not Found"
    writer.write(f"HTTP/1.0 {status}\r\n\r\n{links}".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def fetch(port: int, path: str) -> list[str]:
    """Return the links of a page.

    Raises:
        OSError: it could not be fetched.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    if b" 200 " not in answer.partition(b"\r\n")[0]:
        raise OSError(f"{path}: {answer[:40].decode(errors='replace')}")
    return [link.decode() for link in LINK.findall(answer)]


class Crawl:
    """What is known of the site: *frontier* has a row for each page that was found, acknowledged once it is fetched."""

    def __init__(self, frontier: AsyncUniqueAckQ, limit: int) -> None:
        self.frontier, self.left, self.fetched = frontier, limit, 0
        self.seen: set[str] = set()

    async def begin(self) -> None:
        """Go on where the last crawl ended: acknowledged rows are kept, and say what was fetched."""
        async for row in self.frontier.queue():
            self.seen.add(row["data"])
        await self.add(["/1"])

    async def add(self, links: list[str]) -> None:
        """Put pages that are new; two crawlers may find one at the same time, and the queue takes it once."""
        await self.frontier.put_many(link for link in links if link not in self.seen)
        self.seen.update(links)

    async def work(self, port: int) -> None:
        while self.left > 0:
            try:
                delivery = await self.frontier.claim(timeout=0.2)
            except Empty:
                return  # nobody has found a page for a while
            self.left -= 1
            try:
                await self.add(await fetch(port, delivery.item))
            except OSError as error:
                await delivery.nack(error=error)
            else:
                await delivery.ack()  # after its links are stored: a crash in between fetches it again
                self.fetched += 1


async def main(path: Path, limit: int) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, AsyncUniqueAckQ(path, serializer="json", max_attempts=3) as frontier:
        crawl = Crawl(frontier, limit)
        await crawl.begin()
        async with asyncio.TaskGroup() as crawlers:
            for _ in range(CRAWLERS):
                crawlers.create_task(crawl.work(server.sockets[0].getsockname()[1]))
        print(f"fetched {crawl.fetched} pages; {await frontier.qsize()} to be fetched")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else sys.maxsize))
