"""persist-queue 1.1.0 has the faults: the scenes of the other tests here show them, so those tests can fail."""

import asyncio
import gc
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from persistqueue import Empty  # type: ignore[import-untyped, unused-ignore]

from tests.faults import scenes
from tests.faults.scenes import LETTERS, TheirAsyncQueue, their_serializer, theirs, tree, write


def drained(queue: Any) -> list[Any]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The descriptors that were given to os.fsync."""
    fds: list[int] = []
    monkeypatch.setattr(os, "fsync", fds.append)
    return fds


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What destructors raised."""
    heard: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: heard.append(type(raised.exc_value)))
    return heard


def test_f01_syncs_one_of_three_files(syncs: list[int], tmp_path: Path) -> None:
    write(tmp_path, LETTERS[:5], chunksize=3)
    assert len(syncs) == 1  # the chunk that was full


@pytest.mark.parametrize("info", [b"", bytes(90)])
def test_f02_cannot_be_opened(info: bytes, noise: list[Any], tmp_path: Path) -> None:
    write(tmp_path, LETTERS)
    (tmp_path / "info").write_bytes(info)
    with suppress(Exception), theirs(tmp_path):
        pytest.fail("it was opened")
    gc.collect()
    assert noise == [AttributeError]


def test_f03_cuts_off_what_was_acknowledged(tmp_path: Path) -> None:
    scenes.older_info(tmp_path)
    with theirs(tmp_path) as queue:
        assert drained(queue) == LETTERS[:1]


def test_f04_puts_behind_stale_records(tmp_path: Path) -> None:
    scenes.older_info(tmp_path, chunksize=2)
    with theirs(tmp_path) as queue:
        for item in "xyz":
            queue.put(item)
        assert drained(queue) != ["a", "x", "y", "z"]


def test_f05_ends_in_eof(tmp_path: Path) -> None:
    scenes.shortened(tmp_path, keep=2)
    with theirs(tmp_path) as queue:
        assert queue.qsize() == 4
        assert [queue.get(), queue.get()] == ["a", "b"]
        for _ in range(2):
            with pytest.raises(EOFError):
                queue.get()


def test_f06b_counts_one_too_many(tmp_path: Path) -> None:
    scenes.damaged(tmp_path, "json")
    with theirs(tmp_path, "json") as queue:
        assert queue.get() == "a"
        with pytest.raises(ValueError, match="decode"):
            queue.get()
        assert (queue.get(), queue.qsize()) == ("c", 1)


def test_f07_and_f07b_hand_out_another_item(tmp_path: Path) -> None:
    with theirs(tmp_path) as queue:
        with pytest.raises((AttributeError, TypeError, ValueError), match=r"lambda|pickle"):
            queue.put(scenes.unpicklable())
        queue.put(["k2", "k2"])
        assert (tmp_path / "q00000").stat().st_size > scenes.BIG
        assert queue.get() == ["k2", "k1"]


def test_f08_and_f29_store_what_was_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with theirs(tmp_path) as queue:
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full)
            with pytest.raises(OSError, match="space"):
                queue.put("a")
        assert queue.qsize() == 1
        assert [name for name in tree(tmp_path) if name.startswith("tmp")]


def test_f09_a_put_commits_the_get_of_another(tmp_path: Path) -> None:
    with theirs(tmp_path) as queue:
        queue.put("a")
        assert queue.get() == "a"
        queue.put("b")
    with theirs(tmp_path) as queue:
        assert drained(queue) == ["b"]


def test_f12_maxsize_is_not_kept(tmp_path: Path) -> None:
    write(tmp_path, LETTERS[:3])
    with theirs(tmp_path, maxsize=2) as queue:
        assert not queue.full()
        queue.put_nowait("d")
        assert queue.qsize() == 4


def test_f13_chunksize_is_not_the_one_in_use(tmp_path: Path) -> None:
    write(tmp_path, LETTERS[:1], chunksize=3)
    with theirs(tmp_path, chunksize=7) as queue:
        assert (queue.chunksize, queue.info["chunksize"]) == (7, 3)


def test_f14_errors_name_no_serializer(noise: list[Any], tmp_path: Path) -> None:
    kinds = set()
    for name in scenes.NAMES:
        write(tmp_path / name, LETTERS, name)
        for given in set(scenes.NAMES) - {name}:
            try:
                with theirs(tmp_path / name, given) as queue:
                    queue.get()
            except Exception as error:
                kinds.add(type(error))
    assert len(kinds) > 2


def test_f16_reads_a_torn_number(tmp_path: Path) -> None:
    scenes.torn_number(tmp_path)
    with theirs(tmp_path, "json") as queue:
        assert queue.get() == 12


