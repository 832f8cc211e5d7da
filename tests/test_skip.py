"""on_corrupt="skip": what cannot be read lies in damaged/, all else comes in order, and every number fits."""

from pathlib import Path
from typing import Any

import pytest

from asyncpq import AsyncQueue, CorruptRecord, Empty, check, serializers
from tests.damaged_dirs import ITEMS, KINDS, NAMES, PLACES, damage, no_sync, set_aside
from tests.unit.queue_dirs import CHUNKSIZE, drained_by_upstream, item, make, tree


class Gone:
    """Unpickles to an exception."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (int, ("no number",))


pytestmark = pytest.mark.usefixtures(no_sync.__name__)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("autosave", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", PLACES, ids=str)
async def test_good_items_come_and_damaged_bytes_are_set_aside(
    numbers: list[int], kind: str, autosave: bool, name: str, tmp_path: Path
) -> None:
    d = make(tmp_path / "queue", name, items=ITEMS, consumed=0)
    left, lying = damage(d, numbers, kind)
    async with AsyncQueue(d.path, on_corrupt="skip", autosave=autosave, fsync="never") as queue:
        got = []
        while True:
            try:
                got.append(await queue.get_nowait())
            except Empty:
                break
            if len(numbers) == 1 and len(got) > numbers[0]:
                assert await queue.qsize() == len(left) - len(got)
            await queue.task_done()
        assert got == left
        assert await queue.qsize() == 0
        await queue.join()
        await queue.put("one more")
    assert set_aside(d.path) == lying
    async with AsyncQueue(d.path) as queue:
        assert (await queue.qsize(), await queue.get()) == (1, "one more")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", PLACES, ids=str)
async def test_persist_queue_goes_on_behind_the_damage(
    numbers: list[int], kind: str, name: str, tmp_path: Path
) -> None:
    d = make(tmp_path / "queue", name, items=ITEMS, consumed=0)
    left, _ = damage(d, numbers, kind)
    behind = sum(1 for text in left if text <= item(numbers[-1]))
    async with AsyncQueue(d.path, on_corrupt="skip") as queue:
        for _ in range(min(behind + 1, len(left))):
            await queue.get()
            await queue.task_done()
        if behind == len(left):
            with pytest.raises(Empty):
                await queue.get_nowait()
    assert drained_by_upstream(d.path, name, tmp_path / "copy") == left[behind + 1 :]


async def test_what_was_got_before_is_not_committed_by_passing_over(name: str, tmp_path: Path) -> None:
    """Only a tail that stood before the damage moves over it by itself."""
    d = make(tmp_path, name, items=ITEMS, consumed=0)
    damage(d, [1], "the body")
    async with AsyncQueue(d.path, on_corrupt="skip") as queue:
        assert [await queue.get(), await queue.get()] == [item(0), item(2)]
    async with AsyncQueue(d.path, on_corrupt="skip") as queue:
        assert await queue.get() == item(0)


async def test_a_place_that_was_passed_over_is_not_met_again(name: str, tmp_path: Path) -> None:
    """Also where nothing is got behind it: the last item of all."""
    d = make(tmp_path, name, items=ITEMS, consumed=10)
    damage(d, [10], "the body")
    for expected in (1, 0):
        async with AsyncQueue(d.path, on_corrupt="skip") as queue:
            assert await queue.qsize() == expected
            with pytest.raises(Empty):
                await queue.get_nowait()
    assert len(list((d.path / "damaged").iterdir())) == 1


@pytest.mark.parametrize("autosave", [False, True])
async def test_a_chunk_that_goes_while_the_queue_is_open_is_passed_over(
    autosave: bool, name: str, tmp_path: Path
) -> None:
    d = make(tmp_path, name, items=ITEMS, consumed=0)
    async with AsyncQueue(d.path, on_corrupt="skip", autosave=autosave) as queue:
        d.chunk(1).unlink()
        got = []
        for left in (10, 9, 8, 4, 3, 2, 1, 0):
            got.append(await queue.get())
            await queue.task_done()
            assert await queue.qsize() == left
        assert got == [item(n) for n in (0, 1, 2, 6, 7, 8, 9, 10)]
        await queue.join()


async def test_a_chunk_that_is_short_is_passed_over(name: str, tmp_path: Path) -> None:
    d = make(tmp_path, name, items=ITEMS, consumed=0)
    d.chunk(1).write_bytes(d.encoded(3) + d.encoded(4)[:-3])
    async with AsyncQueue(d.path, on_corrupt="skip") as queue:
        got = [await queue.get() for _ in range(9)]
        assert (got, await queue.qsize()) == ([item(n) for n in (0, 1, 2, 3, 6, 7, 8, 9, 10)], 0)
    assert set_aside(d.path) == d.encoded(4)[:-3]


async def test_an_item_that_cannot_be_built_is_passed_over_whole(tmp_path: Path) -> None:
    """Its record is whole; a pickle that lies inside it is no item."""
    inside = serializers.pickle.encode("an item of somebody else")
    record = serializers.pickle.encode([Gone(), inside])
    d = make(tmp_path, "pickle", items=3, consumed=0)
    d.chunk(0).write_bytes(d.encoded(0) + record + d.encoded(2))
    async with AsyncQueue(d.path) as queue:
        assert await queue.get() == item(0)
        with pytest.raises(CorruptRecord, match="no number"):
            await queue.get()
    async with AsyncQueue(d.path, on_corrupt="skip") as queue:
        assert [await queue.get(), await queue.get()] == [item(0), item(2)]
    assert set_aside(d.path) == record


@pytest.mark.parametrize("name", ["msgpack", "cbor2", "pickle"])
async def test_records_inside_a_damaged_item_are_no_items(name: str, tmp_path: Path) -> None:
    """The length, or the frame, of the damaged record says where the next one begins."""
    serializer = serializers.get(name)
    inner = serializer.encode("an item of somebody else")
    record = serializer.encode({"a": "text", "framed": b"--" + inner * 3 + b"--"})
    record = record.replace(b"text", b"\xff\xff\xff\xff")
    d = make(tmp_path, name, items=3, consumed=0)
    d.chunk(0).write_bytes(d.encoded(0) + record + d.encoded(2))
    async with AsyncQueue(d.path, on_corrupt="skip") as queue:
        assert [await queue.get(), await queue.get(), await queue.qsize()] == [item(0), item(2), 0]
    assert set_aside(d.path) == record


async def test_the_rest_of_a_damaged_line_is_no_item(tmp_path: Path) -> None:
    """A number whose first digit is damaged is not the number without it."""
    (tmp_path / "q00000").write_bytes(b"1\n\xff234\n5\n")
    (tmp_path / "q00001").touch()
    (tmp_path / "info").write_bytes(b'{"chunksize": 3, "size": 3, "tail": [0, 0, 0], "head": [1, 0, 0]}\n')
    async with AsyncQueue(tmp_path, on_corrupt="skip") as queue:
        assert [await queue.get(), await queue.get()] == [1, 5]
    assert (await check(tmp_path)).items == 2


async def test_without_skip_the_queue_stays_where_it_is(name: str, tmp_path: Path) -> None:
    d = make(tmp_path, name, items=ITEMS, consumed=0)
    damage(d, [1], "the body")
    async with AsyncQueue(d.path) as queue:
        await queue.get()
        await queue.task_done()
        for _ in range(2):
            with pytest.raises(CorruptRecord) as caught:
                await queue.get()
            assert (caught.value.path, caught.value.offset) == (d.chunk(0), d.width)
        assert await queue.qsize() == ITEMS - 1
    assert not (tmp_path / "damaged").exists()
    assert len(tree(d.path)) == ITEMS // CHUNKSIZE + 2
