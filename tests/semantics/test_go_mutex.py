"""go.Mutex: what Go's own tests of it and of semaphores check.

Sources of the questions: sync/mutex_test.go and runtime/sema_test.go by the names in the docstrings; test_go_tests.py
says which test of Go is answered where. The simple cases are in test_mutex.py.
"""

from __future__ import annotations

import numpy as np
import pytest

import gopark as go
from tests.semantics.turns import let_others_run, wait_for


@go.struct
class Counter:
    mu: go.Mutex
    n: int
    locked: int
    tried: int


@go.struct
class Link:
    mu: go.Mutex
    next: Link
    n: int


@go.struct
class Site:
    """A mutex and those who wait for it, as links of a list."""

    links: Link
    out: go.Chan[int]


@go.func
def compute(seconds):
    """Keep the processor busy, without yielding."""
    until = go.monotonic() + seconds
    while go.monotonic() < until:
        pass


# ---- TestMutex


@go.func
def hammer(c, loops, done):
    """Every third time it only tries. Reads and writes again what it counts with a look at the clock in between."""
    for i in range(loops):
        tries = i % 3 == 0
        if tries:
            if not c.mu.try_lock():
                continue
            c.tried += 1
        else:
            c.mu.lock()
            c.locked += 1
        n = c.n
        go.monotonic()
        c.n = n + 1
        c.mu.unlock()
    done.send(True)


@go.func
def hammers(goroutines, loops):
    c, done = Counter(), go.chan(bool)
    for _ in range(goroutines):
        go.spawn(hammer, c, loops, done)
    for _ in range(goroutines):
        done.recv()
    return c.n, c.locked, c.tried, c.mu.try_lock()


def test_hammers(procs):
    """TestMutex: ten goroutines that lock, and try to, a thousand times each. (try_lock alone: test_mutex.py.)"""
    for goroutines, loops in ((10, 1000), (1, 1000), (100, 100)):
        n, locked, tried, free = go.run(hammers, goroutines, loops)
        tries = len(range(0, loops, 3))
        assert locked == goroutines * (loops - tries)
        assert n == locked + tried
        assert tried <= goroutines * tries and free
        assert goroutines > 1 or tried == tries


# ---- misuse


@go.func
def unlock(mu):
    mu.unlock()


@go.func
def unlocked_elsewhere():
    """A mutex belongs to nobody: another goroutine may unlock it, and one that waits gets it."""
    mu, done = go.Mutex(), go.chan(bool)
    mu.lock()
    go.spawn(unlock, mu)
    mu.lock()
    go.spawn(lock_and_tell, mu, done)
    let_others_run(10)
    early = done.try_recv()[1] or len(done) > 0
    unlock(mu)
    return early, done.recv(), mu.try_lock()


@go.func
def lock_and_tell(mu, done):
    mu.lock()
    done.send(True)


def test_any_goroutine_may_unlock(procs):
    assert go.run(unlocked_elsewhere) == (False, True, False)


@go.func
def unlock_in_a_goroutine():
    mu, never = go.Mutex(), go.chan(int)
    mu.lock()
    go.spawn(unlock, mu)
    go.spawn(unlock, mu)
    never.recv()


def test_unlock_in_a_goroutine_of_what_another_has_unlocked(procs):
    """TestMutexMisuse. (In the goroutine itself: test_mutex.py.)"""
    with pytest.raises(RuntimeError, match="^sync: unlock of unlocked mutex") as caught:
        go.run(unlock_in_a_goroutine)
    assert caught.value.args == ("sync: unlock of unlocked mutex",)


@go.func
def tell_when_locked(c, log, at, hold):
    log[at] = 1
    c.mu.lock()
    c.n += 1
    log[at] = 2
    wait_for(hold, 0, 1)
    c.mu.unlock()


@go.func
def misused_beside_a_hammer(times, loops):
    """Unlocking what is not locked, again and again, while others hammer at a mutex of the same kind nearby."""
    c, idle, done = Counter(), go.Mutex(), go.chan(bool)
    for _ in range(3):
        go.spawn(hammer, c, loops, done)
    caught = 0
    for i in range(times):
        try:
            idle.unlock()
        except Exception:
            caught += 1
        if i % 10 == 0:
            go.gosched()
    for _ in range(3):
        done.recv()
    return caught, c.n - c.locked - c.tried, idle.try_lock(), c.mu.try_lock()


def test_a_misuse_harms_nobody_else(procs):
    """In Go it is the end of the process; here it is an exception, and the mutex stays what it was: unlocked."""
    assert go.run(misused_beside_a_hammer, 1000, 300) == (1000, 0, True, True)


