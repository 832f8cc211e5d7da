"""Any module with dump and load is a serializer, with coroutine functions too."""

import asyncio
import importlib
import io
import json
import marshal
import pickle
from collections.abc import Awaitable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Protocol

import pytest

from asyncpq import AsyncQueue, serializers
from asyncpq.serializers import Custom, Damaged, Torn, self_delimiting
from tests.unit.test_serializers import outcome

VALUES: list[Any] = [None, 0, "", [], {"a": [1, 2.5]}, "x" * 100_000]


class Lines:
    """JSON by lines, with a load that is content with a torn line."""

    @staticmethod
    def dump(value: Any, fp: IO[bytes]) -> None:
        fp.write(json.dumps(value).encode() + b"\n")

    @staticmethod
    def load(fp: IO[bytes]) -> Any:
        return json.loads(fp.readline())


class AsyncFile(Protocol):
    """What a coroutine function may do with its file."""

    def read(self, size: int = -1, /) -> Awaitable[bytes]: ...
    def readline(self) -> Awaitable[bytes]: ...
    def peek(self, size: int = 0, /) -> Awaitable[bytes]: ...
    def readinto(self, target: bytearray, /) -> Awaitable[int]: ...
    def write(self, data: bytes, /) -> Awaitable[int]: ...
    def tell(self) -> Awaitable[int]: ...
    def seek(self, offset: int, whence: int = 0, /) -> Awaitable[int]: ...
    def flush(self) -> Awaitable[Any]: ...


class AsyncPrefixed:
    """A length and a pickle, awaited."""

    async def dump(self, value: Any, fp: AsyncFile) -> None:
        data = pickle.dumps(value)
        assert await fp.write(len(data).to_bytes(4, "big")) == 4
        await fp.write(data)
        await fp.flush()

    async def load(self, fp: AsyncFile) -> Any:
        here = await fp.tell()
        head = bytearray(4)
        if await fp.readinto(head) < 4:
            raise EOFError
        assert await fp.seek(here) == here
        assert (await fp.peek(4))[:4] == head == await fp.read(4)
        return pickle.loads(await fp.read(int.from_bytes(head, "big")))


class AsyncLines:
    """Coroutine functions that do not await their file, or wait for something else, or are mixed with plain ones."""

    dump = staticmethod(Lines.dump)

    @staticmethod
    async def load(fp: IO[bytes]) -> Any:
        await asyncio.sleep(0)
        return json.loads(fp.readline())


class UsesUp:
    """A load that reads all there is."""

    dump = staticmethod(Lines.dump)

    @staticmethod
    def load(fp: IO[bytes]) -> Any:
        return json.loads(fp.read().split(b"\n")[0])


PICKLE = SimpleNamespace(dump=pickle.dump, load=pickle.load)
CUSTOM = {
    "a class": Lines,
    "a module": marshal,
    "the pickle of Python, which peeks": PICKLE,
    "coroutine functions": AsyncPrefixed(),
    "a coroutine function that waits": AsyncLines(),
}


@pytest.mark.parametrize("case", CUSTOM)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:10])
def test_records_back_to_back_end_where_load_stops(case: str, value: Any) -> None:
    serializer = serializers.get(CUSTOM[case])
    record = serializer.encode(value)
    chunk = b"\n" + record + record
    assert serializer.loads(record) == value
    assert serializer.decode(chunk, 1) == (value, 1 + len(record))
    assert serializer.skip(chunk, 1 + len(record)) == len(chunk)
    assert serializer.check(chunk, 1) == 1 + len(record)
    assert serializer.resync(chunk, 0) is None
    assert self_delimiting(serializer, record)


@pytest.mark.parametrize("case", CUSTOM)
def test_a_torn_record_is_torn(case: str) -> None:
    """Also the half of a number in a line, which load takes for a number."""
    serializer = serializers.get(CUSTOM[case])
    for value in (1234, "some text", {"chunksize": 5}):
        record = serializer.encode(value)
        for cut in range(len(record)):
            assert outcome(serializer.decode, record[:cut]) is Torn, (value, cut)


