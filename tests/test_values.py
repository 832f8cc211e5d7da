"""What may be put: nothing at all, what no serializer takes, and 200 MB."""

import asyncio
import importlib
import io
import json
import marshal
import struct
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Final

import orjson
import persistqueue
import pytest

from asyncpq import AsyncQueue, QueueClosed, consumer, serializers
from asyncpq.buffer import READ_AHEAD, RECENT_MAX, Block, read_blocks
from asyncpq.serializers import NAMES

MB: Final = 1000 * 1000
INLINE: Final = 65536  # bytes; the default of inline_limit

every_serializer = pytest.mark.parametrize("name", NAMES)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def drained(queue: AsyncQueue) -> list[Any]:
    """All items, each done before the next is got."""
    items = []
    while not await queue.empty():
        items.append(await queue.get_nowait())
        await queue.task_done()
    return items


def drained_by_upstream(path: Path, serializer: Any) -> list[Any]:
    queue = persistqueue.Queue(str(path), serializer=serializer, tempdir=str(path))
    return [queue.get_nowait() for _ in range(queue.qsize())]


# -- nothing at all ------------------------------------------------------------------------------------------

EMPTY: Final[list[Any]] = [None, 0, "", [], b"", False]


def carried(name: str) -> list[Any]:
    """Of EMPTY, what comes back as itself: JSON has no bytes, and msgpack's lists come back as tuples."""
    if name in ("json", "orjson"):
        return [item for item in EMPTY if item != b""]
    if name == "msgpack":
        return [() if item == [] else item for item in EMPTY]
    return EMPTY


def seen(items: list[Any]) -> list[str]:
    """0, 0.0 and False are equal; this tells them apart."""
    return list(map(repr, items))


@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
@every_serializer
async def test_empty_values_come_back_as_themselves(tmp_path: Path, name: str, autosave: bool) -> None:
    """From memory, and from the disk; a None is an item, not the lack of one."""
    items = carried(name)
    async with AsyncQueue(tmp_path / "q", chunksize=4, serializer=name, autosave=autosave) as queue:
        for item in items:
            await queue.put(item)
            assert seen([await queue.peek(), await queue.get(), await queue.qsize()]) == seen([item, item, 0])
            await queue.task_done()
        assert await queue.put_many(items) == len(items)
        assert seen(await queue.get_many(len(items))) == seen(items)
        for _ in items:
            await queue.task_done()
        await queue.put_many(items)
    async with AsyncQueue(tmp_path / "q", autosave=autosave) as queue:
        assert seen(await drained(queue)) == seen(items)


# -- what cannot be serialized -------------------------------------------------------------------------------


