"""A job that reports how far it is: an ack queue in SQLite whose row is updated while it is in flight.

A worker that dies half-way leaves what it had done in the row, and the next one goes on from there.

python sqlite_update.py [DATABASE]
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from asyncpq import AsyncSQLiteAckQueue

PAGES: Final = 5


class Crash(Exception):
    """The worker dies here."""


async def work(path: Path, *, dies_at: int | None = None) -> None:
    """Do one job, page by page; each page that is done is stored with the job."""
    async with AsyncSQLiteAckQueue(path) as queue:
        row = await queue.get(raw=True)  # with its id, by which it is updated and acknowledged
        job: dict[str, Any] = row["data"]
        print(f"row {row['pqid']}: begins at page {job['done']} of {job['pages']}")
        for page in range(job["done"], job["pages"]):
            if page == dies_at:
                raise Crash(f"at page {page}")
            job["done"] = page + 1
            await queue.update(job, id=row["pqid"])
        await queue.ack(id=row["pqid"])
        print(f"row {row['pqid']}: done")


async def main(path: Path) -> None:
    async with AsyncSQLiteAckQueue(path) as queue:
        await queue.put({"book": "Ulysses", "pages": PAGES, "done": 0})
    try:
        await work(path, dies_at=3)
    except Crash as crash:
        print("the worker died", crash)
    await work(path)
    async with AsyncSQLiteAckQueue(path) as queue:
        print(await queue.acked_count(), "job acknowledged,", await queue.qsize(), "left")
        await queue.clear_acked_data()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else f"{folder}/jobs")))
