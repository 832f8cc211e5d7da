"""What is done to an open queue beside put and get: drop all, give space back, pass over damage, put the tail back.

Each is a job in the writing lane, so it sees every earlier write and no half of a later one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from asyncpq.lane import forget

if TYPE_CHECKING:
    import asyncio

    from asyncpq.engine import Engine
    from asyncpq.layout import Position

logger: Final = logging.getLogger("asyncpq")


def clear(engine: Engine) -> asyncio.Future[None]:
    """Drop what is stored, and what was got and not committed; durable where the policy says so."""
    log, buffer = engine.log, engine.buffer

    def job() -> None:
        log.drop_all(durably=engine.always)
        log.reclaim()

    def settled(error: BaseException | None) -> None:
        if error is None:
            buffer.leave(log.chunks.head)
            if engine.claims is not None:
                engine.claims.dropped_all()
            engine.unfinished = engine.finishing
            engine.joiners.wake()

    return engine.in_lane(job, settled)


def compact(engine: Engine) -> asyncio.Future[None]:
    """Give back the space of the present chunk, when everything in it was consumed and committed."""
    log, buffer = engine.log, engine.buffer
    moved: list[bool] = []

    def job() -> None:
        if not engine.quiet or not log.compact():
            return
        moved.append(True)
        if engine.always:
            log.commit()
        log.reclaim()

    def settled(error: BaseException | None) -> None:
        if moved:
            buffer.leave(log.chunks.head)

    return engine.in_lane(job, settled)


def pass_over(engine: Engine) -> asyncio.Future[None]:
    """Set the damaged record at the cursor aside, durably, and move the cursor behind it."""
    at = engine.buffer.cursor
    passed: list[tuple[Position, int]] = []

    def settled(error: BaseException | None) -> None:
        if error is None and engine.buffer.cursor == at:
            position, records = passed[0]
            logger.warning(
                "%s: the record in chunk %d at byte %d cannot be read; it is set aside in damaged/",
                *(engine.path, at.chunk, at.offset),
            )
            engine.buffer.jump(position, records)
            engine.unfinished = max(engine.finishing, engine.unfinished - records)
            engine.joiners.wake()
            if engine.log.tail == at and not engine.buffer.returned:
                # Nothing that was got waits for its task_done: it need not come again, nor be set aside again.
                forget(engine.commit_later())

    return engine.in_lane(lambda: passed.append(engine.log.pass_over(at, engine.opened.serializer)), settled)


def reclaim_later(engine: Engine) -> None:
    """Remove what the autosave gets that have returned have emptied."""
    if engine.refusal is None and engine.log.chunks.oldest < engine.log.tail.chunk and not engine.autosaving:
        forget(engine.in_lane(engine.log.reclaim))


def move_back(engine: Engine, chunk: int) -> None:
    """Have the tail say again that what was given back is not done.

    The commit that was given up may be running: *chunk* stays among the `autosaving` until this one is done.
    """
    if engine.failure is not None:
        engine.autosaved(chunk)
        return
    moving = engine.commit_later()
    moving.add_done_callback(lambda _: engine.autosaved(chunk))
    forget(moving)
