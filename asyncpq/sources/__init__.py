"""Whatever holds a queue, to be read: file queue directories, SQLite queues, and what other libraries wrote.

    with open_source("old/jobs") as source:         locked where it can be, never changed
        source.about                                what it is
        for batch in source.batches():              lists of Entry, in the order of get
            source.loads(batch[0].blob)             plain data; nothing is run

All of it waits for the disk: call it in a worker thread.
"""

from asyncpq.sources.opening import list_queues, open_source
from asyncpq.sources.protocol import About, Entry, Source
from asyncpq.sources.spec import Spec, parse

__all__ = ["About", "Entry", "Source", "Spec", "list_queues", "open_source", "parse"]
