"""The package stands alone: what it does not need may be missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden_dirs import load

# Runs in a process of its own, where the names cannot be imported.
DRAIN = """
import asyncio, json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not there")
        return None

BLOCKED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Blocker())
for name in BLOCKED:
    assert name not in sys.modules, name

import asyncpq

async def drain():
    items = []
    async with asyncpq.AsyncQueue(sys.argv[2]) as queue:
        while not await queue.empty():
            items.append(await queue.get())
            await queue.task_done()
    return items

print(json.dumps(asyncio.run(drain())))
"""

OPTIONAL = ["aiosqlite", "cbor2", "click", "matplotlib", "nats", "persistqueue", "rich", "sqlite3"]


@pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
def test_a_directory_is_drained_without_persist_queue_and_the_extras(serializer: str, tmp_path: Path) -> None:
    golden = load(f"pq110-py311-{serializer}-midway")
    command = [sys.executable, "-W", "error", "-c", DRAIN, ",".join(OPTIONAL), str(golden.copy(tmp_path))]

    # Debug mode would also write to stderr that a callback was slow.
    environment = {**os.environ, "PYTHONASYNCIODEBUG": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)

    assert (done.stderr, done.returncode) == ("", 0)
    assert json.loads(done.stdout) == golden.items


def test_what_nobody_asks_for_is_not_imported() -> None:
    """Each start of the command, and of each worker of a program, would pay for it."""
    code = "import asyncpq, sys; print(*(name for name in sys.modules if name.startswith('asyncpq.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    found = {name.split(".")[1] for name in done.stdout.split()}
    assert "serializers" in found
    assert not found & {"checking", "copying", "deadletters", "migrating", "queue", "reader", "repairing"}
