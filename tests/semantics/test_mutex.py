"""go.Mutex: exclusion, try_lock, misuse, as a value in a struct, under contention."""

from __future__ import annotations

import numpy as np
import pytest

import gopark as go
from tests.semantics import subprocesses


@go.struct
class Counter:
    n: int
    mu: go.Mutex
    other: go.Mutex
    m: int


@go.func
def add_locked(c, times, done):
    for _ in range(times):
        c.mu.lock()
        c.n += 1
        c.mu.unlock()
    done.done()


@go.func
def counted(goroutines, times):
    c, done = Counter(), go.WaitGroup()
    done.add(goroutines)
    for _ in range(goroutines):
        go.spawn(add_locked, c, times, done)
    done.wait()
    return c.n, c.mu.try_lock()


def counted_often():
    return [go.run(counted, 4, 10000) for _ in range(5)]


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_a_counter_under_a_mutex_loses_nothing(procs):
    assert subprocesses.call(__name__, "counted_often", GOMAXPROCS=procs) == [(40000, True)] * 5


@go.func
def add_yielding(c, times, done):
    """Lets the others run while it holds the mutex: every one of them has to wait."""
    for _ in range(times):
        c.mu.lock()
        n = c.n
        go.gosched()
        c.n = n + 1
        c.mu.unlock()
    done.done()


@go.func
def contended(goroutines, times):
    c, done = Counter(), go.WaitGroup()
    done.add(goroutines)
    for _ in range(goroutines):
        go.spawn(add_yielding, c, times, done)
    done.wait()
    return c.n


