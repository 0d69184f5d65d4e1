"""lock_os_thread: a goroutine and a thread that run only together, while all others go on."""

from __future__ import annotations

import numpy as np
import pytest
from numba import types

import gopark as go
from gopark.bridge import report
from gopark.runtime.runtime2 import G, M
from tests.semantics.subprocesses import call

HERE = __name__

gettid = types.ExternalFunction("gettid", types.int32())
PROCS = (1, 2, 4)


@pytest.fixture(params=PROCS)
def procs(request):
    """The test runs with that many Ps."""
    before = go.gomaxprocs(request.param)
    yield request.param
    go.gomaxprocs(before)


@go.func
def bound(chan, back, rounds, moves, mine, bound_now, i, done):
    """Bound to its thread, wait in every way there is; count how often the thread was another one."""
    go.lock_os_thread()
    tid = gettid()
    mine[i] = tid
    bound_now[i] = tid
    for k in range(rounds):
        chan.send(k)
        if gettid() != tid:
            moves[i] += 1
        go.gosched()
        if gettid() != tid:
            moves[i] += 1
        s = go.select(a=go.recv(back), b=go.recv(back))
        if s.case != "a" and s.case != "b":
            moves[i] += 1000
        if gettid() != tid:
            moves[i] += 1
    bound_now[i] = 0
    go.unlock_os_thread()
    done.done()


@go.func
def partner(chan, back, rounds):
    for _ in range(rounds):
        back.send(chan.recv())


@go.func
def free(stop, bound_now, turns, trespasses, i, done):
    """Not bound: yield until stopped, and count the turns on a thread that is bound to another goroutine."""
    while stop[0] == 0:
        tid = gettid()
        if bound_now[0] == tid or bound_now[1] == tid:
            if gettid() == tid:
                trespasses[i] += 1
        turns[i] += 1
        go.gosched()
    done.done()


@go.func
def bound_beside_free(rounds, moves, mine, bound_now, turns, trespasses, stop):
    done, others = go.WaitGroup(), go.WaitGroup()
    for i in range(len(mine)):
        chan, back = go.chan(int), go.chan(int)
        done.add(1)
        go.spawn(bound, chan, back, rounds, moves, mine, bound_now, i, done)
        go.spawn(partner, chan, back, rounds)
    for i in range(len(turns)):
        others.add(1)
        go.spawn(free, stop, bound_now, turns, trespasses, i, others)
    done.wait()
    for i in range(len(turns)):  # with more Ps than cores this may be over before the kernel let every thread run
        while turns[i] == 0:
            go.gosched()
    stop[0] = 1
    others.wait()


def run_bound_beside_free(rounds, n):
    words = [np.zeros(k, np.int64) for k in (2, 2, 2, n, n, 1)]
    go.run(bound_beside_free, rounds, *words)
    return [w.tolist() for w in words[:5]]


def test_a_bound_goroutine_always_sees_its_thread(procs):
    """gettid is the same after sends, selects and yields; threads of different ones differ."""
    moves, mine, *_ = run_bound_beside_free(300, 0)
    assert moves == [0, 0]
    assert len(set(mine)) == 2


def test_others_go_on_and_never_on_a_bound_thread(procs):
    moves, _, _, turns, trespasses = run_bound_beside_free(100, 4)
    assert moves == [0, 0]
    assert min(turns) > 0
    assert trespasses == [0, 0, 0, 0]


@go.func
def yields_alone(n):
    go.lock_os_thread()
    tid, same = gettid(), 0
    for _ in range(n):
        go.gosched()
        same += gettid() == tid
    go.unlock_os_thread()
    return same


def test_a_bound_goroutine_that_yields_alone(procs):
    assert go.run(yields_alone, 1000) == 1000


@go.func
def yielder(n, out):
    for _ in range(n):
        go.gosched()
    out.send(n)


@go.func
def yields_beside_another(n):
    go.lock_os_thread()
    out = go.chan(int, 1)
    go.spawn(yielder, n, out)
    tid, same = gettid(), 0
    for _ in range(n):
        go.gosched()
        same += gettid() == tid
    go.unlock_os_thread()
    return same, out.recv()


def test_two_that_yield_one_of_them_bound(procs):
    assert go.run(yields_beside_another, 500) == (500, 500)


