"""The pool of threads loses no job, whenever its threads come and go."""

import threading
import time

import pytest

from asyncpq import threads
from asyncpq.threads import Pool


def until_alone(pool: Pool) -> None:
    """Wait until the last thread of *pool* has gone."""
    end = time.monotonic() + 20
    while pool._threads and time.monotonic() < end:
        threading.Event().wait(0.005)
    assert not pool._threads


def test_a_job_that_comes_while_all_are_busy_does_not_cost_a_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that took a waiting job counted as idle beyond its end, and the next job was left to it."""
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.01)
    pool, second, third = Pool(1), threading.Event(), threading.Event()
    pool.submit(lambda: pool.submit(second.set))  # comes before the thread says that it is free
    assert second.wait(20)
    until_alone(pool)
    pool.submit(third.set)
    assert third.wait(20)


def test_jobs_from_many_threads_all_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.0005)
    pool, done = Pool(2), threading.Semaphore(0)

    def submit() -> None:
        for number in range(200):
            pool.submit(done.release)
            if number % 20 == 0:
                threading.Event().wait(0.001)  # long enough for threads to go

    callers = [threading.Thread(target=submit) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(done.acquire(timeout=20) for _ in range(800))
