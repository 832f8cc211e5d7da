"""persist-queue's file queue on a directory that is not as it was left: each fault, and that it is not here."""

import gc
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncpq import AsyncQueue, CorruptQueue, CorruptRecord, Empty, QueueReader
from tests.faults import scenes
from tests.faults.scenes import LETTERS, NAMES, drained, items_in, killed, tree, write
from tests.faults.watched_files import Watched, queue_on

every_serializer = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What destructors raised."""
    heard: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)
    return heard


# -- info -------------------------------------------------------------------------------------------------------


@every_serializer
@pytest.mark.parametrize("info", [b"", bytes(90), bytes(512)], ids=["empty", "zeros", "zeros, as long as the slot"])
async def test_f02_an_empty_info_is_a_clear_error_and_can_be_repaired(
    info: bytes, name: str, noise: list[Any], tmp_path: Path
) -> None:
    """There, whatever the serializer makes of nothing is raised, and AttributeError by the destructor.

    A power cut leaves such an info behind, since theirs is renamed without a sync; all items are still there.
    """
    write(tmp_path, LETTERS, name)
    (tmp_path / "info").write_bytes(info)
    before = tree(tmp_path)

    with pytest.raises(CorruptQueue, match="repair=True"):
        await AsyncQueue(tmp_path).open()
    gc.collect()
    assert (noise, tree(tmp_path)) == ([], before)

    assert await items_in(tmp_path, repair=True) == LETTERS
    assert await items_in(tmp_path) == LETTERS


@every_serializer
async def test_f03_an_older_info_does_not_cut_off_what_was_acknowledged(name: str, tmp_path: Path) -> None:
    """There, the constructor truncates the chunk to what info says.

    After a power cut info may be some puts older than the records; those were acknowledged, and are whole.
    """
    scenes.older_info(tmp_path, name)
    async with AsyncQueue(tmp_path) as queue:
        assert queue.recovery.adopted == 4
        assert await drained(queue) == LETTERS[:5]


@every_serializer
async def test_f04_an_older_info_from_before_a_roll_over_keeps_order_and_count(name: str, tmp_path: Path) -> None:
    """There, records are appended to chunks that hold stale ones, and the last items cannot be reached.

    An info that is old by more than a chunk must not make old records and new ones lie in one another.
    """
    scenes.older_info(tmp_path, name, chunksize=2)
    async with AsyncQueue(tmp_path) as queue:
        assert queue.recovery.adopted == 4
        await queue.put_many(["x", "y", "z"])
        assert await queue.qsize() == 8
    async with AsyncQueue(tmp_path) as queue:
        assert not queue.recovery
        assert await drained(queue) == [*LETTERS[:5], "x", "y", "z"]
        with pytest.raises(Empty):
            await queue.get_nowait()


@every_serializer
async def test_f21_a_size_that_is_wrong_is_counted_again(name: str, tmp_path: Path) -> None:
    """There, get returns None for ever once the items are gone, and never blocks again.

    A consumer takes that None for an item, and turns in a circle.
    """
    scenes.one_too_many(tmp_path, name)
    async with AsyncQueue(tmp_path) as queue:
        assert (await queue.qsize(), bool(queue.recovery)) == (3, True)
        assert await drained(queue) == LETTERS[:3]
        with pytest.raises(Empty):
            await queue.get_nowait()
        with pytest.raises(Empty):
            await queue.get(timeout=0)


async def test_f28_opening_and_looking_run_no_code(tmp_path: Path) -> None:
    """There, info is unpickled: whoever can write that file has his code run by everyone who opens the queue."""
    path, trace = tmp_path / "queue", tmp_path / "trace"
    scenes.info_with_code(path, trace)
    before = tree(path)

    with pytest.raises(CorruptQueue):
        await AsyncQueue(path).open()
    with pytest.raises(CorruptQueue):
        await QueueReader(path).open()
    assert (trace.exists(), tree(path)) == (False, before)

    assert await items_in(path, repair=True) == LETTERS[:1]
    assert not trace.exists()


async def test_f28_the_reader_runs_no_code_of_items(tmp_path: Path) -> None:
    """A tool that shows what a queue holds must not be what starts it."""
    path, trace = tmp_path / "queue", tmp_path / "trace"
    write(path, [scenes.Executes(trace), "b"])
    async with QueueReader(path) as reader:
        items = [item async for item in reader]
    assert (len(items), items[1], trace.exists()) == (2, "b", False)


# -- chunks -----------------------------------------------------------------------------------------------------


@every_serializer
@pytest.mark.parametrize("keep", [0, 2])
async def test_f05_a_chunk_that_is_too_short_is_told_and_the_queue_goes_on(
    keep: int, name: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """There, nothing is said, then get raises EOFError for ever, and what is put comes out of order or never.

    Records that never reached the disk are lost; the queue must say so once and be a queue again.
    """
    scenes.shortened(tmp_path, name, keep=keep)
    with caplog.at_level(logging.WARNING):
        async with AsyncQueue(tmp_path, serializer=name) as queue:
            assert queue.recovery.lost == 4 - keep
            assert caplog.messages
            await queue.put("new")
            assert await drained(queue) == [*LETTERS[:keep], "new"]
            with pytest.raises(Empty):
                await queue.get_nowait()


@every_serializer
async def test_f18_chunks_below_a_hole_are_removed(name: str, tmp_path: Path) -> None:
    """There, consumed chunks are removed by counting down from the tail, which ends at the first number missing.

    What lies below it stays on the disk for ever.
    """
    scenes.hole_below_the_tail(tmp_path)
    async with AsyncQueue(tmp_path) as queue:
        assert await drained(queue) == LETTERS[4:]
    assert tree(tmp_path).keys() == {"info", "q00006"}


@every_serializer
async def test_f20_a_gap_is_named_and_can_be_passed(name: str, tmp_path: Path) -> None:
    """There, FileNotFoundError: at once where the tail should be, or when get comes to the gap, and then for ever."""
    scenes.hole_in_the_middle(tmp_path, name)
    before = tree(tmp_path)
    with pytest.raises(CorruptQueue, match=r"q00002.*repair=True"):
        await AsyncQueue(tmp_path).open()
    assert tree(tmp_path) == before

    async with AsyncQueue(tmp_path, repair=True) as queue:
        assert queue.recovery.lost == 1
        assert await drained(queue) == ["a", "b", "d"]


@every_serializer
async def test_f20_f25_a_tail_chunk_that_is_gone_was_consumed(name: str, tmp_path: Path) -> None:
    """There, FileNotFoundError in the constructor: the removal of a chunk reached the disk, the info before it not.

    The chunk was removed because all of it was done, so nothing is missing.
    """
    scenes.older_tail(tmp_path, name)
    async with AsyncQueue(tmp_path) as queue:
        assert (queue.recovery.lost, bool(queue.recovery)) == (0, True)
        assert await drained(queue) == ["c"]


@pytest.mark.parametrize("policy", ["rollover", "always"])
async def test_f25_a_chunk_is_removed_after_the_info_that_does_not_need_it_is_durable(
    policy: str, tmp_path: Path
) -> None:
    """There, info is renamed and the chunk removed without a sync between: the disk may do the second alone."""
    write(tmp_path, LETTERS[:3], chunksize=1)
    files = Watched()
    async with queue_on(files, tmp_path, fsync=policy) as queue:
        files.calls.clear()
        await queue.get()
        await queue.task_done()
        steps = [call for call in files.of("pwrite", "fdatasync", "unlink") if call[1] in ("info", "q00000")]
    end = steps.index(("unlink", "q00000"))
    written = max(n for n, step in enumerate(steps[:end]) if step == ("pwrite", "info"))
    assert ("fdatasync", "info") in steps[written:end]


@every_serializer
async def test_f27_chunk_numbers_are_numbers(name: str, tmp_path: Path) -> None:
    """q100000 comes before q99999 in a list of names, so whoever sorts names takes the head for the tail.

    There, removing by counting down happens to work; recovery, which lists, has to compare numbers.
    """
    scenes.at_chunk_99999(tmp_path, name)
    async with AsyncQueue(tmp_path) as queue:
        await queue.put_many(LETTERS[:3])
        assert tree(tmp_path).keys() == {"info", "q99999", "q100000"}
        open_still = killed(tmp_path)
    assert await items_in(open_still) == LETTERS[:3]

    # Records that info does not know of, across the same border.
    scenes.change_info(open_still, name, size=0, head=[99_999, 0, 0])
    async with AsyncQueue(open_still) as queue:
        assert queue.recovery.adopted == 3
        assert await drained(queue) == LETTERS[:3]
    assert tree(open_still).keys() == {"info", "q100000"}


# -- records ----------------------------------------------------------------------------------------------------


@every_serializer
async def test_f06_a_damaged_record_is_told_and_stays_until_somebody_decides(name: str, tmp_path: Path) -> None:
    """There, one pickle that cannot be read blocks everything behind it, with an error that names no place."""
    offset = scenes.damaged(tmp_path, name)
    async with AsyncQueue(tmp_path) as queue:
        assert await queue.get() == "a"
        for _ in range(2):
            with pytest.raises(CorruptRecord, match="on_corrupt='skip'") as raised:
                await queue.get()
            assert (raised.value.path, raised.value.offset) == (tmp_path / "q00000", offset)
        assert await queue.qsize() == 2
    assert not (tmp_path / "damaged").exists()


@every_serializer
async def test_f06_a_damaged_record_can_be_passed_and_is_set_aside(name: str, tmp_path: Path) -> None:
    """One bad record must not cost the good ones, and it must not be destroyed: perhaps somebody can read it."""
    scenes.damaged(tmp_path, name)
    original = (tmp_path / "q00000").read_bytes()
    async with AsyncQueue(tmp_path, on_corrupt="skip") as queue:
        assert await queue.get() == "a"
        assert await queue.get() == "c"
    (kept,) = (tmp_path / "damaged").iterdir()
    assert kept.read_bytes() in original
    assert b"\xff" * 20 in kept.read_bytes()


async def test_f06b_count_and_position_of_a_bad_line_move_together(tmp_path: Path) -> None:
    """There, a JSON line that cannot be read is passed, but counted on: size is one too many for ever after.

    `while queue.qsize(): get()` never ends.
    """
    scenes.damaged(tmp_path, "json")
    async with AsyncQueue(tmp_path) as queue:
        await queue.get()
        for _ in range(3):
            with pytest.raises(CorruptRecord):
                await queue.get_nowait()
            assert await queue.qsize() == 2
    await counts_to_zero(tmp_path)


async def counts_to_zero(path: Path) -> None:
    """Assert that passing over damage leaves a queue that counts right: in memory, on the disk, for join too."""
    async with AsyncQueue(path, on_corrupt="skip") as queue:
        assert await drained(queue) == ["a", "c"]
        assert await queue.qsize() == 0
        await queue.join()
        with pytest.raises(ValueError, match="too many"):
            await queue.task_done()
        with pytest.raises(Empty):
            await queue.get_nowait()
        await queue.put("new")
        assert await queue.get() == "new"
        await queue.task_done()
    async with AsyncQueue(path) as queue:
        assert (await queue.qsize(), bool(queue.recovery)) == (0, False)


@pytest.mark.parametrize("name", ["msgpack", "cbor2"])
@pytest.mark.parametrize("scene", [scenes.damaged, scenes.damaged_length])
async def test_f30_f32_one_bad_record_is_one_bad_record(
    scene: Callable[[Path, str], Any], name: str, tmp_path: Path
) -> None:
    """There, one bad msgpack or cbor2 record moves the place to read, and not the count.

    Then every get says `unpack requires a buffer of 4 bytes`, in a loop that waits for the size to become 0.
    """
    scene(tmp_path, name)
    async with AsyncQueue(tmp_path) as queue:
        assert await queue.get() == "a"
        for _ in range(3):
            with pytest.raises(CorruptRecord):
                await queue.get()
        assert await queue.qsize() == 2
    await counts_to_zero(tmp_path)


async def test_f16_a_line_without_its_end_is_no_item(tmp_path: Path) -> None:
    """There, `12` is handed out where `1234` was put: the beginning of a number is a number."""
    scenes.torn_number(tmp_path)
    async with AsyncQueue(tmp_path, serializer="json") as queue:
        assert queue.recovery.lost == 1
        with pytest.raises(Empty):
            await queue.get_nowait()
        await queue.put(5)
        assert await drained(queue) == [5]


async def test_f16_a_line_without_its_end_behind_the_head_is_no_item_either(tmp_path: Path) -> None:
    """The put was never acknowledged; what is put next must not become a part of it."""
    write(tmp_path, [1], "json")
    with (tmp_path / "q00000").open("ab") as chunk:
        chunk.write(b"23")
    async with AsyncQueue(tmp_path) as queue:
        await queue.put(4)
        assert await drained(queue) == [1, 4]
