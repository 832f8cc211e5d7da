"""docs/format.md is enough to read a queue: a reader that was written from it, and from nothing else, does."""

import ast
import pickle
import pickletools
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cbor2
import msgpack  # type: ignore[import-untyped]
import pytest

from asyncpq import AsyncQueue
from tests.docs import format_pickle, format_reader
from tests.golden_dirs import GOLDEN, Golden, listed

PAGE: Final = (Path(__file__).parents[2] / "docs" / "format.md").read_text("utf-8")
MARKED: Final = re.compile(r"`([0-9a-f]{2})`")

UNPACK: Final[dict[str, format_reader.Unpack]] = {
    "msgpack": lambda body: msgpack.unpackb(body, raw=False, strict_map_key=False),
    "cbor2": cbor2.loads,
}


@pytest.mark.parametrize("golden", GOLDEN, ids=str)
def test_a_reader_from_the_page_reads_what_releases_left(golden: Golden) -> None:
    found = format_reader.read(golden.path, UNPACK.get(golden.serializer), golden.serializer)
    assert listed(found) == golden.items


def test_the_reader_knows_only_the_page() -> None:
    """Neither the package, nor a library that would know what the page does not say."""
    for module in (format_reader, format_pickle):
        tree = ast.parse(Path(module.__file__ or "").read_text("utf-8"))
        imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert imported <= {
            *("__future__", "ast", "collections.abc", "json", "pathlib", "re", "struct", "typing", "zlib"),
            "tests.docs.format_pickle",
        }


