"""One sentence recommends, by the figures, and is silent where they say nothing."""

from dataclasses import replace
from typing import Final

import pytest

from asyncpq.bench.advice import advise, seconds, warnings
from asyncpq.bench.result import Floor, Row
from tests.bench.figures import COUNTED, DISK, OPTIONS, floor, row

SLOW: Final = [row("never", 100_000), row("interval", 90_000), row("always", 100)]
FAST: Final = [row("never", 100_000), row("interval", 90_000), row("always", 60_000)]
MANY: Final = [*SLOW, row("never", 110_000, producers=16), row("always", 1_500, producers=16)]
FILE_AND_SQLITE: Final = [row("always", 2_000), row("always", 4_000, contender="asyncpq sqlite"), row("never", 90_000)]

GENERAL: Final[dict[str, tuple[list[Row], Floor, list[str], list[str]]]] = {
    # what was measured: rows, floor, what the sentence says in this order, and what it does not say
    "always costs little": (
        FAST,
        floor(2e-4),
        ["fsync='always'", "60,000", "no policy is twice as fast"],
        ["interval"],
    ),
    "always is slow": (
        SLOW,
        floor(1e-2),
        ["10 ms", "'always'", "100 puts", "nothing", "50 a second", "'interval'"],
        [],
    ),
    "many producers share the syncs": (MANY, floor(1e-2), ["100 puts", "one producer", "1,500 with 16"], []),
    "the faster kind is meant": (FILE_AND_SQLITE, DISK, ["'always' on the SQLite queue", "4,000"], ["2,000 puts"]),
    "one policy only": ([row("always", 100)], DISK, ["only one policy was measured", "'always'"], ["only where"]),
    "nothing was measured": ([], DISK, ["No policy is recommended", "none was measured"], []),
    "other sizes do not count": ([row("never", 5.0, size=1024), *FAST], DISK, ["60,000"], ["5 puts"]),
}


@pytest.mark.parametrize("name", GENERAL)
def test_the_sentence_follows_from_the_figures(name: str) -> None:
    rows, bare, words, others = GENERAL[name]
    said = advise(rows, bare, OPTIONS, [])
    positions = [said.find(word) for word in words]
    assert -1 not in positions, said
    assert positions == sorted(positions), said
    assert not [word for word in others if word in said]
    assert said.endswith(".")
    assert said.count(".") - said.count("0.") <= 2, "one sentence"


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (40, ["For 40 puts a second take fsync='always'", "one producer", "nothing"]),
        (700, ["fsync='always'", "1,500 puts a second with 16 producers"]),
        (5_000, ["fsync='interval'", "at least twice that", "can lose 1 s: 91,000 items at this rate"]),
        (52_000, ["fsync='never'", "110,000", "of 1,000 puts none became durable"]),
        (80_000, ["No policy puts 80,000 a second twice over", "put_many"]),
    ],
)
def test_for_a_load_the_safest_policy_that_carries_it_twice_is_taken(load: float, words: list[str]) -> None:
    said = advise(MANY, DISK, replace(OPTIONS, load=load), [])
    assert all(word in said for word in words), said


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_memory_is_no_disk(kind: str) -> None:
    warned = warnings(kind, "/dev/shm", floor(1e-6))
    assert "is in memory" in warned[0]
    assert advise(FAST, DISK, OPTIONS, warned).startswith("No policy is recommended from these figures: /dev/shm is")


def test_a_sync_that_is_too_fast_is_none() -> None:
    warned = warnings("ext4", "/data", floor(15e-6))
    assert "15 us, too fast to be a disk" in warned[0]
    assert "'always'" not in advise(FAST, floor(15e-6), OPTIONS, warned)


def test_a_disk_is_not_warned_of() -> None:
    assert warnings("ext4", "/data", floor(100e-6)) == []


def test_what_was_not_counted_is_not_claimed() -> None:
    lone = replace(row("always", 100), counts=replace(COUNTED["always"], at_risk=None))
    assert "can lose nothing" not in advise([lone], DISK, OPTIONS, [])
    assert "was not counted (promised is: each put is durable when it returns)" in advise([lone], DISK, OPTIONS, [])


@pytest.mark.parametrize(("value", "text"), [(2.5, "2.5 s"), (0.0123, "12.3 ms"), (5.4e-6, "5.4 us"), (9e-10, "1 ns")])
def test_a_time_is_said_in_its_unit(value: float, text: str) -> None:
    assert seconds(value) == text
