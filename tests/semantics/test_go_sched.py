"""The scheduler: what Go's own tests of it check, as far as it can be seen from go functions.

Sources of the questions: runtime/proc_test.go and runtime/crash_test.go with their programs in testdata/testprog, and
some of test/, by the names in the docstrings; test_go_tests.py says which test of Go is answered where. Run queues as
such are in tests/runtime/test_runq.py, bound goroutines in test_lock_os_thread.py, deadlock reports in test_runs.py.

Goroutines that wait for each other by spinning look at the clock between two looks at the array: that is a call, so
the compiler reads the array again, and no yield.
"""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest
from numba import types

import gopark as go
from tests.semantics import subprocesses
from tests.semantics.turns import let_others_run

gettid = types.ExternalFunction("gettid", types.int32())


@go.struct
class Shared:
    mu: go.Mutex
    n: int


@go.func
def spin_for(log, at, mark):
    """Wait without yielding."""
    while log[at] != mark:
        go.monotonic()


@go.func
def arithmetic(n, x):
    """n dependent steps that no compiler can shorten (a xorshift), in a loop that no poll interrupts."""
    for _ in range(n):
        x ^= x << 13
        x ^= (x >> 7) & 0x1FFFFFFFFFFFFFF
        x ^= x << 17
    return x


@pytest.fixture
def one_p():
    """The test runs with one P."""
    previous = go.gomaxprocs(1)
    yield
    go.gomaxprocs(previous)


# ---- goroutines that never end


@go.func
def perpetual(stop):
    """Goes on in another goroutine."""
    if not stop.try_recv()[1]:
        go.spawn(perpetual, stop)


@go.func
def ask(times, done):
    for _ in range(times):
        go.gomaxprocs()
        go.num_goroutine()
        go.gosched()
    done.send(True)


@go.func
def beside_perpetual(times, started):
    stop, done = go.chan(bool, 1), go.chan(bool, 2)
    go.spawn(ask, times, done)
    go.spawn(ask, times, done)
    go.spawn(perpetual, stop)
    started[0] = 1
    done.recv()
    done.recv()
    stop.send(True)
    return go.gomaxprocs()


def test_a_chain_of_goroutines_that_never_ends(procs):
    """TestStopTheWorldDeadlock: others go on beside it, also those who ask for what stops the world in Go. The number
    of Ps cannot change meanwhile, and statistics can be read."""
    started, refused, stop = np.zeros(1, np.int64), [], threading.Event()

    def change():
        while not stop.is_set():
            go.mem_stats()
            if started[0]:
                try:
                    go.gomaxprocs(3)
                    return
                except RuntimeError as e:
                    refused.append("a run is active" in str(e))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        assert go.run(beside_perpetual, 1000, started) == procs
    finally:
        stop.set()
        thread.join()
    assert all(refused)


# ---- goroutines that yield


@go.func
def yield_until_told(locked, told, answer):
    if locked:
        go.lock_os_thread()
    while True:
        s = go.select(told=go.recv(told), default=True)
        if s.case == "told":
            answer.send(True)
            return
        go.gosched()


@go.func
def yield_progress(locked):
    told, answer = go.chan(bool), go.chan(bool)
    go.spawn(yield_until_told, locked, told, answer)
    let_others_run(100)
    told.send(True)
    return answer.recv()


@pytest.mark.parametrize("locked", [False, True])
def test_one_that_yields_lets_its_partner_on(locked, procs):
    """TestYieldProgress, TestYieldLockedProgress."""
    for _ in range(20):
        assert go.run(yield_progress, locked)


@go.func
def yield_bound(n, ch):
    go.lock_os_thread()
    tid, same = gettid(), 0
    for _ in range(n):
        go.gosched()
        same += gettid() == tid
    ch.send(same)


@go.func
def send_bound(n, ch):
    go.lock_os_thread()
    for k in range(n):
        ch.send(k)
    go.unlock_os_thread()


@go.func
def bound_ones(n):
    ch = go.chan(int)
    go.spawn(yield_bound, n, ch)
    same = ch.recv()
    go.spawn(send_bound, n, ch)
    in_order = 0
    for k in range(n):
        in_order += ch.recv() == k
    return same, in_order


