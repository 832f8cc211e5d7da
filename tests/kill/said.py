"""What the children of tests.kill.claiming said, and what must be true of a queue and its dead letters then.

    b 17   its ack begins       r 17   its reject begins             m 17   its nack to the end begins
    a 17   the ack returned     d 17   it is among the dead letters  n 17   the nack returned

A child that dies in a move may leave both records: such an item may come twice, and again.
"""

from dataclasses import dataclass, field
from pathlib import Path

from asyncpq import AsyncQueue, NotAQueue, dead_letters


def dead_of(folder: Path) -> Path:
    """Where the dead letters of the queue in *folder* go."""
    return folder.with_name(folder.name + ".dead")


@dataclass
class Said:
    """What is known of each item."""

    begun: set[int] = field(default_factory=set)
    acked: set[int] = field(default_factory=set)
    rejecting: set[int] = field(default_factory=set)
    rejected: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)
    doubled: set[int] = field(default_factory=set)
    grew: int = 0  # KiB of memory, from the opening to the end
    ended: bool = False

    def hear(self, lines: list[str]) -> None:
        """Take down what one child said until its end."""
        moving: list[int] = []
        for line in lines:
            what, _, text = line.partition(" ")
            if what == "end":
                self.ended = True
            elif text:
                self._note(what, int(text), moving)
        self.doubled.update(moving)

    def _note(self, what: str, item: int, moving: list[int]) -> None:
        match what:
            case "b":
                self.begun.add(item)
            case "a":
                self.acked.add(item)
            case "r":
                self.rejecting.add(item)
            case "d":
                self.rejected.add(item)
            case "grew":
                self.grew = item
            case "m":
                self.moved.add(item)
                moving.append(item)
            case "n":
                moving.remove(item)

    @property
    def done(self) -> set[int]:
        """What must not come again, if nothing that returned is lost."""
        return (self.acked | self.rejected) - self.doubled

    def missing(self, items: set[int], there: list[int], dead: list[int]) -> set[int]:
        """What of *items* is gone, although nobody acknowledged it."""
        return items - self.begun - set(there) - set(dead)

    def check_order(self, there: list[int]) -> None:
        """What was never moved is in order, and nothing is there twice that was not moved."""
        steady = [item for item in there if item not in self.moved]
        assert steady == sorted(set(steady))
        once = [item for item in there if item not in self.doubled]
        assert len(once) == len(set(once))


async def left(folder: Path) -> list[int]:
    """What a reopening would hand out, in the order of claims."""
    async with AsyncQueue(folder) as queue:
        return [delivery.item for delivery in await queue.claim_many(70_000)] if await queue.qsize() else []


async def dead(folder: Path) -> list[int]:
    """The items among the dead letters of the queue in *folder*; opening heals them first."""
    path = dead_of(folder)
    if not path.is_dir():
        return []
    async with AsyncQueue(path):
        pass
    try:
        return [letter.item() async for letter in dead_letters(path)]
    except NotAQueue:
        return []
