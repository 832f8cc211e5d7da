"""A process that migrates, to be killed.

python -m tests.migrating.killed '{"source": ..., "target": ...}'      migrates
python -m tests.migrating.killed                                       forks a child for each line of stdin that does

A child writes a letter for each batch, the first of its phase, and "f" when it is done.  The parent writes the
child's number and a newline before; and, when it reads a line, a newline, what wait() says, and a newline.
"""

import json
import os
import sys
from typing import Any

from asyncpq.migrating import Progress, building
from tests.migrating.moving import moved

OFTEN = 20_000  # bytes that a crash may cost here


def run(said: dict[str, Any]) -> None:
    building.DURABLE = OFTEN  # type: ignore[misc]  # in this process alone

    def tell(progress: Progress) -> None:
        os.write(1, progress.phase[:1].encode())

    moved(**said, tell=tell)
    os.write(1, b"f")


def serve() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            run(json.loads(line))
            os._exit(0)
        os.write(1, f"{pid}\n".encode())
        sys.stdin.readline()
        os.write(1, f"\n{os.waitpid(pid, 0)[1]}\n".encode())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run(json.loads(sys.argv[1]))
    else:
        serve()
