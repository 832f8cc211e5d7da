"""The program in docs/nats.md runs, and prints what a reader expects."""

import asyncio
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.nats.server import Server

PAGE = Path(__file__).parents[2] / "docs" / "nats.md"


async def test_the_program_of_the_page_runs(server: Server, name: str) -> None:
    found = re.search(r"^    import asyncio\n.*?^    asyncio\.run\(main\(\)\)\n", PAGE.read_text("utf-8"), re.M | re.S)
    assert found is not None
    program = textwrap.dedent(found[0]).replace("nats://localhost:4222", server.url).replace('"jobs"', repr(name))
    command = [sys.executable, "-W", "error", "-c", program]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.splitlines() == [str({"job": number}) for number in range(1, 5)]