def table(title: str) -> list[list[str]]:
    """The rows of the page's table whose first column is called *title*."""
    rows = PAGE[PAGE.index(f"| {title} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_page_knows_the_argument_of_every_opcode() -> None:
    widths = {"none": 0, "1 byte": 1, "2 bytes": 2, "4 bytes": 4, "8 bytes": 8}
    widths |= {"up to and with the next `0a`": -1, "the same, twice": -1}
    widths |= {"a length of 1 byte, and as many bytes": -2, "a length of 4 bytes, and as many": -3}
    widths |= {"a length of 8 bytes, and as many": -5}
    said = {code: widths[title] for title, codes in table("argument") for code in MARKED.findall(codes)}
    known = {f"{ord(one.code):02x}": one.arg.n if one.arg else 0 for one in pickletools.opcodes}
    # Lengths of 4 bytes have a number for signed and one for unsigned ones; none is negative.
    assert said == {code: -3 if width == -4 else width for code, width in known.items()}


def test_the_reader_follows_the_tables_of_the_page() -> None:
    widths = [codes for _, codes in format_pickle.ARGUMENTS]
    assert widths == [" ".join(MARKED.findall(codes)) for _, codes in table("argument")]
    said = {int(code, 16) for codes, _ in table("opcode") for code in MARKED.findall(codes)}
    assert said == {0x80, 0x95, format_pickle.STOP, *format_pickle.PUSHES, *format_pickle.Machine.DOES}


VALUES: Final[list[Any]] = [
    [None, True, False, 0, -1, 255, 65535, 2**31, -(2**70), 0.5, float("inf"), "", "caf\u00e9 \U0001f600", "x" * 300],
    {"a": {1: (1,), 2: (1, 2), 3: (1, 2, 3), 4: (1, 2, 3, 4), 5: ()}, "b": [[], {}, [[1]]]},
    {"bytes": b"\x00\xff", "long": b"y" * 300, "same": ["z" * 20] * 3},
]


@pytest.mark.parametrize("kind", ["open", "closed", "killed"])
async def test_a_reader_from_the_page_reads_a_queue_of_ours(kind: str, tmp_path: Path) -> None:
    """Acknowledged out of order, the journal and the slot are part of it."""
    items = [*VALUES, *range(30)]
    queue = AsyncQueue(tmp_path / "queue", chunksize=7, fsync="always")
    async with queue:
        await queue.put_many(items)
        deliveries = await queue.claim_many(20)
        for delivery in [deliveries[number] for number in (0, 4, 9, 19)]:
            await delivery.ack()
        left = [item for number, item in enumerate(items) if number not in (0, 4, 9, 19)]
        looked_at = tmp_path / "queue"
        if kind == "killed":
            looked_at = Path(shutil.copytree(tmp_path / "queue", tmp_path / "copy"))
            with (looked_at / "q00004").open("ab") as chunk:
                chunk.write(b"\x80\x04\x95torn")  # a put whose process was killed
        if kind != "closed":
            assert format_reader.read(looked_at) == left
            assert policy_in(looked_at) == format_reader.ALWAYS
    if kind == "closed":
        assert format_reader.read(looked_at) == left
        assert policy_in(looked_at) is None


def policy_in(folder: Path) -> int | None:
    return format_reader.read_info((folder / "info").read_bytes(), None).policy


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> int:
    return path.write_bytes(change(path.read_bytes()))


NEXT: Final = pickle.dumps("next", 4)

# What is done to a closed queue of the items 0 to 23 in chunks of 7, of which 0 to 9 are done.
CRASHES: Final[dict[str, Callable[[Path], object]]] = {
    "the chunk of the tail is gone": lambda folder: (folder / "q00001").unlink(),
    "records behind head": lambda folder: rewrite(folder / "q00003", lambda data: data + NEXT * 2),
    "records behind head, and a following chunk": lambda folder: (
        rewrite(folder / "q00003", lambda data: data + NEXT * 4),
        (folder / "q00004").write_bytes(NEXT),
    ),
    "a torn end": lambda folder: rewrite(folder / "q00003", lambda data: data + NEXT[:-3]),
    "zeros behind head": lambda folder: rewrite(folder / "q00003", lambda data: data + bytes(50)),
    "less than head counts": lambda folder: rewrite(folder / "q00003", lambda data: data[:-2]),
    "the chunk of the head is empty": lambda folder: rewrite(folder / "q00003", lambda _: b""),
    "one record too many in a chunk": lambda folder: rewrite(folder / "q00002", lambda data: data + NEXT),
    "a chunk that does not follow": lambda folder: (folder / "q00009").write_bytes(NEXT),
    "another size": lambda folder: rewrite(
        folder / "info", lambda info: info.replace(b"size\x94K\x0e", b"size\x94K\x05")
    ),
    "a chunk below the tail": lambda folder: (folder / "q00000").write_bytes(NEXT * 7),
}
UNSEEN: Final = {"one record too many in a chunk"}  # opening does not look into it: the queue was closed


@pytest.mark.parametrize("crash", CRASHES)
async def test_the_rules_of_the_page_after_a_crash_are_those_of_opening(crash: str, tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    async with AsyncQueue(folder, chunksize=7) as queue:
        await queue.put_many(range(24))
        await queue.get_many(10)
        await queue.task_done()
    before = format_reader.read(folder)
    assert before == list(range(10, 24))
    CRASHES[crash](folder)
    seen = format_reader.read(folder)
    async with AsyncQueue(folder) as queue:
        assert queue.recovery or crash in UNSEEN
        assert seen == (await queue.get_many(100) if await queue.qsize() else [])


async def test_without_info_the_items_are_the_records_of_the_first_chunk(tmp_path: Path) -> None:
    """Rule 1 of the page."""
    (tmp_path / "q00000").write_bytes(NEXT * 3 + NEXT[:5])
    assert format_reader.read(tmp_path) == ["next"] * 3
    async with AsyncQueue(tmp_path) as queue:
        assert await queue.get_many(10) == ["next"] * 3


def test_what_lies_behind_head_is_read_unless_the_mark_says_always() -> None:
    """Rule 5 of the page: what an `always` queue did not count was never acknowledged."""
    golden = next(one for one in GOLDEN if one.adopted)
    counted = golden.items[: len(golden.items) - golden.adopted]
    info = format_reader.read_info((golden.path / "info").read_bytes(), UNPACK.get(golden.serializer))
    files = format_reader.chunks(golden.path)
    for policy, items in ((1, golden.items), (format_reader.ALWAYS, counted)):
        marked = format_reader.records(info._replace(policy=policy), files, UNPACK.get(golden.serializer))
        assert listed([value for _, _, value in marked]) == items