def test_a_load_that_fails_before_the_end_is_damage() -> None:
    serializer = serializers.get(Lines)
    with pytest.raises(Damaged, match="JSONDecodeError") as caught:
        serializer.decode(b"{\n1\n", 0)
    assert isinstance(caught.value.__cause__, json.JSONDecodeError)
    with pytest.raises(Damaged, match="stopped at byte 2"):
        serializer.loads(b"1\n2\n")


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_is_not_the_records_fault_passes(error: type[BaseException]) -> None:
    def load(fp: IO[bytes]) -> Any:
        raise error

    async def aload(fp: IO[bytes]) -> Any:
        raise error

    for function in (load, aload):
        with pytest.raises(error):
            serializers.get(SimpleNamespace(dump=Lines.dump, load=function)).decode(b"1\n", 0)


def test_a_load_that_reads_nothing_or_closes_its_file_is_damage() -> None:
    for load in (lambda fp: None, lambda fp: fp.close()):
        serializer = serializers.get(SimpleNamespace(dump=Lines.dump, load=load))
        assert outcome(serializer.decode, b"1\n") is Damaged
        assert outcome(serializer.decode, b"") in (Torn, Damaged)


@pytest.mark.parametrize("module", [UsesUp, importlib.import_module("persistqueue.serializers.async_pickle")])
def test_a_load_that_reads_all_there_is_cannot_tell_records_apart(module: Any) -> None:
    serializer = Custom(module)
    assert not self_delimiting(serializer, serializer.encode(1))
    assert self_delimiting(serializers.get("pickle"), serializers.pickle.encode(1))


async def test_a_new_queue_refuses_a_load_that_cannot_tell_records_apart(tmp_path: Path) -> None:
    """Its items could be put, and never be got after a restart."""
    with pytest.raises(ValueError, match="'UsesUp' reads beyond the end of its record"):
        await AsyncQueue(tmp_path / "queue", serializer=UsesUp).put(1)
    assert not (tmp_path / "queue").exists()
    async with AsyncQueue(tmp_path / "queue", serializer=Lines) as queue:  # the lock was given back
        await queue.put(1)


async def test_coroutine_functions_run_on_the_loop() -> None:
    for module in (AsyncPrefixed(), AsyncLines(), Lines):
        serializer = Custom(module)
        assert serializer.is_async == (module is not Lines)
        record = await serializer.aencode({"a": 1})
        assert await serializer.aloads(record) == {"a": 1}
        with pytest.raises((Torn, Damaged)):
            await serializer.aloads(record[:-2])


async def test_on_the_loop_the_plain_calls_work_as_long_as_nothing_waits() -> None:
    serializer = Custom(AsyncPrefixed())
    record = serializer.encode([1])
    assert serializer.decode(record * 2, 0) == ([1], len(record))
    with pytest.raises((RuntimeError, Damaged), match="aencode"):
        Custom(AsyncLines()).decode(b"1\n2\n", 0)


def test_an_object_that_is_a_serializer_already_is_taken_as_it_is() -> None:
    custom = Custom(Lines)
    assert serializers.get(custom) is custom
    assert repr(custom) == "<serializer Lines>"
    assert serializers.get(AsyncPrefixed()).NAME == "AsyncPrefixed"


def test_a_callable_object_may_be_dump_and_load() -> None:
    class Dump:
        async def __call__(self, value: Any, fp: AsyncFile) -> None:
            await fp.write(json.dumps(value).encode() + b"\n")

    serializer = serializers.get(SimpleNamespace(dump=Dump(), load=Lines.load))
    assert serializer.is_async
    assert serializer.loads(serializer.encode([1])) == [1]


def test_what_dump_raises_is_raised() -> None:
    with pytest.raises(TypeError):
        serializers.get(Lines).encode(b"")


def test_an_info_is_read_by_load() -> None:
    serializer = serializers.get(Lines)
    assert serializer.info_loads(b'{"size": 1}\n' + bytes(100)) == {"size": 1}
    with pytest.raises(Damaged):
        serializer.info_loads(b"[1]\n")


def test_the_file_can_be_peeked_into() -> None:
    def load(fp: io.BufferedReader) -> Any:
        assert fp.peek(1)[:1] == b"1"
        assert fp.peek()[:2] == b"1\n"
        return json.loads(fp.readline())

    serializer = serializers.get(SimpleNamespace(dump=Lines.dump, load=load))
    assert serializer.decode(b"1\n2\n", 0) == (1, 2)
