"""The directories under golden/, which real releases of persist-queue and pqueue wrote.

golden/NAME/queue/          as the release left it
golden/NAME/expected.json   the release, the serializer, info, the items, size and SHA-256 of each file
"""

import json
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "golden"

Position = tuple[int, int, int]  # chunk number, records before it in the chunk, byte offset


@dataclass(frozen=True, slots=True)
class Golden:
    """One directory and what a consumer must find in it."""

    name: str
    release: str
    python: str
    serializer: str
    chunksize: int
    size: int  # as info says: without the adopted items
    tail: Position
    head: Position
    items: list[Any]  # as JSON values, so tuples are lists; the adopted ones are the last
    adopted: int  # whole records behind head that info does not count
    files: dict[str, tuple[int, str]]  # size and SHA-256 by name
    note: str

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        return FOLDER / self.name / "queue"

    @property
    def tells_serializer(self) -> bool:
        """Whether anything was ever written: a queue that was made and never used is an empty chunk."""
        return "info" in self.files

    @property
    def has_to_be_healed(self) -> bool:
        """Whether there is more behind head than info knows of."""
        return self.adopted > 0 or self.name.endswith("-torn-head")

    @property
    def strays(self) -> set[str]:
        """The names of files that are no part of the queue."""
        return {name for name in self.files if name != "info" and not name.startswith("q")}

    def copy(self, folder: Path) -> Path:
        """A copy in *folder* that a test may change."""
        return Path(shutil.copytree(self.path, folder / "queue"))


def load(name: str) -> Golden:
    """The golden directory called *name*."""
    said = json.loads((FOLDER / name / "expected.json").read_text("utf-8"))
    info = said["info"]
    return Golden(
        name=name,
        release=said["release"],
        python=said["python"],
        serializer=said["serializer"],
        chunksize=info["chunksize"],
        size=info["size"],
        tail=position(info["tail"]),
        head=position(info["head"]),
        items=said["items"],
        adopted=said.get("adopted", 0),
        files={file: (facts["size"], facts["sha256"]) for file, facts in said["files"].items()},
        note=said["note"],
    )


def position(numbers: list[int]) -> Position:
    """*numbers* of a JSON list as a position."""
    chunk, count, offset = numbers
    return chunk, count, offset


def listed(value: object) -> object:
    """*value* with every tuple in it as a list, so that what msgpack read compares with what JSON says."""
    if isinstance(value, list | tuple):
        return [listed(inner) for inner in value]
    if isinstance(value, dict):
        return {key: listed(inner) for key, inner in value.items()}
    return value


def digests(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each file in *folder*, by name."""
    contents = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    return {name: (len(data), sha256(data).hexdigest()) for name, data in contents.items()}


# The SQLite queues, which have no info to be expected, come with the code that reads them.
NAMES: Final = sorted(folder.name for folder in FOLDER.iterdir() if "-sqlite-" not in folder.name)
GOLDEN: Final = [load(name) for name in NAMES]
