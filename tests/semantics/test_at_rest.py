"""What operations leave behind in memory when all is done: nothing. And what can be read of a goroutine that waits.

The go functions here read the words of runtime structs with the runtime's own primitives; of goroutines that wait,
Python reads them while nothing moves.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time

import numpy as np
import pytest

import gopark as go
from gopark.bridge.report import goroutines, read
from gopark.runtime.prims import addr, rawload
from gopark.runtime.runtime2 import WAIT_REASONS, G, Gwaiting, Hchan, Sudog
from gopark.runtime.sync import Mutex, WaitGroup
from tests.semantics import subprocesses
from tests.semantics.test_mutex import Counter, add_locked, add_yielding

BUF, QUEUES = Hchan.fields["buf"][0], Hchan.fields["recvq"][0]
WORDS = 2  # of a Mutex and of a WaitGroup: the state, and the count of the semaphore
LAST = 2  # what ends a run that Python looks at
assert Mutex.size == WaitGroup.size == 8 * WORDS

# ---- Mutex, WaitGroup


@go.func
def after_contention(goroutines, times, out):
    """Under a mutex that is handed over and one that is barged; then their words and the group's."""
    c, done = Counter(), go.WaitGroup()
    for _ in range(goroutines):
        done.add(2)
        go.spawn(add_yielding, c, times, done)
        go.spawn(add_locked, c, times, done)
    done.wait()
    for i in range(WORDS):
        out[i] = rawload(addr(c.mu) + 8 * i)
        out[WORDS + i] = rawload(addr(done) + 8 * i)


