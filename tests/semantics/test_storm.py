"""Storms: everything at once, again and again, under check level 2: every audit of the scheduler and every check.

Each storm runs in a process of its own for `GOPARK_STORM_SECONDS` (2 by default, 600 in the long form) and counts what
it did: nothing may be lost, doubled, left over or stuck. A *flood* is a storm whose runs have 100 000 goroutines alive
at the same time.
"""

from __future__ import annotations

import os
import random
import time

import pytest

import gopark as go
from tests.semantics import subprocesses

SECONDS = float(os.environ.get("GOPARK_STORM_SECONDS", "2"))
LONG_SECONDS = float(os.environ.get("GOPARK_STORM_SECONDS", "600"))
FLOOD = 100_000


@go.struct
class Shared:
    mu: go.Mutex
    n: int
    inside: int
    overlaps: int


@go.struct
class Message:
    n: int
    reply: go.Chan[int]
    next: Message


# ---- trees


@go.func
def branch(depth, width, out):
    if depth == 0:
        out.send(1)
        return
    mine = go.chan(int, depth % 2)
    for _ in range(width):
        go.spawn(branch, depth - 1, width, mine)
    total = 0
    for _ in range(width):
        total += mine.recv()
    out.send(total)


@go.func
def tree(depth, width):
    out = go.chan(int)
    go.spawn(branch, depth, width, out)
    return out.recv()


def trees(r, flood):
    sizes = [(16, 2), (5, 10), (1, FLOOD)] if flood else [(10, 2), (4, 6), (2, 40), (1, 2000), (100, 1)]
    depth, width = r.choice(sizes)
    assert go.run(tree, depth, width) == width**depth


# ---- many producers, many consumers


@go.func
def produce(ch, start, stop, done):
    previous = Message(-1)
    for i in range(start, stop):
        previous = Message(i, None, previous)
        ch.send(previous)
    done.done()


@go.func
def consume(ch, out):
    total = 0
    for m in ch:
        if m.next.n != m.n - 1 and m.next.n != -1:
            total -= 1 << 40
        total += m.n
    out.send(total)


@go.func
def traffic(producers, consumers, each, cap):
    ch, out, done = go.chan(Message, cap), go.chan(int), go.WaitGroup()
    done.add(producers)
    for i in range(producers):
        go.spawn(produce, ch, i * each, (i + 1) * each, done)
    for _ in range(consumers):
        go.spawn(consume, ch, out)
    done.wait()
    ch.close()
    total = 0
    for _ in range(consumers):
        total += out.recv()
    return total


def traffics(r, flood):
    producers, consumers, each = r.randint(1, 20), r.randint(1, 20), r.randint(1, 500)
    if flood:
        producers, each = r.randint(1, FLOOD), r.randint(1, 3)
        consumers = FLOOD - producers + 1
    cap = r.choice([0, 1, 3, 64, 1000])
    n = producers * each
    assert go.run(traffic, producers, consumers, each, cap) == n * (n - 1) // 2


# ---- rings of selects


@go.func
def ring_member(left, right, quit, out):
    passed = 0
    while True:
        s = go.select(token=go.recv(left), quit=go.recv(quit))
        if s.case == "quit":
            break
        t = go.select(on=go.send(right, s.token + 1), quit=go.recv(quit))
        if t.case == "quit":
            break
        passed += 1
    out.send(passed)


@go.func
def ring(members, tokens, hops, cap):
    """Tokens go round through selects; the last hop of each is made by this goroutine."""
    first = go.chan(int, cap)
    quit, out = go.chan(bool), go.chan(int)
    left = first
    for _ in range(members):
        right = go.chan(int, cap)
        go.spawn(ring_member, left, right, quit, out)
        left = right
    last = left
    started = finished = total = 0
    waiting = 0
    again = -1
    while finished < tokens:
        into = first if again >= 0 or started < tokens else None
        value = again if again >= 0 else 0
        s = go.select(put=go.send(into, value), get=go.recv(last if again < 0 else None))
        if s.case == "put":
            if again >= 0:
                again = -1
            else:
                started += 1
        elif s.get >= hops:
            finished += 1
            total += s.get
        else:
            again = s.get
    quit.close()
    passed = 0
    for _ in range(members):
        passed += out.recv()
    return total, passed, waiting