@go.func
def nested(chan, back):
    go.unlock_os_thread()  # none to take back: nothing
    go.lock_os_thread()
    go.lock_os_thread()
    tid, same = gettid(), 0
    go.unlock_os_thread()
    for k in range(100):  # still bound
        chan.send(k)
        back.recv()
        same += gettid() == tid
    go.unlock_os_thread()
    go.unlock_os_thread()
    return same


@go.func
def run_nested():
    chan, back = go.chan(int), go.chan(int)
    go.spawn(partner, chan, back, 100)
    return nested(chan, back)


def test_calls_nest(procs):
    assert go.run(run_nested) == 100


@go.func
def ends_bound(out):
    go.lock_os_thread()
    out.send(gettid())


@go.func
def many_end_bound(n):
    out = go.chan(int)
    total = 0
    for _ in range(n):
        go.spawn(ends_bound, out)
        total += out.recv() > 0
    return total


def threads_after_many_ended_bound():
    import os

    go.gomaxprocs(2)
    go.run(many_end_bound, 50)
    before = len(os.listdir("/proc/self/task"))
    assert go.run(many_end_bound, 500) == 500
    return before, len(os.listdir("/proc/self/task"))


def test_a_goroutine_that_ends_is_unbound_and_its_thread_serves_others():
    before, after = call(HERE, "threads_after_many_ended_bound")
    assert after <= before + 2


@go.func
def waits_bound(c):
    go.lock_os_thread()
    c.recv()


@go.func
def all_asleep(n):
    c = go.chan(int)
    for _ in range(n):
        go.spawn(waits_bound, c)
    waits_bound(c)


def test_bound_goroutines_that_sleep_are_a_deadlock(procs):
    with pytest.raises(go.DeadlockError, match="chan receive"):
        go.run(all_asleep, 3)


@go.func
def spins_bound():
    go.lock_os_thread()
    while True:
        go.gosched()


@go.func
def fails_beside_bound(c):
    for _ in range(3):
        go.spawn(waits_bound, c)
        go.spawn(spins_bound)
    go.gosched()
    raise ValueError("enough")


@go.func
def fails_beside(n):
    fails_beside_bound(go.chan(int))


def test_the_end_of_a_run_reaches_bound_goroutines(procs):
    for _ in range(20):
        with pytest.raises(ValueError, match="enough"):
            go.run(fails_beside, 0)
        assert go.num_goroutine() == 0


@go.func
def main_bound(n):
    """The main goroutine itself is bound, and ends its run while others run."""
    go.lock_os_thread()
    tid = gettid()
    c = go.chan(int)
    for _ in range(n):
        go.spawn(waits_bound, c)
        go.spawn(spins_bound)
    for _ in range(100):
        go.gosched()
    return 1 if gettid() == tid else 0


def test_a_bound_main_goroutine_ends_its_run(procs):
    for _ in range(10):
        assert go.run(main_bound, 2) == 1


@go.func
def takes_an_argument():
    go.lock_os_thread(1)


def test_misuse_and_python():
    assert go.lock_os_thread() is None
    assert go.unlock_os_thread() is None
    with pytest.raises(Exception, match=r"go.lock_os_thread\(\) takes no arguments"):
        go.run(takes_an_argument)


# ---- what is left behind


@go.func
def ends_still_bound(times, done):
    for _ in range(times):
        go.lock_os_thread()
    done.done()


@go.func
def unbinds_without_being_bound(done):
    go.unlock_os_thread()
    go.unlock_os_thread()
    done.done()


@go.func
def several(n, times):
    done = go.WaitGroup()
    done.add(n)
    for _ in range(n):
        if times > 0:
            go.spawn(ends_still_bound, times, done)
        else:
            go.spawn(unbinds_without_being_bound, done)
    done.wait()


def bound_gs_and_ms():
    """How many Gs are bound to an M, and how many Ms believe that they are bound."""
    gs = sum(report.read(G, g, "lockedm") != 0 for g in report.all_gs())
    ms = sum(report.read(M, m, "locked") != 0 or report.read(M, m, "lockedg") != 0 for m in report.all_ms())
    return gs, ms


@pytest.mark.parametrize("times", [0, 1, 3])
def test_nobody_stays_bound(procs, times):
    """Neither who ended bound, nor who took back what it did not have: the next one to use the G, or the M, is free."""
    go.run(several, 20, times)
    assert bound_gs_and_ms() == (0, 0)
