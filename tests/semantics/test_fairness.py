"""Whoever waits in the global queue has a turn after a number of switches, not only when a time slice ends.

More goroutines than a ring holds are made on one P, so that half of them overflow into the global queue, while others
keep the ring from ever being empty. What is counted are switches: every 61st one looks at the global queue first.
"""

from __future__ import annotations

import numpy as np

import gopark as go
from tests.semantics import subprocesses

RING, HALF, FAIRNESS = 256, 128, 61
MANY = RING + 44


@go.func
def yields(log, firsts, i):
    firsts[i] = log[0]
    log[1] += 1
    while log[1] < MANY:
        log[0] += 1
        go.gosched()


@go.func
def all_yield(log, firsts):
    for i in range(MANY):
        go.spawn(yields, log, firsts, i)
    while log[1] < MANY:
        go.gosched()


@go.func
def notes_its_turn(log, firsts, i):
    firsts[i] = log[0]
    log[1] += 1


@go.func
def work(jobs, done):
    for job in jobs:
        done.send(job)


@go.func
def all_park(log, firsts):
    """Four workers and who gives them work: somebody is runnable whenever one of them parks."""
    jobs, done = go.chan(int), go.chan(int)
    for _ in range(4):
        go.spawn(work, jobs, done)
    for _ in range(10):
        go.gosched()
    for i in range(MANY):
        go.spawn(notes_its_turn, log, firsts, i)
    while log[1] < MANY:
        log[0] += 1
        for i in range(4):
            jobs.send(i)
        for _ in range(4):
            done.recv()


def last_first_turns(scene):
    """Of ten runs: how many steps others had done when the last goroutine had its first turn."""
    found = []
    for _ in range(10):
        log, firsts = np.zeros(2, np.int64), np.zeros(MANY, np.int64)
        go.run(scene, log, firsts)
        found.append(int(firsts.max()))
    return found


def yielding():
    return last_first_turns(all_yield)


def parking():
    return last_first_turns(all_park)


def test_the_global_queue_has_its_turn_beside_goroutines_that_yield():
    """One of the overflow for every 61 yields."""
    steps = subprocesses.call(__name__, "yielding", GOMAXPROCS=1)
    assert HALF < min(steps), "nobody was in the global queue"
    assert max(steps) < 2 * HALF * FAIRNESS


def test_the_global_queue_has_its_turn_beside_goroutines_that_wake_each_other():
    """One for every 61 switches that begin a slice: three in each round."""
    rounds = subprocesses.call(__name__, "parking", GOMAXPROCS=1)
    assert HALF < min(rounds), "nobody was in the global queue"
    assert max(rounds) < 2 * HALF * FAIRNESS // 3
