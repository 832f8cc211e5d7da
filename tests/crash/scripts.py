"""What is done to a queue: at most a dozen operations each, so that every state can be looked at."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any, Final

import hypothesis.strategies as st

from asyncpq import AsyncQueue
from asyncpq.layout import INFO, Position, chunk_name
from tests.crash.check import Subject, item_of
from tests.crash.player import OldPlayer, Player, Script


async def puts(p: Player) -> None:
    for _ in range(4):
        await p.put()


async def rollover_edge(p: Player) -> None:
    for _ in range(3):
        await p.put()
    await p.get(2)
    await p.task_done()
    await p.get()
    await p.task_done()
    await p.put()
    await p.get()


async def puts_and_gets(p: Player) -> None:
    await p.put()
    await p.put()
    await p.get()
    await p.put()
    await p.task_done()
    await p.put()
    await p.get(2)
    await p.put()
    await p.task_done()


async def batches(p: Player) -> None:
    await p.put_many(2)
    await p.put_many(5)
    await p.get(4)
    await p.task_done()
    await p.put_many(1)
    await p.get(3)
    await p.task_done()


async def close_and_reopen(p: Player) -> None:
    await p.put_many(2)
    await p.reopen()
    await p.put()
    await p.get()
    await p.task_done()
    await p.reopen()
    await p.get()
    await p.task_done()
    await p.put()


async def cancelled(p: Player) -> None:
    await p.put()
    await p.cancelled_put(1)
    await p.put()
    await p.cancelled_put(2)
    await p.cancelled_put(3)
    await p.put()


async def compact(p: Player) -> None:
    await p.put()
    await p.put()
    await p.get(2)
    await p.task_done()
    await p.queue.compact()
    await p.put()
    await p.get()
    await p.task_done()
    await p.queue.compact()


async def clear(p: Player) -> None:
    await p.put_many(4)
    await p.get()
    await p.clear()
    await p.put()
    await p.clear()
    await p.put()


async def producers(p: Player) -> None:
    await asyncio.gather(p.put(), p.put(), p.put_many(2), p.put())
    await p.get(2)
    await asyncio.gather(p.put(), p.task_done(), p.put(), p.put_many(3))


async def consumers_only(p: Player) -> None:
    await p.put_many(5)
    await p.sync()
    for _ in range(4):
        await p.get()
        await p.task_done()
    await p.sync()
    await p.get()
    await p.task_done()


async def autosave(p: Player) -> None:
    await p.put_many(4)
    await p.get()
    await p.get(2)
    await p.put()
    await p.get(2)


async def syncs(p: Player) -> None:
    await p.put()
    await p.sync()
    await p.put_many(3)
    await p.sync()
    await p.put()
    await p.get(2)
    await p.task_done()
    await p.sync()
    await p.get(2)
    await p.task_done()
    await p.put()


async def close_while_committing(p: Player) -> None:
    await p.put_many(4)
    # The commit is on its way when the queue is told to close.
    await asyncio.gather(p.sync(), p.put(), p.close())
    await p.open()
    await p.put()


async def killed_while_putting(p: Player) -> None:
    await p.put_many(2)
    await p.killed_in(p.put(), 1)
    await p.put()
    await p.sync()
    await p.killed_in(p.put_many(4), 3)
    await p.put()


async def killed_in_the_first_put(p: Player) -> None:
    await p.killed_in(p.put(), 3)
    await p.killed_in(p.put(), 4)
    await p.put()


async def killed_before_a_name(p: Player) -> None:
    # info is renamed, and the directory is not synced: the next process finds an info that a power cut may undo.
    await p.killed_in(p.put(), 4)
    await p.put()
    await p.put()
    await p.sync()


async def killed_while_padding(p: Player) -> None:
    # info has the length of a slot, in the cache alone; then it is healed, and longer than it was.
    await p.put()
    await p.reopen()
    await p.killed_in(p.put(), 2)
    await p.put()


async def killed_while_consuming(p: Player) -> None:
    await p.put_many(5)
    await p.get(4)
    await p.killed_in(p.task_done(), 1)
    await p.get()
    await p.killed_in(p.task_done(), 2)
    await p.put()


async def killed_between(p: Player) -> None:
    await p.put_many(4)
    await p.killed_in(asyncio.sleep(0), 0)
    await p.get(2)
    await p.task_done()
    await p.killed_in(asyncio.sleep(0), 0)
    await p.put()
    await p.get(2)
    await p.task_done()


async def acks_out_of_order(p: Player) -> None:
    await p.put_many(5)
    await p.claim(4)
    await p.ack(1)
    await p.ack(2)
    await p.put()
    await p.ack(0)
    await p.sync()
    await p.ack(0)
    await p.claim(2)
    await p.ack(0, 1)


async def acks_and_reopening(p: Player) -> None:
    await p.put_many(4)
    await p.claim(4)
    await p.ack(3)
    await p.ack(1)
    await p.reopen()
    await p.claim(2)
    await p.ack(1)
    await p.put()
    await p.killed_in(p.put(), 1)
    await p.claim(1)
    await p.ack(0)


async def nacks(p: Player) -> None:
    await p.put_many(4)
    await p.claim(3)
    await p.nack(1)
    await p.ack(1)
    await p.claim(1)
    await p.nack(1)
    await p.ack(0)
    await p.reopen()
    await p.claim(2)
    await p.ack(1)
    await p.nack(0)


async def rejects(p: Player) -> None:
    await p.put_many(4)
    await p.claim(3)
    await p.reject(1)
    await p.reject(0)
    await p.put()
    await p.claim(2)
    await p.reject(2)
    await p.ack(0)


async def to_the_end(p: Player) -> None:
    await p.put_many(4)
    await p.sync()
    await p.claim(3)
    await p.nack_to_end(1)
    await p.ack(0)
    await p.nack_to_end(0)
    await p.put()
    await p.claim(3)
    await p.nack_to_end(0)
    await p.ack(1)
    await p.reopen()
    await p.claim(3)
    await p.ack(2, 0)


async def killed_while_moving(p: Player) -> None:
    await p.put_many(4)
    await p.claim(2)
    await p.killed_in(p.nack_to_end(1), 2)
    await p.claim(2)
    await p.killed_in(p.nack_to_end(0), 1)
    await p.put()
    await p.claim(3)
    await p.ack(1, 2)


async def dead_letters_and_reopening(p: Player) -> None:
    await p.put_many(5)
    await p.sync()
    await p.claim(4)
    await p.reject(2)
    await p.ack(1)
    await p.reject(0)
    await p.reopen()
    await p.claim(2)
    await p.reject(1)
    await p.put()
    await p.ack(0)


async def killed_while_rejecting(p: Player) -> None:
    await p.put_many(4)
    await p.claim(3)
    await p.killed_in(p.reject(1), 5)
    await p.claim(3)
    await p.reject(1)
    await p.killed_in(p.reject(0), 2)
    await p.claim(1)
    await p.reject(0)


async def journal_written_anew(p: Player) -> None:
    await p.put_many(8)
    await p.claim(8)
    await p.ack(1)
    await p.ack(2)
    await p.ack(3)
    await p.ack(0)
    await p.sync()
    await p.ack(3)
    await p.sync()
    await p.ack(2)
    await p.ack(0)
    await p.sync()
    await p.put()
    await p.ack(0)


async def killed_while_acknowledging(p: Player) -> None:
    await p.put_many(5)
    await p.claim(4)
    await p.killed_in(p.ack(2), 1)
    await p.claim(3)
    await p.killed_in(p.ack(1), 2)
    await p.clear()
    await p.put()


async def lost_and_noted(path: Path, subject: Subject, length: int, acked: list[int], *, early: bool) -> None:
    """Make at *path* what is left of a killed queue: the last of five items is gone, the notes on *acked* are not.

    *early*: info is gone back, too, to where the first four were durable.
    """
    queue = AsyncQueue(path.parent / "before", chunksize=subject.chunksize, serializer=subject.serializer)
    async with queue:
        await queue.put_many([item_of(key, length) for key in range(4)])
        await queue.sync()
        info = Path(queue.path, INFO).read_bytes()
        await queue.put(item_of(4, length))
        deliveries = await queue.claim_many(5)
        for number in acked:
            await deliveries[number].ack()
        shutil.copytree(queue.path, path)
    shutil.rmtree(queue.path)
    lost: Position = deliveries[4].claim.position
    os.truncate(path / chunk_name(lost.chunk), lost.offset)
    if early:
        (path / INFO).write_bytes(info)


def lost_beside_another_note(path: Path, subject: Subject, length: int) -> tuple[list[int], list[int]]:
    asyncio.run(lost_and_noted(path, subject, length, [1, 4], early=False))
    return [0, 1, 2, 3], [1]


def lost_with_its_info(path: Path, subject: Subject, length: int) -> tuple[list[int], list[int]]:
    asyncio.run(lost_and_noted(path, subject, length, [4], early=True))
    return [0, 1, 2, 3], []


async def put_again(p: Player) -> None:
    await p.put()
    await p.put()


def old_session(p: OldPlayer) -> None:
    for _ in range(4):
        p.put()
    p.get()
    p.get()
    p.task_done()
    p.put()
    p.put()
    p.get()
    p.get()
    p.task_done()


def old_first_put(p: OldPlayer) -> None:
    p.put()


def old_put_killed(p: OldPlayer) -> None:
    p.killed_put(1)


async def nothing(p: Player) -> None:
    await asyncio.sleep(0)


# persist-queue alone, and then its directory is taken over while the kernel has not written it yet.
OLD_SCRIPTS: Final = (
    Script("persist-queue", nothing, before=old_session),
    Script("taken over", puts_and_gets, before=old_session),
    Script("taken over early", puts, before=old_first_put),
    Script("taken over before its info", puts, before=old_put_killed),
)

SCRIPTS: Final = (
    Script("puts", puts),
    Script("puts in a new parent", puts, where="a/b/queue"),
    Script("rollover edge", rollover_edge),
    Script("puts and gets", puts_and_gets),
    Script("batches", batches),
    Script("close and reopen", close_and_reopen),
    Script("cancelled", cancelled),
    Script("compact", compact),
    Script("clear", clear),
    Script("producers", producers),
    Script("consumers only", consumers_only),
    Script("autosave", autosave, autosave=True),
    Script("syncs", syncs),
    Script("close while a commit runs", close_while_committing),
    Script("killed while putting", killed_while_putting),
    Script("killed in the first put", killed_in_the_first_put),
    Script("killed before a name is durable", killed_before_a_name),
    Script("killed while padding", killed_while_padding),
    Script("killed while consuming", killed_while_consuming),
    Script("killed between", killed_between),
    Script("acks out of order", acks_out_of_order),
    Script("acks and reopening", acks_and_reopening),
    Script("nacks", nacks),
    Script("rejects", rejects),
    Script("killed while acknowledging", killed_while_acknowledging),
    Script("to the end", to_the_end),
    Script("killed while moving", killed_while_moving),
    Script("dead letters and reopening", dead_letters_and_reopening),
    Script("killed while rejecting", killed_while_rejecting),
    Script("the same record again", put_again, prepare=lost_beside_another_note),
    Script("the same record behind an early info", put_again, prepare=lost_with_its_info),
    Script("journal written anew", journal_written_anew, crowded=96),
)

BY_NAME: Final = {script.name: script for script in (*SCRIPTS, *OLD_SCRIPTS)}

# Each step and how many items, or operations before a kill, it is about.
STEPS: Final[dict[str, int]] = {
    "put": 1,
    "put_many": 5,
    "gather": 4,
    "get": 3,
    "task_done": 1,
    "sync": 1,
    "reopen": 1,
    "compact": 1,
    "clear": 1,
    "kill": 6,
}
CLAIM_STEPS: Final[dict[str, int]] = {
    **{name: STEPS[name] for name in ("put", "put_many", "gather", "sync", "reopen", "clear", "kill")},
    "claim": 4,
    "ack": 4,
    "nack": 4,
    "nack_to_end": 4,
    "reject": 4,
    "killed_answer": 6,
}


def of_steps(steps: list[tuple[str, int]]) -> Script:
    """A script from what `random_steps` draws; a step that has nothing to do is left out."""

    async def run(p: Player) -> None:
        for name, count in steps:
            await _step(p, name, count)

    return Script(f"of steps {steps}", run)


async def _step(p: Player, name: str, count: int) -> None:
    match name:
        case "put_many":
            await p.put_many(count)
        case "gather":
            await asyncio.gather(*(p.put() for _ in range(count)))
        case "get" if await p.queue.qsize():
            await p.get(count)
        case "task_done" if p.holds:
            await p.task_done()
        case "compact":
            await p.queue.compact()
        case "claim" if await p.queue.qsize():
            await p.claim(count)
        case "ack" | "nack" | "nack_to_end" | "reject" if p.claimed:
            await getattr(p, name)(count % p.claimed)
        case "killed_answer" if p.claimed:
            answer = (p.ack, p.nack_to_end, p.reject)[count % 3]
            await p.killed_in(answer(count % p.claimed), count)
        case "kill":
            await p.killed_in(p.put_many(2), count)
        case "put" | "sync" | "reopen" | "clear":
            await getattr(p, name)()


def random_steps() -> st.SearchStrategy[list[tuple[str, int]]]:
    """Scripts of up to ten steps: such as get, or such as claim."""
    return st.one_of(*(st.lists(_steps_of(steps), min_size=1, max_size=10) for steps in (STEPS, CLAIM_STEPS)))


def _steps_of(steps: dict[str, int]) -> st.SearchStrategy[Any]:
    return st.sampled_from(sorted(steps)).flatmap(lambda name: st.tuples(st.just(name), st.integers(1, steps[name])))