def test_a_bound_one_yields_and_sends(procs):
    """TestYieldLocked, where it ends bound, and TestBlockLocked. (More of it: test_lock_os_thread.py.)"""
    for _ in range(20):
        assert go.run(bound_ones, 10) == (10, 10)


HOGS = ("yields", "rallies", "spawns", "asks", "tries", "locks", "selects")


@go.func
def busy(kind, a, b, shared):
    """Never waits for long and never ends. From kind 3 on it does not even yield."""
    while True:
        if kind == 0:
            go.gosched()
        elif kind == 1:
            a.send(1)
            b.recv()
        elif kind == 3:
            go.monotonic()
        elif kind == 4:
            if shared.mu.try_lock():
                shared.n += 1
                shared.mu.unlock()
        elif kind == 5:
            shared.mu.lock()
            shared.n += 1
            shared.mu.unlock()
        elif kind == 6:
            s = go.select(got=go.recv(a), put=go.send(b, 1), default=True)
            if s.case == "default":
                shared.n += 1


@go.func
def answer(a, b):
    while True:
        b.send(a.recv())


@go.func
def hogs(kind, n):
    never = go.chan(bool)
    for _ in range(n):
        a, b = go.chan(int), go.chan(int)
        if kind == 2:
            go.spawn(perpetual, never)
        else:
            go.spawn(busy, kind, a, b, Shared())
        if kind == 1:
            go.spawn(answer, a, b)


@go.func
def modest(i, rounds, ch, shared, done):
    """Does a little of everything."""
    for _ in range(rounds):
        go.gosched()
        ch.send(i)
        shared.mu.lock()
        shared.n += 1
        shared.mu.unlock()
    done.done()


@go.func
def add_up(ch, n, out):
    total = 0
    for _ in range(n):
        total += ch.recv()
    out.send(total)


@go.func
def beside_hogs(kind, number, n, rounds):
    ch, out, shared, done = go.chan(int), go.chan(int), Shared(), go.WaitGroup()
    hogs(kind, number)
    go.gosched()
    done.add(n)
    go.spawn(add_up, ch, rounds * n, out)
    for i in range(n):
        go.spawn(modest, i, rounds, ch, shared, done)
    done.wait()
    return out.recv(), shared.n