class FailsHalfway:
    """Pickling it fails when more than a frame of what holds it was pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        raise OSError("this is not a failure of the disk")


def around_itself() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def deep() -> list[Any]:
    inner: list[Any] = []
    for _ in range(100_000):
        inner = [inner]
    return inner


REFUSED: Final[dict[str, tuple[str, Callable[[], Any], type[Exception]]]] = {
    "a lambda": ("pickle", lambda: lambda: None, Exception),
    "an object whose pickling fails after 200 kB": ("pickle", lambda: ["x" * 200_000, FailsHalfway()], OSError),
    "a list too deep to pickle": ("pickle", deep, RecursionError),
    "json: an object": ("json", object, TypeError),
    "json: an object after 200 kB": ("json", lambda: ["x" * 200_000, object()], TypeError),
    "json: bytes": ("json", lambda: b"bytes", TypeError),
    "json: a list in itself": ("json", around_itself, ValueError),
    "orjson: an object": ("orjson", object, TypeError),
    "orjson: a lone surrogate": ("orjson", lambda: "\ud800", TypeError),
    "orjson: an integer of 65 bits": ("orjson", lambda: 2**64, TypeError),
    "msgpack: an object": ("msgpack", object, TypeError),
    "msgpack: an object after 200 kB": ("msgpack", lambda: ["x" * 200_000, object()], TypeError),
    "msgpack: an integer of 65 bits": ("msgpack", lambda: 2**64, OverflowError),
    "msgpack: a lone surrogate": ("msgpack", lambda: "\ud800", UnicodeEncodeError),
    "cbor2: an object": ("cbor2", object, Exception),
    "cbor2: an object after 200 kB": ("cbor2", lambda: ["x" * 200_000, object()], Exception),
}

PUTS: Final[dict[str, Callable[[AsyncQueue, Any], Awaitable[Any]]]] = {
    "put": lambda queue, item: queue.put(item),
    "put_nowait": lambda queue, item: queue.put_nowait(item),
    "the first of many": lambda queue, item: queue.put_many([item, "b", "c"]),
    "between others": lambda queue, item: queue.put_many(["b", item, "c"]),
    "the last of many": lambda queue, item: queue.put_many(["b", "c", item]),
}


@pytest.mark.parametrize("way", PUTS)
@pytest.mark.parametrize("what", REFUSED)
async def test_an_item_that_cannot_be_serialized_changes_no_byte(tmp_path: Path, what: str, way: str) -> None:
    """Neither in a directory that is new nor in one that holds items; and the queue works on."""
    name, make, error = REFUSED[what]
    put = PUTS[way]
    async with AsyncQueue(tmp_path, chunksize=2, serializer=name, maxsize=4) as queue:
        for stored in ([], ["a"], ["a", "a", "a"]):
            await queue.put_many(stored[await queue.qsize() :])
            await queue.sync()
            before = files_in(tmp_path)
            with pytest.raises(error):
                await put(queue, make())
            await queue.sync()
            assert files_in(tmp_path) == before
            assert (await queue.qsize(), queue.stats()["unfinished"]) == (len(stored), len(stored))
        await queue.put("z", timeout=1)  # there is still room for one
        assert await queue.full()
    async with AsyncQueue(tmp_path) as queue:
        assert not queue.recovery
        assert await drained(queue) == ["a", "a", "a", "z"]


@pytest.mark.parametrize("way", PUTS)
async def test_an_item_that_a_coroutine_refuses_changes_no_byte(tmp_path: Path, way: str) -> None:
    async with AsyncQueue(tmp_path, serializer=make_module(dump=adump, load=aload)) as queue:
        await queue.put("a")
        await queue.sync()
        before = files_in(tmp_path)
        with pytest.raises(ValueError, match="unmarshallable"):
            await PUTS[way](queue, object())
        await queue.sync()
        assert files_in(tmp_path) == before
        await queue.put("z")
        assert await drained(queue) == ["a", "z"]


@pytest.mark.parametrize("inline_limit", [INLINE, 0], ids=["inline", "in a thread"])
@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
async def test_an_info_that_cannot_be_serialized_changes_no_byte(
    tmp_path: Path, policy: str, inline_limit: int
) -> None:
    """A serializer of the user's own may take the item and refuse the info: then neither counts."""
    taken: list[type] = [str, dict]

    def dump_taken(value: Any, fp: IO[bytes]) -> None:
        if type(value) not in taken:
            raise TypeError("not this one")
        dump(value, fp)

    own = make_module(dump=dump_taken, load=load)
    async with AsyncQueue(tmp_path, chunksize=3, serializer=own, fsync=policy, inline_limit=inline_limit) as queue:
        for stored in ([], ["a", "a"]):
            await queue.put_many(stored)
            if stored:
                assert await queue.get() == "a"
            await queue.sync()
            taken.remove(dict)
            before, left = files_in(tmp_path), await queue.qsize()
            for changing in (queue.put("z"), queue.put_many(["z", "z"])):
                with pytest.raises(OSError, match="not this one"):
                    await changing
            if stored:
                with pytest.raises(OSError, match="not this one"):
                    await queue.task_done()
            assert files_in(tmp_path) == before
            assert (await queue.qsize(), queue.stats()["unfinished"]) == (left, len(stored))
            taken.append(dict)
        await queue.put("b")
    async with AsyncQueue(tmp_path, serializer=own) as queue:
        assert not queue.recovery
        assert await drained(queue) == ["a", "a", "b"]


# -- serializers ---------------------------------------------------------------------------------------------


def dump(value: Any, fp: IO[bytes]) -> None:
    body = marshal.dumps(value)
    fp.write(struct.pack(">H", len(body) >> 16))
    fp.write(struct.pack(">H", len(body) & 0xFFFF) + body)


def load(fp: IO[bytes]) -> Any:
    length = int.from_bytes(fp.read(4), "big")
    return marshal.loads(fp.read(length))


async def adump(value: Any, fp: Any) -> None:
    body = marshal.dumps(value)
    await asyncio.sleep(0)
    await fp.write(struct.pack(">L", len(body)))
    await fp.write(body)


