"""The directory goes with the run; what a killed run left goes with the next one; nothing else ever does."""

import os
from pathlib import Path

import pytest

from asyncpq.bench.workspace import ALIVE, PREFIX, remove_stale, workspace


def left_behind(where: Path, name: str = "0123abcd") -> Path:
    """What a killed run leaves."""
    path = where / f"{PREFIX}{name}"
    (path / "c0001").mkdir(parents=True)
    (path / "c0001" / "q00000").write_bytes(b"x")
    (path / ALIVE).touch()
    return path


def test_it_is_removed_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with workspace(tmp_path) as space, space.place() as place:
            (place / "file").write_bytes(b"x")
            raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_place_is_empty_and_removed_at_once(tmp_path: Path) -> None:
    with workspace(tmp_path) as space:
        for _ in range(2):
            with space.place() as place:
                assert list(place.iterdir()) == []
                (place / "file").touch()
            assert not place.exists()


def test_what_a_dead_run_left_is_removed(tmp_path: Path) -> None:
    stale = left_behind(tmp_path)
    assert remove_stale(tmp_path) == [stale]
    assert not stale.exists()


def test_a_run_that_lives_is_left_alone(tmp_path: Path) -> None:
    with workspace(tmp_path) as space:
        assert remove_stale(tmp_path) == []
        assert space.path.is_dir()


@pytest.mark.parametrize("name", ["a directory of somebody's", "a file", "a link"])
def test_what_only_has_such_a_name_is_left_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{PREFIX}results"
    if name == "a file":
        path.write_text("figures")
    elif name == "a link":
        left_behind(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere" / f"{PREFIX}0123abcd")
    else:
        path.mkdir()
        (path / "figures").write_text("mine")
    assert remove_stale(tmp_path) == []
    assert os.path.lexists(path)
