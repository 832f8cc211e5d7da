"""What was made to harm is refused or copied: nothing runs, escapes, hangs, or takes memory."""

import resource
import time
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import serializers
from asyncpq.migrating.bombs import TooBig, guarded
from tests.cli.conftest import Command
from tests.cli.test_hostile import HOSTILE, bomb
from tests.unit.queue_dirs import tree

WISHES: Final[list[list[object]]] = [
    ["--skip-bad"],
    ["--serializer", "json", "--lossy", "--skip-bad"],
    ["--serializer", "msgpack", "--lossy", "--skip-bad"],
    ["--serializer", "cbor2", "--lossy", "--skip-bad"],
]
SECONDS: Final = 10.0
ROOM: Final = 300 * 1024 * 1024  # bytes


@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_lies_there_is_moved_or_refused_safely(what: str, tmp_path: Path, command: Command) -> None:
    (tmp_path / "from").mkdir()
    path, mark = HOSTILE[what](tmp_path / "from", tmp_path / "mark"), tmp_path / "mark"
    before = tree(tmp_path / "from") if what != "a named pipe" else {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, wishes in enumerate(WISHES):
        for form in ("", "sqlite:"):
            began = time.monotonic()
            ran = command("migrate", path, f"{form}{tmp_path}/target{number}{form[:1]}", *wishes)
            assert time.monotonic() - began < SECONDS, wishes
            assert not mark.exists(), wishes
            assert "this should not happen" not in ran.err, ran.err
            assert ran.status in (0, 1)
            assert all(line.isprintable() for line in (ran.out + ran.err).split("\n"))
            assert not list(tmp_path.glob("*.partial"))
    if before:
        assert tree(tmp_path / "from") == before
    assert b"SECRET" not in b"".join(file.read_bytes() for file in tmp_path.glob("target*/*"))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024 < ROOM


def test_a_part_at_many_places_is_weighed_at_each() -> None:
    load = guarded(lambda blob: serializers.plain_loads(blob, 0)[0], "pickle")
    with pytest.raises(TooBig):
        load(bomb(100))
    shared: Any = ["x"]
    blob = serializers.pickle.encode([shared] * 1000)
    assert load(blob) == [["x"]] * 1000
    with pytest.raises(TooBig):
        load(serializers.pickle.encode(["y" * 1_000_000 + "h"] * 1000))
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(TooBig):
        load(serializers.pickle.encode(itself))