async def aload(fp: Any) -> Any:
    length = int.from_bytes(await fp.read(4), "big")
    await asyncio.sleep(0)
    return marshal.loads(await fp.read(length))


def make_module(**members: Any) -> ModuleType:
    module = ModuleType("users_own")
    vars(module).update(members)
    return module


OWN: Final = {
    "functions": make_module(dump=dump, load=load),
    "coroutine functions": make_module(dump=adump, load=aload),
    "only dump waits": make_module(dump=adump, load=load),
    "only load waits": make_module(dump=dump, load=aload),
}
MIXED: Final[list[Any]] = [None, "", "text", {"a": [1, 2.5]}, "x" * 300_000, b"\0" * 70_000, (1,), False]


@pytest.mark.parametrize("autosave", [False, True], ids=["task_done", "autosave"])
@pytest.mark.parametrize("kind", OWN)
async def test_a_serializer_of_the_users_own(tmp_path: Path, kind: str, autosave: bool) -> None:
    """Its bytes are in the files as they are, info too, and persist-queue reads them with the same module."""
    own = OWN[kind]
    async with AsyncQueue(tmp_path, chunksize=3, serializer=own, autosave=autosave) as queue:
        for item in MIXED:
            await queue.put(item)
        assert seen([await queue.get(), await queue.peek()]) == seen(MIXED[:2])
        await queue.task_done()
        await queue.put_many(MIXED)
    file = io.BytesIO()
    for item in MIXED[:3]:
        dump(item, file)
    files = files_in(tmp_path)
    assert files["q00000"] == file.getvalue()
    assert load(io.BytesIO(files["info"]))["head"] == [5, 1, len(files["q00005"])]
    assert seen(drained_by_upstream(tmp_path, OWN["functions"])) == seen(MIXED[1:] + MIXED)
    async with AsyncQueue(tmp_path, serializer=own, autosave=autosave) as queue:
        assert seen(await queue.get_many(3)) == seen(MIXED[1:4])
        rest = [await queue.get() for _ in range(await queue.qsize())]
        assert seen(rest) == seen(MIXED[4:] + MIXED)


@pytest.mark.parametrize("name", ["pickle", "json", "msgpack", "cbor2", "async_pickle"])
async def test_persist_queues_own_modules(tmp_path: Path, name: str) -> None:
    """They stand for ours, which write the same; then anybody's reading finds out which it was."""
    module = importlib.import_module(f"persistqueue.serializers.{name}")
    same = "pickle" if name == "async_pickle" else name
    async with AsyncQueue(tmp_path, chunksize=2, serializer=module) as queue:
        assert queue.serializer is serializers.get(same)
        await queue.put_many(["a", "b", None])
        assert await queue.get() == "a"
        await queue.task_done()
    assert drained_by_upstream(tmp_path, importlib.import_module(f"persistqueue.serializers.{same}")) == ["b", None]
    async with AsyncQueue(tmp_path) as queue:
        assert await drained(queue) == ["b", None]


@every_serializer
async def test_a_serializer_by_its_name_is_the_module(tmp_path: Path, name: str) -> None:
    module = importlib.import_module(f"asyncpq.serializers.{name}")
    for folder, serializer in ((tmp_path / "name", name), (tmp_path / "module", module)):
        async with AsyncQueue(folder, chunksize=2, serializer=serializer) as queue:
            await queue.put_many(["a", None, {"b": 1.5}])
    assert files_in(tmp_path / "name") == files_in(tmp_path / "module")
    async with AsyncQueue(tmp_path / "name", serializer=name) as queue:
        assert await drained(queue) == ["a", None, {"b": 1.5}]


async def test_orjson_writes_lines_that_json_reads(tmp_path: Path) -> None:
    """persist-queue's json goes on with them, and orjson with what json wrote: the directory does not tell which."""
    items = [{"ключ": ["é", 1e300, -1, True, None]}, "\n", "\u2028"]
    async with AsyncQueue(tmp_path, serializer="orjson") as queue:
        await queue.put_many(items)
    files = files_in(tmp_path)
    assert files["q00000"] == b"".join(orjson.dumps(item) + b"\n" for item in items)
    assert json.loads(files["info"])["size"] == 3
    upstream = importlib.import_module("persistqueue.serializers.json")
    assert drained_by_upstream(tmp_path, upstream) == items
    queue_of_theirs = persistqueue.Queue(str(tmp_path), serializer=upstream, tempdir=str(tmp_path))
    wide = [2**70, float("inf"), "\ud800"]
    for item in wide:
        queue_of_theirs.put(item)
    queue_of_theirs.headf.close()
    queue_of_theirs.tailf.close()
    async with AsyncQueue(tmp_path, serializer="orjson") as queue:
        assert await drained(queue) == items + wide


