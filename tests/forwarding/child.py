"""A forwarder in a process of its own, to be killed: PATH SERVER NAME BATCH; a line for each batch."""

import asyncio
import json
import sys
from pathlib import Path

import asyncpq
from asyncpq.forwarding import forwarder


def say(report: asyncpq.ForwardReport) -> None:
    told = {"items": report.items, "found": report.found, "repeated": report.repeated, "in_doubt": report.in_doubt}
    print(json.dumps(told), flush=True)


async def main(path: str, server: str, name: str, batch: str) -> None:
    forwarder.BATCH = int(batch)  # type: ignore[misc]  # so that there are many
    await asyncpq.forward(Path(path), server, name, drain=True, pause=0.2, progress=say)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