def rings(r, flood):
    members, cap = r.randint(1, 12), r.choice([0, 0, 1, 4])
    tokens, rounds = r.randint(1, max(1, members // 2)), r.randint(1, 50)
    if flood:
        members, tokens, rounds = FLOOD, r.randint(1, 10), 1
    total, passed, _ = go.run(ring, members, tokens, members * rounds, cap)
    assert total == passed == members * rounds * tokens


# ---- convoys at a mutex


@go.func
def queue_up(s, times, yields, done):
    for i in range(times):
        if i % 7 == 0 and s.mu.try_lock():
            pass
        else:
            s.mu.lock()
        s.inside += 1
        if s.inside != 1:
            s.overlaps += 1
        if yields and i % 3 == 0:
            go.gosched()
        s.n += 1
        s.inside -= 1
        s.mu.unlock()
        if i % 5 == 0:
            go.gosched()
    done.done()


@go.func
def convoy(goroutines, times, yields):
    s, done = Shared(), go.WaitGroup()
    done.add(goroutines)
    for _ in range(goroutines):
        go.spawn(queue_up, s, times, yields, done)
    done.wait()
    return s.n, s.overlaps


def convoys(r, flood):
    goroutines, times = (FLOOD, r.randint(1, 3)) if flood else (r.randint(1, 100), r.randint(1, 200))
    assert go.run(convoy, goroutines, times, r.random() < 0.5) == (goroutines * times, 0)


# ---- the end of a run in the middle of it


@go.func
def busy(kind, a, b, s, by, n):
    """Does one kind of thing for ever; after n of them, the one with by == 0 fails."""
    for i in range(1 << 60):
        if kind == 0:
            a.send(i)
        elif kind == 1:
            b.send(a.recv())
        elif kind == 2:
            go.select(take=go.recv(b), give=go.send(a, i), default=i % 2 == 0)
        elif kind == 3:
            s.mu.lock()
            s.n += 1
            go.gosched()
            s.mu.unlock()
        elif kind == 4:
            go.spawn(brief, a, b, i)
        else:
            go.select(one=go.recv(a), two=go.recv(b))
        if i > n:
            i // by
        go.gosched()


@go.func
def brief(a, b, i):
    go.select(give=go.send(a, i), take=go.recv(b), default=True)


@go.func
def closed():
    ch = go.chan(int)
    ch.close()
    return ch


@go.func
def interrupted(how, goroutines, turns, by):
    """0: main returns; 1: main fails; 2: a child fails; 3: main ends with a StackOverflowError."""
    a, b, s = go.chan(int), go.chan(int, 4), Shared()
    for i in range(goroutines):
        go.spawn(busy, i % 6, a, b, s, by if how == 2 else 1, turns)
    if how == 2:
        go.spawn(busy, 5, closed(), b, s, by, turns)  # this one reaches its end in any case
    while True:
        for _ in range(turns):
            go.gosched()
        if how == 0:
            return turns
        if how == 1:
            return turns // by
        if how == 3:
            return deep(1 << 60)


@go.func
def deep(n):
    return deep(n - 1) + 1 if n else 0


def ends(r, flood):
    how, goroutines, turns = r.randint(0, 3), r.randint(1, 60), r.randint(1, 60)  # 0: main would never yield
    if flood:
        goroutines, turns = FLOOD, r.randint(1, 4)
    try:
        result = go.run(interrupted, how, goroutines, turns, 0)
    except (ZeroDivisionError, go.StackOverflowError) as e:
        result = type(e).__name__
    assert result == (turns, "ZeroDivisionError", "ZeroDivisionError", "StackOverflowError")[how], (how, result)


KINDS = {"trees": trees, "traffic": traffics, "rings": rings, "convoys": convoys, "ends": ends}


def storm(kind, seconds, seed, flood=False):
    """Runs storms of one kind, or of all, until the time is up; how many."""
    r = random.Random(seed)
    stop, times = time.monotonic() + seconds, 0
    while time.monotonic() < stop or times == 0:
        one = KINDS[kind] if kind in KINDS else r.choice(list(KINDS.values()))
        one(r, flood if flood is not None else r.random() < 0.3)
        assert go.num_goroutine() == 0
        times += 1
    return times


def run_storm(kind, procs, seconds, flood):
    variables = {"GOMAXPROCS": procs, "GOPARKDEBUG": "check=2", "PYTHONHASHSEED": 0}
    return subprocesses.call(__name__, "storm", kind, seconds, procs, flood, timeout=seconds + 200, **variables)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("procs", [1, 2, 8])
@pytest.mark.parametrize("kind", list(KINDS))
def test_storm(kind, procs):
    assert run_storm(kind, procs, SECONDS, flood=False) > 0


@pytest.mark.timeout(240)
@pytest.mark.parametrize("procs", [1, 2, 8])
@pytest.mark.parametrize("kind", list(KINDS))
def test_flood(kind, procs):
    """One storm of each kind with 100 000 goroutines."""
    assert run_storm(kind, procs, 0, flood=True) == 1


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("procs", [1, 2, 8])
def test_long_storm_of_everything(procs):
    """Of all kinds, one in three of them a flood."""
    assert run_storm("everything", procs, LONG_SECONDS, flood=None) > 0
