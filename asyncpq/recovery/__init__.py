"""Opening: what lies in the directory is read, decided about, and healed where a crash left it unfinished.

    survey     what does info say, and in which serializer?     reads
    chunks     how far is a chunk whole records?                reads
    plan       what follows from that, as data                  decides
    rebuild    the same without an info, or across a hole       decides (repair=True)
    heal       carries a plan out, in an order that a cut       changes
               anywhere in between does not spoil
    verify     which records from tail to head are whole?       reads (repair=True, check)
    rewrite    those that are, in chunks that are right again   changes (repair=True)
    opening    all of it, in turn
    foreseeing all of it but the changes
    acks       which notes of the journal are about records that are there
    skip       passes over a damaged record in a queue that is open

A directory that was closed opens with a listing, one read of info and one look at the size of the head chunk.
"""

from asyncpq.recovery.foreseeing import Foreseen, foresee
from asyncpq.recovery.opening import open_queue
from asyncpq.recovery.skip import pass_over

__all__ = ["Foreseen", "foresee", "open_queue", "pass_over"]
