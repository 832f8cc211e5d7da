"""Every directory and database that old releases wrote comes out as it went in, and stays as it was."""

from pathlib import Path
from typing import Any

import pytest

from asyncpq.sources import Source, open_source
from tests import golden_databases, golden_dirs


def items(source: Source) -> list[Any]:
    """All items; none is bad."""
    found = [entry for batch in source.batches() for entry in batch]
    assert [entry for entry in found if entry.bad] == []
    assert [entry.at for entry in found] == sorted({entry.at for entry in found})
    return [source.loads(entry.blob) for entry in found]


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize("golden", golden_dirs.GOLDEN, ids=str)
def test_every_golden_directory_comes_out_as_it_went_in(golden: golden_dirs.Golden, lock: bool, tmp_path: Path) -> None:
    path = golden.copy(tmp_path)
    given = None if golden.tells_serializer else golden.serializer
    with open_source(path, serializer=given, lock=lock) as source:
        assert golden_dirs.listed(items(source)) == golden.items
        assert source.about.kind == "file"
        assert source.about.items == len(golden.items)
        assert source.about.serializer is not None
        assert golden.serializer == source.about.serializer.NAME
    assert golden_dirs.digests(path) == golden.files


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize("golden", golden_databases.GOLDEN, ids=str)
def test_every_golden_database_comes_out_as_it_went_in(
    golden: golden_databases.Golden, lock: bool, tmp_path: Path
) -> None:
    place = golden.copy(tmp_path)
    path = place.database if place.db_file_name not in (None, "data.db") else place.path
    before = place.database.read_bytes(), sorted(place.database.parent.iterdir())
    with open_source(path, lock=lock) as source:
        assert items(source) == golden.items
        assert source.about.items == len(golden.items)
        assert source.about.details["table"] == golden.table
    assert (place.database.read_bytes(), sorted(place.database.parent.iterdir())) == before
