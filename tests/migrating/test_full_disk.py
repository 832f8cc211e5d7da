"""A disk without room: one clear error, nothing is left, and with room it goes through."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq.migrating import spool
from asyncpq.migrating.spool import Spool
from tests.migrating.moving import items, moved, names, theirs, traces
from tests.power import mounts
from tests.power.mounts import MIB

VALUES: Final[list[Any]] = [{"n": n, "text": "x" * 500} for n in range(2000)]
WISHES: Final[list[dict[str, Any]]] = [
    {},
    {"serializer": "json"},
    {"serializer": "msgpack", "lossy": True},
    {"form": "sqlite:"},
    {"form": "sqlite:", "serializer": "json", "queue_class": "filo"},
]


@pytest.fixture(scope="module")
def source() -> Iterator[Path]:
    """1 MB, on another file system."""
    if reason := mounts.no_tmpfs():
        pytest.skip(reason)
    with mounts.memory() as where:
        yield theirs(where / "source", VALUES, chunksize=500)


@pytest.mark.parametrize("wishes", WISHES, ids=str)
@pytest.mark.parametrize("size", [16 * 1024, MIB // 2])
def test_a_full_disk_is_one_error_and_nothing_is_left(size: int, wishes: dict[str, Any], source: Path) -> None:
    before = traces(source)
    wishes = dict(wishes)
    form = wishes.pop("form", "")
    with mounts.memory(size) as small:
        with pytest.raises(OSError, match="No space left on device") as refused:
            moved(source, f"{form}{small}/target", **wishes)
        assert (refused.value.errno, str(refused.value.filename)[: len(str(small))]) == (errno.ENOSPC, str(small))
        assert names(small) == []
    assert traces(source) == before


def test_where_there_is_room_for_the_target_and_not_for_more_the_source_is_read_twice(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the scan made is kept beside the target only where there is plenty of room."""
    given_up, give_up = [], Spool.give_up

    def heard(spool: Spool) -> None:
        given_up.append(spool)
        give_up(spool)

    monkeypatch.setattr(spool, "HELD", MIB // 16)
    monkeypatch.setattr(spool, "LOOK", MIB // 16)
    monkeypatch.setattr(Spool, "give_up", heard)
    with mounts.memory(2 * MIB) as small:
        moved(source, small / "target", serializer="json")
        assert given_up
        assert items(small / "target") == VALUES
        assert names(small) == ["target"]