@pytest.mark.parametrize("kind", range(len(HOGS)), ids=HOGS)
def test_hogs_starve_nobody(kind, procs):
    """TestGCFairness, TestGCFairness2, for goroutines that only run: others get everything done beside as many hogs as
    there are Ps, of those that yield one more; and then they may be more than a queue holds."""
    for n, rounds in ((1, 10), (20, 3), (600, 3)) if kind < 3 else ((200, 1),):
        number = procs + (kind < 3)
        assert go.run(beside_hogs, kind, number, n, rounds) == (rounds * n * (n - 1) // 2, rounds * n), n


@go.func
def time_beside_a_hog(n):
    """How long n goroutines take beside one that never yields."""
    begin = go.monotonic()
    beside_hogs(3, 1, n, 1)
    return go.monotonic() - begin


def test_more_than_a_queue_holds_beside_a_hog(one_p):
    """A goroutine that is preempted goes behind all that wait, in Go: then a hog takes a time slice per round of all of
    them. 270 take somewhat longer than 200, which fit into the ring of a P, and not 20 times as long."""
    few = min(go.run(time_beside_a_hog, 200) for _ in range(3))
    assert go.run(time_beside_a_hog, 270) < 12 * few


# ---- preemption


@go.func
def recurse(n):
    return n + recurse(n - 1) if n else 0


@go.func
def my_turn(how, word, me, rounds, done):
    """Waits for its turn without ever yielding, in a loop, in calls, or in loops within a loop."""
    x = 1
    for _ in range(rounds):
        while word[0] != me:
            if how == 1:
                x += recurse(50)
            elif how == 2:
                for _ in range(10):
                    for k in range(30):
                        x = (x ^ x << 13) + k
            go.monotonic()
        word[0] = 1 - me
    done.send(x)


@go.func
def take_turns(how, word, rounds):
    done = go.chan(int)
    go.spawn(my_turn, how, word, 0, rounds, done)
    go.spawn(my_turn, how, word, 1, rounds, done)
    done.recv()
    done.recv()


@pytest.mark.parametrize("how", range(3), ids=["loop", "calls", "loops"])
def test_goroutines_that_never_yield_take_turns(how, procs):
    """TestPreemption: each waits for what the other one does, and neither yields."""
    word = np.zeros(1, np.int64)
    go.run(take_turns, how, word, 5)
    assert word[0] == 0


# ---- TestPingPongHog


@go.func
def work_when_woken(n, ch, counts, at, until, over):
    x = 1
    while True:
        x = arithmetic(n, ch.recv() + x)
        counts[at] += n
        if go.monotonic() >= until:
            over.try_send(True)
        ch.send(x)


@go.func
def two_pairs(counts, seconds):
    """A pair that works much each time that one wakes the other, and a pair that works little; what both did."""
    heavy, light, over = go.chan(int), go.chan(int), go.chan(bool, 1)
    until = go.monotonic() + seconds
    for _ in range(2):
        go.spawn(work_when_woken, 1_000_000, heavy, counts, 0, until, over)
    for _ in range(2):
        go.spawn(work_when_woken, 1_000, light, counts, 1, until, over)
    heavy.send(1)
    light.send(1)
    over.recv()


def test_a_pair_that_works_little_beside_one_that_works_much(one_p):
    """TestPingPongHog: those who wake each other share a time slice, so both pairs get about the same time. Without
    that one has a thousand times as much."""
    counts = np.zeros(2, np.int64)
    go.run(two_pairs, counts, 0.5)
    heavy, light = counts.tolist()
    assert heavy <= 20 * light and light <= 20 * heavy, (heavy, light)


# ---- all at the same time


@go.func
def in_step(x, p, threads, done):
    """In each round it waits for the one before it, without yielding, and passes on; noting which thread it is on."""
    procs = threads.shape[1]
    for i in range(len(threads)):
        spin_for(x, 0, procs * i + p)
        threads[i, p] = gettid()
        x[0] = procs * i + p + 1
    done.send(True)


@go.func
def start_two(x, p, threads, done):
    go.spawn(in_step, x, p, threads, done)
    if p + 1 < threads.shape[1]:
        go.spawn(in_step, x, p + 1, threads, done)


@go.func
def arrive(flags, at, done):
    """Wait without yielding until everybody has come."""
    flags[at] = 1
    for k in range(len(flags)):
        spin_for(flags, k, 1)
    done.send(True)


@go.func
def in_parallel(x, flags, threads, nested):
    done = go.chan(bool)
    procs = len(flags)
    if nested:
        for p in range(procs):
            go.spawn(arrive, flags, p, done)
        for _ in range(procs):
            done.recv()
    for p in range(0, procs, 2 if nested else 1):
        if nested:
            go.spawn(start_two, x, p, threads, done)
        else:
            go.spawn(in_step, x, p, threads, done)
    for _ in range(procs):
        done.recv()


@pytest.mark.parametrize("nested", [False, True])
def test_as_many_as_there_are_ps_run_at_the_same_time(nested, procs):
    """TestGoroutineParallelism; nested: TestGoroutineParallelism2, with load before it. In the last rounds each has a
    thread of its own: they are not just taking turns on some."""
    for _ in range(5):
        threads = np.zeros((5, procs), np.int64)
        go.run(in_parallel, np.zeros(1, np.int64), np.zeros(procs, np.int64), threads, nested)
        assert len(set(threads[-1])) == procs, threads.tolist()


# ---- counting goroutines


@go.func
def wait_here(ch):
    ch.recv()


@go.func
def counted(numbers, n):
    """How many there are: alone, with n that wait, and when those have gone; and then with two, all asleep."""
    ch = go.chan(int)
    numbers[0] = go.num_goroutine()
    for _ in range(n):
        go.spawn(wait_here, ch)
    let_others_run(10)
    numbers[1] = go.num_goroutine()
    ch.close()
    while go.num_goroutine() > 1:
        go.gosched()
    never = go.chan(int)
    for _ in range(n):
        go.spawn(wait_here, never)
    numbers[2] = go.num_goroutine()
    never.recv()


def ids_of(error):
    return [int(n) for n in re.findall(r"^goroutine (\d+) \[", str(error), re.MULTILINE)]


def test_the_number_of_goroutines(procs):
    """TestNumGoroutine: and as many are in the report of a deadlock, each under a number of its own, main's first."""
    for n in (1, 5, 99):
        numbers = np.zeros(3, np.int64)
        with pytest.raises(go.DeadlockError) as caught:
            go.run(counted, numbers, n)
        assert numbers.tolist() == [1, n + 1, n + 1]
        ids = ids_of(caught.value)
        assert len(set(ids)) == n + 1
        main = str(caught.value).split("\n\n")[1]
        assert main.startswith(f"goroutine {min(ids)} [chan receive]:") and "in counted" in main
    assert go.num_goroutine() == 0


@go.func
def asleep_alone():
    go.select()


def test_no_helper_is_in_a_report(procs):
    """TestNoHelperGoroutines."""
    with pytest.raises(go.DeadlockError) as caught:
        go.run(asleep_alone)
    assert len(ids_of(caught.value)) == 1


# ---- chains, queues and trees


@go.func
def chain(n, out):
    if n == 0:
        out.send(True)
    else:
        go.spawn(chain, n - 1, out)


@go.func
def chains(number, n):
    out = go.chan(bool)
    for _ in range(number):
        go.spawn(chain, n, out)
    ended = 0
    for _ in range(number):
        ended += out.recv()
    return ended


def test_chains(procs):
    """BenchmarkCreateGoroutines, BenchmarkCreateGoroutinesParallel: each starts the next one and ends."""
    for number in (1, procs, 50):
        assert go.run(chains, number, 100_000 // number) == number


@go.func
def pass_left(left, right):
    left.send(right.recv() + 1)


@go.func
def daisies(n):
    """A chain of goroutines, each of which waits for its neighbour; the last one starts them all."""
    first = go.chan(int)
    left = first
    for _ in range(n):
        right = go.chan(int)
        go.spawn(pass_left, left, right)
        left = right
    left.send(0)
    return first.recv()


def test_a_daisy_chain(procs):
    """test/chan/goroutines.go."""
    assert go.run(daisies, 10_000) == 10_000


@go.func
def wait_for_either(common, mine, out):
    s = go.select(mine=go.recv(mine), common=go.recv(common))
    out.send(s.case == "mine")


Ints = go.Chan[int]


@go.func
def selects_on_one_channel(n):
    """n goroutines wait on one channel and on one of their own, over which they are woken one by one."""
    common, out = go.chan(int), go.chan(bool)
    own = go.chan(Ints, n)
    for _ in range(n):
        mine = go.chan(int)
        own.send(mine)
        go.spawn(wait_for_either, common, mine, out)
    let_others_run(10)
    right = 0
    for _ in range(n):
        own.recv().send(1)
        right += out.recv()
    return right


@go.func
def time_of_selects(n):
    begin = go.monotonic()
    right = selects_on_one_channel(n)
    return go.monotonic() - begin if right == n else -1.0


def test_selects_on_one_channel_take_time_in_proportion(one_p):
    """test/chanlinear.go: leaving the queue of a channel does not depend on who else is in it. Eight times as many take
    some 15 times as long, since their stacks do not fit into the nearer caches; if each looked at the others, it would
    be more than 64 times."""
    few = min(go.run(time_of_selects, 500) for _ in range(5))
    many = min(go.run(time_of_selects, 4000) for _ in range(5))
    assert 0 < many < 50 * few


@go.func
def multiply(a, b, c, i0, i1, j0, j1, k0, k1, done):
    """c += a b on a part of each: the largest side is halved; halves of k one after the other, since they meet in c."""
    di, dj, dk = i1 - i0, j1 - j0, k1 - k0
    if di < 8 and dj < 8 and dk < 8:
        for i in range(i0, i1):
            for j in range(j0, j1):
                for k in range(k0, k1):
                    c[i, j] += a[i, k] * b[k, j]
        done.send(True)
        return
    halves = go.chan(bool, 2)
    if di >= dj and di >= dk:
        m = i0 + di // 2
        go.spawn(multiply, a, b, c, i0, m, j0, j1, k0, k1, halves)
        multiply(a, b, c, m, i1, j0, j1, k0, k1, halves)
    elif dj >= dk:
        m = j0 + dj // 2
        go.spawn(multiply, a, b, c, i0, i1, j0, m, k0, k1, halves)
        multiply(a, b, c, i0, i1, m, j1, k0, k1, halves)
    else:
        m = k0 + dk // 2
        multiply(a, b, c, i0, i1, j0, j1, k0, m, halves)
        multiply(a, b, c, i0, i1, j0, j1, m, k1, halves)
    halves.recv()
    halves.recv()
    done.send(True)


@go.func
def product(a, b, c):
    done = go.chan(bool, 1)
    multiply(a, b, c, 0, a.shape[0], 0, b.shape[1], 0, a.shape[1], done)
    return done.recv()


def test_a_product_of_matrices_by_halves(procs):
    """BenchmarkMatmult: goroutines that start halves of their work and do the other half."""
    for n, m, k in ((1, 1, 1), (7, 9, 30), (90, 60, 75)):
        a, b = np.arange(n * k).reshape(n, k), np.arange(k * m).reshape(k, m)
        c = np.zeros((n, m), np.int64)
        assert go.run(product, a, b, c)
        assert (c == a @ b).all()


# ---- threads


@go.func
def meet_bound(word, group):
    spin_for(word, 0, 1)
    go.spawn(let_others_run, 0)
    go.lock_os_thread()
    go.gosched()
    group.done()


@go.func
def bind_at_once(word, n):
    group = go.WaitGroup()
    group.add(n)
    for _ in range(n):
        go.spawn(meet_bound, word, group)
    let_others_run(1)
    word[0] = 1
    group.wait()


def test_several_bind_themselves_while_statistics_are_read(procs):
    """TestLockOSThreadTemplateThreadRace."""
    stop = threading.Event()

    def read():
        while not stop.is_set():
            go.mem_stats()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for _ in range(10):
            go.run(bind_at_once, np.zeros(1, np.int64), 2)
    finally:
        stop.set()
        thread.join()


@go.func
def stay_bound(ch, never):
    go.lock_os_thread()
    ch.send(gettid())
    never.recv()


@go.func
def bound_together(threads):
    ch, never = go.chan(int), go.chan(int)
    for i in range(len(threads)):
        go.spawn(stay_bound, ch, never)
        threads[i] = ch.recv()


def test_many_bound_goroutines_at_the_same_time(procs):
    """TestThreadExhaustion: no limit of ours; each of a hundred has its thread, and the run ends them all."""
    threads = np.zeros(100, np.int64)
    go.run(bound_together, threads)
    assert len(set(threads)) == 100


def refused_number():
    try:
        go.run(asleep_alone)
    except go.BootError as e:
        return str(e)
    return "accepted"


def largest_number():
    return go.gomaxprocs(), [go.run(chains, 300, 100) for _ in range(3)]


def test_numbers_of_ps_from_the_environment():
    """TestBigGOMAXPROCS: refused in a sentence, or it works, and there are no more threads than are needed."""
    said = subprocesses.call(__name__, "refused_number", GOMAXPROCS=1024)
    assert said == "GOMAXPROCS=1024: from 1 to 256 are possible"
    assert subprocesses.call(__name__, "largest_number", GOMAXPROCS=256) == (256, [300] * 3)


# ---- failing while others are there


@go.func
def yields_while_failing(ch, by):
    try:
        ch.send(1 // by)
    finally:
        let_others_run(10)
        ch.try_send(7)


@go.func
def failure_that_yields(by):
    ch = go.chan(int)
    go.spawn(yields_while_failing, ch, by)
    ch.recv()
    ch.recv()


def test_who_yields_while_failing_still_fails(procs):
    """TestPanicDeadlockGosched: it is neither a deadlock nor forgotten. (Panics within panics:
    tests/compiler/test_fuzz_try.py.)"""
    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            go.run(failure_that_yields, 0)
