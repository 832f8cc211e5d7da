"""Every queue that an old release left goes to every serializer that can hold it, and back, and is equal."""

from pathlib import Path
from typing import Any, Final

import pytest

from asyncpq import Unfit
from asyncpq.canonical import canonical
from asyncpq.sources import open_source
from tests import golden_databases, golden_dirs
from tests.golden_dirs import listed
from tests.migrating.moving import SERIALIZERS, files, items, moved

Golden = golden_dirs.Golden | golden_databases.Golden

ALL: Final[list[Golden]] = [*golden_dirs.GOLDEN, *golden_databases.GOLDEN]


class Old:
    """A copy of an old queue, and what it holds."""

    def __init__(self, golden: Golden, root: Path) -> None:
        self.name, self.root = str(golden), root
        copy = golden.copy(root)
        self.said = None  # the serializer, where nothing in it tells
        if isinstance(copy, Path):
            assert isinstance(golden, golden_dirs.Golden)
            self.source, self.said = str(copy), None if golden.tells_serializer else golden.serializer
        else:
            path = copy.path if copy.db_file_name in (None, "data.db") else copy.database
            self.source = f"sqlite:{path}#{copy.name}"
        with open_source(self.source, serializer=self.said) as source:
            assert source.about.serializer is not None
            self.serializer = source.about.serializer.NAME
        self.values = items(self.source, serializer=self.said)
        self.before = files(root)

    def lost(self, serializer: str, kind: str) -> set[str]:
        """What the way there loses: the old releases put nothing but plain data, with lists or tuples in it."""
        lost = {"priorities"} if kind == "file" and "priority" in self.name else set()
        if serializer != self.serializer and self.values and canonical(listed(self.values)) != canonical(self.values):
            lost |= {"tuples"} if serializer in ("json", "orjson", "cbor2") else set()
        if serializer == "msgpack" and serializer != self.serializer and _holds_list(self.values):
            lost |= {"lists"}
        return lost

    def there_and_back(self, serializer: str, kind: str) -> None:
        """Move it there, and back in the serializer that it had, and compare values."""
        name = f"{serializer}-{kind}"
        there = f"{'sqlite:' if kind == 'sqlite' else ''}{self.root}/{name}"
        back = f"{'sqlite:' if kind == 'file' else ''}{self.root}/{name}-back"
        lost = self.lost(serializer, kind)
        if lost:
            with pytest.raises(Unfit) as refused:
                moved(self.source, there, serializer=serializer, source_serializer=self.said)
            assert {loss.kind for loss in refused.value.losses} == lost
            assert not (self.root / name).exists()
        report = moved(self.source, there, serializer=serializer, source_serializer=self.said, lossy=bool(lost))
        assert {loss.kind for loss in report.losses} == lost
        moved(there, back, serializer=self.serializer, source_serializer=serializer, lossy=bool(lost) or kind != "file")
        same = listed if lost - {"priorities"} else _itself
        assert canonical(same(items(there, serializer=serializer))) == canonical(same(self.values))
        assert canonical(same(items(back, serializer=self.serializer))) == canonical(same(self.values))


def _itself(value: Any) -> Any:
    return value


def _holds_list(value: Any, top: bool = True) -> bool:
    if isinstance(value, dict):
        return any(_holds_list(part, False) for part in value.values())
    return (isinstance(value, list) and not top) or (
        isinstance(value, list | tuple) and any(_holds_list(part, False) for part in value)
    )


@pytest.mark.parametrize("golden", ALL, ids=str)
def test_an_old_queue_goes_to_other_serializers_and_back(golden: Golden, folder: Path) -> None:
    """To two of them, in turn, as a file queue and as a database: the rest is for `make soak`."""
    old, first = Old(golden, folder), ALL.index(golden)
    for number, serializer in enumerate((*SERIALIZERS, *SERIALIZERS)[first % 5 :][:2], first):
        old.there_and_back(serializer, ("file", "sqlite")[number % 2])
    assert {name: data for name, data in files(folder).items() if name in old.before} == old.before


@pytest.mark.soak
@pytest.mark.parametrize("golden", ALL, ids=str)
def test_an_old_queue_goes_to_every_serializer_and_both_kinds_and_back(golden: Golden, folder: Path) -> None:
    old = Old(golden, folder)
    for serializer in SERIALIZERS:
        for kind in ("file", "sqlite"):
            old.there_and_back(serializer, kind)
    assert {name: data for name, data in files(folder).items() if name in old.before} == old.before