# -- what takes so long that the queue is closed meanwhile ---------------------------------------------------


@pytest.mark.parametrize("end", ["close", "shutdown"])
@pytest.mark.parametrize("way", ["put", "the last of many"])
async def test_an_item_encoded_after_the_end_goes_nowhere(tmp_path: Path, way: str, end: str) -> None:
    """Above all not into the queue that was opened since, whose descriptor has the number of the closed one."""
    gate = asyncio.Event()

    async def dump_late(value: Any, fp: Any) -> None:
        await adump(value, fp)
        if value == "late":
            await gate.wait()

    own = make_module(dump=dump_late, load=aload)
    queue, other = (AsyncQueue(tmp_path / name, serializer=own) for name in ("closed", "other"))
    await queue.put("early")
    putting = asyncio.ensure_future(PUTS[way](queue, "late"))
    await asyncio.sleep(0.01)
    if end == "close":
        await queue.close()
    else:
        queue.shutdown()
    await other.put_many(["a", "b"])
    gate.set()
    with pytest.raises(QueueClosed):
        await putting
    assert await other.get_many(2) == ["a", "b"]
    await other.close()
    await queue.close()
    for name, expected in (("closed", ["early"]), ("other", ["a", "b"])):
        async with AsyncQueue(tmp_path / name, serializer=own) as queue:
            assert not queue.recovery
            assert await drained(queue) == expected


@pytest.mark.parametrize("policy", ["never", "rollover", "interval", "always"])
async def test_a_put_and_a_get_let_go_on_in_the_tick_of_the_close_change_nothing(tmp_path: Path, policy: str) -> None:
    """Their turn came, and before they could take it the queue was closed."""
    queue = AsyncQueue(tmp_path, maxsize=1, autosave=True, fsync=policy)
    await queue.put("a")
    putting = asyncio.create_task(queue.put("b"))
    await asyncio.sleep(0.01)
    assert await queue.get() == "a"
    closing = asyncio.create_task(queue.close())
    results = await asyncio.gather(putting, closing, return_exceptions=True)
    async with AsyncQueue(tmp_path, autosave=True, fsync=policy) as queue:
        assert not queue.recovery
        assert await queue.qsize() == (results[0] is None)
        await queue.clear()
        getting = asyncio.create_task(queue.get())
        await asyncio.sleep(0.01)
        await queue.put("c")
        await queue.close()
        with pytest.raises(QueueClosed):
            await getting
    async with AsyncQueue(tmp_path, fsync=policy) as queue:
        assert await drained(queue) == ["c"]


@pytest.mark.parametrize("another", [False, True], ids=["nothing", "another queue"])
async def test_a_get_that_reads_while_the_queue_is_closed_gives_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, another: bool
) -> None:
    """Above all no item of the queue that was opened since."""
    reading, go_on = threading.Event(), threading.Event()

    def read_late(*args: Any) -> list[Block]:
        reading.set()
        assert go_on.wait(10)
        return read_blocks(*args)

    queue, other = AsyncQueue(tmp_path / "closed"), AsyncQueue(tmp_path / "other")
    for one in ("closed", "other"):
        async with AsyncQueue(tmp_path / one) as filled:
            await filled.put(one)
    await queue.open()
    monkeypatch.setattr(consumer, "read_blocks", read_late)
    getting = asyncio.create_task(queue.get())
    await asyncio.to_thread(reading.wait, 10)
    await queue.close()
    if another:
        await other.open()
    go_on.set()
    with pytest.raises(QueueClosed):
        await getting
    await other.close()


# -- long ones -----------------------------------------------------------------------------------------------


