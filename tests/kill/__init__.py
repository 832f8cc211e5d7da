"""A process that uses a queue is killed; what it said before is compared with what the queue holds afterwards.

    harness.py   starts a child, listens, kills  --- job, pipe --->  child.py   puts, gets, says so
        |                                                               |
        +--- reopens and drains <--------- the directory <--------------+
        |
    ledger.py    what may and must be there: begun, acknowledged, done

job.py is what both processes know: the policies, the items, the marks.
"""