def words_after_contention():
    out = np.full(2 * WORDS, -1)
    found = []
    for count in (1, 2, 10, 100):
        for _ in range(5):
            go.run(after_contention, count, 2000 // count, out)
            found.append(out.tolist())
    return found


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_a_mutex_and_a_group_at_rest_are_zero(procs):
    """No waiter is counted that is not there, nobody is on the way, no unit is left in the semaphore."""
    found = subprocesses.call(__name__, "words_after_contention", GOMAXPROCS=procs)
    assert found == [[0] * 2 * WORDS] * 20


# ---- channels


@go.func
def slots(out):
    """Fill a channel of structs, take all but one, by each of the ways to take; then what its slots hold."""
    ch = go.chan(Counter, 4)
    for _ in range(4):
        ch.send(Counter())
    ch.recv()
    go.select(a=go.recv(ch))
    ch.try_recv()
    for i in range(4):
        out[i] = rawload(rawload(addr(ch) + BUF) + 8 * i)


def test_a_slot_that_was_emptied_keeps_no_pointer():
    """Else what went through it would live as long as the channel."""
    out = np.full(4, -1)
    go.run(slots, out)
    assert out[:3].tolist() == [0, 0, 0]
    assert out[3] != 0


@go.func
def one_of(a, b, n, out):
    got = 0
    for _ in range(n):
        if go.select(x=go.recv(a), y=go.recv(b)).ok:
            got += 1
    out.send(got)


@go.func
def feed(ch, n):
    for i in range(n):
        ch.send(i)


@go.func
def queues(words, selects):
    """Selects and plain operations on two channels; then the first and last waiter of each of their queues."""
    a, b, out = go.chan(int), go.chan(int), go.chan(int)
    for _ in range(selects):
        go.spawn(one_of, a, b, 200, out)
    go.spawn(feed, a, 100 * selects)
    go.spawn(feed, b, 100 * selects)
    got = 0
    for _ in range(selects):
        got += out.recv()
    for i in range(4):
        words[i] = rawload(addr(a) + QUEUES + 8 * i)
        words[4 + i] = rawload(addr(b) + QUEUES + 8 * i)
    return got


def words_after_selects():
    words = np.full(8, -1)
    return [(go.run(queues, words, n), words.tolist()) for n in (1, 2, 20)]


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_nobody_is_left_in_a_queue(procs):
    found = subprocesses.call(__name__, "words_after_selects", GOMAXPROCS=procs)
    assert found == [(200 * n, [0] * 8) for n in (1, 2, 20)]


# ---- goroutines that wait


@go.func
def sends(ch, other, mu, group):
    ch.send(1)


@go.func
def receives(ch, other, mu, group):
    ch.recv()


@go.func
def selects(ch, other, mu, group):
    go.select(a=go.recv(ch), b=go.recv(other))


@go.func
def locks(ch, other, mu, group):
    mu.lock()


@go.func
def waits(ch, other, mu, group):
    group.wait()


def waiting(operation):
    """The G of a goroutine that waits in the operation, and the addresses of the objects it was given."""

    @go.func
    def main(places, stop):
        ch, other, mu, group = go.chan(int), go.chan(int), go.Mutex(), go.WaitGroup()
        mu.lock()
        group.add(1)
        go.spawn(operation, ch, other, mu, group)
        places[0], places[1], places[2], places[3] = addr(ch), addr(other), addr(mu) + 8, addr(group) + 8
        while stop[0] == 0:
            go.gosched()

    places, stop = np.zeros(4, np.int64), np.zeros(1, np.int64)
    with running(main, places, stop):
        return what(parked(), dict(zip(places.tolist(), ("ch", "other", "mu", "group"), strict=True)))


@contextlib.contextmanager
def running(main, places, stop):
    """main(places, stop) runs until the block is left, which sets stop[0] to LAST."""
    run = threading.Thread(target=go.run, args=(main, places, stop))
    run.start()
    try:
        yield
    finally:
        stop[0] = LAST
        run.join()


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(0.001)


def parked():
    """The one goroutine that waits, once it does."""
    found = []

    def look():
        found[:] = [gp for gp in goroutines() if read(G, gp, "atomicstatus") == Gwaiting]
        return len(found) == 1

    until(look)
    time.sleep(0.01)  # it is on its way from there to the switch
    return found[0]


def what(gp, names):
    """Why it waits, and for what: the sudogs in the order of the list."""
    found, sg = [], read(G, gp, "waiting")
    while sg:
        assert read(Sudog, sg, "g") == gp
        found.append(names.get(read(Sudog, sg, "c")) or names.get(read(Sudog, sg, "ticket")))
        sg = read(Sudog, sg, "waitlink")
    return WAIT_REASONS[read(G, gp, "waitreason")], sorted(found)


@pytest.mark.parametrize(
    "operation, reason, objects",
    [
        (sends, "chan send", ["ch"]),
        (receives, "chan receive", ["ch"]),
        (selects, "select", ["ch", "other"]),
        (locks, "sync.Mutex.Lock", ["mu"]),
        (waits, "sync.WaitGroup.Wait", ["group"]),
    ],
)
def test_what_a_goroutine_waits_for_can_be_read(operation, reason, objects):
    """`waiting` leads to what it waits for: the collector and debuggers follow it."""
    assert waiting(operation) == (reason, objects)


@go.func
def depth(n):
    return 0 if n == 0 else 1 + depth(n - 1)


@go.func
def descends(ch, out):
    for n in ch:
        out[0] = depth(n)


@go.func
def asks_it_to_descend(places, stop):
    ch = go.chan(int)
    go.spawn(descends, ch, places)
    while stop[0] == 0:
        go.gosched()
    ch.send(10)
    while stop[0] == 1:
        go.gosched()


def test_the_guard_of_a_goroutine_that_was_asked_to_yield_is_where_it_was():
    """It is raised to get the attention of a function that looks at its stack, once."""
    places, stop = np.zeros(1, np.int64), np.zeros(1, np.int64)
    with running(asks_it_to_descend, places, stop):
        gp = parked()
        guard, offset = read(G, gp, "stackguard"), G.fields["stackguard"][0]
        ctypes.c_int64.from_address(gp + offset).value = 1 << 62
        stop[0] = 1
        until(lambda: places[0] == 10)
        assert parked() == gp
        assert read(G, gp, "stackguard") == guard


@go.func
def binds_itself_for_a_while(ch):
    go.lock_os_thread()
    go.lock_os_thread()
    go.unlock_os_thread()
    go.unlock_os_thread()
    ch.recv()


@go.func
def beside_one_that_was_bound(places, stop):
    go.spawn(binds_itself_for_a_while, go.chan(int))
    while stop[0] == 0:
        go.gosched()


def test_a_goroutine_that_is_not_bound_any_more_is_like_any_other():
    places, stop = np.zeros(1, np.int64), np.zeros(1, np.int64)
    with running(beside_one_that_was_bound, places, stop):
        assert read(G, parked(), "lockedm") == 0