def contended_often():
    return [go.run(contended, goroutines, 10000 // goroutines) for goroutines in (2, 10, 100, 1000)]


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_contention(procs):
    assert subprocesses.call(__name__, "contended_often", GOMAXPROCS=procs) == [10000] * 4


# ---- try_lock and misuse


@go.func
def tries():
    mu = go.Mutex()
    first = mu.try_lock()
    second = mu.try_lock()
    mu.unlock()
    mu.lock()
    third = mu.try_lock()
    mu.unlock()
    return first, second, third, mu.try_lock()


def test_try_lock():
    assert go.run(tries) == (True, False, False, True)


@go.func
def unlock_unlocked():
    go.Mutex().unlock()


@go.func
def unlock_twice():
    c = Counter()
    c.mu.lock()
    c.mu.unlock()
    c.mu.unlock()


@go.func
def misuse_caught():
    mu = go.Mutex()
    caught = 0
    try:
        mu.unlock()
    except Exception:
        caught = 1
    return caught, mu.try_lock(), mu.try_lock()


def test_unlock_of_an_unlocked_mutex_raises():
    for function in (unlock_unlocked, unlock_twice):
        with pytest.raises(RuntimeError, match="^sync: unlock of unlocked mutex$"):
            go.run(function)
    assert go.run(misuse_caught) == (1, True, False)


@go.func
def lock_twice():
    mu = go.Mutex()
    mu.lock()
    mu.lock()


def test_a_mutex_is_not_reentrant():
    with pytest.raises(go.DeadlockError, match=r"sync\.Mutex\.Lock"):
        go.run(lock_twice)


# ---- where a mutex may be


@go.func
def lock_for_others(mu, log, done):
    for _ in range(1000):
        mu.lock()
        log[0] += 1
        mu.unlock()
    done.done()


@go.func
def local_object(log):
    """A mutex made alone is an object, which goroutines share by reference."""
    mu, done = go.Mutex(), go.WaitGroup()
    for _ in range(4):
        done.add(1)
        go.spawn(lock_for_others, mu, log, done)
    done.wait()
    return log[0]


def test_a_mutex_as_an_object_of_its_own():
    assert go.run(local_object, np.zeros(1, np.int64)) == 4000


@go.func
def lock_it(mu):
    mu.lock()
    return mu.try_lock()


@go.func
def two_fields():
    """The mutexes of one struct are independent; an embedded one may be an argument and a local."""
    c = Counter(1, 2)
    locked_again = lock_it(c.mu)
    local = c.other
    local.lock()
    other = c.other.try_lock()
    c.mu.unlock()
    return locked_again, other, c.mu.try_lock(), c.n, c.m


def test_two_mutexes_in_one_struct():
    assert go.run(two_fields) == (False, False, True, 1, 2)


@go.func
def guarded_division(c, by):
    c.mu.lock()
    try:
        c.n = 10 // by
    finally:
        c.mu.unlock()


@go.func
def unlocked_by_finally():
    c = Counter()
    caught = 0
    try:
        guarded_division(c, 0)
    except Exception:
        caught = 1
    guarded_division(c, 5)
    return caught, c.n, c.mu.try_lock()


def test_finally_unlocks():
    assert go.run(unlocked_by_finally) == (1, 2, True)


@go.struct
class Node:
    counter: Counter


@go.func
def nil_owner():
    Node().counter.mu.lock()


def test_the_mutex_of_nil():
    with pytest.raises(go.NilPointerError):
        go.run(nil_owner)


# ---- handing over


@go.func
def greedy(c, log, done):
    """Takes the mutex again as soon as it has released it."""
    while log[0] == 0:
        c.mu.lock()
        c.n += 1
        go.gosched()
        c.mu.unlock()
    done.done()


@go.func
def patient(c, log, times, done):
    for _ in range(times):
        c.mu.lock()
        c.m += 1
        c.mu.unlock()
    log[0] = 1
    done.done()


@go.func
def starvation(log, times):
    c, done = Counter(), go.WaitGroup()
    done.add(3)
    go.spawn(greedy, c, log, done)
    go.spawn(greedy, c, log, done)
    go.spawn(patient, c, log, times, done)
    done.wait()
    return c.m, c.n


def starved():
    return go.run(starvation, np.zeros(1, np.int64), 500)


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_a_waiter_gets_its_turn_beside_greedy_ones(procs):
    turns, others = subprocesses.call(__name__, "starved", GOMAXPROCS=procs)
    assert turns == 500
    assert others < 500 * 1000


@go.func
def in_turn(c, order, i, done):
    c.mu.lock()
    order[c.n] = i
    c.n += 1
    c.mu.unlock()
    done.done()


@go.func
def served_in_order(order):
    n = len(order)
    c, done = Counter(), go.WaitGroup()
    done.add(n)
    c.mu.lock()
    for i in range(n):
        go.spawn(in_turn, c, order, i, done)
        for _ in range(10):
            go.gosched()
    c.mu.unlock()
    done.wait()


def waiters_order():
    order = np.full(50, -1)
    go.run(served_in_order, order)
    return order.tolist()


def test_waiters_are_served_first_come():
    assert subprocesses.call(__name__, "waiters_order", GOMAXPROCS=1) == list(range(50))


@go.func
def overtaken(order):
    """The first of two waiters is woken, but finds the mutex taken again before it could run."""
    c, done = Counter(), go.WaitGroup()
    done.add(2)
    c.mu.lock()
    for i in range(2):
        go.spawn(in_turn, c, order, i, done)
        for _ in range(10):
            go.gosched()
    c.mu.unlock()
    c.mu.lock()
    for _ in range(10):
        go.gosched()
    c.mu.unlock()
    done.wait()


def overtaken_often():
    orders = []
    for _ in range(20):
        order = np.full(2, -1)
        go.run(overtaken, order)
        orders.append(order.tolist())
    return orders


def test_a_waiter_that_lost_waits_before_all_others():
    assert subprocesses.call(__name__, "overtaken_often", GOMAXPROCS=1) == [[0, 1]] * 20


# ---- compile time


@go.func
def lock_with_argument():
    go.Mutex().lock(1)


@go.func
def unknown_method():
    go.Mutex().acquire()


@go.func
def constructed_with_argument():
    go.Mutex(1)


@pytest.mark.parametrize(
    "function, words",
    [
        (lock_with_argument, ["Mutex.lock", "got 1 arguments"]),
        (unknown_method, ["acquire", "lock", "unlock", "try_lock"]),
        (constructed_with_argument, ["takes no arguments"]),
    ],
)
def test_refused_at_compile_time(function, words):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        go.run(function)
    for word in words:
        assert word in str(caught.value)