def long_item(name: str, length: int) -> Any:
    """About *length* bytes of record, which differ from one block of a read to the next."""
    text = "".join(map("{:07d} ".format, range(length // 8 + 1)))[:length]
    return text if name in ("json", "orjson") else text.encode()


async def round_trip(folder: Path, name: str, length: int) -> None:
    """Through memory, and through the disk, between short ones."""
    item = long_item(name, length)
    async with AsyncQueue(folder, serializer=name) as queue:
        await queue.put("before")
        await queue.put(item)
        await queue.put("behind")
        assert await queue.get() == "before"
        await queue.task_done()
        assert await queue.get() == item
    async with AsyncQueue(folder) as queue:
        assert not queue.recovery
        assert await queue.get() == item
        assert await queue.get() == "behind"
        await queue.task_done()
        await queue.put_many(["first", item])
    assert (folder / "q00000").stat().st_size > 2 * length
    async with AsyncQueue(folder) as queue:
        assert await queue.get_many(2) in (["first", item], ["first"])


@pytest.mark.parametrize("name", ["pickle", "json"])
async def test_an_item_of_20_megabytes(tmp_path: Path, name: str) -> None:
    await round_trip(tmp_path, name, 20 * MB)


@pytest.mark.soak
@every_serializer
async def test_an_item_of_200_megabytes(tmp_path: Path, name: str) -> None:
    await round_trip(tmp_path, name, 200 * MB)


def edges(limit: int, overhead: int) -> list[int]:
    """Lengths of items whose records are one byte shorter than *limit*, just as long, and one longer."""
    return [limit - overhead + more for more in (-1, 0, 1)]


@pytest.mark.parametrize("reopen", [False, True], ids=["from memory", "from the disk"])
@pytest.mark.parametrize("limit", [INLINE, READ_AHEAD, 2 * READ_AHEAD, RECENT_MAX])
@pytest.mark.parametrize("name", ["pickle", "json", "msgpack"])
async def test_records_about_as_long_as_a_limit(tmp_path: Path, name: str, limit: int, reopen: bool) -> None:
    """Of an inline write, of a block of a read, twice that, and of what is kept of the records just written."""
    empty, one = (len(serializers.get(name).encode(long_item(name, n))) for n in (limit - 100, limit - 99))
    assert one - empty == 1
    items = [long_item(name, n) for n in edges(limit, empty - (limit - 100))]
    assert sorted(len(serializers.get(name).encode(item)) - limit for item in items) == [-1, 0, 1]
    for order, several in enumerate((items, items[::-1])):
        folder = tmp_path / str(order)
        queue = AsyncQueue(folder, serializer=name, chunksize=4, fsync="never")
        expected = []
        for item in several:
            await queue.put(item)
            await queue.put(order)
            expected += [item, order]
        if reopen:
            await queue.close()
            queue = AsyncQueue(folder, fsync="never")
        assert [await queue.get() for _ in expected] == expected
        await queue.close()


@pytest.mark.parametrize("policy", ["never", "interval"])
async def test_a_record_longer_than_what_is_kept_of_recent_ones(tmp_path: Path, policy: str) -> None:
    """It comes from the disk, in its turn, and the short ones behind it too; then memory serves again."""
    long = long_item("pickle", 2 * RECENT_MAX)
    async with AsyncQueue(tmp_path, chunksize=5, fsync=policy) as queue:
        for number in range(6):
            await queue.put(number)
            await queue.put(long)
            await queue.put(-number)
            assert await queue.get() == number
            if number % 2:
                await queue.put("late")
            assert await queue.get() == long
            assert await queue.get() == -number
            if number % 2:
                assert await queue.get() == "late"
            await queue.put("caught up")
            assert await queue.get() == "caught up"


@pytest.mark.parametrize("ahead", [0, 1, 5], ids="{} stored before the first get".format)
async def test_long_and_short_ones_in_turn_in_chunks_of_one(tmp_path: Path, ahead: int) -> None:
    lengths = [0, 70_000, 5, 300_000, 0, 65_536, 1, 1_100_000, 2, 262_144, 3, 3]
    items = [long_item("pickle", length) for length in lengths]
    got = []
    async with AsyncQueue(tmp_path, chunksize=1) as queue:
        for number, item in enumerate(items):
            await queue.put(item)
            if number >= ahead:
                got.append(await queue.get())
                await queue.task_done()
    async with AsyncQueue(tmp_path) as queue:
        assert not queue.recovery
        got += await drained(queue)
        assert got == items
        await queue.sync()
        assert {path.name for path in tmp_path.iterdir()} == {"info", f"q{len(items):05d}"}
