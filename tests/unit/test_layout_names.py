"""Names in a directory are told apart all at once, as each would be by itself."""

from collections.abc import Sequence

import pytest

from asyncpq.layout import chunk_name, chunk_number, listing

STRANGE = [
    "info",
    "q1",
    "q0000",
    "q000001",
    "q0000a",
    "xq00001",
    "q00001x",
    "q\u0661\u0661\u0661\u0661\u0661",
    "q00002\n",
    "\nq00002",
]


@pytest.mark.parametrize("strange", [[], ["info"], ["q0000a"], STRANGE], ids=["none", "info", "like a chunk", "all"])
@pytest.mark.parametrize(
    "numbers",
    [[], [0], [7], range(20), [*range(99990, 100010)], [3, 4, 6], [0, 10**17 - 1], [0, 99999, 100000, 5]],
    ids=str,
)
def test_names_are_told_apart_as_each_by_itself(numbers: Sequence[int], strange: list[str]) -> None:
    names = [*strange, *map(chunk_name, numbers)][::-1]
    found = listing(names)
    assert [*found.numbers] == sorted(n for n in map(chunk_number, names) if n is not None) == sorted(numbers)
    assert found.others == set(strange)


@pytest.mark.parametrize("numbers", [range(5, 500), [1, 2, 4]], ids=["no hole", "a hole"])
def test_a_directory_without_a_hole_takes_no_list_of_numbers(numbers: Sequence[int]) -> None:
    """There may be a hundred thousand of them, and opening looks at none but the ends."""
    assert isinstance(listing([*map(chunk_name, numbers)]).numbers, range) == isinstance(numbers, range)
