"""The rules of the file queue, run on a real server: the same test functions, with another maker of queues.

What does not apply is said in NOT_HERE, test by test, with the reason; what is neither run nor listed is an error.
"""

import asyncio
import functools
import inspect
from contextlib import asynccontextmanager
from types import FunctionType, ModuleType
from typing import Any, Final

import pytest

from tests import test_claims, test_waiting
from tests.nats import face
from tests.nats.server import Server

MODULES: Final = (test_waiting, test_claims)
PATIENCE: Final = 20.0  # seconds that one of them may take

ROOM: Final = "the server counts what was got and not acknowledged: room comes with task_done or ack, and not with get"
SETTING: Final = "maxsize belongs to the stream, which is opened with the settings that it has"
FILES: Final = "looks at files, or holds one of their calls up"
STEPS: Final = "plays the threads of the file queue step by step"
COUNTS: Final = "looks at counts in stats() that one of many openers cannot know"
LATER: Final = "the server hands out what was given back to whoever asks next, after what was on its way already"
ATTEMPTS: Final = "the server counts deliveries, also those that a close gave back"
SPEED: Final = "measures how the file queue shares the loop"

NOT_HERE: Final[dict[str, str]] = {
    "test_a_cancelled_claim_leaves_the_item": "the item may come before its put returns; test_queue.py cancels at will",
    "test_nobody_overtakes_a_putter_who_was_let_go_on": ROOM,
    "test_maxsize_is_never_exceeded": ROOM,
    "test_nobody_takes_the_room_that_a_putter_was_promised": ROOM,
    "test_close_wakes_everyone": ROOM,
    "test_a_putter_woken_in_the_turn_of_the_close_is_refused": ROOM,
    "test_clear_drops_what_is_stored_and_what_is_outstanding": ROOM,
    "test_put_many_goes_in_as_room_comes": ROOM,
    "test_put_many_keeps_its_order_and_shares_the_room": ROOM,
    "test_maxsize_below_the_size_is_full_until_there_is_room": SETTING,
    "test_a_directory_with_more_items_than_maxsize_is_full": SETTING,
    "test_raising_maxsize_lets_putters_go_on": SETTING,
    "test_a_timeout_covers_the_waiting_and_not_the_commit": FILES,
    "test_what_is_on_its_way_takes_room": FILES,
    "test_shutdown_waits_for_what_is_on_its_way": FILES,
    "test_task_dones_at_the_same_time_count_once_each": FILES,
    "test_the_count_falls_when_the_commit_is_done": FILES,
    "test_compact_gives_back_a_chunk_that_was_consumed": FILES,
    "test_get_many_goes_on_while_there_is_something_to_read": FILES,
    "test_get_many_returns_what_lies_before_a_damaged_record": FILES,
    "test_persist_queue_sees_every_item_that_is_not_acknowledged": FILES,
    "test_acks_in_order_need_no_journal": FILES,
    "test_the_journal_is_empty_once_the_tail_has_passed_it": FILES,
    "test_a_reader_and_check_leave_out_what_is_acknowledged": FILES,
    "test_losing_the_journal_costs_deliveries_and_no_item": FILES,
    "test_a_damaged_note_says_nothing": FILES,
    "test_a_note_about_another_record_is_ignored": FILES,
    "test_a_note_is_read_as_it_was_written": FILES,
    "test_healing_that_moves_head_back_drops_the_notes_past_it": FILES,
    "test_a_journal_that_became_long_is_written_anew": FILES,
    "test_a_journal_without_room_fails_only_the_acknowledgements_that_need_it": FILES,
    "test_a_repair_loses_no_item": FILES,
    "test_an_ack_for_which_there_is_no_room_can_be_tried_again": FILES,
    "test_a_close_says_when_the_dead_letters_could_not_be_closed": FILES,
    "test_what_cannot_be_decoded_is_kept_byte_for_byte": FILES,
    "test_an_item_encoded_in_a_thread_while_the_queue_closes_is_refused": "items are encoded on the loop",
    "test_clear_while_an_item_is_read_lets_the_getter_wait_on": STEPS,
    "test_put_many_that_ends_early_says_how_many_are_stored": STEPS,
    "test_exactly_what_was_not_acknowledged_comes_again": COUNTS,
    "test_an_item_that_was_got_and_not_done_comes_again": COUNTS,
    "test_one_cursor_stands_for_all_consumers": COUNTS,
    "test_an_item_goes_to_the_end_on_request": COUNTS,
    "test_memory_and_leases_stay_small": "looks at private attributes",
    "test_receive_acknowledges_or_gives_back": LATER,
    "test_an_item_given_back_comes_before_newer_ones_and_counts_its_attempts": ATTEMPTS,
    "test_get_and_claim_do_not_mix": "they may be mixed here: task_done acknowledges what was got, and nothing else",
    "test_a_timeout_in_the_turn_of_the_delivery_loses_nothing": "an item that was put may still be on its way here",
    "test_workers": "a model of the journal, and of persist-queue beside it",
    "test_producers_do_not_starve_the_rest_of_the_loop": SPEED,
    "test_consumers_do_not_starve_the_rest_of_the_loop": SPEED,
}


@pytest.fixture(autouse=True)
def _server(server: Server) -> None:
    face.use(server)


jobs, clock = test_waiting.jobs, test_waiting.clock


def rules_of(module: ModuleType) -> dict[str, FunctionType]:
    return {name: one for name, one in vars(module).items() if name.startswith("test_") and inspect.isfunction(one)}


def on_the_server(test: FunctionType) -> Any:
    """*test*, as it is, with queues on the server wherever it makes one."""
    names: dict[str, Any] = {**test.__globals__, "AsyncQueue": face.nats_queue}
    for helper in {"rest", "drained_until", "used"} & names.keys():
        names[helper] = FunctionType(names[helper].__code__, names)
    if "holding" in names:
        names["holding"] = asynccontextmanager(FunctionType(names["holding"].__wrapped__.__code__, names))
    copy = FunctionType(test.__code__, names, test.__name__, test.__defaults__, test.__closure__)
    functools.update_wrapper(copy, test)
    del copy.__wrapped__  # type: ignore[attr-defined]  # pytest would look at the original
    if not inspect.iscoroutinefunction(test) or "clock" in inspect.signature(test).parameters:
        return copy

    @functools.wraps(copy)
    async def in_time(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            await copy(*args, **kwargs)

    return in_time


RULES: Final = {name: rule for module in MODULES for name, rule in rules_of(module).items()}
globals().update({name: on_the_server(rule) for name, rule in RULES.items() if name not in NOT_HERE})


def test_no_rule_is_left_out_unseen() -> None:
    assert NOT_HERE.keys() <= RULES.keys()
    assert len(RULES) - len(NOT_HERE) >= 39
