"""Every sync is missed by the explorer when it is left out: a test that passes without the sync is no test."""

import functools
from typing import Final

import pytest

from asyncpq import fsync
from tests.crash.explore import Effort, explore, syncs_of
from tests.crash.models import MODELS, POSIX
from tests.crash.mutations import ALWAYS, GATE, UNNOTICED, WINDOW, info_first, without
from tests.crash.player import Recording, record
from tests.crash.scripts import BY_NAME

POLICIES: Final = (ALWAYS, WINDOW, fsync.Rollover(), fsync.Interval(seconds=3600, items=2), fsync.Never())

recorded = functools.cache(record)


@pytest.mark.parametrize("sync", GATE)
def test_a_sync_that_is_left_out_is_noticed(sync: str) -> None:
    noticed = GATE[sync]
    recording = recorded(BY_NAME[noticed.script], noticed.policy, noticed.serializer, noticed.length)
    whole = explore(recording, noticed.model, noticed.effort)
    assert not whole.violations
    assert sync in whole.syncs, "this sync is not done there any more"
    assert explore(recording, noticed.model, noticed.effort, without(sync)).violations


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_info_before_data_is_noticed(model: object) -> None:
    recording = recorded(BY_NAME["puts"], ALWAYS)
    chosen = next(m for m in MODELS if m is model)
    assert explore(recording, chosen, Effort(most=1), info_first).violations


def test_every_sync_that_is_done_is_in_the_gate() -> None:
    """A new sync needs an entry: where leaving it out is noticed, or why it is there all the same."""
    recordings: list[Recording] = [recorded(script, policy) for policy in POLICIES for script in BY_NAME.values()]
    seen = set[str]().union(*(syncs_of(recording.log) for recording in recordings))
    for name in ("puts", "killed while putting", "killed while consuming", "taken over early"):
        seen |= explore(recorded(BY_NAME[name], WINDOW), POSIX, Effort(cap=40, healings=0, old_reader=0)).syncs
    assert seen == GATE.keys() | UNNOTICED.keys()
