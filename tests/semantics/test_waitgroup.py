"""go.WaitGroup: counting, many waiters, reuse, misuse."""

from __future__ import annotations

import numpy as np
import pytest

import gopark as go
from tests.semantics import subprocesses


@go.struct
class Team:
    name: int
    members: go.WaitGroup
    done: int


@go.func
def work(group, log, i):
    log[i] += 1
    group.done()


@go.func
def waits_for_all(log):
    group = go.WaitGroup()
    for i in range(len(log)):
        group.add(1)
        go.spawn(work, group, log, i)
    group.wait()
    missing = 0
    for i in range(len(log)):
        if log[i] != 1:
            missing += 1
    return missing


def test_wait_returns_when_everybody_is_done():
    assert go.run(waits_for_all, np.zeros(2000, np.int64)) == 0


@go.func
def wait_for_nobody():
    group = go.WaitGroup()
    group.wait()
    group.add(2)
    group.add(-2)
    group.wait()
    group.add(0)
    group.wait()
    return 1


def test_wait_with_counter_zero_returns_at_once():
    assert go.run(wait_for_nobody) == 1


@go.func
def reuse(log, rounds):
    """One group counts round after round; nobody of a round is left when wait returns."""
    group = go.WaitGroup()
    wrong = 0
    for r in range(rounds):
        group.add(len(log))
        for i in range(len(log)):
            go.spawn(work, group, log, i)
        group.wait()
        for i in range(len(log)):
            if log[i] != r + 1:
                wrong += 1
    return wrong


def reused():
    return go.run(reuse, np.zeros(8, np.int64), 2000)


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_a_group_is_used_again(procs):
    assert subprocesses.call(__name__, "reused", GOMAXPROCS=procs) == 0


@go.func
def waits_again_and_again(group, log, rounds):
    for r in range(rounds):
        group.add(1)
        log[0] = r + 1
        while log[1] <= r:
            go.gosched()
        group.wait()


@go.func
def at_the_same_instant(rounds, log):
    """One waits for the group, and the other one is done a little earlier or later. True if it never waits in vain."""
    group = go.WaitGroup()
    go.spawn(waits_again_and_again, group, log, rounds)
    for r in range(rounds):
        began = go.monotonic()
        while log[0] <= r:
            go.gosched()
            if go.monotonic() - began > 30:
                return False
        log[1] = r + 1
        for _ in range(r % 100):
            log[2] += 1
        group.done()
    return True


def never_in_vain():
    return go.run(at_the_same_instant, 100_000, np.zeros(3, np.int64))


def test_wait_and_done_at_the_same_instant():
    """Neither overlooks what the other one does to the state."""
    assert subprocesses.call(__name__, "never_in_vain", GOMAXPROCS=2)


@go.func
def wait_and_count(gate, team, out):
    gate.wait()
    out.send(team.done)


@go.func
def many_waiters(n):
    gate, team, out = go.WaitGroup(), Team(), go.chan(int)
    gate.add(1)
    for _ in range(n):
        go.spawn(wait_and_count, gate, team, out)
    for _ in range(100):
        go.gosched()
    team.done = 1
    gate.done()
    total = 0
    for _ in range(n):
        total += out.recv()
    return total


def waiters():
    return [go.run(many_waiters, n) for n in (1, 2, 100, 1000)]


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_many_waiters_are_all_woken(procs):
    assert subprocesses.call(__name__, "waiters", GOMAXPROCS=procs) == [1, 2, 100, 1000]


@go.func
def barrier(gate, ready, out):
    ready.done()
    gate.wait()
    out.done()


@go.func
def barriers(goroutines, rounds):
    """Waiters that are just being woken do not disturb the next use."""
    gate = go.WaitGroup()
    for _ in range(rounds):
        ready, out = go.WaitGroup(), go.WaitGroup()
        gate.add(1)
        ready.add(goroutines)
        out.add(goroutines)
        for _ in range(goroutines):
            go.spawn(barrier, gate, ready, out)
        ready.wait()
        gate.done()
        out.wait()
    return 1


def barrier_rounds():
    return go.run(barriers, 8, 2000)


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_barriers(procs):
    assert subprocesses.call(__name__, "barrier_rounds", GOMAXPROCS=procs) == 1


# ---- as a field


@go.func
def member(team):
    team.members.done()


@go.func
def field(n):
    team = Team(5)
    team.members.add(n)
    for _ in range(n):
        go.spawn(member, team)
    team.members.wait()
    return team.name, team.done


def test_a_group_as_a_field():
    assert go.run(field, 100) == (5, 0)


# ---- misuse


@go.func
def negative_done():
    go.WaitGroup().done()


@go.func
def negative_add():
    group = go.WaitGroup()
    group.add(2)
    group.add(-3)


@go.func
def negative_caught():
    group = go.WaitGroup()
    group.add(1)
    caught = 0
    try:
        group.add(-2)
    except Exception:
        caught = 1
    group.done()
    group.wait()
    return caught


@pytest.mark.parametrize("function", [negative_done, negative_add])
def test_a_negative_counter_raises(function):
    with pytest.raises(RuntimeError, match="^sync: negative WaitGroup counter$"):
        go.run(function)


def test_a_negative_counter_can_be_caught():
    assert go.run(negative_caught) == 1


@go.func
def never_done():
    group = go.WaitGroup()
    group.add(1)
    group.wait()


def test_waiting_for_nobody_who_comes_is_a_deadlock():
    with pytest.raises(go.DeadlockError, match=r"sync\.WaitGroup\.Wait"):
        go.run(never_done)


@go.func
def add_nothing():
    go.WaitGroup().add()


@go.func
def add_text():
    go.WaitGroup().add("1")


@pytest.mark.parametrize(
    "function, words", [(add_nothing, ["WaitGroup.add(n)", "got 0 arguments"]), (add_text, ["WaitGroup.add(n)"])]
)
def test_refused_at_compile_time(function, words):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        go.run(function)
    for word in words:
        assert word in str(caught.value)
