"""Keys, the note and doubt, as values."""

from uuid import UUID

import pytest

from asyncpq.forwarding.doubt import Known, judge
from asyncpq.forwarding.keys import key
from asyncpq.forwarding.note import SIZE, Note, directory_of, fingerprint, note_of, written
from asyncpq.forwarding.pauses import Pauses
from asyncpq.layout import Position

HERE = UUID(int=5)
NOTE = Note(Position(3, 4, 500), 77, 1234.5, fingerprint(["s"], 8), fingerprint(["t"], 16))


def test_a_key_tells_directory_place_and_content_apart() -> None:
    keys = {
        key(directory, position, record)
        for directory in (HERE, UUID(int=6))
        for position in (Position(1, 2, 30), Position(1, 3, 30), Position(2, 2, 30))
        for record in (b"a", b"b")
    }
    assert len(keys) == 12
    assert key(HERE, Position(1, 2, 30), b"a") == f"{HERE.hex}:1:2:40f89e395b66422f"


def test_the_file_says_again_what_was_written() -> None:
    data = written(HERE, NOTE)
    assert (len(data), directory_of(data), note_of(data)) == (SIZE, HERE, NOTE)
    assert (directory_of(written(HERE, None)), note_of(written(HERE, None))) == (HERE, None)


def test_every_torn_or_changed_note_is_none_and_the_directory_keeps_its_name() -> None:
    data = written(HERE, NOTE)
    for at in range(40, len(data)):
        assert note_of(data[:at]) is None
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert (directory_of(changed), note_of(changed)) == (HERE, None)


def test_a_changed_name_is_none() -> None:
    data = written(HERE, NOTE)
    for at in (0, 8, *range(16, 36)):
        assert directory_of(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) is None


KEYS = ["k0", "k1", "k2", "k3"]

STREAMS = {
    "nothing came": (({}, 0, 10, 10), Known(0, 0)),
    "all of it is there": (({"k0": 11, "k1": 12, "k2": 13, "k3": 14}, 0, 10, 14), Known(4, 0)),
    "a part of it, and then others": (({"k0": 11, "k1": 12}, 3, 10, 15), Known(2, 0)),
    "its beginning was consumed, which says that it was stored": (({"k2": 13}, 0, 10, 13), Known(3, 0)),
    "one is gone behind it: it may be the next": (({"k1": 12}, 1, 10, 14), Known(2, 1)),
    "all that came is gone": (({}, 0, 10, 12), Known(0, 2)),
    "more is gone than there was": (({}, 0, 10, 99), Known(0, 4)),
    "only others, none gone": (({}, 5, 10, 15), Known(0, 0)),
}


@pytest.mark.parametrize("case", STREAMS)
def test_what_is_known_of_a_batch(case: str) -> None:
    (found, present, since, last), known = STREAMS[case]
    assert judge(KEYS, found, present, since, last) == known


def test_pauses_grow_to_the_most_and_leave_a_half_to_chance() -> None:
    pauses = Pauses(30.0)
    taken = [pauses.next() for _ in range(20)]
    assert taken[0] <= 0.25
    assert all(15 <= pause <= 30 for pause in taken[8:])
    assert len(set(taken[8:])) > 1
    pauses.reset()
    assert pauses.next() <= 0.25