def test_f17_two_of_three_items_are_gone(tmp_path: Path) -> None:
    with theirs(tmp_path) as one, theirs(tmp_path) as other:
        one.put("a")
        other.put("b")
        one.put("c")
    with theirs(tmp_path) as queue:
        assert queue.qsize() < 3


def test_f18_chunks_below_a_hole_stay(tmp_path: Path) -> None:
    scenes.hole_below_the_tail(tmp_path)
    write(tmp_path, (), consumed=1)
    assert {"q00000", "q00001"} <= tree(tmp_path).keys()


def test_f19_info_is_for_its_owner_alone(tmp_path: Path) -> None:
    write(tmp_path, LETTERS)
    (tmp_path / "info").chmod(0o660)
    write(tmp_path, LETTERS)
    assert stat.S_IMODE((tmp_path / "info").stat().st_mode) == 0o600


@pytest.mark.parametrize("scene", [scenes.hole_in_the_middle, scenes.older_tail])
def test_f20_and_f25_file_not_found(scene: Callable[[Path], None], noise: list[Any], tmp_path: Path) -> None:
    scene(tmp_path)
    with pytest.raises(FileNotFoundError), theirs(tmp_path) as queue:
        drained(queue)


def test_f21_none_for_nothing(tmp_path: Path) -> None:
    scenes.one_too_many(tmp_path)
    with theirs(tmp_path) as queue:
        assert drained(queue) == ["a", "b", "c", None]


def test_f26_a_drained_queue_keeps_its_bytes(tmp_path: Path) -> None:
    write(tmp_path, [bytes(1000)], consumed=1)
    assert (tmp_path / "q00000").stat().st_size > 1000


def test_f28_opening_runs_code(noise: list[Any], tmp_path: Path) -> None:
    scenes.info_with_code(tmp_path / "queue", tmp_path / "trace")
    with theirs(tmp_path / "queue") as queue:
        queue.info["more"].close()
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("name", ["msgpack", "cbor2"])
def test_f30_and_f32_the_count_stays(name: str, tmp_path: Path) -> None:
    scenes.damaged_length(tmp_path, name)
    with theirs(tmp_path, name) as queue:
        for _ in range(30):
            with suppress(Exception):
                queue.get_nowait()
        assert queue.qsize() > 0


def test_f31_looking_cuts_a_record_that_is_being_written(tmp_path: Path) -> None:
    write(tmp_path, LETTERS)
    before = (tmp_path / "q00000").read_bytes()
    (tmp_path / "q00000").write_bytes(before + b"half a rec")
    with theirs(tmp_path):
        pass
    assert (tmp_path / "q00000").read_bytes() == before


@pytest.mark.parametrize("name", ["json", "msgpack", "cbor2"])
async def test_a01_every_item_is_dropped(name: str, tmp_path: Path) -> None:
    async with TheirAsyncQueue(str(tmp_path), serializer=their_serializer(name)) as queue:
        await queue.put("a")
        with pytest.raises(Empty):
            await queue.get()
        assert await queue.empty()


async def test_a02_and_a16_damage_is_empty(tmp_path: Path) -> None:
    scenes.damaged(tmp_path)
    async with TheirAsyncQueue(str(tmp_path)) as queue:
        assert await queue.get() == "a"
        for _ in range(2):
            with pytest.raises(Empty):
                await queue.get()
        assert not await queue.empty()


async def test_a04_nothing_is_synced(syncs: list[int], tmp_path: Path) -> None:
    async with TheirAsyncQueue(str(tmp_path), chunksize=1) as queue:
        for item in LETTERS:
            await queue.put(item)
    assert syncs == []


async def test_a06_a_cancelled_get_loses_the_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, LETTERS[:2])
    async with TheirAsyncQueue(str(tmp_path), autosave=True) as queue:
        saving = asyncio.Event()

        async def never_ends() -> None:
            saving.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(queue, "_saveinfo", never_ends)
            getting = asyncio.ensure_future(queue.get())
            await saving.wait()
            getting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await getting
        assert await queue.get() == "b"


async def test_a08_a_put_after_close_is_an_attribute_error(tmp_path: Path) -> None:
    async with TheirAsyncQueue(str(tmp_path)) as queue:
        await queue.put("a")
    with pytest.raises(AttributeError):
        await queue.put("b")


async def test_a09_join_does_not_wait(tmp_path: Path) -> None:
    write(tmp_path, LETTERS[:3])
    queue = TheirAsyncQueue(str(tmp_path))
    await asyncio.wait_for(queue.join(), 5)
    with pytest.raises(ValueError, match="too many"):
        await queue.task_done()
