"""Moving a queue: from whatever a source is to a file queue or a SQLite queue, in any serializer.

running       the coroutine; everything else is for its thread
work          a migration from its beginning to its end     building  its phases: scan, build, verify
plan          what is wished, what will be made              sides     what differs from source to source
converting    blobs into records                             values    what is lost on the way
judging       one batch                                      findings  what was found so far        spool
directory     a file queue, as it is built                   database  a SQLite queue
partial       TARGET.partial and its note                    placing   the rename, or the exchange
badfile  bombs  seen  identity  system
"""

from asyncpq.migrating.report import MigrationReport, Progress
from asyncpq.migrating.running import migrate

__all__ = ["MigrationReport", "Progress", "migrate"]
