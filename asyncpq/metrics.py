"""What queues count, for Prometheus: the extra `metrics`.

    register(queue)        ──> the registry that prometheus_client serves by default
    collector(a, b)        ──> one for a registry of your own
                                   │ scrape, in whatever thread
    queue.stats() of each open queue ──> asyncpq_queue_puts_total{queue="jobs"} ...

Nothing is copied between two scrapes, and no queue waits for one: a scrape reads the numbers that the queues keep
anyway.  A queue that was closed, or dropped, is left out from then on; one that is not open yet, until it is.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

try:
    from prometheus_client.core import (
        REGISTRY,
        CollectorRegistry,
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "the metrics need prometheus-client; install it with: pip install 'asyncpq-engine[metrics]'",
        name="prometheus_client",
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["QueueCollector", "collector", "register"]


class Counted(Protocol):
    """What is asked of a queue: any of asyncpq's."""

    path: str | os.PathLike[str]

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

    def stats(self) -> dict[str, Any]:
        """Return its counts; none while it is not open."""


class Counts(NamedTuple):
    """A metric that is one number of `stats()`."""

    kind: type[GaugeMetricFamily] | type[CounterMetricFamily]
    key: str
    name: str  # without the prefix; a counter's gets the suffix _total
    text: str


PREFIX: Final = "asyncpq_queue_"
LABEL: Final = "queue"
SYNCS: Final = f"{PREFIX}sync_duration_seconds"
METRICS: Final = (
    Counts(GaugeMetricFamily, "size", "items", "Items that get can hand out."),
    Counts(GaugeMetricFamily, "in_flight", "in_flight_items", "Items that were got and are not done."),
    Counts(GaugeMetricFamily, "waiting_to_be_stored", "waiting_items", "Items whose put has not been written yet."),
    Counts(GaugeMetricFamily, "not_durable", "not_durable_items", "What a power cut could lose now."),
    Counts(GaugeMetricFamily, "sync_seconds_max", "sync_duration_max_seconds", "The longest sync since the opening."),
    Counts(GaugeMetricFamily, "open_seconds", "open_seconds", "Since the queue was opened."),
    Counts(GaugeMetricFamily, "healed", "healed", "1 where opening had to heal something."),
    Counts(GaugeMetricFamily, "failed", "failed", "1 where a sync failed: the queue has to be reopened."),
    Counts(CounterMetricFamily, "puts", "puts", "Items stored."),
    Counts(CounterMetricFamily, "gets", "gets", "Items handed out."),
    Counts(CounterMetricFamily, "done", "done", "Items that were done with."),
    Counts(CounterMetricFamily, "bytes_put", "put_bytes", "Bytes of the items that were stored, as serialized."),
    Counts(CounterMetricFamily, "commits", "commits", "Durable commits; of a database, transactions."),
    Counts(CounterMetricFamily, "came_back", "came_back", "Items given out again: lease over, or their holder dead."),
    Counts(CounterMetricFamily, "chunks_removed", "chunks_removed", "Chunk files that were consumed and removed."),
)


class QueueCollector(Collector):
    """Collects from queues as they are scraped.  Its methods may be called in any thread."""

    def __init__(self) -> None:
        """Know no queue yet."""
        self._lock = threading.Lock()
        self._queues: dict[str, weakref.ref[Counted]] = {}

    def add(self, queue: Counted, name: str | None = None) -> None:
        """Collect from *queue*, until it is closed or dropped.

        Args:
            queue: any of asyncpq's queues, open or not.
            name: the value of the label `queue`; None: its path.

        Raises:
            ValueError: another open queue has this name.
        """
        label = os.fspath(queue.path) if name is None else name
        with self._lock:
            there = self._queues.get(label)
            other = None if there is None else there()
            if other is not None and other is not queue and not other.closed:
                raise ValueError(f"there is a queue {label!r} already; give this one another name=")
            self._queues[label] = weakref.ref(queue)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, with a sample for each open queue."""
        found = self._stats()
        for kind, key, name, text in METRICS:
            family = kind(PREFIX + name, text, labels=[LABEL])
            for label, stats in found:
                if key in stats:
                    family.add_metric([label], float(stats[key]))
            yield family
        yield _syncs(found)

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples, so that a registry sees at once where two have the same names."""
        yield from (kind(PREFIX + name, text, labels=[LABEL]) for kind, _, name, text in METRICS)
        yield _syncs([])

    def _stats(self) -> list[tuple[str, dict[str, Any]]]:
        with self._lock:
            there = {label: queue for label, known in self._queues.items() if (queue := known()) is not None}
            self._queues = {label: weakref.ref(queue) for label, queue in there.items() if not queue.closed}
            return [(label, stats) for label, queue in there.items() if not queue.closed and (stats := queue.stats())]


def _syncs(found: list[tuple[str, dict[str, Any]]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(SYNCS, "How long a sync took.", labels=[LABEL])
    for label, stats in found:
        if "sync_histogram" in stats:
            buckets = [(_bound(bound), float(count)) for bound, count in stats["sync_histogram"].items()]
            family.add_metric([label], buckets, stats["sync_seconds"])
    return family


def _bound(seconds: float) -> str:
    return "+Inf" if seconds == float("inf") else str(seconds)


def collector(*queues: Counted) -> QueueCollector:
    """Return a collector of *queues*, for a registry of your own: ``registry.register(collector(queue))``.

    Raises:
        ValueError: two of them have the same path; `QueueCollector.add` takes a name.
    """
    made = QueueCollector()
    for queue in queues:
        made.add(queue)
    return made


_registered: weakref.WeakKeyDictionary[CollectorRegistry, QueueCollector] = weakref.WeakKeyDictionary()
_registering: Final = threading.Lock()


def register(queue: Counted, name: str | None = None, registry: CollectorRegistry = REGISTRY) -> None:
    """Have *registry* show *queue* until it is closed: as `QueueCollector.add`."""
    with _registering:
        known = _registered.get(registry)
        if known is None:
            known = QueueCollector()
            registry.register(known)
            _registered[registry] = known
    known.add(queue, name)
