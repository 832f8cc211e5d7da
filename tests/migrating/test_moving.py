"""What is true of every migration: of the source, of the target, of what is in the way, of what is refused."""

import base64
import json
import os
import pickle
import shutil
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import persistqueue
import pytest
from persistqueue.serializers import json as their_json

import asyncpq
from asyncpq import InTheWay, MigrationError, NotAQueue, QueueLocked, Unfit, Unreadable
from asyncpq.migrating import Progress
from asyncpq.migrating.database import DatabaseTarget
from asyncpq.migrating.directory import DirectoryTarget
from asyncpq.migrating.partial import Partial
from asyncpq.serializers import cbor2, msgpack
from asyncpq.serializers import json as json_lines
from tests.migrating.moving import SERIALIZERS, blobs, files, items, moved, names, ours, shut, theirs, traces

PLAIN: Final[list[Any]] = [{"n": n, "text": "é" * (n % 7), "none": None} for n in range(25)]
RAN: Final[list[str]] = []


def ran(what: str) -> str:
    RAN.append(what)
    return what


class Runs:
    """Its pickle runs something."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return ran, ("it ran",)


# -- the target ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("count", [0, 1, 9, 10, 25])
async def test_a_new_file_queue_is_byte_for_byte_what_a_queue_leaves_when_it_is_closed(
    serializer: str, count: int, folder: Path
) -> None:
    source = await ours(folder / "source", PLAIN[:count], chunksize=4, serializer="pickle")
    wanted = await ours(folder / "wanted", PLAIN[:count], chunksize=10, serializer=serializer)

    report = moved(source, folder / "target", serializer=serializer, chunksize=10)

    assert files(folder / "target") == files(wanted)
    assert names(folder) == ["source", "target", "wanted"]
    assert (report.items, report.serializer, report.chunksize) == (count, serializer, 10)


def test_persist_queue_reads_the_new_file_queue(folder: Path) -> None:
    moved(theirs(folder / "source", PLAIN), folder / "target", serializer="json")
    queue = persistqueue.Queue(str(folder / "target"), serializer=their_json, tempdir=str(folder))
    assert [queue.get(block=False) for _ in PLAIN] == PLAIN
    shut(queue)


def test_the_chunksize_and_the_serializer_stay_where_nothing_is_said(folder: Path) -> None:
    report = moved(theirs(folder / "source", PLAIN, chunksize=7), folder / "target")
    assert (report.chunksize, report.serializer, report.copied) == (7, "pickle", True)
    assert files(folder / "target") == files(folder / "source")


@pytest.mark.parametrize("serializer", SERIALIZERS)
async def test_the_same_serializer_copies_the_bytes(serializer: str, folder: Path) -> None:
    source = await ours(folder / "source", PLAIN, serializer=serializer)
    report = moved(source, f"sqlite:{folder}/target", serializer=serializer, source_serializer=serializer)
    assert report.copied
    assert blobs(f"sqlite:{folder}/target") == blobs(source)


def test_the_digest_is_that_of_all_chunks_behind_each_other_and_the_same_in_a_database(folder: Path) -> None:
    source = theirs(folder / "source", PLAIN, chunksize=7)
    report = moved(source, folder / "target", serializer="msgpack")
    chunks = b"".join(data for name, data in files(folder / "target").items() if name != "info")
    assert report.digest == blake2b(chunks, digest_size=32).hexdigest()
    assert report.bytes == len(chunks)
    assert moved(source, f"sqlite:{folder}/db", serializer="msgpack").digest == report.digest


# -- the source ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["target", "sqlite:target"])
def test_the_source_is_not_touched(target: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    source = theirs(folder / "source", PLAIN, chunksize=7)
    before = traces(source)
    moved(source, target, serializer="json")
    assert traces(source) == before


async def test_a_source_that_is_open_elsewhere_is_refused(folder: Path) -> None:
    async with asyncpq.AsyncQueue(folder / "source") as queue:
        await queue.put(1)
        with pytest.raises(QueueLocked):
            moved(folder / "source", folder / "target")
    assert names(folder) == ["source"]


def test_a_source_that_persist_queue_has_open_is_refused(folder: Path) -> None:
    """In another process: the system tells of others alone."""
    queue = persistqueue.Queue(str(folder / "source"), tempdir=str(folder))
    queue.put(1)
    script = f"import asyncpq, asyncio; asyncio.run(asyncpq.migrate({str(folder / 'source')!r}, {str(folder / 't')!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    shut(queue)
    assert "QueueLocked" in done.stderr
    assert names(folder) == ["source"]


def test_a_source_that_is_changed_meanwhile_is_not_moved(folder: Path) -> None:
    """persist-queue takes no lock: it may come later."""
    source = theirs(folder / "source", PLAIN)

    def change(progress: Progress) -> None:
        if progress.phase == "verify":
            (source / "q00000").write_bytes((source / "q00000").read_bytes() + b"x")

    with pytest.raises(MigrationError, match="was changed while it was read"):
        moved(source, folder / "target", tell=change)
    assert names(folder) == ["source"]


def test_what_is_no_queue_is_refused(folder: Path) -> None:
    (folder / "empty").mkdir()
    for path in ("empty", "nothing"):
        with pytest.raises(NotAQueue):
            moved(folder / path, folder / "target")
    assert names(folder) == ["empty"]


# -- what is in the way -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["", "sqlite:"])
def test_a_target_that_is_there_is_refused_and_left_alone(form: str, folder: Path) -> None:
    source = theirs(folder / "source", PLAIN)
    (folder / "file").write_bytes(b"mine")
    (folder / "dir").mkdir()
    (folder / "dir" / "mine").write_bytes(b"mine")
    (folder / "link").symlink_to(folder / "dir" / "mine")
    before = traces(folder)
    for name in ("file", "dir", "link"):
        with pytest.raises(InTheWay, match="is there already"):
            moved(source, f"{form}{folder}/{name}")
    assert traces(folder) == before


@pytest.mark.parametrize("form", ["", "sqlite:"])
def test_a_target_that_appears_meanwhile_is_refused_and_left_alone(form: str, folder: Path) -> None:
    source = theirs(folder / "source", PLAIN)

    def appear(progress: Progress) -> None:
        if progress.phase == "verify":
            (folder / "target").mkdir(exist_ok=True)
            (folder / "target" / "mine").write_bytes(b"mine")

    with pytest.raises(InTheWay, match="is there already"):
        moved(source, f"{form}{folder}/target", tell=appear, queue_class="ack" if form else None)
    assert files(folder / "target") == {"mine": b"mine"}
    assert names(folder) == ["source", "target"]


def test_an_empty_directory_counts_as_nothing(folder: Path) -> None:
    (folder / "target").mkdir()
    moved(theirs(folder / "source", PLAIN), folder / "target")
    assert items(folder / "target") == PLAIN


def test_a_directory_of_the_name_of_the_partial_one_is_left_alone(folder: Path) -> None:
    source = theirs(folder / "source", PLAIN)
    (folder / "target.partial").mkdir()
    (folder / "target.partial" / "note").write_bytes(b"{}")
    with pytest.raises(InTheWay, match="not of a migration"):
        moved(source, folder / "target")
    assert files(folder / "target.partial") == {"note": b"{}"}
    shutil.rmtree(folder / "target.partial")
    (folder / "target.partial").write_bytes(b"mine")
    with pytest.raises(InTheWay, match="no directory of a migration"):
        moved(source, folder / "target")
    assert (folder / "target.partial").read_bytes() == b"mine"


def test_parents_are_made_and_go_again_when_it_fails(folder: Path) -> None:
    source = theirs(folder / "source", PLAIN)
    moved(source, folder / "a" / "b" / "target")
    assert items(folder / "a" / "b" / "target") == PLAIN

    def fail(progress: Progress) -> None:
        if progress.phase == "verify":
            raise RuntimeError

    with pytest.raises(RuntimeError):
        moved(source, folder / "c" / "d" / "target", tell=fail)
    assert names(folder) == ["a", "source"]


def test_wishes_that_make_no_sense_are_refused(folder: Path) -> None:
    source = theirs(folder / "source", PLAIN)
    for wishes in (
        {},
        {"target": source},
        {"target": source / "inside"},
        {"target": folder / "target", "queue_class": "filo"},
        {"target": "sqlite:x", "queue_class": "none"},
        {"target": "sqlite:x", "chunksize": 7},
        {"target": folder / "target", "chunksize": 0},
        {"target": folder / "target", "serializer": "yaml"},
        {"target": folder / "target", "in_place": True},
    ):
        with pytest.raises(ValueError, match=r"\w{3}"):
            moved(source, **wishes)
    assert names(folder) == ["source"]


# -- what the target cannot carry ---------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["target", "sqlite:target"])
def test_what_cannot_be_carried_is_counted_and_shown_and_nothing_is_written(
    target: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    source = theirs(folder / "source", [1, (2,), {3: b"x"}, [(4,)]], chunksize=2)
    seen = set[str]()

    def tell(progress: Progress) -> None:
        seen.add(f"{progress.phase} {names(folder)}")

    with pytest.raises(Unfit) as refused:
        moved(source, target, serializer="json", tell=tell)
    counted = {loss.kind: (loss.items, loss.where) for loss in refused.value.losses}
    assert counted == {
        "tuples": (2, "q00000 at byte 5"),
        "bytes": (1, "q00001 at byte 0"),
        "keys that are no str": (1, "q00001 at byte 0"),
    }
    assert "tuples in 2 items (the first: q00000 at byte 5), which would become lists" in str(refused.value)
    assert "--lossy" in str(refused.value)
    assert seen == {"scan ['source']"}


@pytest.mark.parametrize("serializer", ["msgpack", "cbor2"])
def test_a_bytearray_among_many_items_is_not_taken_for_bytes(serializer: str, folder: Path) -> None:
    source = theirs(folder / "source", [b"x"] * 50 + [bytearray(b"x")] + [b"x"] * 50)
    with pytest.raises(Unfit, match="bytearrays in 1 item"):
        moved(source, folder / "target", serializer=serializer)


def test_with_lossy_it_is_accepted_and_reported(folder: Path) -> None:
    source = theirs(folder / "source", [1, (2,), {3: b"x"}])
    report = moved(source, folder / "target", serializer="json", lossy=True)
    assert items(folder / "target") == [1, [2], {"3": "eA=="}]
    assert {loss.kind: loss.becomes for loss in report.losses} == {
        "tuples": "lists",
        "bytes": "their base64",
        "keys that are no str": "str",
    }


def test_what_nothing_can_be_made_of_is_refused_with_lossy_too(folder: Path) -> None:
    itself: list[Any] = []
    itself.append(itself)
    source = theirs(folder / "source", [1] * 150 + [itself] + [(1,)])
    with pytest.raises(Unfit, match=r"too much nesting, or itself in 1 item .* cannot be carried at all"):
        moved(source, folder / "target", serializer="json", lossy=True)
    assert names(folder) == ["source"]


# -- pickles ------------------------------------------------------------------------------------------------


def test_pickles_are_copied_and_not_run(folder: Path) -> None:
    RAN.clear()
    source = theirs(folder / "source", [1, Runs()])
    report = moved(source, folder / "target")
    assert (report.copied, RAN) == (True, [])
    assert files(folder / "target") == files(source)


def test_objects_are_refused_by_the_name_of_their_class_and_run_only_with_unpickle(folder: Path) -> None:
    RAN.clear()
    source = theirs(folder / "source", [1, Runs()])
    with pytest.raises(Unfit, match="objects of classes in 1 item"):
        moved(source, folder / "target", serializer="json")
    moved(source, folder / "lossy", serializer="json", lossy=True)
    assert items(folder / "lossy") == [1, f"{__name__}.ran"]
    assert RAN == []
    moved(source, folder / "run", serializer="json", unpickle=True)
    assert items(folder / "run") == [1, "it ran"]
    assert set(RAN) == {"it ran"}


def test_byte_strings_of_python_2_are_read_by_the_encoding_that_is_given(folder: Path) -> None:
    """And written anew, in protocol 4."""
    source = theirs(folder / "source", [1, 2], chunksize=1)
    old = b"(dp0\nS'k'\np1\nS'caf\\xc3\\xa9'\np2\ns."
    (source / "q00001").write_bytes(old)
    moved(source, folder / "target", encoding="utf-8")
    assert items(folder / "target") == [1, {"k": "café"}]
    assert blobs(folder / "target")[1] == pickle.dumps({"k": "café"}, 4)
    moved(source, folder / "as it is")
    assert blobs(folder / "as it is")[1] == old


# -- what cannot be read ------------------------------------------------------------------------------------


def damaged(folder: Path) -> Path:
    source = theirs(folder / "source", PLAIN, serializer=their_json, chunksize=10)
    data = (source / "q00001").read_bytes().split(b"\n")
    data[3] = b"{" * len(data[3])
    (source / "q00001").write_bytes(b"\n".join(data))
    return source


@pytest.mark.parametrize(("serializer", "form"), [("json", ""), ("pickle", ""), ("cbor2", "sqlite:")])
def test_what_cannot_be_read_is_refused_with_its_place_and_nothing_is_left(
    serializer: str, form: str, folder: Path
) -> None:
    source = damaged(folder)
    before = traces(source)
    with pytest.raises(Unreadable, match=r"1 place cannot be read: q00001 at byte .*--skip-bad"):
        moved(source, f"{form}{folder}/target", serializer=serializer)
    assert names(folder) == ["source"]
    assert traces(source) == before


@pytest.mark.parametrize(("serializer", "form"), [("json", ""), ("pickle", ""), ("cbor2", "sqlite:")])
def test_what_cannot_be_read_is_set_aside_in_a_file(serializer: str, form: str, folder: Path) -> None:
    source = damaged(folder)
    bad = (source / "q00001").read_bytes().split(b"\n")[3]
    report = moved(source, f"{form}{folder}/target", serializer=serializer, skip_bad=True)
    (line,) = (folder / "target.bad.jsonl").read_text("ascii").splitlines()
    said = json.loads(line)
    assert base64.b64decode(said["data"]).rstrip(b"\n") == bad
    assert said["where"].startswith("q00001 at byte ")
    assert said["why"]
    assert (report.set_aside, report.bad_file) == (1, folder / "target.bad.jsonl")
    assert items(f"{form}{folder}/target") == PLAIN[:13] + PLAIN[14:]
    assert names(folder) == ["source", "target", "target.bad.jsonl"]


def test_the_file_for_what_cannot_be_read_is_never_written_over(folder: Path) -> None:
    source = damaged(folder)
    (folder / "bad").write_bytes(b"mine")
    with pytest.raises(InTheWay, match="another file for what cannot be read"):
        moved(source, folder / "target", skip_bad=folder / "bad")
    assert (folder / "bad").read_bytes() == b"mine"
    assert names(folder) == ["bad", "source"]
    report = moved(source, folder / "target", skip_bad=str(folder / "bad2"))
    assert report.bad_file == folder / "bad2"


# -- the disk -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "kind"), [("", DirectoryTarget), ("sqlite:", DatabaseTarget)])
def test_a_disk_that_gives_back_something_else_is_found_out(
    form: str, kind: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = theirs(folder / "source", [{"n": n, "text": "x" * 50} for n in range(30)], chunksize=10)
    built = folder / "target.partial" / "queue"
    finish = kind.finish

    def spoilt(target: Any) -> None:
        finish(target)
        file = built / "q00002" if built.is_dir() else built
        data = bytearray(file.read_bytes())
        data[data.rindex(b"xxxx")] ^= 1
        file.write_bytes(data)

    monkeypatch.setattr(kind, "finish", spoilt)
    with pytest.raises(MigrationError, match="what was read back is not what was written"):
        moved(source, f"{form}{folder}/target")
    assert names(folder) == ["source"]


def test_any_error_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = theirs(folder / "source", PLAIN)

    def fail(*args: Any, **more: Any) -> Any:
        raise OSError(5, "the disk is broken")

    monkeypatch.setattr(Partial, "save", fail)
    with pytest.raises(OSError, match="the disk is broken"):
        moved(source, folder / "target")
    assert names(folder) == ["source"]


def test_the_records_of_each_serializer_are_what_its_library_makes(folder: Path) -> None:
    """A check of the check: the items were compared by asyncpq's own serializers."""
    value = {"n": 1, "text": "é"}
    source = theirs(folder / "source", [value])
    for module in (json_lines, msgpack, cbor2):
        moved(source, folder / module.NAME, serializer=module)
        assert (folder / module.NAME / "q00000").read_bytes() == module.encode(value)
    assert os.listdir(folder / "json") != []
