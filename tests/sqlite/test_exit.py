"""The end of the interpreter, a fork, and a second event loop."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import AsyncSQLiteAckQueue, AsyncSQLiteQueue, WrongContext
from tests.sqlite.processes import ROOT

SECONDS: Final = 5.0  # a queue that keeps the interpreter alive does so for ever

BEGIN: Final = """
import asyncio, sys, warnings
warnings.simplefilter("ignore", ResourceWarning)
import asyncpq
make = getattr(asyncpq, sys.argv[1])
"""

ENDS: Final = {
    "never closed": """
async def main():
    global queue
    queue = make(sys.argv[2])
    await queue.put_many(range(300))
asyncio.run(main())
""",
    "never closed, and dropped": """
async def main():
    await make(sys.argv[2]).put_many(range(300))
asyncio.run(main())
""",
    "a get waits": """
async def main():
    global queue, getting
    queue = make(sys.argv[2])
    await queue.put_many(range(300))
    other = make(sys.argv[2], "other")
    getting = asyncio.ensure_future(other.get())
    await asyncio.sleep(0.2)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
""",
    "in the middle of queue()": """
async def main():
    global queue, rows
    queue = make(sys.argv[2])
    await queue.put_many(range(300))
    rows = queue.queue().__aiter__()
    await rows.__anext__()
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
""",
    "the loop is closed": """
async def main():
    global queue
    queue = make(sys.argv[2])
    await queue.put_many(range(300))
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
""",
    "the loop is closed while a job runs": """
async def main():
    global queue, putting
    queue = make(sys.argv[2])
    await queue.put_many(range(300))
    putting = asyncio.ensure_future(queue.get(id=1000))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
""",
    "sys.exit in a callback": """
async def main():
    global queue
    queue = make(sys.argv[2])
    await queue.put_many(range(300))
    asyncio.get_running_loop().call_soon(sys.exit)
    await queue.join()
asyncio.run(main())
""",
}


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONASYNCIODEBUG": ""}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, timeout=SECONDS, capture_output=True, check=False)


@pytest.mark.parametrize("name", ["AsyncSQLiteQueue", "AsyncSQLiteAckQueue"])
@pytest.mark.parametrize("end", ENDS)
async def test_a_queue_does_not_keep_the_interpreter_alive(end: str, name: str, tmp_path: Path) -> None:
    """A thread that the interpreter waits for would, for ever; what was put is there all the same."""
    (tmp_path / "q").mkdir()
    ended = run(BEGIN + ENDS[end], name, str(tmp_path / "q"))
    assert ended.returncode == 0, ended.stderr.decode()
    assert b"Fatal" not in ended.stderr
    make: Any = AsyncSQLiteQueue if name == "AsyncSQLiteQueue" else AsyncSQLiteAckQueue
    async with make(tmp_path / "q") as queue:
        assert await queue.get_many(1000) == list(range(300))


FORK: Final = (
    BEGIN
    + """
import os
async def child(queue):
    for call in (queue.get, queue.qsize, lambda: queue.put(1)):
        try:
            await call()
        except asyncpq.WrongContext:
            continue
        os._exit(1)
    os._exit(42)

async def main():
    async with make(sys.argv[2]) as queue:
        await queue.put("before")
        pid = os.fork()
        if pid == 0:
            asyncio.events._set_running_loop(None)
            asyncio.run(child(queue))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
        assert await queue.get() == "before"
        await queue.put("after")
asyncio.run(main())
"""
)


@pytest.mark.parametrize("name", ["AsyncSQLiteQueue", "AsyncSQLiteAckQueue"])
async def test_the_child_of_a_fork_is_refused(name: str, tmp_path: Path) -> None:
    """It shares the parent's descriptors, and its locks; the parent works on."""
    (tmp_path / "q").mkdir()
    ended = run(FORK, name, str(tmp_path / "q"))
    assert ended.returncode == 0, ended.stderr.decode()
    make: Any = AsyncSQLiteQueue if name == "AsyncSQLiteQueue" else AsyncSQLiteAckQueue
    async with make(tmp_path / "q") as queue:
        items = [await queue.get() for _ in range(await queue.qsize())]
        assert items[-1] == "after"


def test_a_second_event_loop_is_refused(tmp_path: Path) -> None:
    queue = AsyncSQLiteQueue(tmp_path / "q")
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(queue.put("one"))
        for call in (queue.get, queue.qsize, queue.close, lambda: queue.put("two")):
            with pytest.raises(WrongContext):
                second.run(call())
        assert first.run(queue.get()) == "one"
        first.run(queue.close())
