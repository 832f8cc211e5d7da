"""What the child and its parent both know: the job, the items by their numbers, and the marks on the pipe.

A mark is one line, written with one os.write: a letter, two numbers, and the time (monotonic, nanoseconds).

    R      the queue is open            S n m  sync or close returned: puts up to n, done up to m
    p a b  putting items a to b         P a b  they are acknowledged
    d m    marking all up to m as done  D m    that is acknowledged
    X      QueueFailed was raised       F      the script has ended and the queue is closed
    E      something is wrong; the rest of the line says what
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

from asyncpq.fsync import Always, Interval, Never, Policy, Rollover

POLICIES: Final[dict[str, Policy]] = {
    "never": Never(),
    "rollover": Rollover(),
    "interval": Interval(),
    "interval, 0.1 s": Interval(0.1),
    "interval, 10 items": Interval(0.05, items=10),
    "always": Always(),
}
SERIALIZERS: Final = ("pickle", "msgpack", "json", "cbor2", "orjson")

SIZES: Final = (0, 20, 20, 700, 700, 6000)  # characters
LONG: Final = 70_000  # characters; beyond what is written from the event loop
_LETTERS: Final = "".join(chr(33 + (i * i * 7 + i // 90) % 90) for i in range(LONG + 4096))


def item(number: int) -> dict[str, Any]:
    """The item with this number: no two are alike, and every serializer gives it back unchanged."""
    size = LONG if number % 211 == 100 else SIZES[number * 7 % 13 % len(SIZES)]
    start = number * 37 % 4096
    return {"number": number, "half": number / 2, "text": _LETTERS[start : start + size], "none": None}


@dataclass(frozen=True, slots=True)
class Job:
    """What a child has to do."""

    path: str
    policy: str  # of POLICIES
    serializer: str
    chunksize: int
    first: int = 0  # number of the first item that it puts
    seed: int = 0
    steps: int = 0  # operations; 0: until it is killed
    producers: int = 0  # tasks that put, beside one that gets; 0: a single task does everything
    calm: bool = False  # never sync, close or clear: what is durable is the policy's doing alone
    hold: bool = False  # stop before the queue is opened, until SIGCONT

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
