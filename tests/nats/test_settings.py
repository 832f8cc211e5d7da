"""What a queue on a server is asked to be, what is there instead, and what it is not for: names, forks, extras."""

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest

from asyncpq import AlreadyAnswered, AsyncNatsQueue, NotAQueue, WrongContext, WrongSettings
from asyncpq.nats import streams
from tests.nats.server import Server


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"maxsize": 7}, "maxsize is 0, not 7"),
        ({"storage": "memory"}, "storage is 'file', not 'memory'"),
        ({"max_bytes": 10_000}, "max_bytes is -1, not 10000"),
        ({"duplicate_window": 60.0}, r"duplicate_window is 120\.0, not 60\.0"),
        ({"lease": 5.0}, r"ack_wait, or lease, is 30\.0, not 5\.0"),
    ],
)
async def test_a_queue_that_is_there_with_other_settings_is_named(
    server: Server, name: str, change: dict[str, Any], words: str
) -> None:
    async with AsyncNatsQueue(server.url, name):
        pass
    with pytest.raises(WrongSettings, match=words) as wrong:
        await AsyncNatsQueue(server.url, name, **change).open()
    assert "nats stream edit" in str(wrong.value)


async def test_what_is_no_queue_is_refused(server: Server, name: str) -> None:
    with pytest.raises(NotAQueue, match="create=True makes it"):
        await AsyncNatsQueue(server.url, name, create=False).open()
    async with AsyncNatsQueue(server.url, f"{name}-helper") as helper:
        wire = helper._engine.wire  # type: ignore[union-attr]
        await streams.call(wire, f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.>"]})
        with pytest.raises(NotAQueue, match="retention is 'limits'"):
            await AsyncNatsQueue(server.url, name).open()
        partial = {**streams.Settings(f"{name}-partial").stream, "metadata": {streams.PARTIAL: "1"}}
        await streams.call(wire, f"STREAM.CREATE.{name}-partial", partial)
        with pytest.raises(NotAQueue, match="being filled"):
            await AsyncNatsQueue(server.url, f"{name}-partial").open()


async def test_a_queue_deleted_on_the_server_is_an_error_and_no_wait(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name, timeout=1.0) as queue:
        getting = asyncio.ensure_future(queue.get())
        await queue.qsize()
        await streams.call(queue._engine.wire, f"STREAM.DELETE.{name}")  # type: ignore[union-attr]
        with pytest.raises(NotAQueue, match="deleted on the server"):
            await asyncio.wait_for(getting, 20)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a*", "x" * 300, "ü"])
def test_a_name_that_no_stream_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the name of a queue"):
        AsyncNatsQueue("nats://localhost", name)


@pytest.mark.parametrize("address", ["", [], "http://x", "nats://", "nats://h:port", "nats://h/path"])
def test_an_address_that_is_none_is_refused(address: Any) -> None:
    with pytest.raises(ValueError, match="address of a server"):
        AsyncNatsQueue(address, "q")


async def test_a_fork_may_not_use_the_connection_of_its_parent(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name) as queue:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                asyncio.run(queue.put("x"))
            except WrongContext:
                os.write(write, b"refused")
            finally:
                os._exit(0)
        await asyncio.to_thread(os.waitpid, child, 0)
        os.close(write)
        assert os.read(read, 20) == b"refused"
        os.close(read)
        await queue.put("still works")


async def test_an_answer_after_the_clear_is_refused(server: Server, name: str) -> None:
    async with AsyncNatsQueue(server.url, name) as queue:
        await queue.put_many(range(3))
        delivery = await queue.claim()
        await queue.clear()
        with pytest.raises(AlreadyAnswered, match="clear"):
            await delivery.ack()
        await queue.join()


def test_without_nats_py_the_error_says_which_extra_to_install() -> None:
    code = (
        "import sys\nsys.modules['nats'] = None\nimport asyncpq\nfrom asyncpq import *\n"
        "try:\n    asyncpq.AsyncNatsQueue\nexcept ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "the queue on NATS needs nats-py; install it with: pip install 'asyncpq-engine[nats]'\n"