# ---- TestMutexFairness


@go.func
def hog(mu, stop, turns, at):
    """Has the mutex nearly all the time, never waits for long and never yields."""
    while stop[0] == 0:
        mu.lock()
        compute(100e-6)
        mu.unlock()
        turns[at] += 1


@go.func
def lock_now_and_then(mu, times, done):
    for _ in range(times):
        compute(100e-6)
        mu.lock()
        mu.unlock()
    done.send(True)


@go.func
def beside_hogs(hogs, times, stop, turns):
    mu, done = go.Mutex(), go.chan(bool, 1)
    for i in range(hogs):
        go.spawn(hog, mu, stop, turns, i)
    for i in range(hogs):
        wait_for(turns, i, 1)
    go.spawn(lock_now_and_then, mu, times, done)
    arrived = done.recv()
    stop[0] = 1
    return arrived


@pytest.mark.parametrize("hogs", [1, 3])
def test_a_hog_leaves_the_mutex_to_others(hogs, procs):
    """TestMutexFairness. Its time-out is the one of the test. (Hogs that yield: test_mutex.py.)"""
    assert go.run(beside_hogs, hogs, 10, np.zeros(1, np.int64), np.zeros(hogs, np.int64))


# ---- handing over


@go.func
def taken_again(log, hold):
    """Holds a mutex that another waits for, and takes it again as soon as it has let go: how often that works, until
    the mutex is handed over. Then: whether it could be tried, and who has it."""
    c = Counter()
    c.mu.lock()
    go.spawn(tell_when_locked, c, log, 0, hold)
    wait_for(log, 0, 1)
    let_others_run(5)
    again = 0
    while True:
        c.mu.unlock()
        if not c.mu.try_lock():
            break
        again += 1
        go.gosched()
    waits = log[0] == 1
    wait_for(log, 0, 2)
    tried = c.mu.try_lock()
    hold[0] = 1
    c.mu.lock()
    return again, waits, tried, c.n


def test_the_mutex_is_handed_over_to_one_that_lost_often():
    """TestSemaHandoff, TestSemaHandoff1, as far as it can be seen: with one P, who lets go of the mutex runs on; still
    he cannot take it again, because it belongs to the one who waits, who has not run yet. Before that he wins a few
    times."""
    before = go.gomaxprocs(1)
    try:
        for _ in range(100):
            again, waits, tried, n = go.run(taken_again, np.zeros(1, np.int64), np.zeros(1, np.int64))
            assert 1 <= again <= 10
            assert (waits, tried, n) == (True, False, 1)
    finally:
        go.gomaxprocs(before)


def test_the_mutex_is_taken_from_one_who_takes_it_again_and_again(procs):
    """TestSemaHandoff2: whatever runs at the same time, the other one gets it."""
    for _ in range(100):
        _, _, tried, n = go.run(taken_again, np.zeros(1, np.int64), np.zeros(1, np.int64))
        assert (tried, n) == (False, 1)


# ---- many addresses in one table


@go.func
def wait_at(link, out):
    link.mu.lock()
    out.send(link.n)
    link.mu.unlock()


@go.func
def links(n):
    first = Link()
    for i in range(n):
        link = Link()
        link.n = n - 1 - i
        link.next = first
        first = link
    return first


@go.func
def wake_one_by_one(n, waiters, step, started):
    """`waiters` goroutines at each of n mutexes, which are unlocked in steps: how many answers came from another
    one than the one that was unlocked, and how many came."""
    first, out = links(n), go.chan(int)
    link = first
    for _ in range(n):
        link.mu.lock()
        for _ in range(waiters):
            go.spawn(wait_at, link, out)
        link = link.next
    let_others_run(started)
    wrong = answers = at = 0
    for _ in range(n):
        at = (at + step) % n
        link = first
        for _ in range(at):
            link = link.next
        link.mu.unlock()
        for _ in range(waiters):
            wrong += out.recv() != at
            answers += 1
        link.mu.lock()
    return wrong, answers


def test_many_mutexes_with_waiters(procs):
    """BenchmarkSemTable as a question of right and wrong: waiters at more addresses than the table has roots, so that
    many share a root, and several at each address; who is woken waits at the mutex that was unlocked."""
    for n, waiters in ((2000, 1), (600, 4), (1, 1000)):
        for step in (1, 7, n - 1 if n > 1 else 1):
            if n % step and (n - 1) % step:
                continue
            assert go.run(wake_one_by_one, n, waiters, step, 10) == (0, n * waiters)
