"""What is durable is read from the order of calls, and errs on the side of what can be lost."""

from collections.abc import Callable
from typing import Final

import pytest

from asyncpq.bench.ledger import Ledger

Steps = Callable[[Ledger], None]


def sync(ledger: Ledger, *files: str) -> None:
    for file in files:
        ledger.sync_ends(file, ledger.sync_begins())


def put_each_durable(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.wrote("q", 10)
        sync(ledger, "q")
        ledger.wrote("info", 100)
        sync(ledger, "info")
        ledger.acked(1)


def never_synced(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.wrote("q", 10)
        ledger.acked(1)


def one_file_of_two_synced(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.wrote("q", 10)
        ledger.wrote("info", 100)
        sync(ledger, "q")
        ledger.acked(1)


def synced_at_the_end(ledger: Ledger) -> None:
    never_synced(ledger)
    sync(ledger, "q")


def written_while_the_sync_ran(ledger: Ledger) -> None:
    ledger.wrote("q", 10)
    covers = ledger.sync_begins()
    ledger.wrote("q", 10)
    ledger.sync_ends("q", covers)
    ledger.acked(2)


def a_new_name_not_synced(ledger: Ledger) -> None:
    ledger.named("")
    ledger.wrote("q", 10)
    sync(ledger, "q")
    ledger.acked(1)


def a_new_name_synced(ledger: Ledger) -> None:
    ledger.named("")
    ledger.wrote("q", 10)
    sync(ledger, "q", "")
    ledger.acked(1)


def replaced_by_an_unsynced_file(ledger: Ledger) -> None:
    for number in range(3):
        ledger.wrote(f"tmp{number}", 10)
        ledger.renamed(f"tmp{number}", "info")
        sync(ledger, "")
        ledger.acked(1)


def replaced_by_a_synced_file(ledger: Ledger) -> None:
    for number in range(3):
        ledger.wrote(f"tmp{number}", 10)
        sync(ledger, f"tmp{number}")
        ledger.renamed(f"tmp{number}", "info")
        sync(ledger, "")
        ledger.acked(1)


def a_journal_removed_and_not_synced(ledger: Ledger) -> None:
    """As with a rollback journal: the next transaction syncs the removal of the last one's."""
    for _ in range(3):
        ledger.wrote("journal", 10)
        sync(ledger, "journal", "")
        ledger.wrote("db", 10)
        sync(ledger, "db")
        ledger.removed("journal")
        ledger.acked(1)


def a_wave_of_many(ledger: Ledger) -> None:
    ledger.wrote("q", 640)
    sync(ledger, "q")
    ledger.acked(64)


CASES: Final[dict[str, tuple[Steps, int, int, int, bool]]] = {
    # name: what happens, syncs, bytes, at risk, and whether anything became durable
    "each put made durable": (put_each_durable, 6, 330, 0, True),
    "nothing synced": (never_synced, 0, 30, 3, False),
    "one file of two synced": (one_file_of_two_synced, 3, 330, 3, False),
    "synced at the end": (synced_at_the_end, 1, 30, 3, True),
    "written while the sync ran": (written_while_the_sync_ran, 1, 20, 2, False),
    "a new name that is not synced": (a_new_name_not_synced, 1, 10, 1, False),
    "a new name that is synced": (a_new_name_synced, 2, 10, 0, True),
    "a file replaced by one that is not synced": (replaced_by_an_unsynced_file, 3, 30, 3, False),
    "a file replaced by one that is synced": (replaced_by_a_synced_file, 6, 30, 0, True),
    "a journal removed": (a_journal_removed_and_not_synced, 9, 60, 1, True),
    "many puts in one commit": (a_wave_of_many, 1, 640, 0, True),
}


@pytest.mark.parametrize("name", CASES)
def test_the_order_of_calls_says_what_can_be_lost(name: str) -> None:
    steps, syncs, bytes_, at_risk, advanced = CASES[name]
    ledger = Ledger()
    ledger.begin()
    steps(ledger)
    ledger.end()
    counts = ledger.counts("calls")
    assert (counts.syncs, counts.bytes, counts.at_risk, counts.advanced) == (syncs, bytes_, at_risk, advanced)


def test_what_is_outside_of_begin_and_end_does_not_count() -> None:
    ledger = Ledger()
    never_synced(ledger)
    ledger.begin()
    put_each_durable(ledger)
    ledger.end()
    never_synced(ledger)
    assert (ledger.puts, ledger.syncs, ledger.at_risk) == (3, 6, 0)


def test_the_time_at_risk_is_from_the_acknowledgement_to_the_sync() -> None:
    ledger = Ledger()
    ledger.begin()
    for second in range(4):
        ledger.now = float(second)
        ledger.wrote("q", 1)
        ledger.acked(1)
    ledger.now = 5.0
    sync(ledger, "q")
    ledger.end()
    assert ledger.exposed == 5.0


def test_what_never_became_durable_is_at_risk_until_the_end() -> None:
    ledger = Ledger()
    ledger.begin()
    never_synced(ledger)
    ledger.now = 7.0
    ledger.end()
    assert ledger.exposed == 7.0
